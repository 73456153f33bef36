"""The agent as people run it, a container of the real image: the second container, which carries the network, and its upgrade."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from testbed.bed import Bed, until
from testbed.platform import CLIENT_IMAGE, PROJECT, Platform

pytestmark = [pytest.mark.bed, pytest.mark.timeout(240)]

AGENT, NEXT = "remuda/agent:latest", "remuda/agent:next"
STACK = """\
version: '2'
services:
  web:
    image: local/client:1
    labels: {io.rancher.scheduler.global: 'true'}
"""


def run_agent(place: Platform, host: int, image: str = AGENT) -> None:
    """The command that Add Host shows."""
    place.bed.docker(host, "run", "-d", "--privileged", "-v", "/var/run/docker.sock:/var/run/docker.sock",
                     "-v", "/var/lib/remuda:/var/lib/remuda", image, place.registration)  # fmt: skip


@pytest.fixture(scope="module")
def place(images: str, clients: str) -> Iterator[Platform]:
    with Bed(2, name="bdover", net="10.77.22", images=(AGENT, CLIENT_IMAGE)) as bed:
        running = Platform(bed, [1, 2])
        running.start_server()
        for host in running.hosts:
            run_agent(running, host)
        until("both hosts are there", lambda: len(active(running)) == 2, 60)
        running.stack("shop", STACK)
        yield running


def active(place: Platform) -> list[dict[str, Any]]:
    """Hosts that can take containers of the managed network."""
    shown = place.api.all(f"{PROJECT}/hosts")
    return [h for h in shown if h["state"] == "active" and h.get("networkState") in ("up", "limited")]


def web(place: Platform, host: int) -> str:
    return str(place.bed.containers(host, **{"io.rancher.stack_service.name": "shop/web"})[0]["Id"])


def reaches_both(place: Platform, host: int) -> bool:
    """Does the name lead this host's container to those of both hosts, and do both answer?"""
    # one after the other: a C library that is told both of a name prefers its own
    script = "for a in $(getent ahostsv4 web | awk '/STREAM/ {print $1}'); do curl -s -m 3 http://$a/; done"
    said = place.inside(host, web(place, host), "sh", "-c", script, check=False)
    return len({line for line in said.splitlines() if line.startswith("hello from")}) == 2


def network(place: Platform, host: int) -> dict[str, Any]:
    """Docker's document of the container that carries the network."""
    found: dict[str, Any] = place.bed.api(host, "/containers/remuda-network/json")
    return found


def test_a_second_container_carries_the_network(place: Platform) -> None:
    for host in place.hosts:
        until("containers of both hosts answer by name", lambda host=host: reaches_both(place, host), 30)  # type: ignore[misc]
        found = network(place, host)
        assert found["HostConfig"]["RestartPolicy"]["Name"] == "always"
        assert found["HostConfig"]["NetworkMode"] == found["HostConfig"]["PidMode"] == "host"
        assert found["State"]["Running"]
        assert found["RestartCount"] == 0
    shown = place.api.all(f"{PROJECT}/containers", name="remuda-network")
    assert len(shown) == 2
    assert all(container["systemContainer"] for container in shown)


def test_the_network_goes_on_without_the_agent_and_its_return_touches_nothing(place: Platform) -> None:
    before = network(place, 1)["State"]["StartedAt"]
    place.bed.docker(1, "rm", "-f", "remuda-agent")
    for _ in range(8):
        assert reaches_both(place, 1)
        assert reaches_both(place, 2)
    run_agent(place, 1)
    until("the agent is back", lambda: len(active(place)) == 2 and reaches_both(place, 1), 60)
    assert network(place, 1)["State"]["StartedAt"] == before


def test_an_agent_of_another_image_brings_the_network_along(place: Platform) -> None:
    bed, before = place.bed, network(place, 1)["Image"]
    bed.docker(1, "commit", "-c", "LABEL next=yes", "remuda-agent", NEXT)
    run_agent(place, 1, NEXT)
    until("the network is of the new image", lambda: network(place, 1)["Image"] != before, 60)
    until("and works", lambda: network(place, 1)["State"]["Running"] and reaches_both(place, 1), 40)
    agent = bed.api(1, "/containers/remuda-agent/json")
    assert agent["Image"] == network(place, 1)["Image"]


def test_after_a_power_cut_all_comes_back_by_itself(place: Platform) -> None:
    place.bed.kill(2)
    place.bed.boot(2)
    until("the network runs again", lambda: network(place, 2)["State"]["Running"], 60)
    until("containers answer again", lambda: reaches_both(place, 1) and reaches_both(place, 2), 60)
