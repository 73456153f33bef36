"""Hosts as network namespaces on one switch, with the managed network's bridge as Docker would make it, and containers on it.

The network service itself runs in each, as the program that it is; only its state is written by hand.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from remuda.agent.network.state import BRIDGE, FOLDER, STATE, STATUS, VXLAN_DEVICE, NetState, NetStatus, read, write
from remuda.core.network.addressing import mac_of
from remuda.core.network.overlay import PLAIN
from remuda.core.network.scene import Scene, SceneContainer, SceneHost, SceneNetwork

MTU = 1390


def call(*command: object, check: bool = True, timeout: float = 30, text: str | None = None) -> str:
    """What a command says."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False, input=text)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)[:200]}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def inside(space: str, *command: object, check: bool = True, timeout: float = 30, text: str | None = None) -> str:
    """The same in a network namespace, and nowhere else: /sys and /etc stay this machine's."""
    return call("nsenter", f"--net=/run/netns/{space}", *command, check=check, timeout=timeout, text=text)


def entry(number: int, *, connected: bool = True) -> SceneHost:
    """A host of the scene."""
    return SceneHost(
        id=number,
        uuid=f"host-{number}",
        name=f"h{number}",
        agent_ip=f"10.99.0.{number}",
        ip=f"10.42.0.{number + 1}",
        tunnel=f"169.254.64.{number}",
        connected=connected,
    )


def container(number: int, host: int, ip: str, **rest: Any) -> SceneContainer:
    """A managed container of the scene."""
    return SceneContainer(
        id=number, uuid=f"c{number}", name=f"c{number}", host_id=host, ip=ip, mac=mac_of(ip), state="running", **rest
    )


class NetHost:
    """One host: ``h1`` has 10.99.0.1 on the cable and 10.42.0.2 on the managed network."""

    def __init__(self, prefix: str, number: int, folder: Path) -> None:
        self.prefix, self.number = prefix, number
        self.space = f"{prefix}-h{number}"
        self.folder = folder / f"h{number}"
        self.version = 0
        self.service: subprocess.Popen[bytes] | None = None

    # ---- the service -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the network service, with a /run of its own, as a machine has it: a power cut left charon's note of a process in
        it, and its number is another program's by now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.service = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.space}", "unshare", "--mount",
                 "sh", "-c", 'mount -t tmpfs tmpfs /run; echo 1 >/run/charon.pid; exec "$@"', "sh",
                 sys.executable, "-m", "remuda.run.network", "--state", str(self.folder)],
                stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": ""},
            )  # fmt: skip

    def stop(self) -> None:
        """End it as a signal does; the kernel's state stays."""
        if self.service is not None:
            self.service.terminate()
            self.service.wait(15)
            self.service = None

    def kill(self) -> None:
        """Power off, as far as the network goes: neither the service nor charon gets to say a word."""
        if self.service is not None:
            self.service.kill()
            self.service.wait(15)
            self.service = None
        if self.charon:
            os.kill(self.charon, signal.SIGKILL)

    @property
    def charon(self) -> int:
        """Process id of this host's charon, 0 when none runs. It outlives the service."""
        try:
            pid, born = (self.folder / FOLDER / "charon/charon.pid").read_text().split()
            alive = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            return 0
        return int(pid) if alive[19] == born and alive[0] not in "ZX" else 0

    def tell(self, scene: Scene, keys: Mapping[int, str] | None = None, use: int = 0) -> None:
        """What the agent would write down."""
        self.version += 1
        state = NetState(version=self.version, host_id=self.number, scene=scene, keys=dict(keys or {}), use=use)
        write(self.folder / FOLDER / STATE, state)

    @property
    def status(self) -> NetStatus:
        """What the service says of itself."""
        return read(self.folder / FOLDER / STATUS, NetStatus) or NetStatus()

    @property
    def applied(self) -> bool:
        """Is the newest state in force?"""
        status = self.status
        return status.version == self.version and not status.parts.get("overlay", "?")

    # ---- the kernel --------------------------------------------------------------------------------------------------

    def run(self, *command: object, check: bool = True, text: str | None = None) -> str:
        """A command on this host."""
        return inside(self.space, *command, check=check, text=text)

    def bridge(self) -> None:
        """What Docker makes."""
        self.run("ip", "link", "add", "name", BRIDGE, "type", "bridge")
        self.run("ip", "addr", "add", f"{entry(self.number).ip}/16", "dev", BRIDGE)
        self.run("ip", "link", "set", "dev", BRIDGE, "up")

    def forwarding(self) -> dict[str, str]:
        """Hardware address -> host, as the kernel has it."""
        rows = json.loads(self.run("bridge", "-j", "fdb", "show", "dev", VXLAN_DEVICE) or "[]")
        return {row["mac"]: row["dst"] for row in rows if "dst" in row}

    def sent(self) -> int:
        """Packets that the overlay has sent."""
        shown = json.loads(self.run("ip", "-s", "-j", "link", "show", "dev", VXLAN_DEVICE))
        return int(shown[0]["stats64"]["tx"]["packets"])

    # ---- containers --------------------------------------------------------------------------------------------------

    def attach(self, ip: str) -> str:
        """A container with this address; its namespace."""
        last = ip.rsplit(".", 2)[1:]
        space, port = f"{self.prefix}-{'-'.join(last)}", f"v{'x'.join(last)}"
        call("ip", "netns", "add", space)
        self.run("ip", "link", "add", "name", port, "type", "veth", "peer", "name", "eth0", "netns", space)
        self.run("ip", "link", "set", "dev", port, "master", BRIDGE, "up")
        inside(space, "ip", "-batch", "-", text=f"""\
link set dev lo up
link set dev eth0 address {mac_of(ip)} mtu {MTU} up
addr add {ip}/16 dev eth0
route add default via {entry(self.number).ip}
""")  # fmt: skip
        return space

    def detach(self, ip: str) -> None:
        """The container is gone; its cable first, because the kernel takes its time over a namespace."""
        last = ip.rsplit(".", 2)[1:]
        self.run("ip", "link", "del", f"v{'x'.join(last)}")
        call("ip", "netns", "del", f"{self.prefix}-{'-'.join(last)}")


def reaches(space: str, address: str, seconds: int = 2) -> bool:
    """Does a ping get an answer?"""
    said = inside(space, "busybox", "ping", "-c", 1, "-W", seconds, address, check=False)
    return "1 packets received" in said


def until(what: str, check: Any, seconds: float = 10) -> float:
    """Poll; how long it took."""
    began = time.monotonic()
    while not check():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"after {seconds} s still not: {what}")
        time.sleep(0.05)
    return time.monotonic() - began


@contextmanager
def hosts(prefix: str, count: int, folder: Path) -> Iterator[list[NetHost]]:
    """So many hosts on one switch, with bridge and running service."""
    switch = f"{prefix}-sw"
    made = [NetHost(prefix, number, folder) for number in range(1, count + 1)]
    clear(prefix)
    try:
        call("ip", "netns", "add", switch)
        inside(switch, "ip", "link", "add", "name", "switch0", "type", "bridge")
        inside(switch, "ip", "link", "set", "dev", "switch0", "up")
        for host in made:
            call("ip", "netns", "add", host.space)
            inside(switch, "ip", "link", "add", "name", f"p{host.number}", "type", "veth", "peer", "name", "eth0",
                   "netns", host.space)  # fmt: skip
            inside(switch, "ip", "link", "set", "dev", f"p{host.number}", "master", "switch0", "up")
            host.run("ip", "link", "set", "dev", "lo", "up")
            host.run("ip", "link", "set", "dev", "eth0", "up")
            host.run("ip", "addr", "add", f"10.99.0.{host.number}/24", "dev", "eth0")
            host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
            host.bridge()
            host.start()
        yield made
    finally:
        for host in made:
            host.stop()
            host.kill()
        clear(prefix)


def clear(prefix: str) -> None:
    """Delete what is left of these namespaces."""
    for line in call("ip", "netns", "list").splitlines():
        if line.startswith(f"{prefix}-"):
            call("ip", "netns", "del", line.split()[0], check=False)


def scene(*containers: SceneContainer, hosts: int = 2, encryption: str = PLAIN) -> Scene:
    """A scene of so many hosts and these containers."""
    return Scene(
        network=SceneNetwork(environment="Default", encryption=encryption, mtu=MTU),
        hosts={number: entry(number) for number in range(1, hosts + 1)},
        containers={c.id: c for c in containers},
    )


def lost(scene: Scene, number: int) -> Scene:
    """The same scene with a host that was given up."""
    return msgspec.structs.replace(
        scene, hosts={**scene.hosts, number: msgspec.structs.replace(scene.hosts[number], lost=True)}
    )
