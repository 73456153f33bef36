"""What load balancers are told to do: routes in their order, servers behind them, and the way from one state to the next."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.scenes import container, host, scene, service, stack

from remuda.core.balancing.compose import check
from remuda.core.balancing.config import LbConfig, PortRule
from remuda.core.balancing.haproxy import render, structure
from remuda.core.balancing.slots import MAINT, READY, changes, commands, fits, seat
from remuda.core.balancing.targets import Backend, Balance, Server, balance, targets
from remuda.core.network.scene import Scene, SceneContainer


def front(*rules: PortRule, **changes: Any) -> Any:
    """A load balancer service with these rules."""
    config = LbConfig(port_rules=list(rules), **changes.pop("config", {}))
    return service(9, "lb", kind="loadBalancerService", lb_config=config, **changes)


def shop(*containers: SceneContainer, **changes: Any) -> Scene:
    """Two services, ``a`` and ``b``, on two hosts that are heard of and a lost one, and the load balancer of ``rules``."""
    labels = changes.pop("labels", {})
    rules = changes.pop("rules", [PortRule(source_port=80, service_id=1)])
    return scene(
        host(1), host(2), host(3, lost=True), stack(1, "shop"),
        service(1, "a", labels=labels), service(2, "b"), front(*rules, **changes), *containers,
    )  # fmt: skip


def served(here: Scene, host_id: int = 1) -> Balance:
    return balance(here, here.services[9], host_id)


def addresses(here: Scene, host_id: int = 1) -> list[str]:
    """Where requests of the only backend go."""
    (backend,) = served(here, host_id).backends
    return [s.address for s in backend.servers if not s.leaving]


A, B = {"service_id": 1, "stack_id": 1}, {"service_id": 2, "stack_id": 1}


def test_requests_go_to_the_healthy() -> None:
    ill, away = container(2, health="unhealthy", **A), container(3, host_id=3, **A)
    assert addresses(shop(container(1, **A), ill, away)) == ["10.42.0.1"]


def test_when_all_count_as_out_all_are_asked() -> None:
    ill = [container(n, health="unhealthy", **A) for n in (1, 2)]
    away = [container(n, host_id=3, **A) for n in (3, 4)]
    assert addresses(shop(*ill, *away)) == ["10.42.0.1", "10.42.0.2"]
    assert addresses(shop(*away)) == ["10.42.0.3", "10.42.0.4"]
    assert addresses(shop(container(5, state="stopped", **A))) == []


def test_one_that_becomes_unhealthy_or_stops_ends_what_it_has_under_way() -> None:
    here = shop(container(1, **A), container(2, health="unhealthy", **A), container(3, state="stopping", **A))
    (backend,) = served(here).backends
    assert [s.address for s in backend.servers if s.leaving] == ["10.42.0.2", "10.42.0.3"]


@pytest.mark.parametrize(
    ("locality", "on_host_1", "on_host_2"),
    [
        ("", ["10.42.0.1", "10.42.0.2"], ["10.42.0.1", "10.42.0.2"]),
        ("prefer-local", ["10.42.0.1", "10.42.0.2"], ["10.42.0.1", "10.42.0.2"]),
        ("only-local", ["10.42.0.1", "10.42.0.2"], []),
    ],
)
def test_locality_of_targets(locality: str, on_host_1: list[str], on_host_2: list[str]) -> None:
    wish = {"io.rancher.lb_service.target": locality} if locality else {}
    rules = [PortRule(source_port=80, service_id=1)]
    here = scene(
        host(1), host(2), stack(1, "shop"), service(1, "a"), front(*rules, labels=wish),
        container(1, **A), container(2, **A),
    )  # fmt: skip
    assert addresses(here, 1) == on_host_1
    assert addresses(here, 2) == on_host_2


def test_the_most_exact_rule_decides_unless_a_priority_says_otherwise() -> None:
    rules = [
        PortRule(source_port=80, service_id=1),
        PortRule(source_port=80, path="/shop", service_id=1),
        PortRule(source_port=80, hostname="*.example.com", service_id=1),
        PortRule(source_port=80, hostname="www.example.com", service_id=1),
        PortRule(source_port=80, hostname="www.example.com", path="/a", service_id=1),
        PortRule(source_port=80, hostname="www.example.com", path="/a/b", service_id=1),
        PortRule(source_port=80, hostname="*.example.com", path="/x", service_id=1),
        PortRule(source_port=80, hostname="first.example.com", priority=1, service_id=1),
    ]
    (listener,) = served(shop(rules=rules)).listeners
    assert [(route.host, route.path) for route in listener.routes] == [
        ("first.example.com", ""),
        ("www.example.com", "/a/b"),
        ("www.example.com", "/a"),
        ("www.example.com", ""),
        ("*.example.com", "/x"),
        ("*.example.com", ""),
        ("", "/shop"),
        ("", ""),
    ]


def test_a_selector_takes_all_services_with_the_labels_and_what_they_say_of_themselves() -> None:
    own = LbConfig(port_rules=[PortRule(source_port=0, target_port=8080, hostname="a.example.com")])
    rule = PortRule(source_port=80, selector="web=yes")
    here = scene(
        host(1), stack(1, "shop"), service(1, "a", labels={"web": "yes"}, lb_config=own),
        service(2, "b", labels={"web": "yes"}), service(3, "c"), front(rule),
        container(1, **A), container(2, **B), container(3, service_id=3, stack_id=1),
    )  # fmt: skip
    (listener,) = served(here).listeners
    by_name = {backend.name: [(s.address, s.port) for s in backend.servers] for backend in served(here).backends}
    routes = {route.host: by_name[route.backend] for route in listener.routes}
    assert routes == {"a.example.com": [("10.42.0.1", 8080)], "": [("10.42.0.2", 80)]}
    assert targets(here, here.services[9]) == {1, 2}


def test_rules_with_the_same_match_share_requests() -> None:
    rules = [PortRule(source_port=80, service_id=1), PortRule(source_port=80, service_id=2, target_port=81)]
    (backend,) = served(shop(container(1, **A), container(2, **B), rules=rules)).backends
    assert {(s.address, s.port) for s in backend.servers} == {("10.42.0.1", 80), ("10.42.0.2", 81)}


def test_weights_are_shares_of_rules_however_many_containers_each_has() -> None:
    rules = [
        PortRule(source_port=80, service_id=1, weight=3),
        PortRule(source_port=80, service_id=2, weight=1),
    ]
    here = shop(*(container(n, **A) for n in range(1, 7)), container(9, **B), rules=rules)
    (backend,) = served(here).backends
    heavy = [s.weight for s in backend.servers if s.address != "10.42.0.9"]
    light = [s.weight for s in backend.servers if s.address == "10.42.0.9"]
    assert sum(heavy) == pytest.approx(3 * sum(light), rel=0.02)


@pytest.mark.parametrize("weight", [-1, 257])
def test_a_weight_that_haproxy_has_not_is_refused_with_its_rule(weight: int) -> None:
    with pytest.raises(ValueError, match="port rule 1: a weight is a number from 1 to 256"):
        check(LbConfig(port_rules=[PortRule(source_port=80, service_id=1, weight=weight)]))


def test_a_rule_may_name_a_single_container() -> None:
    here = shop(container(1, **A), container(2), rules=[PortRule(source_port=80, container_id=2, target_port=8080)])
    (backend,) = served(here).backends
    assert backend.servers == (Server("10.42.0.2", 8080),)


def test_a_service_that_is_gone_has_no_servers_and_one_that_is_deactivated_ends_what_it_has_under_way() -> None:
    here = shop(rules=[PortRule(source_port=80, service_id=77)])
    assert addresses(here) == []
    rule = PortRule(source_port=80, service_id=1)
    here = scene(host(1), stack(1, "shop"), service(1, "a", active=False), front(rule), container(1, **A))
    (backend,) = served(here).backends
    assert backend.servers == (Server("10.42.0.1", 80, leaving=True),)


# ---- how haproxy gets there ----------------------------------------------------------------------------------------------

servers = st.lists(
    st.builds(Server, st.integers(1, 40).map(lambda n: f"10.42.0.{n}"), st.just(80), st.booleans(), st.just(1)),
    max_size=40,
)


def backend_of(found: list[Server]) -> Backend:
    return Backend("b", True, tuple(dict.fromkeys(found)))


@given(servers, servers)
def test_a_server_keeps_its_slot_and_what_is_in_place_needs_no_command(
    first: list[Server], second: list[Server]
) -> None:
    before = seat(backend_of(first), ())
    after = seat(backend_of(second), before)
    assert changes({"b": after}, {"b": seat(backend_of(second), after)}) == []
    wanted = {s.address for s in second if not s.leaving}
    ready = [slot.address for slot in after if slot.state == READY]
    assert sorted(ready) == sorted(wanted), "each server that is wanted has one slot, nobody else has one"
    for number, slot in enumerate(before):
        if slot.state == READY and slot.address in wanted:
            assert after[number] == slot


def test_a_new_server_is_told_over_the_socket_and_needs_no_reload() -> None:
    one = Backend("b", True, (Server("10.42.0.1", 80),))
    two = Backend("b", True, (Server("10.42.0.1", 80), Server("10.42.0.2", 80)))
    before = {"b": seat(one, ())}
    after = {"b": seat(two, before["b"])}
    assert fits(before, after)
    assert commands(changes(before, after)) == [
        "set server b/s2 state maint",
        "set server b/s2 addr 10.42.0.2 port 80",
        "set server b/s2 state ready",
    ]


def test_another_weight_is_told_over_the_socket() -> None:
    before = {"b": seat(Backend("b", True, (Server("10.42.0.1", 80),)), ())}
    after = {"b": seat(Backend("b", True, (Server("10.42.0.1", 80, weight=128),)), before["b"])}
    assert commands(changes(before, after)) == ["set server b/s1 weight 128", "set server b/s1 state ready"]


def test_a_server_that_leaves_is_drained_before_it_is_taken_out() -> None:
    before = {"b": seat(Backend("b", True, (Server("10.42.0.1", 80),)), ())}
    leaving = {"b": seat(Backend("b", True, (Server("10.42.0.1", 80, leaving=True),)), before["b"])}
    assert commands(changes(before, leaving)) == ["set server b/s1 state drain"]
    gone = {"b": seat(Backend("b", True, ()), leaving["b"])}
    assert commands(changes(leaving, gone)) == ["set server b/s1 state maint", "shutdown sessions server b/s1"]
    assert gone["b"][0].state == MAINT


def test_only_a_change_of_the_structure_has_another_name() -> None:
    here, more = shop(container(1, **A)), shop(container(1, **A), container(2, **A))
    other = shop(container(1, **A), rules=[PortRule(source_port=81, service_id=1)])
    names = [structure(served(one), {b.name: 16 for b in served(one).backends}) for one in (here, more, other)]
    assert names[0] == names[1] != names[2]


def test_the_configuration_says_what_is_served() -> None:
    rules = [
        PortRule(source_port=443, protocol="https", hostname="www.example.com", path="/a", service_id=1),
        PortRule(source_port=5000, protocol="tcp", service_id=1, target_port=6000),
    ]
    here = shop(container(1, **A), rules=rules, config={"proxy_protocol_ports": [5000], "send_proxy": "v2"})
    wanted = served(here)
    text = render(wanted, {backend.name: seat(backend, ()) for backend in wanted.backends})
    assert "bind :443 ssl crt /etc/haproxy/certs/ strict-sni alpn h2,http/1.1" in text
    assert "bind :5000 accept-proxy" in text
    assert "{ req.hdr(host),field(1,:),lower -m str www.example.com } { path_beg -i /a }" in text
    assert "server s1 10.42.0.1:6000 check send-proxy-v2 check-send-proxy" in text
    assert "bind :42" in text


def test_the_users_own_text_is_added_to_our_sections() -> None:
    own = "defaults\n  timeout server 2h\nfrontend 80\n  http-request deny if { path /private }\n"
    wanted = served(shop(container(1, **A), config={"config": own}))
    text = render(wanted, {backend.name: seat(backend, ()) for backend in wanted.backends})
    assert text.index("frontend 80") < text.index("deny if { path /private }") < text.index("\nbackend ")
    assert "timeout server 2h" in text.partition("frontend")[0]
