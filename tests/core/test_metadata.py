"""Metadata documents: what each version says, to whom, in which form, and that nothing is worked out that nobody asks for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.core.scenes import container, host, link, scene, service, stack

from remuda.core.balancing.config import LbConfig, PortRule
from remuda.core.model import Port
from remuda.core.network.metadata import (
    LATEST,
    NEWEST,
    OBJECTS,
    OLDEST,
    VERSIONS,
    Metadata,
    Missing,
    as_text,
    described,
    look_up,
)
from remuda.core.network.scene import CONTAINER, HOST_MODE, Scene
from remuda.core.spec import HealthCheck

CHECK = HealthCheck(port=80, request_line="GET / HTTP/1.0")


def shop() -> Scene:
    return scene(
        host(1, labels={"disk": "ssd"}),
        host(2),
        stack(1, "shop"),
        stack(2, "other"),
        service(
            1,
            "web",
            sidekicks=["log"],
            links=[link(2, "store"), link(3)],
            metadata={"colour": "blue", "deep": {"list": [1, {"name": "x"}]}},
            labels={"tier": "front"},
            ports=["8080:80"],
            expose=["9000"],
            scale=2,
            create_index=2,
            health_check=CHECK,
        ),
        service(2, "db", 2),
        service(3, "ext", kind="externalService", external_ips=["203.0.113.9"], hostname="www.example.com"),
        service(
            4, "lb", kind="loadBalancerService", lb_config=LbConfig(port_rules=[PortRule(source_port=80, service_id=1)])
        ),
        container(
            1,
            "shop_web_1",
            service_id=1,
            stack_id=1,
            unit="u1",
            ordinal=1,
            health="healthy",
            health_check=CHECK,
            started=5,
            start_count=2,
            labels={"a.b": "c"},
            ports=[Port(private=80, public=8080), Port(private=53, public=5353, protocol="udp", bind="192.0.2.77")],
            mac="02:42:0a:2a:00:01",
        ),
        container(
            2,
            "shop_web_log_1",
            service_id=1,
            stack_id=1,
            unit="u1",
            launch="log",
            ip="",
            network=CONTAINER,
            shares="web",
        ),
        container(3, "shop_web_2", service_id=1, stack_id=1, unit="u2", ordinal=2, host_id=2),
        container(4, "other_db_1", service_id=2, stack_id=2, unit="u3", ip="", network=HOST_MODE),
        container(5, "box"),
        container(6, "leaving", state="removing"),
    )


ONE = "10.42.0.1"


def at(path: str, by: str = ONE, version: str = LATEST, of: Scene | None = None) -> Any:
    tree = Metadata(of or shop(), 1).tree(version, by)
    found = look_up(tree, [part for part in path.split("/") if part])
    return msgspec.json.decode(msgspec.json.encode(found, enc_hook=described))


def text(path: str, by: str = ONE, version: str = LATEST) -> str:
    tree = Metadata(shop(), 1).tree(version, by)
    return as_text(look_up(tree, [part for part in path.split("/") if part]))


def test_a_container_reads_of_itself() -> None:
    assert at("self/container") == {
        "name": "shop_web_1",
        "uuid": "container-1",
        "external_id": f"{1:064x}",
        "state": "running",
        "primary_ip": ONE,
        "ips": [ONE],
        "ports": ["192.0.2.1:8080:80/tcp", "192.0.2.77:5353:53/udp"],
        "service_name": "web",
        "service_index": "1",
        "stack_name": "shop",
        "stack_uuid": "stack-1",
        "labels": {"a.b": "c"},
        "create_index": 1,
        "host_uuid": "host-1",
        "hostname": f"{1:064x}"[:12],
        "health_state": "healthy",
        "health_check_hosts": ["host-2"],
        "start_count": 3,
        "primary_mac_address": "02:42:0a:2a:00:01",
        "network_uuid": "network-1",
        "network_from_container_uuid": None,
        "system": False,
        "dns": [],
        "dns_search": [],
        "links": {},
        "memory_reservation": None,
        "milli_cpu_reservation": None,
    }


def test_of_its_service_its_stack_and_its_host() -> None:
    found = at("self/service")
    assert [c["name"] for c in found["containers"]] == ["shop_web_1", "shop_web_2"]
    assert found["links"] == {"other/db": "store", "shop/ext": "ext"}
    assert found["metadata"] == {"colour": "blue", "deep": {"list": [1, {"name": "x"}]}}
    assert (found["scale"], found["ports"], found["expose"], found["sidekicks"]) == (2, ["8080:80"], ["9000"], ["log"])
    assert found["health_check"]["port"] == 80
    assert at("self/stack/name") == "shop"
    assert [s["name"] for s in at("self/stack/services")] == ["web", "log", "ext", "lb"]
    assert at("self/stack/environment_name") == "Default"
    assert at("self/host/agent_ip") == "192.0.2.1"
    assert at("self/host/labels") == {"disk": "ssd"}


def test_callers_see_themselves_and_strangers_the_host() -> None:
    assert at("self/container/name", by="10.42.0.3") == "shop_web_2"
    assert text("self", by="10.42.0.5") == "host/\ncontainer/"
    assert text("self", by="172.17.0.1") == "host/"
    with pytest.raises(Missing):
        at("self/container", by="172.17.0.1")


def test_those_without_an_address_of_their_own() -> None:
    log, db = at("containers/shop_web_log_1"), at("containers/other_db_1")
    assert (log["primary_ip"], log["network_from_container_uuid"], log["service_name"]) == (ONE, "container-1", "log")
    assert (db["primary_ip"], db["network_uuid"]) == ("192.0.2.1", None)


def test_sidekicks_are_services_of_their_own() -> None:
    found = at("services/log")
    assert (found["name"], found["primary_service_name"]) == ("log", "web")
    assert [c["name"] for c in found["containers"]] == ["shop_web_log_1"]


def test_those_that_go_are_not_told_of() -> None:
    assert "leaving" not in text("containers")


def test_load_balancers_tell_their_rules_in_the_newest_version() -> None:
    (rule,) = at("services/lb/lb_config/port_rules")
    assert (rule["source_port"], rule["target_port"], rule["service"]) == (80, 80, "shop/web")
    assert "lb_config" not in at("services/lb", version=OBJECTS)


def test_the_oldest_version_names_what_later_ones_describe() -> None:
    assert at("services/web/containers", version=OLDEST) == ["shop_web_1", "shop_web_2"]
    assert at("stacks/shop/services", version=OLDEST) == ["web", "log", "ext", "lb"]
    assert at("services/web/containers/1/name", version=OBJECTS) == "shop_web_2"
    assert at("stacks/shop/services/web/containers/shop_web_2/create_index", version=OBJECTS) == 3


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_has_what_the_first_had(version: str) -> None:
    assert set(at("", version=version)) >= {"version", "self", "containers", "services", "stacks", "hosts"}
    documented = (
        "create_index health_state host_uuid hostname ips labels name ports primary_ip service_index service_name"
    )
    assert set(at("self/container", version=version)) >= {*documented.split(), "stack_name", "start_count", "uuid"}
    documented = "containers create_index expose external_ips fqdn hostname kind labels links metadata name ports scale"
    assert set(at("self/service", version=version)) >= {*documented.split(), "sidekicks", "stack_name", "uuid"}
    assert set(at("self/stack", version=version)) >= {"environment_name", "name", "services", "uuid"}
    assert set(at("self/host", version=version)) >= {"agent_ip", "hostId", "labels", "name", "uuid", "hostname"}


@pytest.mark.parametrize(("version", "late"), [(OLDEST, False), (OBJECTS, False), (NEWEST, True), (LATEST, True)])
def test_what_later_releases_added_is_only_in_the_newest_version(version: str, late: bool) -> None:
    assert ("stack_uuid" in at("self/container", version=version)) is late
    assert ("primary_service_name" in at("self/service", version=version)) is late
    assert ("environment_name" in at("", version=version)) is late


def test_the_version_changes_with_the_scene() -> None:
    assert at("version") == "7"
    assert at("version", of=scene(through=8)) == "8"


def test_an_unknown_version_is_none() -> None:
    assert Metadata(shop(), 1).tree("2014-01-01", ONE) is None


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("hosts", "0=h1\n1=h2"),
        ("hosts/1/name", "h2"),
        ("hosts/H2/name", "h2"),
        ("self/container/ips", f"0={ONE}"),
        ("self/container/ips/0", ONE),
        ("self/container/labels", "a.b"),
        ("self/container/labels/a.b", "c"),
        ("self/container/network_from_container_uuid", ""),
        ("self/container/system", "false"),
        ("self/container/start_count", "3"),
        ("self/service/metadata", "colour\ndeep/"),
        ("self/service/metadata/deep/list", "0=1\n1=x"),
        ("self/service/metadata/deep/list/x", "name"),
        ("services", "0=web\n1=log\n2=db\n3=ext\n4=lb"),
        ("services/web/links", "other/db\nshop/ext"),
        ("services/ext/external_ips/0", "203.0.113.9"),
        ("containers/0/name", "shop_web_1"),
        ("stacks/1/name", "other"),
    ],
)
def test_as_text(path: str, said: str) -> None:
    assert text(path) == said


def test_a_directory_ends_with_a_slash() -> None:
    assert text("").split("\n")[:6] == ["version", "self/", "containers/", "services/", "stacks/", "hosts/"]
    assert "health_check_hosts/" in text("self/container").split("\n")


@pytest.mark.parametrize(
    "path", ["nothing", "containers/99", "containers/no", "self/container/name/more", "hosts/-1", "hosts/²"]
)
def test_what_is_not_there(path: str) -> None:
    with pytest.raises(Missing):
        at(path)


def test_nothing_is_described_that_nobody_looks_at() -> None:
    whole = Metadata(shop(), 1)
    tree = whole.tree(LATEST, ONE)
    assert look_up(tree, ["version"]) == "7"
    assert "_relations" not in vars(whole)
