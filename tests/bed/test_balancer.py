"""A load balancer service on real hosts under constant load, while its targets come, go, are replaced and die."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from testbed.bed import Bed, X, until
from testbed.platform import CLIENT_IMAGE, PROJECT, Platform, platform

pytestmark = [pytest.mark.bed, pytest.mark.timeout(300)]
SHOP = """\
version: '2'
services:
  web:
    image: local/client:1
  admin:
    image: local/client:1
    environment: {PORT: '81'}
  front:
    image: rancher/lb-service-haproxy
    ports: ['80:80']
"""
RULES = """\
version: '2'
services:
  web: {scale: 2}
  front:
    lb_config:
      port_rules:
      - {source_port: 80, service: web}
      - {source_port: 80, target_port: 81, service: admin, hostname: admin.test, path: /}
"""


@pytest.fixture(scope="module")
def place(images: str, clients: str) -> Iterator[Platform]:
    wanted = ("local/busybox:1", CLIENT_IMAGE, "remuda/balancer:latest")
    with Bed(2, name="tbal", net="10.77.9", images=wanted) as bed, platform(bed) as running:
        running.wait_hosts()
        running.shop = running.stack("shop", SHOP, RULES)  # type: ignore[attr-defined]
        until("the load balancer answers", lambda: "hello" in get(running), 60)
        yield running


def door(place: Platform) -> str:
    """Where the load balancer is published; asked once, so that it is known without a server too."""
    if not hasattr(place, "door"):
        front = place.containers(place.service(place.shop, "front"))[0]  # type: ignore[attr-defined]
        place.door = place.bed.ip(place.host_of(front))  # type: ignore[attr-defined]
    return str(place.door)  # type: ignore[attr-defined]


def get(place: Platform, *options: str) -> str:
    return place.bed.exec(X, "curl", "-s", "-m", "3", *options, f"http://{door(place)}/", check=False).strip()


class Load:
    """Requests without a pause from x, until the block ends; ``failed`` are those without an answer of a target."""

    def __init__(self, place: Platform) -> None:
        self._bed = place.bed
        script = f"while :; do curl -s -m 5 -o /dev/null -w '%{{http_code}}\\n' http://{door(place)}/; done"
        self._log = self._bed.spawn(X, "load", "sh", "-c", script)

    def __enter__(self) -> Load:
        until("the load flows", lambda: self.codes, 10)
        return self

    def __exit__(self, *error: object) -> None:
        self._bed.stop(X, "load", "KILL")

    @property
    def codes(self) -> list[str]:
        return self._log.read_text().split()

    @property
    def failed(self) -> list[str]:
        return [code for code in self.codes if code != "200"]


def behind(place: Platform) -> set[str]:
    """Who answers, over several requests."""
    return {get(place) for _ in range(12)}


def running(place: Platform, count: int) -> bool:
    service = place.service(place.shop, "web")  # type: ignore[attr-defined]
    return service["state"] == "active" and len(place.containers(service)) == count


def web(place: Platform) -> dict[str, Any]:
    return place.service(place.shop, "web")  # type: ignore[attr-defined]


def reloads(place: Platform) -> int:
    front = place.containers(place.service(place.shop, "front"))[0]  # type: ignore[attr-defined]
    said = place.bed.docker(place.host_of(front), "logs", front["externalId"], check=False)
    return said.count("Proxy 80 stopped")


def test_requests_are_spread_and_routed(place: Platform) -> None:
    until("both targets run", lambda: running(place, 2), 60)
    until("both targets answer", lambda: len(behind(place)) == 2, 30)
    until("the target by host name answers", lambda: "hello from" in get(place, "-H", "Host: admin.test"), 60)
    admin = get(place, "-H", "Host: admin.test")
    assert admin.startswith("hello from")
    assert admin not in behind(place)


def test_no_request_fails_while_targets_scale_are_replaced_and_die(place: Platform) -> None:
    before = reloads(place)
    with Load(place) as load:
        for count in (10, 3):
            place.scale(web(place), count)
            until(f"{count} targets run", lambda count=count: running(place, count), 60)
        until("all of them answer", lambda: len(behind(place)) == 3, 30)
        config = {**web(place)["launchConfig"], "environment": {"COLOUR": "blue"}}
        place.api.call("PUT", f"{PROJECT}/services/{web(place)['id']}", {"launchConfig": config})
        until(
            "all are replaced",
            lambda: running(place, 3) and all(c["revision"] == 2 for c in place.containers(web(place))),
            60,
        )
        victim = place.containers(web(place))[0]
        place.bed.docker(place.host_of(victim), "kill", victim["externalId"])
        until("what died runs again", lambda: running(place, 3) and len(behind(place)) == 3, 30)
    assert not load.failed, load.failed[:10]
    assert len(load.codes) > 300
    assert reloads(place) == before, "servers come and go without a reload"


def test_a_target_that_leaves_answers_what_it_was_asked(place: Platform) -> None:
    place.scale(web(place), 4)
    until("all of them answer", lambda: running(place, 4) and len(behind(place)) == 4, 30)
    script = f"for n in 1 2 3 4 5 6 7 8; do curl -s -m 20 http://{door(place)}/cgi-bin/slow?4 & done; wait"
    log = place.bed.spawn(X, "slow", "sh", "-c", script)
    until("each has requests under way", lambda: sum(sleepers(host, place) for host in place.hosts) == 8, 5)
    place.scale(web(place), 1)
    until("all but one are gone", lambda: running(place, 1), 30)
    until("all were answered", lambda: log.read_text().count("slept on") == 8, 10)
    assert len(set(log.read_text().splitlines())) == 4
    place.scale(web(place), 3)
    until("the others are back", lambda: running(place, 3) and len(behind(place)) == 3, 30)


def sleepers(host: int, place: Platform) -> int:
    """Slow requests that containers of a host are busy with."""
    return int(place.bed.exec(host, "pgrep", "-fc", "^sleep 4$", check=False).strip() or 0)


def test_rules_of_one_match_share_by_weight_and_one_may_name_a_container(place: Platform) -> None:
    front, admin = (place.service(place.shop, name) for name in ("front", "admin"))  # type: ignore[attr-defined]
    one = place.containers(web(place))[0]
    url, rules = f"{PROJECT}/services/{front['id']}", front["lbConfig"]["portRules"]
    shared = {"sourcePort": 80, "protocol": "http", "hostname": "shared.test"}
    mixed = [
        {**shared, "containerId": one["id"], "weight": 3},
        {**shared, "serviceId": admin["id"], "targetPort": 81, "weight": 1},
    ]

    def answers() -> list[str]:
        return [get(place, "-H", "Host: shared.test") for _ in range(16)]

    try:
        place.api.call("PUT", url, {"lbConfig": {"portRules": [*rules, *mixed]}})
        until("both share", lambda: sorted(map(answers().count, set(answers()))) == [4, 12], 20)
        before = reloads(place)
        mixed[0]["weight"] = 1
        place.api.call("PUT", url, {"lbConfig": {"portRules": [*rules, *mixed]}})
        until("they share alike", lambda: sorted(map(answers().count, set(answers()))) == [8, 8], 20)
        assert reloads(place) == before, "another weight needs no reload"
    finally:
        place.api.call("PUT", url, {"lbConfig": {"portRules": rules}})
        until("all is as before", lambda: len(behind(place)) == 3, 20)


def test_when_the_host_of_all_targets_is_given_up_they_are_asked_all_the_same(place: Platform) -> None:
    front = place.service(place.shop, "front")  # type: ignore[attr-defined]
    here = place.host_of(place.containers(front)[0])
    there = next(host for host in place.hosts if host != here)
    one = next(c for c in place.containers(web(place)) if place.host_of(c) == there)
    url, rules = f"{PROJECT}/services/{front['id']}", front["lbConfig"]["portRules"]
    only = {"sourcePort": 80, "protocol": "http", "hostname": "only.test", "containerId": one["id"]}
    place.api.call("PUT", url, {"lbConfig": {"portRules": [*rules, only]}})
    try:
        until("it answers", lambda: get(place, "-H", "Host: only.test").startswith("hello"), 20)
        place.stop_agent(there)
        until("the host is given up", lambda: host_state(place, there) == "disconnected", 60)
        assert [get(place, "-H", "Host: only.test")[:10] for _ in range(5)] == ["hello from"] * 5
    finally:
        place.start_agent(there)
        place.api.call("PUT", url, {"lbConfig": {"portRules": rules}})
    place.wait_hosts()


def host_state(place: Platform, number: int) -> str:
    shown = place.api.all(f"{PROJECT}/hosts")
    return str(next(host for host in shown if host["agentIpAddress"] == place.bed.ip(number))["state"])


def test_a_new_rule_is_served_and_text_that_haproxy_refuses_changes_nothing(place: Platform) -> None:
    front = place.service(place.shop, "front")  # type: ignore[attr-defined]
    url = f"{PROJECT}/services/{front['id']}"
    rules = front["lbConfig"]["portRules"]
    more = [*rules, {**rules[1], "hostname": "*.else.test"}]
    place.api.call("PUT", url, {"lbConfig": {"portRules": more}})
    admin = get(place, "-H", "Host: admin.test")
    until("the new rule is served", lambda: get(place, "-H", "Host: a.else.test") == admin, 20)
    place.api.call("PUT", url, {"lbConfig": {"portRules": more, "config": "frontend 80\n  no such thing\n"}})

    def refused() -> bool:
        shown = place.containers(place.service(place.shop, "front"))[0]  # type: ignore[attr-defined]
        return "no such thing" in str(shown["transitioningMessage"]) or "no such thing" in str(shown.get("because"))

    until("the line that is wrong is named", refused, 20)
    assert get(place).startswith("hello from")


def test_the_balancer_goes_on_without_agent_and_server(place: Platform) -> None:
    place.stop_server()
    place.stop_agent(1)
    place.stop_agent(2)
    try:
        assert len(behind(place)) >= 1 and all(answer.startswith("hello") for answer in behind(place))  # noqa: PT018
    finally:
        place.start_server()
        for host in place.hosts:
            place.start_agent(host)
    place.wait_hosts()
