"""Who belongs to whom: selectors, members of services, links, aliases of aliases, addresses, and who may get traffic."""

from __future__ import annotations

import pytest
from tests.core.scenes import container, host, link, scene, service, stack

from remuda.core.network.relations import Relations, address_of, containers_of, eligible, links_of, matches, targets_of
from remuda.core.network.scene import CONTAINER, HOST_MODE, SceneContainer, SceneService

LABELS = {"tier": "front", "Colour": "blue", "empty": ""}


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("tier = front", True),
        ("tier=front", True),
        ("tier=back", False),
        ("tier != back", True),
        ("tier != front", False),
        ("absent != front", True),
        ("tier", True),
        ("absent", False),
        ("empty", True),
        ("colour=blue", True),
        ("tier in (front, back)", True),
        ("tier in (back)", False),
        ("tier notin (back, middle)", True),
        ("tier notin (front)", False),
        ("absent notin (front)", True),
        ("tier=front, colour in (blue, red)", True),
        ("tier=front, colour in (red)", False),
        ("", False),
        (",", False),
        ("tier in front", False),
        ("tier = a = b", False),
    ],
)
def test_what_a_selector_chooses(selector: str, chosen: bool) -> None:
    assert matches(selector, LABELS) is chosen


def test_a_service_has_its_primary_containers_and_those_that_its_selector_adopts() -> None:
    web = service(1, "web", selector_container="tier=front", sidekicks=["log"])
    here = scene(
        stack(1, "shop"),
        web,
        container(1, service_id=1, unit="u1"),
        container(2, service_id=1, unit="u1", launch="log"),
        container(3, labels={"tier": "front"}),
        container(4, labels={"tier": "back"}),
        container(5, service_id=2, labels={"tier": "front"}),
    )
    assert [c.id for c in containers_of(here, web)] == [1, 3]
    assert [c.id for c in containers_of(here, web, launch="log")] == [2]


def test_links_are_those_that_were_said_and_those_that_a_selector_finds() -> None:
    web = service(1, "web", links=[link(2, "db"), link(9, "gone")], selector_link="role=cache")
    mysql, cache = service(2, "mysql", labels={"role": "cache"}), service(3, "redis", labels={"role": "cache"})
    here = scene(web, mysql, cache)
    assert [(alias, target.name) for alias, target in links_of(here, web)] == [("db", "mysql"), ("", "redis")]


def alias(number: int, *targets: int, **changes: object) -> SceneService:
    links = [link(target) for target in targets]
    return service(number, f"alias{number}", kind="dnsService", links=links, **changes)


def test_an_alias_stands_for_all_behind_it_through_other_aliases_and_circles() -> None:
    here = scene(alias(1, 2, 3), alias(2, 1, 4), service(3, "a"), service(4, "b"))
    assert sorted(s.id for s in targets_of(here, here.services[1])) == [3, 4]
    assert sorted(s.id for s in targets_of(here, here.services[2])) == [3, 4]


def test_a_stopped_alias_stands_for_nothing_and_a_service_for_itself() -> None:
    here = scene(alias(1, 3, active=False), service(3, "a"))
    assert targets_of(here, here.services[1]) == []
    assert targets_of(here, here.services[3]) == [here.services[3]]


def where(one: SceneContainer, *others: SceneContainer) -> str:
    return address_of(scene(host(1), service(1, "web"), one, *others), one)


def test_the_address_of_a_container_is_its_own_its_hosts_or_that_of_the_one_whose_network_it_uses() -> None:
    assert where(container(5)) == "10.42.0.5"
    assert where(container(5, ip="", network=HOST_MODE)) == "192.0.2.1"
    assert where(container(5, ip="", network="none")) == ""
    sharing = {"ip": "", "network": CONTAINER}
    assert where(container(5, shares="container-6", **sharing), container(6)) == "10.42.0.6"
    assert where(container(5, shares="Box", **sharing), container(6, "box")) == "10.42.0.6"
    unit = {"service_id": 1, "unit": "u"}
    assert where(container(5, shares="web", launch="log", **unit, **sharing), container(6, **unit)) == "10.42.0.6"
    chain = container(7, ip="", network=HOST_MODE)
    assert where(container(5, shares="c6", **sharing), container(6, shares="c7", **sharing), chain) == "192.0.2.1"


def test_sharing_in_a_circle_or_with_nobody_is_no_address() -> None:
    sharing = {"ip": "", "network": CONTAINER}
    assert where(container(5, shares="c6", **sharing), container(6, shares="c5", **sharing)) == ""
    assert where(container(5, shares="c5", **sharing)) == ""
    assert where(container(5, shares="nobody", **sharing)) == ""


def chosen(*containers: SceneContainer) -> list[int]:
    return [c.id for c in eligible(scene(host(1), host(2, lost=True), *containers), containers)]


def test_traffic_goes_to_those_that_run_and_are_healthy() -> None:
    assert chosen(
        container(1),
        container(2, health="healthy"),
        container(3, health="unhealthy"),
        container(4, health="initializing"),
        container(5, state="stopped"),
        container(6, host_id=2),
        container(7, state="starting"),
    ) == [1, 2, 7]


def test_when_nobody_is_healthy_the_last_that_runs_stays() -> None:
    assert chosen(
        container(1, health="unhealthy"), container(2, health="unhealthy"), container(3, state="stopped")
    ) == [2]
    assert chosen(container(1, health="unhealthy"), container(2, host_id=2)) == [1], (
        "one on a host that is heard of first"
    )
    assert chosen(container(1, state="stopped"), container(2, host_id=2)) == [2], "a lost host may still serve"
    assert chosen(container(1, state="stopped"), container(2, state="removed")) == []


def test_a_container_is_found_by_uuid_and_by_name_in_any_case() -> None:
    found = Relations(scene(container(1, "Shop_Web_1")))
    assert found.named("container-1") is found.named("SHOP_web_1") is not None
    assert found.named("other") is None


def test_of_two_containers_of_one_name_the_one_that_lives_is_meant() -> None:
    unit = {"service_id": 1, "unit": "u1"}
    old, new = container(1, "web_1", state="removing", **unit), container(2, "web_1", **unit)
    sharer = container(3, ip="", network=CONTAINER, shares="web", launch="log", **unit)
    related = Relations(scene(service(1, "web"), old, new, sharer))
    assert related.named("web_1") is new
    assert related.namesakes("WEB_1") == [old, new]
    assert related.address_of(sharer) == new.ip


def test_a_unit_is_the_containers_that_live_together() -> None:
    unit = {"service_id": 1, "unit": "u1"}
    here = scene(
        container(1, **unit), container(2, launch="log", **unit), container(3, service_id=1, unit="u2"), container(4)
    )
    related = Relations(here)
    assert [c.id for c in related.unit_of(here.containers[2])] == [1, 2]
    assert [c.id for c in related.unit_of(here.containers[4])] == [4]
