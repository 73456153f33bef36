"""Encrypted traffic between containers of two hosts, beside a strongSwan and a VXLAN made by hand, in the same run.

Two pairs of hosts, because two IKE daemons cannot share a host's ports. On both sides packets are encrypted in user space where
the kernel has no ESP, and in the kernel where it has.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

from testbed.bed import Bed, build_daemon, until
from testbed.platform import CLIENT_IMAGE, Platform, platform, status_of

from bench.figures import figure, heading, median, spread
from bench.overlay import PORT, STACK
from remuda.core.network.mtu import USER_SPACE_LINK, container_mtu

OURS, HAND = (1, 2), (3, 4)
REST_SECONDS = 8
CHARON = """\
charon {
  load_modular = no
  load = random nonce openssl pem pkcs1 pkcs8 x509 pubkey kdf %s socket-default vici updown
  install_virtual_ip = no
}
"""
CONNECTION = """\
connections { hand {
  version = 2
  local_addrs = %(here)s
  remote_addrs = %(there)s
  proposals = aes256gcm16-prfsha256-ecp256
  encap = yes
  local { auth = psk
    id = h%(own)s }
  remote { auth = psk
    id = h%(other)s }
  children { hand {
    local_ts = 10.99.%(own)s.1/32
    remote_ts = 10.99.%(other)s.1/32
    esp_proposals = aes128gcm16 } } } }
secrets { ike-1 {
  id-1 = h%(own)s
  id-2 = h%(other)s
  secret = "made by hand" } }
"""


def by_hand(bed: Bed, kernel: bool, mtu: int) -> dict[int, str]:
    """What one would write into swanctl.conf, a VXLAN through it, and a namespace behind that on each host."""
    ends = {host: f"10.43.0.{host}" for host in HAND}
    macs = {host: f"02:43:0a:2b:00:{host:02x}" for host in HAND}
    for own, other in (HAND, HAND[::-1]):
        folder = bed.disk(own) / "hand"
        folder.mkdir()
        (folder / "strongswan.conf").write_text(
            CHARON % ("kernel-netlink" if kernel else "kernel-libipsec kernel-netlink")
        )
        words = {"here": bed.ip(own), "there": bed.ip(other), "own": own, "other": other}
        (folder / "swanctl.conf").write_text(CONNECTION % words)
        lines = [
            f"ip addr replace 10.99.{own}.1/32 dev lo",
            "ip link add name hand0 type bridge",
            f"ip link add name hand1 type vxlan id 77 dstport 4789 local 10.99.{own}.1 nolearning",
            f"ip link set dev hand1 mtu {mtu} master hand0 up",
            "ip link set dev hand0 up",
            f"bridge fdb append 00:00:00:00:00:00 dev hand1 dst 10.99.{other}.1",
            f"bridge fdb replace {macs[other]} dev hand1 dst 10.99.{other}.1 self static",
            f"bridge fdb replace {macs[other]} dev hand1 master static",
            "unshare -n sleep 1000000 </dev/null >/dev/null 2>&1 & echo $! >/run/hand.pid; sleep 0.3",
            "ip link add name hand2 type veth peer name eth0 netns $(cat /run/hand.pid)",
            "ip link set dev hand2 master hand0 up",
            f"nsenter -n -t $(cat /run/hand.pid) ip link set dev eth0 address {macs[own]} mtu {mtu} up",
            f"nsenter -n -t $(cat /run/hand.pid) ip addr add {ends[own]}/16 dev eth0",
            f"nsenter -n -t $(cat /run/hand.pid) iperf3 -s -D -p {PORT}",
        ]
        bed.exec(own, "bash", "-e", "-c", "\n".join(lines))
        bed.spawn(own, "hand", "env", f"STRONGSWAN_CONF={folder}/strongswan.conf", "/usr/lib/ipsec/charon")
        load = ("swanctl", "--load-all", "--file", folder / "swanctl.conf")
        until("charon takes its connection", partial(bed.exec, own, *load), 15)
    until("the tunnel is up", lambda: bed.exec(HAND[0], "swanctl", "--initiate", "--child", "hand"), 15)
    return ends


def connected(bed: Bed) -> bool:
    """Does each of our hosts have its tunnel?"""
    return all([peer.get("tunnel") for peer in status_of(bed, host)["peers"].values()] == ["up"] for host in OURS)


def busy(bed: Bed, hosts: tuple[int, int]) -> float:
    """CPU seconds of two hosts so far."""
    return sum(bed.cpu_seconds(host) for host in hosts)


def throughput(place: Platform, rounds: int, seconds: int) -> None:
    """Alternating rounds of both; the machine's moods hit both."""
    bed = place.bed
    mode = status_of(bed, OURS[0])["encryption"]
    mtu = container_mtu(1500 if mode == "kernel" else USER_SPACE_LINK, "ipsec")
    hand = by_hand(bed, mode == "kernel", mtu)
    made = place.stack("bench", STACK)
    ends = {place.host_of(c): c for c in place.containers(place.service(made, "ends"))}
    place.inside(2, ends[2]["externalId"], "iperf3", "-s", "-D", "-p", PORT)
    inner = {
        OURS: bed.docker(1, "inspect", "-f", "{{.State.Pid}}", ends[1]["externalId"]),
        HAND: bed.exec(3, "cat", "/run/hand.pid").strip(),
    }
    to = {OURS: ends[2]["primaryIpAddress"], HAND: hand[4]}

    def run(pair: tuple[int, int]) -> float:
        """Gbit/s that arrived from the first to the second host's container; started in the same way for both."""
        words = ("nsenter", "-n", "-t", inner[pair], "iperf3", "-J", "-t", seconds, "-p", PORT, "-c", to[pair])
        said = json.loads(bed.exec(pair[0], *words, timeout=seconds + 20))
        return float(said["end"]["sum_received"]["bits_per_second"]) / 1e9

    until("both ways are open", lambda: run(OURS) > 0 and run(HAND) > 0, 60)
    heading(f"IPsec ({mode}): container to container over two hosts, {rounds} rounds of {seconds} s each, MTU {mtu}")
    pairs, work = [], []
    rest = {hosts: busy(bed, hosts) for hosts in (OURS, HAND)}
    time.sleep(REST_SECONDS)
    rest = {hosts: (busy(bed, hosts) - before) / REST_SECONDS for hosts, before in rest.items()}
    for number in range(rounds):
        found = {}
        for hosts in (OURS, HAND) if number % 2 else (HAND, OURS):
            before = busy(bed, hosts)
            found[hosts] = run(hosts)
            work.append((hosts, ((busy(bed, hosts) - before) / seconds - rest[hosts]) / found[hosts]))
        pairs.append((found[OURS], found[HAND]))
    figure("ours", median([a for a, _ in pairs]), "Gbit/s")
    figure("made by hand", median([b for _, b in pairs]), "Gbit/s")
    figure("ours / made by hand (median of the rounds)", 100 * median([a / b for a, b in pairs]), "%", least=95)
    print(f"  ratios: {spread([a / b for a, b in pairs])}")
    for name, hosts in (("ours", OURS), ("made by hand", HAND)):
        figure(
            f"{name}: CPU of both hosts for one Gbit, without that at rest",
            median([cost for who, cost in work if who == hosts]),
            "s",
        )


def reached(place: Platform, ends: dict[int, dict[str, Any]]) -> bool:
    """Does the container of one host get a connection to that of the other?"""
    words = ("curl", "-s", "-o", "/dev/null", "-m", 1, "--connect-timeout", 0.3, "-w", "%{time_connect}")
    said = place.inside(1, ends[1]["externalId"], *words, f"http://{ends[2]['primaryIpAddress']}:{PORT}/", check=False)
    return float(said or 0) > 0


def restarts(place: Platform, rounds: int) -> None:
    """How long containers are apart when the charon of one host is killed: it starts again by itself."""
    bed = place.bed
    ends = {place.host_of(c): c for c in place.containers() if c["name"].startswith("bench_")}
    heading(f"IPsec: a killed charon until its tunnel is up again, {rounds} times")
    times = []
    for _ in range(rounds):
        pid = bed.exec(1, "cut", "-d ", "-f1", "/var/lib/remuda/network/charon/charon.pid").strip()
        began = time.monotonic()
        bed.exec(1, "kill", "-9", pid)
        until("the containers reach each other again", lambda: reached(place, ends), 30)
        times.append(time.monotonic() - began)
    figure("killed -> up", median(times), "s", 5)
    print(f"  each: {spread(times)}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=4)
    options = parser.parse_args()
    with build_daemon() as host:
        subprocess.run([str(Path(__file__).parents[1] / "testbed/mkclient"), host], check=True, capture_output=True)
        with (
            Bed(4, name="bdipsec", net="10.77.23", images=("local/busybox:1", CLIENT_IMAGE)) as bed,
            platform(bed, list(OURS)) as place,
        ):
            place.wait_hosts()
            until("the tunnel is up", lambda: connected(bed), 60)
            throughput(place, options.rounds, options.seconds)
            restarts(place, 5)


if __name__ == "__main__":
    main()
