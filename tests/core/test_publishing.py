"""Which ports lead to a container, and the packet filter's rules for them."""

from __future__ import annotations

import msgspec
import pytest

from remuda.core import labels
from remuda.core.model import Host, Instance, Network, Port
from remuda.core.network.publishing import publish, wanted
from remuda.core.network.ruleset import Forward, render
from remuda.core.network.ruleset import wanted as rules_of
from remuda.core.network.scene import Scene, SceneContainer, SceneHost, SceneNetwork
from remuda.core.spec import LaunchConfig

RANGE = Network(port_first=50000, port_last=50003)


def instance(*ports: str, published: list[Port] | None = None, **config: object) -> Instance:
    spec = LaunchConfig(ports=list(ports), **config)  # type: ignore[arg-type]
    return Instance(uuid="i", spec=spec, published=published or [])


def numbers(ports: list[Port]) -> list[tuple[int, int, str, str]]:
    return [(p.private, p.public, p.protocol, p.bind) for p in ports]


def test_chosen_ports_are_kept_and_others_come_from_the_range() -> None:
    found = publish(instance("8080:80", "10.0.0.1:53:53/udp", "443"), Host(), [], RANGE)
    assert numbers(found)[:2] == [(80, 8080, "tcp", ""), (53, 53, "udp", "10.0.0.1")]
    assert 50000 <= found[2].public <= 50003


def test_a_random_port_is_one_that_nobody_has_on_the_host() -> None:
    taken = [Port(1, n) for n in (50000, 50001, 50003)]
    assert numbers(publish(instance("80"), Host(), taken, RANGE)) == [(80, 50002, "tcp", "")]
    assert publish(instance("80"), Host(), [*taken, Port(1, 50002)], RANGE) == []
    assert publish(instance("80/udp"), Host(), [*taken, Port(1, 50002)], RANGE)


def test_a_random_port_stays_what_it_was() -> None:
    first = publish(instance("80"), Host(), [], RANGE)
    again = publish(instance("80", "81", published=first), Host(), [], RANGE)
    assert again[0] == first[0]
    assert again[1].public != again[0].public


def test_all_exposed_ports_on_request() -> None:
    spec = LaunchConfig(ports=["8080:80"], expose=["80", "443"], publish_all_ports=True)
    assert numbers(wanted(spec)) == [(80, 8080, "tcp", ""), (443, 0, "tcp", "")]


def test_with_several_addresses_a_port_goes_to_the_first_where_it_is_free() -> None:
    host = Host(labels={labels.SCHEDULER_IPS: "192.0.2.1, 192.0.2.2"})
    taken = [Port(80, 80, bind="192.0.2.1")]
    assert numbers(publish(instance("80:80"), host, taken, RANGE)) == [(80, 80, "tcp", "192.0.2.2")]


def scene(*containers: SceneContainer) -> Scene:
    return Scene(
        network=SceneNetwork(), hosts={1: SceneHost(id=1, ip="10.42.0.2")}, containers={c.id: c for c in containers}
    )


def container(number: int, *ports: Port, **changes: object) -> SceneContainer:
    made = SceneContainer(id=number, host_id=1, ip=f"10.42.0.{number}", state="running", ports=list(ports))
    return msgspec.structs.replace(made, **changes)


def test_only_containers_of_this_host_are_forwarded_to() -> None:
    rules = rules_of(scene(container(10, Port(80, 8080)), container(11, Port(80, 81), host_id=2)), 1, "br")
    assert rules is not None
    assert rules.forwards == (Forward("tcp", "", 8080, "10.42.0.10", 80),)


def test_while_a_container_is_replaced_its_port_leads_to_the_one_that_lives() -> None:
    going = container(12, Port(80, 8080), state="removing")
    rules = rules_of(scene(container(10, Port(80, 8080)), going), 1, "br")
    assert rules is not None
    assert [f.address for f in rules.forwards] == ["10.42.0.10"]


@pytest.mark.parametrize(("port", "line"), [
    (Port(80, 8080), "8080 : 10.42.0.10 . 80"),
    (Port(53, 53, "udp", "192.0.2.1"), "192.0.2.1 . 53 : 10.42.0.10 . 53"),
])  # fmt: skip
def test_a_forward_is_an_element_of_its_protocols_map(port: Port, line: str) -> None:
    rules = rules_of(scene(container(10, port)), 1, "br")
    assert rules is not None
    assert line in render(rules)


def test_nothing_is_known_before_a_server_has_told_which_host_this_is() -> None:
    assert rules_of(Scene(), 1, "br") is None
