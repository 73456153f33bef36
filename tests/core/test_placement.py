"""Where a container may go, and what is said when it may go nowhere."""

from __future__ import annotations

import pytest

from remuda.core.model import Host, Instance, Port
from remuda.core.placement.pipeline import Placed, Refused, place
from remuda.core.placement.values import Candidate, Request, Tenant, candidate, clash, parse_port, tenant
from remuda.core.spec import LaunchConfig

AFFINITY = "io.rancher.scheduler.affinity:"
WEB = {"io.rancher.stack_service.name": "shop/web"}


def ask(
    *, ports: list[str] | None = None, requested: int | None = None, env: dict[str, str] | None = None, **rules: str
) -> Request:
    labels = {AFFINITY + name: value for name, value in rules.items()}
    spec = LaunchConfig(ports=ports or [], labels=labels, environment=env or {})
    return Request((spec,), service_id=7, requested_host=requested, stack="shop", service="web", project="Default")


def host(number: int, *tenants: Tenant, unfit: str = "", **labels: str) -> Candidate:
    return Candidate(number, f"h{number}", labels, tenants, unfit)


def busy(port: int, protocol: str = "tcp", bind: str = "") -> Tenant:
    return Tenant(f"u{port}", "other", {}, (Port(private=1, public=port, protocol=protocol, bind=bind),))


def where(request: Request, *hosts: Candidate) -> int:
    verdict = place(request, hosts)
    assert isinstance(verdict, Placed), verdict
    return verdict.host_id


def why(request: Request, *hosts: Candidate) -> str:
    verdict = place(request, hosts)
    assert isinstance(verdict, Refused), verdict
    return verdict.because


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("80", Port(private=80)),
        ("8080:80", Port(private=80, public=8080)),
        ("8080:80/UDP", Port(private=80, public=8080, protocol="udp")),
        ("127.0.0.1:8080:80", Port(private=80, public=8080, bind="127.0.0.1")),
        ("127.0.0.1::80", Port(private=80, bind="127.0.0.1")),
        ("[::1]:8080:80", Port(private=80, public=8080, bind="::1")),
        ("nonsense", None),
        ("1-2:3-4", None),
    ],
)
def test_ports_are_read_as_docker_writes_them(text: str, port: Port | None) -> None:
    assert parse_port(text) == port


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("80:80", "80:8080", True),
        ("80:80/udp", "80:80", False),
        ("127.0.0.1:80:80", "80:80", True),
        ("127.0.0.1:80:80", "0.0.0.0:80:80", True),
        ("127.0.0.1:80:80", "10.0.0.1:80:80", False),
        ("10.0.0.1:80:80", "10.0.0.1:80:81", True),
        ("[::]:80:80", "10.0.0.1:80:80", True),
    ],
)
def test_two_containers_clash_when_they_want_the_same_socket(one: str, other: str, expected: bool) -> None:
    first, second = parse_port(one), parse_port(other)
    assert first is not None
    assert second is not None
    assert clash(first, second) is expected
    assert clash(second, first) is expected


def test_it_spreads_first_by_service_then_by_containers_then_by_age() -> None:
    same, alien = Tenant("a", service_id=7), Tenant("b", service_id=8)
    assert where(ask(), host(1, same), host(2, alien, alien, alien)) == 2
    assert where(ask(), host(1, alien, alien), host(2, alien)) == 2
    assert where(ask(), host(2), host(1)) == 1


def test_a_host_that_failed_it_before_is_the_last_choice_but_a_choice() -> None:
    request = Request((LaunchConfig(),), avoid=frozenset({1}))
    assert where(request, host(1), host(2, Tenant("x"), Tenant("y"))) == 2
    assert where(request, host(1)) == 1


def test_a_refusal_counts_explains_and_advises() -> None:
    hosts = (host(1, busy(80)), host(2, busy(80)), host(3, unfit="not connected"))
    assert why(ask(ports=["80:80"]), *hosts) == (
        "No host fits: 2 of 3 hosts have port 80/tcp taken (h1, h2); 1 is not connected (h3). "
        "Free a port, bring the host back or add a host."
    )
    assert why(ask()) == "There is no host in this environment. Add one with Hosts -> Add host."
    assert "1 of 1 host does not meet the rule that its host must have the host label disk=ssd (h1)" in why(
        ask(host_label="disk=ssd"), host(1)
    )


def test_a_requested_host_overrides_rules_but_not_a_taken_port() -> None:
    assert where(ask(requested=2, host_label="a=b"), host(1, a="b"), host(2)) == 2
    assert why(ask(requested=2, ports=["80:80"]), host(1), host(2, busy(80))) == (
        "No host fits: 1 of 1 host has port 80/tcp taken (h2). Free a port or ask for another host."
    )
    assert "1h9 is not in this environment" in why(ask(requested=9), host(1))


IPS = {"io.rancher.scheduler.ips": "192.0.2.1, 192.0.2.2"}


def test_a_port_is_free_where_one_of_the_hosts_addresses_has_it() -> None:
    one, both = (busy(80, bind="192.0.2.1"),), (busy(80, bind="192.0.2.1"), busy(80, bind="192.0.2.2"))
    assert where(ask(ports=["80:80"]), host(1, *both, **IPS), host(2, *one, **IPS)) == 2
    assert "port 80/tcp taken" in why(ask(ports=["80:80"]), host(1, *both, **IPS))
    engines = LaunchConfig(ports=["80:80"], network_mode="bridge")
    assert "port 80/tcp taken" in why(Request((engines,)), host(1, *one, **IPS))


def test_a_port_of_an_address_goes_to_a_host_that_has_it() -> None:
    assert (
        where(
            ask(ports=["192.0.2.2:80:80"]), host(1, **{**IPS, "io.rancher.scheduler.ips": "192.0.2.9"}), host(2, **IPS)
        )
        == 2
    )
    assert why(ask(ports=["192.0.2.3:80:80"]), host(1, **IPS)) == (
        "No host fits: 1 of 1 host does not have the address 192.0.2.3 for ports (h1). "
        "Publish on another address or change the host label io.rancher.scheduler.ips or add a host."
    )


ZONES = (host(1, zone="a", disk="SSD"), host(2, zone="b"), host(3, zone="a"))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"host_label": "zone=b"}, 2),
        ({"host_label": "ZONE=A,disk=ssd"}, 1),
        ({"host_label_ne": "zone=a"}, 2),
        ({"host_label_ne": "disk=ssd,zone=b"}, 3),
        ({"host_label_soft": "zone=b"}, 2),
        ({"host_label_soft": "zone=nowhere"}, 1),
        ({"host_label_soft_ne": "zone=a"}, 2),
        ({"host_label": "zone=a", "host_label_soft_ne": "disk=ssd"}, 3),
        ({"host_label": "zone=b", "host_label_soft": "disk=ssd"}, 2),
    ],
)
def test_host_label_rules(rules: dict[str, str], expected: int) -> None:
    assert where(ask(**rules), *ZONES) == expected


NEIGHBOURS = (
    host(1, Tenant("u-1", "shop_web_1", WEB)),
    host(
        2,
        Tenant("u-2", "shop_db_1", {"tier": "data"}),
        Tenant("u-3", "x", {"io.rancher.stack_service.name": "shop/db"}),
    ),
    host(3),
)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"container_label": "tier=data"}, 2),
        ({"container_label_ne": "io.rancher.stack_service.name=shop/web"}, 3),
        ({"container_label_ne": "io.rancher.stack_service.name=${stack_name}/${service_name}"}, 3),
        ({"container_label": "io.rancher.stack_service.name=$${stack_name}/$${service_name}"}, 1),
        ({"container_label": "io.rancher.stack_service.name=db"}, 2),
        ({"container_label": "tier=data,io.rancher.stack_service.name=shop/db"}, 2),
        ({"container": "SHOP_DB_1"}, 2),
        ({"container": "u-1"}, 1),
        ({"container_ne": "shop_db_1,shop_web_1"}, 3),
        ({"container_soft": "shop_db_1"}, 2),
        ({"container_soft_ne": "shop_web_1"}, 3),
        ({"container_label_soft": "tier=data", "container_ne": "shop_db_1"}, 3),
    ],
)
def test_container_rules(rules: dict[str, str], expected: int) -> None:
    assert where(ask(**rules), *NEIGHBOURS) == expected


def test_soft_rules_are_given_up_one_at_a_time() -> None:
    verdict = place(ask(host_label_soft="zone=a", container_soft="nobody"), ZONES)
    assert isinstance(verdict, Placed)
    assert verdict.host_id == 1
    assert verdict.because.endswith("(given up: should run the container nobody)")


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"constraint:zone==b": ""}, 2),
        ({"constraint:zone": "=b"}, 2),
        ({"constraint:zone!=a": ""}, 2),
        ({"constraint:zone==~nowhere": ""}, 1),
        ({"affinity:container==shop_db_1": ""}, 5),
        ({"affinity:tier==data": ""}, 5),
    ],
)
def test_swarms_environment_forms_are_understood(env: dict[str, str], expected: int) -> None:
    hosts = (*ZONES, host(5, Tenant("u", "shop_db_1", {"tier": "data"}), zone="c"))
    assert where(ask(env=env), *hosts) == expected


def test_a_rule_that_cannot_be_read_is_no_rule() -> None:
    assert where(ask(planet="mars", host_label=" , "), host(1)) == 1


def test_its_own_containers_do_not_stand_in_its_way() -> None:
    own = Request((LaunchConfig(ports=["80:80"]),), uuids=frozenset({"u80"}))
    assert where(own, host(1, busy(80))) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"connection": "reconnecting"}, "not connected"),
        ({"desired": "inactive"}, "deactivated"),
        ({"docker": "down"}, "without a working Docker"),
        ({"desired": "removed"}, "being removed"),
        ({}, ""),
    ],
)
def test_only_a_host_in_order_takes_containers(changes: dict[str, str], reason: str) -> None:
    record = Host(id=1, name="h1", **{"connection": "connected", "docker": "up", **changes})
    assert candidate(record).unfit == reason


def test_what_a_native_container_publishes_counts_only_while_it_runs() -> None:
    bound = [Port(private=80, public=80)]
    assert tenant(Instance(native=True, bound=bound, observed="running")).ports == tuple(bound)
    assert tenant(Instance(native=True, bound=bound, observed="exited")).ports == ()
    assert tenant(Instance(spec=LaunchConfig(ports=["80:80"]))).ports == (Port(private=80, public=80),)


def test_a_host_without_the_managed_network_is_refused_with_its_reason() -> None:
    broken = Host(
        id=1, name="h1", connection="connected", docker="up", network="error", network_message="UDP 4500 is taken."
    )
    spec = LaunchConfig(image_uuid="docker:a", network_mode="managed")
    verdict = place(Request(specs=(spec,)), [candidate(broken)])
    assert isinstance(verdict, Refused)
    assert "h1" in verdict.because
    assert "UDP 4500 is taken" in verdict.because
    in_host_mode = Request(specs=(LaunchConfig(image_uuid="docker:a", network_mode="host"),))
    assert isinstance(place(in_host_mode, [candidate(broken)]), Placed)
