"""What compose files say of load balancers, old and new, as rules."""

from __future__ import annotations

from typing import Any

import pytest

from remuda.core.balancing.compose import check, from_compose, to_compose
from remuda.core.balancing.config import LbConfig, PortRule
from remuda.core.model import ServiceLink
from remuda.core.spec import LaunchConfig

IDS = {"web": 1, "db": 2, "other/api": 3}
NAMES = {number: name for name, number in IDS.items()}
CERTIFICATES = {"cert": 7, "spare": 8}
LINKS = [ServiceLink(1, "web"), ServiceLink(2, "db")]
TARGET = "io.rancher.loadbalancer.target."


def rules(ports: list[str], links: list[ServiceLink] = LINKS, **labels: str) -> list[tuple[Any, ...]]:
    config = LaunchConfig(ports=ports, labels={key.replace("__", "."): value for key, value in labels.items()})
    found = from_compose(config, {"default_cert": "cert"}, links, IDS.__getitem__, CERTIFICATES.__getitem__)
    return [(r.source_port, r.target_port, r.protocol, r.hostname, r.path, r.service_id) for r in found.port_rules]


def test_without_labels_every_target_is_on_every_listener() -> None:
    assert rules(["80", "81:8081"]) == [
        (80, 80, "http", "", "", 1), (81, 8081, "http", "", "", 1), (80, 80, "http", "", "", 2), (81, 8081, "http", "", "", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("label", "found"),
    [
        ("8080", [(80, 8080, "http", "", ""), (81, 8080, "http", "", "")]),
        (":81", [(81, 81, "http", "", "")]),
        ("81/shop", [(81, 81, "http", "", "/shop")]),
        ("www.a.test", [(80, 80, "http", "www.a.test", ""), (81, 81, "http", "www.a.test", "")]),
        ("*.a.test:80/x=90,b.test:81", [(80, 90, "http", "*.a.test", "/x"), (81, 81, "http", "b.test", "")]),
    ],
)
def test_a_target_label_narrows_its_service(label: str, found: list[tuple[Any, ...]]) -> None:
    labels = {TARGET + "web": label}
    config = LaunchConfig(ports=["80", "81"], labels=labels)
    made = from_compose(config, {}, LINKS[:1], IDS.__getitem__, CERTIFICATES.__getitem__)
    assert [(r.source_port, r.target_port, r.protocol, r.hostname, r.path) for r in made.port_rules] == found


def test_a_label_may_name_a_service_of_another_stack() -> None:
    config = LaunchConfig(ports=["80"], labels={TARGET + "other/api": "9000"})
    made = from_compose(config, {}, [], IDS.__getitem__, CERTIFICATES.__getitem__)
    assert [(r.service_id, r.target_port) for r in made.port_rules] == [(3, 9000)]


def test_secure_and_plain_listeners() -> None:
    found = rules(["443", "993/tcp", "25/tcp"], LINKS[:1], io__rancher__loadbalancer__ssl__ports="443,993")
    assert [(port, protocol) for port, _, protocol, *_ in found] == [(443, "https"), (993, "tls"), (25, "tcp")]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (LbConfig(port_rules=[PortRule(source_port=42)]), "own health check"),
        (
            LbConfig(port_rules=[PortRule(source_port=80), PortRule(source_port=80, protocol="tcp")]),
            "is http in another rule",
        ),
        (LbConfig(port_rules=[PortRule(source_port=80, protocol="tcp", hostname="a")]), "neither host names nor paths"),
        (LbConfig(port_rules=[PortRule(source_port=443, protocol="https")]), "need a certificate"),
        (LbConfig(port_rules=[PortRule(source_port=80, path="x")]), "begins with a slash"),
        (LbConfig(port_rules=[PortRule(source_port=80, protocol="gopher")]), "no protocol"),
    ],
)
def test_rules_that_could_not_be_served_are_refused(config: LbConfig, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check(config)


def test_a_label_that_cannot_be_read_is_refused_with_its_name() -> None:
    with pytest.raises(ValueError, match=r"target\.web"):
        rules(["80"], io__rancher__loadbalancer__target__web="a=b=c")
    with pytest.raises(ValueError, match="names port 99"):
        rules(["80"], io__rancher__loadbalancer__target__web=":99")


def test_what_is_written_reads_back_the_same() -> None:
    given = {
        "port_rules": [
            {
                "source_port": 443,
                "target_port": 80,
                "protocol": "https",
                "hostname": "a.test",
                "path": "/x",
                "service": "web",
            },
            {"source_port": 80, "selector": "role=web", "priority": 3, "backend_name": "b"},
        ],
        "default_cert": "cert",
        "certs": ["spare"],
        "stickiness_policy": {"name": "s", "cookie": "c", "mode": "insert", "indirect": True},
        "config": "global\n  maxconn 10",
    }
    first = from_compose(LaunchConfig(), {"lb_config": given}, [], IDS.__getitem__, CERTIFICATES.__getitem__)
    names = {number: name for name, number in CERTIFICATES.items()}
    told = to_compose(first, NAMES.__getitem__, names.get)
    again = from_compose(LaunchConfig(), told, [], IDS.__getitem__, CERTIFICATES.__getitem__)
    assert again == first
    assert first.default_certificate_id == 7
