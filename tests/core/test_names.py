"""Names as containers ask for them: what each form means, for whom, and who is left out of an answer."""

from __future__ import annotations

import pytest
from tests.core.scenes import container, host, link, scene, service, stack

from remuda.core.network.names import Answer, Names, search_domains
from remuda.core.network.scene import CONTAINER, HOST_MODE, Scene, SceneContainer

META = "169.254.169.250"
STRANGER = 0


def shop() -> Scene:
    """Two stacks. ``shop``: web (two units with a sidekick ``log``), db, an alias and two external ones; ``other``: db, cache."""
    return scene(
        host(1),
        host(2),
        stack(1, "Shop"),
        stack(2, "other"),
        service(1, "web", sidekicks=["log"], links=[link(4, "store"), link(5), link(3, "pg.example.com")]),
        service(2, "db"),
        service(3, "db", 2),
        service(4, "cache", 2),
        service(5, "outside", kind="externalService", external_ips=["203.0.113.9", "2001:db8::9"]),
        service(6, "named", kind="externalService", hostname="Api.Example.com."),
        service(7, "data", kind="dnsService", links=[link(2), link(3), link(5)]),
        service(8, "my_Service"),
        container(1, "Shop_web_1", service_id=1, stack_id=1, unit="u1"),
        container(2, "Shop_web_log_1", service_id=1, stack_id=1, unit="u1", launch="log"),
        container(3, "Shop_web_2", service_id=1, stack_id=1, unit="u2", host_id=2),
        container(4, "Shop_web_log_2", service_id=1, stack_id=1, unit="u2", launch="log", host_id=2),
        container(5, "shop-db-1", service_id=2, stack_id=1, unit="u3"),
        container(6, "other-db-1", service_id=3, stack_id=2, unit="u4", host_id=2),
        container(7, "other-cache-1", service_id=4, stack_id=2, unit="u5"),
        container(8, "box", links={"mate": "container-9", "byid": "1i5"}),
        container(9, "tool.v1"),
        container(10, "x", service_id=8, stack_id=1),
    )


def asked(name: str, by: int = STRANGER, of: Scene | None = None) -> list[int | str] | str | None:
    """The numbers of the containers in the answer; the alias; other addresses as they are; None: no such name."""
    here = of or shop()
    names = Names(here, META)
    client = names.client(f"10.42.0.{by}") if by else None
    assert (client is not None) == bool(by)
    found = names.find(name, client)
    if found is None:
        return None
    if found.alias:
        return found.alias
    numbers: dict[str, int] = {c.ip: c.id for c in here.containers.values() if c.ip}
    return sorted((numbers.get(a, a) for a in found.addresses), key=str)


WEB, WEB_2, LOG, LOG_2, DB, OTHER_DB, CACHE, BOX = 1, 3, 2, 4, 5, 6, 7, 8


@pytest.mark.parametrize(
    ("name", "by", "found"),
    [
        pytest.param("db", WEB, [DB], id="a service of the own stack by its bare name"),
        pytest.param("db", CACHE, [OTHER_DB], id="the same name means another service in another stack"),
        pytest.param("db", BOX, None, id="a bare service name means nothing outside its stack"),
        pytest.param("db", STRANGER, None, id="nor to a stranger"),
        pytest.param("db.other", WEB, [OTHER_DB], id="a service of another stack with its stack"),
        pytest.param("db.other", STRANGER, [OTHER_DB], id="a stranger too"),
        pytest.param("db.shop.rancher.internal", CACHE, [DB], id="the whole name, from anywhere"),
        pytest.param("db.rancher.internal", WEB, [DB], id="below the domain the own stack may be left out"),
        pytest.param("db.rancher.internal", STRANGER, None, id="but not by others"),
        pytest.param("my_service.shop", STRANGER, [10], id="underscores"),
        pytest.param("shop_web_1", CACHE, [WEB], id="a container from anywhere"),
        pytest.param("shop-db-1.rancher.internal", STRANGER, [DB], id="a container with the domain"),
        pytest.param("tool.v1", STRANGER, [9], id="a container with a dot"),
        pytest.param("store", WEB, [CACHE], id="a link"),
        pytest.param("store", LOG, [CACHE], id="a link, for the sidekick too"),
        pytest.param("store.shop.rancher.internal", WEB, [CACHE], id="a link as the search domain makes it"),
        pytest.param("store.rancher.internal", WEB, [CACHE], id="a link below the domain"),
        pytest.param("store", DB, None, id="a link is only for who is linked"),
        pytest.param("store.shop.rancher.internal", STRANGER, None, id="nor for strangers"),
        pytest.param("pg.example.com", WEB, [OTHER_DB], id="a link with dots"),
        pytest.param("pg.example.com", DB, None, id="which is somebody else's name for others"),
        pytest.param("mate", BOX, [9], id="a container's link by uuid"),
        pytest.param("byid", BOX, [DB], id="a container's link by id"),
        pytest.param("log", WEB, [LOG], id="a sidekick within its unit"),
        pytest.param("log.web.shop.rancher.internal", WEB_2, [LOG_2], id="also as the search domain makes it"),
        pytest.param("web", LOG, [WEB], id="the primary within its unit"),
        pytest.param("web.web.shop.rancher.internal", LOG_2, [WEB_2], id="as the search domain makes it"),
        pytest.param("web", WEB, [WEB, WEB_2], id="a primary asks for all of its own service"),
        pytest.param("web.shop.rancher.internal", LOG, [WEB, WEB_2], id="as does who names the stack"),
        pytest.param("log.web", DB, [LOG, LOG_2], id="sidekicks from outside"),
        pytest.param("log.web.shop", CACHE, [LOG, LOG_2], id="sidekicks from another stack"),
        pytest.param("log.web", CACHE, None, id="which has no such service"),
        pytest.param("log", DB, None, id="a sidekick has no bare name outside of its unit"),
        pytest.param("log.shop", DB, None, id="nor in its stack"),
        pytest.param("outside", WEB, ["2001:db8::9", "203.0.113.9"], id="an external service with addresses"),
        pytest.param("named", DB, "api.example.com", id="an external service with a name"),
        pytest.param("data", DB, ["2001:db8::9", "203.0.113.9", DB, OTHER_DB], id="an alias"),
        pytest.param("rancher-metadata", WEB, [META], id="metadata"),
        pytest.param("rancher-metadata.rancher.internal", STRANGER, [META], id="metadata, for anybody"),
        pytest.param("rancher.internal", WEB, [], id="the domain exists"),
        pytest.param("www.example.com", WEB, None, id="what is elsewhere"),
        pytest.param("nothing.shop.rancher.internal", WEB, None, id="what is nowhere"),
        pytest.param("a.b.c.d.e.rancher.internal", WEB, None, id="what cannot be"),
        pytest.param("", WEB, None, id="the root"),
    ],
)
def test_a_name(name: str, by: int, found: object) -> None:
    assert asked(name, by) == found


def test_a_link_comes_before_a_service_of_the_same_name() -> None:
    here = scene(
        stack(1, "shop"),
        stack(2, "other"),
        service(1, "web", links=[link(3, "db")]),
        service(2, "db"),
        service(3, "pg", 2),
        container(1, service_id=1, stack_id=1),
        container(2, service_id=2, stack_id=1),
        container(3, service_id=3, stack_id=2),
    )
    assert asked("db", 1, here) == asked("db.shop.rancher.internal", 1, here) == [3]
    assert asked("db", 2, here) == [2]


def test_links_of_one_name_lead_to_all_their_services() -> None:
    here = scene(
        stack(1, "shop"),
        service(1, "web", links=[link(2, "db"), link(3, "db")]),
        service(2, "old"),
        service(3, "new"),
        container(1, service_id=1, stack_id=1),
        container(2, service_id=2, stack_id=1),
        container(3, service_id=3, stack_id=1),
    )
    assert asked("db", 1, here) == [2, 3]


def test_a_container_that_has_no_address_of_its_own_is_found_where_it_can_be_reached() -> None:
    here = scene(
        host(1),
        container(1, "onhost", ip="", network=HOST_MODE),
        container(2, "sharer", ip="", network=CONTAINER, shares="container-3"),
        container(3, "owner"),
        container(4, "alone", ip="", network="none"),
    )
    assert asked("onhost", of=here) == ["192.0.2.1"]
    assert asked("sharer", of=here) == [3]
    assert asked("alone", of=here) == []


def members(*containers: SceneContainer, here: dict[int, bool] | None = None) -> list[int]:
    known = scene(host(1), host(2, lost=True), stack(1, "shop"), service(1, "web"), *containers)
    names = Names(known, META, lambda c: (here or {}).get(c.id))
    found = names.find("web.shop")
    assert found is not None
    return [int(a.rpartition(".")[2]) for a in found.addresses]


def test_only_those_that_run_and_are_healthy_are_answered_and_never_nobody_while_one_runs() -> None:
    mine = {"service_id": 1, "stack_id": 1}
    well, ill = container(1, **mine), container(2, health="unhealthy", **mine)
    dead, away = container(3, state="stopped", **mine), container(4, host_id=2, **mine)
    assert members(well, ill, dead, away) == [1]
    assert members(ill, dead, away) == [2]
    assert members(dead, away) == [4], "its host is not heard of, but it may run"
    assert members(dead) == []


def test_what_the_host_sees_die_is_left_out_before_any_server_says_so() -> None:
    both = container(1, service_id=1, stack_id=1), container(2, service_id=1, stack_id=1, health="unhealthy")
    assert members(*both) == [1]
    assert members(*both, here={1: False}) == [2]
    assert members(*both, here={1: True}) == [1]


def test_an_alias_answers_with_the_healthy_of_all_its_targets() -> None:
    here = scene(
        stack(1, "shop"),
        service(1, "all", kind="dnsService", links=[link(2), link(3)]),
        service(2, "a"),
        service(3, "b"),
        container(1, service_id=2, stack_id=1),
        container(2, service_id=3, stack_id=1, health="unhealthy"),
    )
    assert asked("all.shop", of=here) == [1]


def test_a_replaced_container_gives_its_name_to_its_replacement() -> None:
    here = scene(container(1, "web_1", state="removing"), container(2, "web_1"))
    assert asked("web_1", of=here) == [2]


def test_stopped_aliases_and_externals_exist_but_stand_for_nothing() -> None:
    here = scene(
        stack(1, "shop"),
        service(1, "a", kind="dnsService", links=[link(3)], active=False),
        service(2, "e", kind="externalService", external_ips=["203.0.113.9"], active=False),
        service(3, "web"),
        container(1, service_id=3, stack_id=1),
    )
    names = Names(here, META)
    assert names.find("a.shop") == names.find("e.shop") == Answer()


def test_addresses_have_names_too() -> None:
    names = Names(shop(), META)
    assert names.reverse("1.0.42.10.in-addr.arpa") == "shop_web_1.rancher.internal"
    assert names.reverse("250.169.254.169.in-addr.arpa") == "rancher-metadata.rancher.internal"
    assert names.covers("9.9.42.10.in-addr.arpa")
    assert names.covers("250.169.254.169.in-addr.arpa")
    assert not names.covers("9.9.43.10.in-addr.arpa")
    assert not names.covers("42.10.in-addr.arpa")
    assert not names.covers("a.b.c.d.in-addr.arpa")
    assert names.reverse("9.9.42.10.in-addr.arpa") == names.reverse("in-addr.arpa") == ""


def test_search_domains() -> None:
    whole = ["web.shop.rancher.internal", "shop.rancher.internal", "rancher.internal"]
    assert search_domains("Shop", "Web") == whole
    assert search_domains("Shop", "Web", ["example.com"]) == [*whole, "example.com"]
    assert search_domains("shop", "web", ["example.com"], "service_last") == [*whole[1:], "example.com", whole[0]]
    assert search_domains("shop", "") == whole[1:]
    assert search_domains("", "", ["rancher.internal"]) == ["rancher.internal"]


def test_containers_that_are_told_the_same_share_a_viewpoint() -> None:
    here = shop()
    names = Names(here, META)
    at = {number: names.viewpoint(container) for number, container in here.containers.items()}
    assert at[WEB] != at[WEB_2]
    assert at[WEB] != at[LOG]
    assert at[9] == names.viewpoint(container(11))
    assert at[9] != at[BOX]
    twin = scene(service(2, "db"), container(1, service_id=2, unit="a"), container(2, service_id=2, unit="b"))
    other = Names(twin, META)
    assert other.viewpoint(twin.containers[1]) == other.viewpoint(twin.containers[2])
