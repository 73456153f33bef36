"""Health on real hosts: probes over the real network, real containers that stop serving, agents and networks that go away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from testbed.bed import Bed, until
from testbed.platform import CLIENT_IMAGE, PROJECT, Platform, platform

pytestmark = [pytest.mark.bed, pytest.mark.timeout(300)]
HOSTS = 3
DOCKER = """\
version: '2'
services:
  web:
    image: local/client:1
  told:
    image: local/client:1
    stop_signal: SIGKILL
    command: sleep 1000000
    healthcheck: {test: 'test ! -e /tmp/ill', interval: 1s, retries: 1}
"""
RANCHER = """\
version: '2'
services:
  web:
    scale: 3
    on_host_lost: never
    health_check: {port: 80, request_line: GET / HTTP/1.0, interval: 1000, response_timeout: 2000, unhealthy_threshold: 3}
  told:
    scale: 1
    health_check: {command: [test, -e, /etc/passwd], interval: 1000}
"""


@pytest.fixture(scope="module")
def place(clients: str) -> Iterator[Platform]:
    with (
        Bed(HOSTS, name="bdhealth", net="10.77.25", images=("local/busybox:1", CLIENT_IMAGE)) as bed,
        platform(bed) as running,
    ):
        running.wait_hosts()
        running.well = running.stack("well", DOCKER, RANCHER)  # type: ignore[attr-defined]
        until("all are healthy", lambda: health(running, "web") == ["healthy"] * 3, 60)
        yield running


def of(place: Platform, service: str) -> list[dict[str, Any]]:
    return place.containers(place.service(place.well, service))  # type: ignore[attr-defined]


def health(place: Platform, service: str) -> list[str]:
    return [c["healthState"] for c in of(place, service)]


def observations(place: Platform, container: dict[str, Any]) -> list[dict[str, Any]]:
    return place.api.all(f"{PROJECT}/healthcheckInstanceHostMaps", instanceId=container["id"])


def test_every_other_host_sees_a_container_pass_and_says_what_it_answered(place: Platform) -> None:
    for container in of(place, "web"):

        def seen(container: dict[str, Any] = container) -> bool:
            rows = observations(place, container)
            return len(rows) == HOSTS - 1 and container["hostId"] not in {o["hostId"] for o in rows}

        until("both other hosts observe it", seen, 20)
        for row in observations(place, container):
            assert row["healthState"] == "passing"
            assert row["message"].startswith("HTTP/1")
    until("the command passes where the container is", lambda: health(place, "told") == ["healthy"], 20)
    container = of(place, "told")[0]
    assert [o["hostId"] for o in observations(place, container)] == [container["hostId"]]
    assert until("the engine's own check passes", lambda: of(place, "told")[0]["engine"].get("Health") == "healthy", 20)


def test_a_container_that_stops_serving_is_made_anew(place: Platform) -> None:
    victim = of(place, "web")[0]
    host = place.host_of(victim)
    place.bed.docker(host, "pause", victim["externalId"])  # takes connections, answers nobody

    def replaced() -> bool:
        rows = of(place, "web")
        return victim["id"] not in {c["id"] for c in rows} and [c["healthState"] for c in rows] == ["healthy"] * 3

    until("it is replaced and all are healthy", replaced, 60)
    assert victim["name"] in {c["name"] for c in of(place, "web")}
    history = [e["description"] for e in place.api.all(f"{PROJECT}/serviceLogs", resourceId=victim["id"])]
    assert any("is unhealthy: All 2 observers see it fail: no answer within 2000 ms" in line for line in history), (
        history
    )


def test_the_death_of_an_agent_condemns_nobody(place: Platform) -> None:
    before = {c["id"] for c in of(place, "web")}
    place.stop_agent(2)
    for _ in range(9):  # the host is lost after five
        time.sleep(1)
        assert health(place, "web") == ["healthy"] * 3
    place.start_agent(2)
    place.wait_hosts()
    time.sleep(6)
    assert {c["id"] for c in of(place, "web")} == before
    assert health(place, "web") == ["healthy"] * 3


def test_servers_that_are_away_change_nothing(place: Platform) -> None:
    before = {c["id"] for c in of(place, "web")}
    place.stop_server()
    time.sleep(8)
    place.start_server()
    place.wait_hosts()
    time.sleep(5)
    assert health(place, "web") == ["healthy"] * 3
    assert {c["id"] for c in of(place, "web")} == before
