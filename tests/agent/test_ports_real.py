"""Published ports and policy in the kernel: a host with containers, somebody outside, a filter that drops as Docker's does."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest
from tests.agent.netns import NetHost, container, hosts, inside, scene, until

from remuda.agent.network.state import BRIDGE
from remuda.core.model import Between, PolicyRule, Port
from remuda.core.network.addressing import mac_of
from remuda.core.network.scene import Scene, SceneContainer

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

ONE, TWO, AWAY = "10.42.0.21", "10.42.0.22", "10.42.0.23"
HOST, SECOND, OUTSIDE = "10.99.0.1", "10.99.0.101", "10.99.0.2"
DOCKERS_OWN = f"""\
*filter
:FORWARD DROP
:DOCKER-USER -
-A FORWARD -j DOCKER-USER
-A FORWARD -o {BRIDGE} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i {BRIDGE} ! -o {BRIDGE} -j ACCEPT
-A FORWARD -i {BRIDGE} -o {BRIDGE} -j ACCEPT
COMMIT
"""
ANSWERS_UDP = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 53))
while True:
    _, peer = server.recvfrom(100)
    server.sendto(f"{sys.argv[1]} asked by {peer[0]}".encode(), peer)
"""


class Place:
    """Two hosts, of which the second also is the world outside; containers that say who they are and who asked."""

    def __init__(self, machines: list[NetHost]) -> None:
        self.host, self.outside = machines
        self.spaces: dict[str, str] = {}
        self.children: list[subprocess.Popen[bytes]] = []

    def add(self, host: NetHost, address: str) -> None:
        """A container with a server on 80/tcp, 53/udp and one that repeats on 81."""
        self.spaces[address] = host.attach(address)
        say = f"SYSTEM:echo {address} asked by $SOCAT_PEERADDR"
        self.child(self.spaces[address], "TCP-LISTEN:80,fork,reuseaddr", say)
        self.child(self.spaces[address], "TCP-LISTEN:81,fork,reuseaddr", "EXEC:cat")
        self.child(self.spaces[address], "-c", ANSWERS_UDP, address, program=sys.executable)

    def child(self, space: str, *words: str, program: str = "socat") -> subprocess.Popen[bytes]:
        """A program that runs until the end."""
        made = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{space}", program, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.children.append(made)
        return made

    def ask(self, space: str, where: str, *, udp: bool = False) -> str:
        """What somebody answers there; empty when nobody does for a moment."""
        to = f"UDP:{where}" if udp else f"TCP:{where},connect-timeout=2"
        return inside(space, "socat", "-T", 1 if udp else 3, "-t", 1, "-", to, check=False, text="?").strip()

    def answers(self, space: str, where: str, expected: str, *, udp: bool = False) -> None:
        """See to it that what is answered there begins like this; a busy machine may take its time."""
        until(f"{where} answers {expected}", lambda: self.ask(space, where, udp=udp).startswith(expected), 15)

    def tell(self, *containers: SceneContainer, default: str = "allow", rules: tuple[PolicyRule, ...] = ()) -> None:
        """What the hosts are to do now, until they do it."""
        for host in (self.host, self.outside):
            host.tell(with_policy(scene(*containers), default, rules))
        until("it is in force", lambda: all(h.applied for h in (self.host, self.outside)), 15)
        assert not self.host.status.parts["firewall"]


def with_policy(plain: Scene, default: str, rules: tuple[PolicyRule, ...]) -> Scene:
    assert plain.network is not None
    network = msgspec.structs.replace(plain.network, default_policy=default, policy=list(rules))
    return msgspec.structs.replace(plain, network=network)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with hosts(f"prt{os.getpid()}", 2, tmp_path_factory.mktemp("hosts")) as machines:
        made = Place(machines)
        made.host.run("ip", "addr", "add", f"{SECOND}/24", "dev", "eth0")
        made.host.run("iptables-restore", text=DOCKERS_OWN)
        for host, address in ((made.host, ONE), (made.host, TWO), (made.outside, AWAY)):
            made.add(host, address)
        made.child(made.outside.space, "TCP-LISTEN:8080,fork,reuseaddr", "EXEC:cat")
        try:
            yield made
        finally:
            for child in made.children:
                child.kill()
                child.wait()


def repeats(child: subprocess.Popen[bytes], text: str) -> bool:
    """Is the other end of this connection still there?"""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(text.encode() + b"\n")
    child.stdin.flush()
    ready, _, _ = select.select([child.stdout], [], [], 3)
    return bool(ready) and os.read(child.stdout.fileno(), 100).decode().strip() == text


def test_ports_lead_to_containers_from_everywhere(place: Place) -> None:
    place.tell(container(1, 1, ONE, ports=[Port(80, 8080), Port(53, 5300, "udp")]), container(2, 1, TWO))
    told = f"{ONE} asked by {OUTSIDE}"
    place.answers(place.outside.space, f"{HOST}:8080", told)
    place.answers(place.outside.space, f"{HOST}:5300", told, udp=True)
    for space in (place.host.space, place.spaces[TWO]):
        for udp, port in ((False, 8080), (True, 5300)):
            place.answers(space, f"{HOST}:{port}", ONE, udp=udp)
    place.answers(place.spaces[ONE], f"{HOST}:8080", ONE)
    place.answers(place.spaces[ONE], f"{HOST}:5300", ONE, udp=True)
    place.answers(place.host.space, "127.0.0.1:8080", ONE)
    place.answers(place.host.space, "127.0.0.1:5300", ONE, udp=True)


def test_a_port_of_one_address_is_not_open_at_another(place: Place) -> None:
    place.tell(
        container(1, 1, ONE, ports=[Port(80, 8081, bind=HOST), Port(53, 5301, "udp", HOST)]),
        container(2, 1, TWO, ports=[Port(80, 8081, bind=SECOND)]),
    )
    asked_by = f"asked by {OUTSIDE}"
    place.answers(place.outside.space, f"{HOST}:8081", f"{ONE} {asked_by}")
    place.answers(place.outside.space, f"{SECOND}:8081", f"{TWO} {asked_by}")
    place.answers(place.outside.space, f"{HOST}:5301", f"{ONE} {asked_by}", udp=True)
    assert place.ask(place.outside.space, f"{SECOND}:5301", udp=True) == ""


def test_a_changed_port_leaves_other_connections_alone(place: Place) -> None:
    one, two = container(1, 1, ONE, ports=[Port(80, 8080), Port(81, 8181)]), container(2, 1, TWO)
    place.tell(one, two)
    kept = place.child(place.outside.space, "-", f"TCP:{HOST}:8181")
    own = place.child(place.spaces[ONE], "-", f"TCP:{OUTSIDE}:8080")
    assert repeats(kept, "before")
    assert repeats(own, "before")
    place.tell(msgspec.structs.replace(one, ports=[Port(80, 9090), Port(81, 8181)]), two)
    assert place.ask(place.outside.space, f"{HOST}:8080") == ""
    place.answers(place.outside.space, f"{HOST}:9090", ONE)
    assert repeats(kept, "after")
    assert repeats(own, "a connection of the container's own to 8080 elsewhere")


@pytest.mark.parametrize("before", [(), (Port(53, 5302, "udp"),)], ids=["nobody", "another container"])
def test_a_client_that_never_stops_sending_is_led_to_who_has_the_port_now(
    place: Place, before: tuple[Port, ...]
) -> None:
    def answered() -> str:
        to = f"UDP:{HOST}:5302,sourceport=4444,reuseaddr"
        return inside(place.outside.space, "socat", "-t", 1, "-", to, check=False, text="?").strip()

    one, two = container(1, 1, ONE, ports=list(before)), container(2, 1, TWO)
    place.tell(one, two)
    if before:
        until("the first answers", lambda: answered() == f"{ONE} asked by {OUTSIDE}")
    else:
        assert answered() == ""
    place.tell(msgspec.structs.replace(one, ports=[]), msgspec.structs.replace(two, ports=[Port(53, 5302, "udp")]))
    until("the second answers", lambda: answered() == f"{TWO} asked by {OUTSIDE}")


def test_a_policy_holds_on_one_bridge_and_over_hosts_and_spares_ports(place: Place) -> None:
    rules = (PolicyRule(between=Between("team")),)
    one = container(1, 1, ONE, labels={"team": "a"}, ports=[Port(80, 8080)])
    two, away = container(2, 1, TWO, labels={"team": "b"}), container(3, 2, AWAY, labels={"team": "a"})
    place.tell(one, two, away, default="deny", rules=rules)
    for source in (ONE, TWO, AWAY):
        for target in (ONE, TWO, AWAY):
            if {source, target} == {ONE, AWAY}:
                place.answers(place.spaces[source], f"{target}:80", target)
            elif source != target:
                assert place.ask(place.spaces[source], f"{target}:80") == "", (source, target)
    place.answers(place.outside.space, f"{HOST}:8080", f"{ONE} asked by {OUTSIDE}")
    place.answers(place.host.space, f"{TWO}:80", TWO)
    place.tell(one, two, away)
    place.answers(place.spaces[TWO], f"{ONE}:80", ONE)


def test_a_rule_that_denies_holds_for_connections_that_are_open(place: Place) -> None:
    one, two = container(1, 1, ONE, labels={"team": "a"}), container(2, 1, TWO, labels={"team": "b"})
    away = container(3, 2, AWAY, labels={"team": "a"})
    place.tell(one, two, away)
    near, far, own = (
        place.child(place.spaces[source], "-", f"TCP:{target}:81")
        for source, target in ((TWO, ONE), (AWAY, ONE), (ONE, AWAY))
    )
    assert all(repeats(child, "before") for child in (near, far, own))
    place.tell(one, two, away, default="deny", rules=(PolicyRule(between=Between("team")),))
    assert not repeats(near, "after")
    assert repeats(far, "after")
    assert repeats(own, "after"), "answers pass"
    place.tell(one, two, away)


@pytest.mark.parametrize("mac", ["its own", "the other's"])
@pytest.mark.parametrize("forged", [AWAY, "192.0.2.7"], ids=["of a friend of the target", "of nobody here"])
def test_nobody_passes_a_policy_under_a_forged_address(place: Place, forged: str, mac: str) -> None:
    one, two = container(1, 1, ONE, labels={"team": "a"}), container(2, 1, TWO, labels={"team": "b"})
    away = container(3, 2, AWAY, labels={"team": "a"})
    catch = place.child(place.spaces[ONE], "-u", "UDP-RECV:7777", "-")
    assert catch.stdout is not None
    liar = place.spaces[TWO]
    inside(liar, "ip", "addr", "add", f"{forged}/32", "dev", "eth0")
    if mac != "its own":
        inside(liar, "ip", "link", "set", "dev", "eth0", "address", mac_of(forged))
    inside(liar, "ip", "neigh", "replace", ONE, "lladdr", mac_of(ONE), "dev", "eth0")
    try:
        for default, comes in (("allow", True), ("deny", False)):
            rules = (PolicyRule(between=Between("team")),) if default == "deny" else ()
            place.tell(one, two, away, default=default, rules=rules)
            for _ in range(3):
                inside(liar, "socat", "-u", "-", f"UDP:{ONE}:7777,bind={forged}", text="x")
            ready, _, _ = select.select([catch.stdout], [], [], 1)
            assert bool(ready) is comes, default
            if ready:
                os.read(catch.stdout.fileno(), 1000)
    finally:
        inside(liar, "ip", "addr", "del", f"{forged}/32", "dev", "eth0")
        inside(liar, "ip", "link", "set", "dev", "eth0", "address", mac_of(TWO))
        catch.kill()
