"""Encryption between hosts that are network namespaces: charon as the network service runs it, seen from the cable."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
from tests.agent.netns import NetHost, call, container, hosts, inside, reaches, scene, until

from remuda.core.network.overlay import IPSEC, PLAIN
from remuda.core.network.scene import Scene

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

ENDS = {1: "10.42.0.11", 2: "10.42.0.12", 3: "10.42.0.13"}
CONTAINERS = [container(number, number, ip) for number, ip in ENDS.items()]
PAIR = scene(*CONTAINERS[:2], hosts=2, encryption=IPSEC)
KEYS = {1: "11" * 32}
SWITCH = "tun-sw"


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[NetHost]]:
    with hosts("tun", 3, tmp_path_factory.mktemp("hosts")) as made:
        for host in made:
            host.attach(ENDS[host.number])
        yield made


@pytest.fixture
def pair(machines: list[NetHost]) -> list[NetHost]:
    """Two hosts with a tunnel."""
    two = machines[:2]
    tell(two, PAIR)
    until("both know only this key", lambda: all(h.applied and h.status.keys == [1] for h in two), 10)
    until("the tunnel is up", lambda: connected(two), 20)
    return two


def space(host: int) -> str:
    """The namespace of a host's container."""
    return "tun-" + "-".join(ENDS[host].rsplit(".", 2)[1:])


def tell(machines: list[NetHost], wanted: Scene, keys: dict[int, str] | None = None, use: int = 1) -> None:
    for host in machines:
        host.tell(wanted, KEYS if keys is None else keys, use)


def said(host: NetHost, peer: int) -> str:
    """What a host says of its tunnel to another."""
    found = host.status.peers.get(peer)
    return found.tunnel if found else ""


def connected(two: list[NetHost]) -> bool:
    one, other = two
    up = said(one, other.number) == "up" == said(other, one.number)
    return up and reaches(space(one.number), ENDS[other.number])


@contextmanager
def watched(host: int) -> Iterator[list[str]]:
    """Every IP packet on a host's cable, within the block and a moment after."""
    seen: list[str] = []
    dump = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{SWITCH}", "tcpdump", "-n", "-l", "-i", f"p{host}", "ip"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert dump.stderr is not None
    while "listening on" not in (line := dump.stderr.readline()):
        assert line, "tcpdump has ended"
    try:
        yield seen
        time.sleep(0.3)  # what is under way is to be seen too
    finally:
        dump.terminate()
        seen += [line for line in dump.communicate(timeout=10)[0].splitlines() if " IP " in line]


def in_plain(seen: list[str]) -> list[str]:
    """The packets that are neither IKE nor ESP in UDP, nor word that those found nobody."""
    good = re.compile(r"\.(500|4500) > [\d.]+\.(500|4500): | ICMP [\d.]+ udp port (500|4500) unreachable,")
    return [line for line in seen if not good.search(line)]


def pinging(host: int, to: int, count: int = 10) -> int:
    """How many of so many pings came back, ten a second."""
    lost = inside(space(host), "busybox", "ping", "-c", count, "-i", "0.1", "-W", 1, ENDS[to], check=False, timeout=60)
    return int(re.search(r"(\d+) packets received", lost).group(1))  # type: ignore[union-attr]


def test_containers_reach_each_other_and_the_cable_shows_nothing_but_esp_in_udp(pair: list[NetHost]) -> None:
    with watched(1) as seen:
        assert pinging(1, 2) == 10
        assert pinging(2, 1) == 10
    assert len([line for line in seen if "UDP-encap: ESP" in line]) >= 40
    assert in_plain(seen) == []


def test_the_status_says_who_encrypts_and_under_which_key(pair: list[NetHost]) -> None:
    status = pair[0].status
    kernel = subprocess.run(["grep", "-qw", "esp", "/proc/net/protocols"], check=False).returncode == 0
    assert status.encryption == ("kernel" if kernel else "user space")
    assert (status.keys, status.use) == ([1], 1)
    assert KEYS[1] not in (pair[0].folder / "network/status.json").read_text()


def test_no_key_is_in_the_log_or_the_configuration(pair: list[NetHost]) -> None:
    folder = pair[0].folder / "network/charon"
    files = [path for path in folder.iterdir() if path.is_file()]
    assert {"charon.log", "strongswan.conf"} <= {path.name for path in files}
    for path in files:
        text = path.read_bytes()
        assert KEYS[1].encode() not in text
        assert bytes.fromhex(KEYS[1]) not in text


def test_a_burst_finds_room_in_charons_queues(pair: list[NetHost]) -> None:
    if pair[0].status.encryption == "kernel":
        return  # packets do not go through charon
    rows = pair[1].run("ss", "-uanmp").split("UNCONN")
    mine = [row for row in rows if f"pid={pair[1].charon}," in row and (":4500" in row)]
    assert mine
    assert all(int(re.search(r"rb(\d+)", row).group(1)) >= 2 << 20 for row in mine)  # type: ignore[union-attr]
    assert "qlen 2000" in pair[1].run("ip", "link", "show", "dev", "ipsec0")


FORGED = """
import socket, struct, sys
target, ip, mac = sys.argv[1:]
payload = b"forged"
udp = struct.pack("!4H", 7777, 7777, 8 + len(payload), 0) + payload
ends = socket.inet_aton("10.42.0.13") + socket.inet_aton(ip)
header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + ends
total = sum(struct.unpack("!10H", header))
total = ~((total & 0xffff) + (total >> 16)) & 0xffff
header = header[:10] + struct.pack("!H", total) + header[12:]
frame = bytes.fromhex(mac.replace(":", "")) + bytes.fromhex("02420a2a000d") + b"\\x08\\x00" + header + udp
vxlan = struct.pack("!II", 0x08000000, 1042 << 8)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
    out.sendto(vxlan + frame, (target, 4789))
"""
HEARD = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
    ear.bind(("", 7777))
    ear.settimeout(1.5)
    print("ready", flush=True)
    try:
        print(ear.recv(100).decode())
    except TimeoutError:
        print("nothing")
"""


def forged(target: str) -> str:
    """What the container of host 1 hears of a packet of the overlay that a stranger sends to its host in plain."""
    ear = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{space(1)}", sys.executable, "-c", HEARD], stdout=subprocess.PIPE, text=True
    )
    assert ear.stdout is not None
    assert ear.stdout.readline() == "ready\n"
    inside("tun-h3", sys.executable, "-c", FORGED, target, ENDS[1], CONTAINERS[0].mac)
    return ear.communicate(timeout=10)[0].strip()


def test_packets_of_the_overlay_are_not_taken_from_the_cable(pair: list[NetHost]) -> None:
    assert forged("10.99.0.1") == "nothing"
    inside("tun-h3", "ip", "route", "add", "169.254.64.1", "via", "10.99.0.1")
    assert forged("169.254.64.1") == "nothing"
    inside("tun-h3", "ip", "route", "del", "169.254.64.1")


def test_without_tunnels_nothing_leaves_and_they_come_back_by_themselves(pair: list[NetHost]) -> None:
    before = pair[0].charon
    with watched(1) as seen:
        os.kill(before, signal.SIGKILL)
        pinging(1, 2, 5)
        until("charon runs again", lambda: pair[0].charon not in (0, before), 5)
        took = until("the tunnel is up", lambda: connected(pair), 10)
    assert took < 8
    assert in_plain(seen) == []


def test_before_there_is_a_key_nothing_leaves(machines: list[NetHost]) -> None:
    third = machines[2]
    third.tell(scene(*CONTAINERS, hosts=3, encryption=IPSEC), {}, 0)
    until("it says what it waits for", lambda: "waits for the environment's key" in third.status.message, 10)
    assert third.status.state == "error"
    until("the overlay is there", lambda: "169.254.64.1" in third.forwarding().values(), 10)
    with watched(3) as seen:
        assert pinging(3, 1, 5) == 0
    assert seen == []


def test_another_key_is_refused_and_the_status_says_so(machines: list[NetHost]) -> None:
    wanted = scene(*CONTAINERS, hosts=3, encryption=IPSEC)
    tell(machines[:2], wanted)
    machines[2].tell(wanted, {1: "66" * 32}, 1)
    until("the stranger is told", lambda: said(machines[2], 1).startswith("down: refused"), 15)
    until("the others see it", lambda: said(machines[0], 3).startswith("down: refused"), 15)
    assert not reaches(space(3), ENDS[1])
    assert connected(machines[:2])
    machines[2].tell(wanted, KEYS, 1)
    until("with the key it is let in", lambda: connected([machines[0], machines[2]]), 15)


STREAM = """
import socket, sys, time
if sys.argv[1] == "serve":
    with socket.create_server(("", 7000)) as door:
        print("ready", flush=True)
        line, _ = door.accept()
        while data := line.recv(100):
            line.sendall(data)
else:
    worst, last = 0.0, time.monotonic()
    with socket.create_connection((sys.argv[1], 7000), 5) as line:
        print("ready", flush=True)
        line.settimeout(10)
        end = time.monotonic() + float(sys.argv[2])
        while time.monotonic() < end:
            line.sendall(b"x")
            assert line.recv(100) == b"x"
            now = time.monotonic()
            worst, last = max(worst, now - last), now
            time.sleep(0.005)
    print(worst)
"""


@contextmanager
def stream(seconds: float) -> Iterator[list[float]]:
    """A connection between the containers of hosts 1 and 2 that always talks; at the end, its longest silence in seconds."""
    worst: list[float] = []
    ends = []
    for number, words in ((2, ["serve"]), (1, [ENDS[2], str(seconds)])):
        end = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{space(number)}", sys.executable, "-c", STREAM, *words],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert end.stdout is not None
        assert end.stdout.readline() == "ready\n"
        ends.append(end)
    try:
        yield worst
        worst.append(float(ends[1].communicate(timeout=seconds + 15)[0]))
    finally:
        for end in ends:
            end.kill()
            end.wait(5)


def test_a_key_is_rotated_under_an_open_connection(pair: list[NetHost]) -> None:
    both = {**KEYS, 2: "22" * 32}
    with stream(12) as worst, watched(1) as seen:
        tell(pair, PAIR, both, 1)
        until("both accept the new key", lambda: all(h.status.keys == [1, 2] for h in pair), 5)
        pair[0].tell(PAIR, both, 2)  # one host hears of it long before the other
        until("the first uses it", lambda: pair[0].status.use == 2, 10)
        time.sleep(4)
        pair[1].tell(PAIR, both, 2)
        until("both use it", lambda: all(h.status.use == 2 for h in pair), 10)
        tell(pair, PAIR, {2: both[2]}, 2)
        until("the old one is forgotten", lambda: all(h.status.keys == [2] for h in pair), 5)
        assert connected(pair)
    assert worst[0] < 0.5
    assert in_plain(seen) == []
    names = {line.split()[0] for line in listed(pair[0])}
    assert names == {"p2g2:"}


def listed(host: NetHost) -> list[str]:
    """The tunnels that strongSwan's own tool sees."""
    shown = call("swanctl", "--list-sas", "--uri", f"unix://{host.folder}/network/charon/charon.vici")
    return [line for line in shown.splitlines() if line and not line.startswith(" ")]


def test_the_network_service_is_replaced_without_a_pause(pair: list[NetHost]) -> None:
    before = pair[0].charon
    with stream(6) as worst:
        for end in (NetHost.stop, lambda host: (host.service.kill(), host.service.wait(5))):
            end(pair[0])
            pair[0].start()
            until("it is back", lambda: pair[0].status.pid == child(pair[0]) and said(pair[0], 2) == "up", 10)
    assert pair[0].charon == before
    assert worst[0] < 0.5


def child(host: NetHost) -> int:
    """The process id of the service."""
    assert host.service is not None
    return host.service.pid


def test_a_host_that_lost_power_is_let_in_again(pair: list[NetHost]) -> None:
    for host in (pair[0], pair[1]):  # the one that begins, and the one that waits
        host.kill()
        host.start()
        assert until("the tunnel is up again", lambda: connected(pair), 20) < 12


def test_a_cut_that_outlasts_the_patience_of_both_is_healed_within_seconds(pair: list[NetHost]) -> None:
    inside(SWITCH, "ip", "link", "set", "p2", "down")
    until("both have given up", lambda: all(said(h, 3 - h.number).startswith("down") for h in pair), 40)
    assert "UDP 500 and 4500" in until_said(pair[0], 2)
    inside(SWITCH, "ip", "link", "set", "p2", "up")
    assert until("the tunnel is up again", lambda: connected(pair), 15) < 10


def until_said(host: NetHost, peer: int) -> str:
    """What is said once an attempt has come to nothing."""
    until("a reason is known", lambda: "no answer" in said(host, peer), 30)
    return said(host, peer)


def test_a_host_is_followed_to_its_new_address(pair: list[NetHost]) -> None:
    moved = msgspec.structs.replace(PAIR.hosts[2], agent_ip="10.99.0.22")
    wanted = msgspec.structs.replace(PAIR, hosts={**PAIR.hosts, 2: moved})
    try:
        move(pair[1], "10.99.0.2", "10.99.0.22")
        tell(pair, wanted)
        with watched(1) as seen:
            assert until("traffic flows", lambda: connected(pair), 15) < 10
    finally:
        move(pair[1], "10.99.0.22", "10.99.0.2")
    assert any("10.99.0.22.4500" in line for line in seen)
    assert [line for line in in_plain(seen) if "ICMP" not in line] == []  # of packets to the address that is gone


def move(host: NetHost, before: str, after: str) -> None:
    """Another address on the host's cable."""
    host.run("ip", "addr", "del", f"{before}/24", "dev", "eth0")
    host.run("ip", "addr", "add", f"{after}/24", "dev", "eth0")


@contextmanager
def behind_a_router(host: NetHost) -> Iterator[str]:
    """The host has a private address only, behind a router that hides it; the address under which others see it."""
    router = "tun-router"
    call("ip", "netns", "add", router)
    inside(SWITCH, "ip", "link", "add", "p9", "type", "veth", "peer", "name", "out", "netns", router)
    inside(SWITCH, "ip", "link", "set", "p9", "master", "switch0", "up")
    inside(router, "ip", "link", "add", "in", "type", "veth", "peer", "name", "eth1", "netns", host.space)
    for device, address in (("out", "10.99.0.50/24"), ("in", "192.168.7.1/24")):
        inside(router, "ip", "addr", "add", address, "dev", device)
        inside(router, "ip", "link", "set", device, "up")
    inside(router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    hide = 'table ip nat { chain out { type nat hook postrouting priority 100; oifname "out" masquerade; }; }'
    inside(router, "nft", "-f", "-", text=hide)
    host.run("ip", "link", "set", "eth0", "down")
    host.run("ip", "addr", "add", "192.168.7.2/24", "dev", "eth1")
    host.run("ip", "link", "set", "eth1", "up")
    host.run("ip", "route", "add", "default", "via", "192.168.7.1")
    try:
        yield "10.99.0.50"
    finally:
        host.run("ip", "link", "del", "eth1")
        host.run("ip", "link", "set", "eth0", "up")
        inside(SWITCH, "ip", "link", "del", "p9")
        call("ip", "netns", "del", router)


def test_a_host_behind_a_router_begins_by_itself(machines: list[NetHost]) -> None:
    first, third = machines[0], machines[2]
    with behind_a_router(third) as public:
        hidden = msgspec.structs.replace(scene(hosts=3).hosts[3], agent_ip=public)
        wanted = scene(*CONTAINERS, hosts=3, encryption=IPSEC)
        tell([first, third], msgspec.structs.replace(wanted, hosts={1: wanted.hosts[1], 3: hidden}))
        with watched(1) as seen:
            assert until("the tunnel is up", lambda: connected([first, third]), 20) < 12
            assert pinging(1, 3) == 10
    from_router = re.compile(r"10\.99\.0\.50\.\d+ > 10\.99\.0\.1\.4500: UDP-encap: ESP")
    assert any(from_router.search(line) for line in seen)
    assert not any("4789" in line for line in seen)


def test_a_host_that_left_is_cut_off_at_once(machines: list[NetHost]) -> None:
    wanted = scene(*CONTAINERS, hosts=3, encryption=IPSEC)
    tell(machines, wanted)
    until("all are connected", lambda: connected(machines[:2]) and connected([machines[0], machines[2]]), 20)
    tell(machines[:2], PAIR)
    until("its tunnel is gone", lambda: not [line for line in listed(machines[0]) if line.startswith("p3")], 3)
    assert not reaches(space(3), ENDS[1])
    machines[2].tell(wanted, KEYS, 1)
    time.sleep(3)
    assert not [line for line in listed(machines[0]) if line.startswith("p3") and "ESTABLISHED" in line]


def test_in_plain_there_is_no_charon_and_packets_pass_as_they_are(machines: list[NetHost]) -> None:
    tell(machines[:2], scene(*CONTAINERS[:2], hosts=2, encryption=PLAIN), {}, 0)
    until("charon is gone", lambda: not any(h.charon for h in machines[:2]), 10)
    until("containers reach each other", lambda: reaches(space(1), ENDS[2]), 10)
    assert machines[0].status.encryption == ""
    assert forged("10.99.0.1") == "forged"
