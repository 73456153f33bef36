"""Five hundred containers over five hosts: each has an address of its own, while some go and others come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from testbed.bed import Bed, until
from testbed.platform import CLIENT_IMAGE, Platform, platform

pytestmark = [pytest.mark.bed, pytest.mark.timeout(900)]
HOSTS, COUNT = 5, 500
MANY = """\
version: '2'
services:
  many:
    image: local/busybox:1
    command: sleep 1000000
    stop_signal: SIGKILL
  seer:
    image: local/client:1
"""


@pytest.fixture(scope="module")
def place(clients: str) -> Iterator[Platform]:
    with (
        Bed(HOSTS, name="tmany", net="10.77.11", images=("local/busybox:1", CLIENT_IMAGE)) as bed,
        platform(bed) as running,
    ):
        running.wait_hosts()
        yield running


def held(place: Platform) -> Counter[str]:
    """The addresses that the engines of all hosts have given to running containers: what is so, not what is wanted."""
    found: Counter[str] = Counter()
    for host in place.hosts:
        for container in place.bed.api(host, "/networks/remuda", timeout=20)["Containers"].values():
            found[container["IPv4Address"].partition("/")[0]] += 1
    return found


def shown(place: Platform) -> set[str]:
    """The addresses of running containers by the API."""
    return {c["managedIp"] for c in place.containers()}


def test_no_address_is_ever_given_twice(place: Platform) -> None:
    stack = place.stack("crowd", MANY, "version: '2'\nservices:\n  many: {scale: 100}\n", wait=120)
    many = place.service(stack, "many")
    seen: set[str] = set(held(place))
    for scale in (COUNT, COUNT - 60, COUNT):
        place.scale(many, scale)
        until(f"{scale} run", lambda scale=scale: sum(held(place).values()) == scale + 1, 420, 1.0)
        now = held(place)
        assert max(now.values()) == 1
        seen |= set(now)
    assert len(seen) == COUNT + 1 + 60, "what was given back comes again late, not at once"
    until("the API shows what is so", lambda: shown(place) == set(held(place)), 60, 1.0)
    until(
        "a name has them all",
        lambda: set(answered(place, "many.crowd")) == shown(place) - {seer(place)["managedIp"]},
        30,
        1.0,
    )


def seer(place: Platform) -> dict[str, Any]:
    return next(c for c in place.containers() if c["name"].startswith("crowd_seer"))


def answered(place: Platform, name: str) -> list[str]:
    """What a name leads to, asked the way of programs whose answer does not fit a datagram."""
    client = seer(place)
    words = ("dig", "+short", "+tries=1", "+time=5", "@169.254.169.250", f"{name}.rancher.internal")
    return place.inside(place.host_of(client), client["externalId"], *words).split()
