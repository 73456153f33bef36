"""The overlay beside one made by hand, between the same two hosts and in the same run; and what attaching a container costs."""

from __future__ import annotations

import argparse
import json
import subprocess
from functools import partial
from pathlib import Path

from testbed.bed import Bed, build_daemon, until
from testbed.platform import CLIENT_IMAGE, PROJECT, Platform, platform, status_of

from bench.figures import figure, heading, median, spread, timed
from remuda.core.network.mtu import container_mtu
from remuda.core.network.overlay import PLAIN

STACK = """\
version: '2'
services:
  ends:
    image: local/client:1
    command: sleep 1000000
    stop_signal: SIGKILL
    labels: {io.rancher.scheduler.global: 'true'}
"""
HAND_MTU = container_mtu(0, PLAIN)
"""The same packets in both: what is compared is the way, not the size."""
PORT = 5201


def by_hand(bed: Bed, containers: dict[int, str]) -> dict[int, str]:
    """A VXLAN as one makes it with iproute2, without us, as a second device of the same containers. Its address by host."""
    ends = {host: f"10.43.0.{host}" for host in containers}
    macs = {host: f"02:43:0a:2b:00:{host:02x}" for host in containers}
    for host, container in containers.items():
        pid = bed.docker(host, "inspect", "-f", "{{.State.Pid}}", container)
        lines = [
            "ip link add name hand0 type bridge",
            f"ip link add name hand1 type vxlan id 77 dstport 4790 local {bed.ip(host)} nolearning",
            f"ip link set dev hand1 mtu {HAND_MTU} master hand0 up",
            "ip link set dev hand0 up",
            f"ip link add name hand2 type veth peer name eth1 netns {pid}",
            "ip link set dev hand2 master hand0 up",
            f"nsenter -n -t {pid} ip link set dev eth1 address {macs[host]} mtu {HAND_MTU} up",
            f"nsenter -n -t {pid} ip addr add {ends[host]}/16 dev eth1",
        ]
        for other in ends.keys() - {host}:
            lines += [
                f"bridge fdb append 00:00:00:00:00:00 dev hand1 dst {bed.ip(other)}",
                f"bridge fdb replace {macs[other]} dev hand1 dst {bed.ip(other)} self static",
                f"bridge fdb replace {macs[other]} dev hand1 master static",
            ]
        bed.exec(host, "bash", "-e", "-c", "\n".join(lines))
    return ends


def throughput(place: Platform, rounds: int, seconds: int) -> None:
    """Alternating rounds between the same two processes over both ways; the machine's moods hit both."""
    made = place.stack("bench", STACK)
    ends = {place.host_of(c): c for c in place.containers(place.service(made, "ends"))}
    hand = by_hand(place.bed, {host: end["externalId"] for host, end in ends.items()})
    place.inside(2, ends[2]["externalId"], "iperf3", "-s", "-D", "-p", PORT)

    def speed(address: str) -> float:
        """Gbit/s that arrived."""
        text = place.inside(
            1, ends[1]["externalId"], "iperf3", "-J", "-t", seconds, "-p", PORT, "-c", address, timeout=seconds + 20
        )
        return float(json.loads(text)["end"]["sum_received"]["bits_per_second"]) / 1e9

    ours, theirs = str(ends[2]["primaryIpAddress"]), hand[2]
    until("both ways are open", lambda: speed(ours) > 0 and speed(theirs) > 0, 30)
    heading(f"overlay: container to container over two hosts, {rounds} rounds of {seconds} s each")
    pairs = []
    for number in range(rounds):
        found = {address: speed(address) for address in ((ours, theirs) if number % 2 else (theirs, ours))}
        pairs.append((found[ours], found[theirs]))
    figure("ours", median([a for a, _ in pairs]), "Gbit/s")
    figure("made by hand", median([b for _, b in pairs]), "Gbit/s")
    figure("ours / made by hand (median of the rounds)", 100 * median([a / b for a, b in pairs]), "%", least=95)
    print(f"  ratios: {spread([a / b for a, b in pairs])}")


def attaching(place: Platform, rounds: int) -> None:
    """``docker run`` of the same image on three networks by turns, so that the engine's moods hit all."""
    bed = place.bed
    bed.docker(1, "network", "create", "own")
    heading(f"overlay: docker run on the managed network beside the engine's own networks, {rounds} containers each")
    times: dict[str, list[float]] = {"bridge": [], "own": [], "managed": []}
    for number in range(rounds):
        options = {
            "bridge": (),
            "own": ("--network", "own"),
            "managed": ("--network", "remuda", "--ip", f"10.42.200.{number + 1}", "--dns", "169.254.169.250"),
        }
        for kind, network in options.items():
            command = ("run", "-d", "--name", f"{kind}{number}", *network, "--stop-signal", "SIGKILL", CLIENT_IMAGE)
            times[kind].append(timed(partial(bed.docker, 1, *command, "sleep", "1000000")))
    bed.docker(1, "rm", "-f", *(f"{kind}{number}" for kind in times for number in range(rounds)))
    figure("docker0, the engine's first bridge", 1000 * median(times["bridge"]), "ms")
    figure("a bridge network that the engine makes", 1000 * median(times["own"]), "ms")
    figure("the managed network", 1000 * median(times["managed"]), "ms")
    for kind, name, goal in (("own", "network of the engine", 1.05), ("bridge", "docker0", None)):
        pairs = zip(times["managed"], times[kind], strict=True)
        figure(f"managed / {name} (median of the rounds)", median([m / p for m, p in pairs]), "x", goal)


def reaches(bed: Bed, host: int) -> bool:
    """Does this host get answers from the other one, through the overlay?"""
    return [peer["state"] for peer in status_of(bed, host)["peers"].values()] == ["up"]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--containers", type=int, default=15)
    options = parser.parse_args()
    with build_daemon() as host:
        subprocess.run([str(Path(__file__).parents[1] / "testbed/mkclient"), host], check=True, capture_output=True)
        with (
            Bed(2, name="bdover", net="10.77.22", images=("local/busybox:1", CLIENT_IMAGE)) as bed,
            platform(bed) as place,
        ):
            network = until("the network is known", lambda: place.api.get(f"{PROJECT}/networks")["data"], 30)[0]
            place.api.call("PUT", f"{PROJECT}/networks/{network['id']}", {"encryption": PLAIN})
            place.wait_hosts()
            until("both hosts reach each other", lambda: all(reaches(bed, host) for host in (1, 2)), 60)
            attaching(place, options.containers)
            throughput(place, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
