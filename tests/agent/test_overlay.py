"""The overlay between hosts that are network namespaces, made by the network service itself: what passes, and what must not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.agent.netns import (
    MTU,
    NetHost,
    container,
    hosts,
    inside,
    lost,
    reaches,
    scene,
    until,
)

from remuda.agent.network.state import BRIDGE, VXLAN_DEVICE, PeerStatus
from remuda.core.network.addressing import mac_of
from remuda.core.network.scene import Scene

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

HERE, THERE = "10.42.0.11", "10.42.0.12"
PAIR = scene(container(1, 1, HERE), container(2, 2, THERE))


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[NetHost]]:
    with hosts(f"ovl{os.getpid()}", 2, tmp_path_factory.mktemp("hosts")) as made:
        yield made


@pytest.fixture
def pair(machines: list[NetHost]) -> Iterator[tuple[str, str]]:
    """A container on each host; their namespaces."""
    spaces = machines[0].attach(HERE), machines[1].attach(THERE)
    tell(machines, PAIR)
    yield spaces
    for host, address in zip(machines, (HERE, THERE), strict=True):
        if Path(f"/run/netns/{spaces[host.number - 1]}").exists():
            host.detach(address)


def tell(machines: list[NetHost], wanted: Scene) -> float:
    """Write it down for all hosts; how long until it is in force everywhere."""
    for host in machines:
        host.tell(wanted)
    return until("all hosts have applied it", lambda: all(host.applied for host in machines), 15)


def test_containers_of_two_hosts_reach_each_other_and_the_hosts(pair: tuple[str, str]) -> None:
    here, there = pair
    assert reaches(here, THERE)
    assert reaches(there, HERE)
    assert reaches(here, "10.42.0.3"), "the other host's own address"


def test_packets_of_full_size_pass_whole(machines: list[NetHost], pair: tuple[str, str]) -> None:
    capture = inside_capture(machines[1], "udp port 4789 and (ip[6:2] & 0x3fff != 0)")
    page = Path(machines[0].folder) / "page"
    page.mkdir(exist_ok=True)
    (page / "index.html").write_bytes(os.urandom(2_000_000))
    server = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{pair[1]}", "busybox", "httpd", "-f", "-p", "80", "-h", page]
    )
    try:
        until("the page is served", lambda: fetched(pair[0]) == 2_000_000)
    finally:
        server.terminate()
        server.wait(5)
    assert capture().strip() == "", "no packet between the hosts is a piece of a larger one"


def fetched(space: str) -> int:
    said = inside(
        space, "curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{size_download}", f"http://{THERE}/", check=False
    )
    return int(said or 0)


def inside_capture(host: NetHost, what: str) -> Callable[[], str]:
    """Capture on the cable of a host from now on; call it for what was seen."""
    log = host.folder / "capture"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{host.space}", "tcpdump", "-n", "-l", "--immediate-mode", "-i", "eth0", *what.split()],
            stdout=output, stderr=subprocess.PIPE,
        )  # fmt: skip
    assert process.stderr is not None
    while b"listening" not in process.stderr.readline():
        assert process.poll() is None

    def seen() -> str:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        return log.read_text()

    return seen


def test_nothing_is_flooded_to_other_hosts(machines: list[NetHost], pair: tuple[str, str]) -> None:
    here, _ = pair
    assert reaches(here, THERE)
    capture = inside_capture(machines[1], "udp port 4789")
    before = machines[0].sent()
    inside(here, "ip", "neigh", "flush", "all")
    assert not reaches(here, "10.42.9.9"), "nobody has this address"
    inside(here, "busybox", "arping", "-c", 3, "-w", 2, "-I", "eth0", "10.42.9.9", check=False)
    inside(here, "busybox", "ping", "-c", 2, "-W", 1, "10.42.255.255", check=False)
    inside(here, "busybox", "ping", "-c", 2, "-W", 1, "224.0.0.1", check=False)
    assert reaches(here, THERE)
    inner = [line.strip() for line in capture().splitlines() if "vni" not in line]
    seen = [line for line in inner if line.startswith(("ARP", "IP6", f"IP {HERE}"))]
    assert [line for line in seen if f"{HERE} > {THERE}" not in line] == []
    assert seen, "the capture does see what crosses"
    assert machines[0].sent() - before < 40, "only the hosts' own checks cross"


def test_questions_for_neighbours_are_answered_at_home(machines: list[NetHost], pair: tuple[str, str]) -> None:
    here, _ = pair
    machines[0].run("ip", "link", "set", "dev", "eth0", "down")
    try:
        inside(here, "ip", "neigh", "flush", "all")
        assert not reaches(here, THERE)
        assert mac_of(THERE) in inside(here, "ip", "neigh", "show", THERE)
    finally:
        machines[0].run("ip", "link", "set", "dev", "eth0", "up")


@pytest.mark.usefixtures("pair")
def test_a_container_that_moved_is_reached_at_its_new_place(machines: list[NetHost]) -> None:
    third = machines[1].attach("10.42.0.13")
    tell(machines, scene(container(1, 1, HERE), container(2, 2, THERE), container(3, 2, "10.42.0.13")))
    assert reaches(third, HERE)
    machines[0].detach(HERE)
    machines[1].attach(HERE)
    try:
        took = tell(machines, scene(container(1, 2, HERE), container(2, 2, THERE), container(3, 2, "10.42.0.13")))
        assert took < 2
        assert reaches(third, HERE)
        assert mac_of(HERE) not in machines[1].forwarding()
        assert machines[0].forwarding()[mac_of(HERE)] == "10.99.0.2"
        machines[1].detach(HERE)
        back = machines[0].attach(HERE)
        tell(machines, scene(container(1, 1, HERE), container(2, 2, THERE), container(3, 2, "10.42.0.13")))
        assert reaches(third, HERE)
        assert reaches(back, THERE)
    finally:
        machines[1].detach("10.42.0.13")


def test_containers_of_a_host_that_was_given_up_are_reached_while_they_run(
    machines: list[NetHost], pair: tuple[str, str]
) -> None:
    given_up = lost(PAIR, 2)
    tell(machines, given_up)
    assert reaches(pair[0], THERE), "its agent is dead, its containers are not"
    third = container(3, 1, THERE)
    tell(machines, lost(scene(*PAIR.containers.values(), third), 2))
    assert mac_of(THERE) not in machines[0].forwarding(), "what was taken over elsewhere leads there"
    tell(machines, PAIR)
    assert reaches(pair[0], THERE)


def test_what_somebody_broke_is_mended(machines: list[NetHost], pair: tuple[str, str]) -> None:
    host, (here, _) = machines[0], pair
    host.run("bridge", "fdb", "del", mac_of(THERE), "dev", VXLAN_DEVICE, "self")
    host.run("bridge", "fdb", "del", mac_of(THERE), "dev", VXLAN_DEVICE, "master")
    host.run("ip", "neigh", "flush", "dev", BRIDGE, "nud", "permanent")
    host.run("ip", "addr", "del", "169.254.169.250/32", "dev", BRIDGE)
    assert not reaches(here, THERE)
    until("the entries are back", lambda: reaches(here, THERE), 15)
    host.run("ip", "link", "del", VXLAN_DEVICE)
    tell(machines, PAIR)
    assert reaches(here, THERE), "a device that is gone is missed at the next change"
    assert "169.254.169.250" in host.run("ip", "addr", "show", "dev", BRIDGE)


def test_the_service_goes_and_comes_and_touches_nothing_that_is_right(
    machines: list[NetHost], pair: tuple[str, str]
) -> None:
    host, (here, _) = machines[0], pair
    host.stop()
    assert reaches(here, THERE)
    watch = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{host.space}", "bridge", "monitor", "fdb"], stdout=subprocess.PIPE, text=True
    )
    try:
        pid = host.status.pid
        host.start()
        until("it works again", lambda: host.status.pid != pid and host.applied)
    finally:
        watch.terminate()
    said, _ = watch.communicate(timeout=5)
    assert [line for line in said.splitlines() if VXLAN_DEVICE in line] == []
    assert reaches(here, THERE)


def test_only_one_service_works_from_a_folder_and_a_newer_release_takes_over(
    machines: list[NetHost], pair: tuple[str, str]
) -> None:
    host = machines[0]
    pid = host.status.pid
    program = """
import asyncio, sys
from pathlib import Path
from remuda.agent.network.service import NetworkService, Taken
async def main():
    service = NetworkService(Path(sys.argv[1]), [], sys.argv[2])
    try:
        await service.lock(1.0 if sys.argv[2] != "newer" else 10.0)
    except Taken as error:
        print(error)
    else:
        print("took over")
asyncio.run(main())
"""
    same = host.status.release
    assert f"process id {pid} works" in host.run(sys.executable, "-c", program, host.folder, same)
    assert host.service is not None
    assert host.service.poll() is None
    assert "took over" in host.run(sys.executable, "-c", program, host.folder, "newer")
    assert host.service.wait(10) == 0
    host.service = None
    host.start()
    until("it works again", lambda: host.status.pid != pid and host.applied)


def test_a_host_is_found_at_its_public_address_and_need_not_have_it_itself(
    machines: list[NetHost], pair: tuple[str, str]
) -> None:
    machines[1].run("ip", "addr", "add", "10.99.0.102/24", "dev", "eth0")
    public = msgspec.structs.replace(PAIR.hosts[2], agent_ip="10.99.0.102")
    capture = inside_capture(machines[0], "udp port 4789 and host 10.99.0.102")
    tell(machines, msgspec.structs.replace(PAIR, hosts={**PAIR.hosts, 2: public}))
    assert machines[0].forwarding()[mac_of(THERE)] == "10.99.0.102"
    assert reaches(pair[0], THERE)
    assert "10.99.0.102" in capture()
    translated = msgspec.structs.replace(PAIR.hosts[2], agent_ip="203.0.113.2")
    tell(machines, msgspec.structs.replace(PAIR, hosts={**PAIR.hosts, 2: translated}))
    shown = machines[1].run("ip", "-d", "link", "show", "dev", VXLAN_DEVICE)
    assert " local " not in shown, "a router in front of it has that address"
    assert machines[1].status.link_mtu == 1500
    tell(machines, PAIR)
    assert reaches(pair[0], THERE)


def test_ten_thousand_containers_take_a_moment_and_one_change_takes_less(
    machines: list[NetHost], pair: tuple[str, str]
) -> None:
    host = machines[0]
    many = {n: container(n, 2, f"10.42.{4 + n // 250}.{1 + n % 250}") for n in range(10, 10_010)}
    large = msgspec.structs.replace(PAIR, containers={**PAIR.containers, **many})
    assert tell([host], large) < 15
    assert len(host.forwarding()) == 10_002
    one = container(20_000, 2, "10.42.99.99")
    assert tell([host], msgspec.structs.replace(large, containers={**large.containers, one.id: one})) < 2
    assert mac_of("10.42.99.99") in host.forwarding()
    assert reaches(pair[0], THERE)
    tell([host], PAIR)
    assert set(host.forwarding()) == {mac_of(THERE), mac_of("10.42.0.3")}


def test_each_host_says_how_it_reaches_the_others(machines: list[NetHost], pair: tuple[str, str]) -> None:
    host, cable = machines[0], f"{machines[0].prefix}-sw"

    def peer() -> PeerStatus:
        return host.status.peers.get(2, PeerStatus())

    until("it is up", lambda: peer().state == "up", 15)
    assert 0 < peer().latency_ms < 100
    assert host.status.state == "up"

    inside(cable, "nft", "add table bridge t; add chain bridge t f { type filter hook forward priority 0; }")
    inside(cable, "nft", "add rule bridge t f udp dport 4789 meta length > 1000 drop")
    until("only small ones pass", lambda: peer().state == "small", 25)
    assert f"packets of {MTU} bytes do not reach h2" in peer().message
    inside(cable, "nft", "add rule bridge t f udp dport 4789 drop")
    until("nothing passes", lambda: peer().state == "down", 25)
    until("the host says so", lambda: "h2 (10.99.0.2) does not answer" in host.status.message, 15)
    assert host.status.state == "limited"
    inside(cable, "nft", "delete table bridge t")
    until("it is up again", lambda: peer().state == "up" and host.status.state == "up", 25)


def test_without_the_bridge_it_says_what_it_waits_for(machines: list[NetHost]) -> None:
    host = machines[1]
    machines[0].tell(PAIR)
    host.run("ip", "link", "del", BRIDGE)
    host.tell(PAIR)
    until("it says so", lambda: "waits for Docker's network" in host.status.message)
    assert host.status.state == "error"
    host.bridge()
    until("it goes on by itself", lambda: host.applied and host.status.state != "error", 15)
    space = host.attach(THERE)
    try:
        until("containers reach other hosts again", lambda: reaches(space, "10.42.0.2"), 5)
    finally:
        host.detach(THERE)


def test_a_bridge_that_docker_is_not_done_with_is_looked_at_again_soon(machines: list[NetHost]) -> None:
    host = machines[1]
    host.run("ip", "link", "del", BRIDGE)
    host.tell(PAIR)
    until("it is missed", lambda: host.status.state == "error")
    host.bridge()
    until("it has its entries", lambda: host.applied and "10.42.0.2" in permanent(host), 15)
    host.run("ip", "link", "set", "dev", BRIDGE, "address", "02:42:00:00:00:01")
    assert permanent(host) == "", "this is what a kernel does"
    assert until("they are back", lambda: "10.42.0.2" in permanent(host)) < 4


def permanent(host: NetHost) -> str:
    return host.run("ip", "neigh", "show", "dev", BRIDGE, "nud", "permanent")
