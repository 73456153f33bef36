"""Names and metadata as a real C library and curl see them, in two network namespaces joined like a bridge and a container.

The service that answers is the network service's own loop, fed by the file that an agent writes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from testbed.bed import until
from tests.core.scenes import container, host, link, scene, service, stack

from remuda.agent.network.attach import resolver
from remuda.agent.network.state import FOLDER, SERVICE_ADDRESS, STATE, Local, NetState, write
from remuda.core.network.names import search_domains
from remuda.core.network.scene import Scene

pytestmark = pytest.mark.real

HOST, BOX = f"nm-host-{os.getpid()}", f"nm-box-{os.getpid()}"
SERVE = """
import asyncio, sys
from pathlib import Path
from remuda.agent.network.dns.part import NamesPart
from remuda.agent.network.metadata.part import MetadataPart
from remuda.agent.network.service import NetworkService
asyncio.run(NetworkService(Path(sys.argv[1]), [NamesPart(), MetadataPart()]).run())
"""


def world(*more: object) -> Scene:
    """The box is a container of ``shop/web``, with a sidekick and a link."""
    return scene(
        host(1),
        stack(1, "shop"),
        stack(2, "other"),
        service(1, "web", sidekicks=["log"], links=[link(3, "store")]),
        service(2, "db"),
        service(3, "db", 2),
        service(4, "ext", kind="externalService", hostname="www.example.com"),
        container(1, "shop_web_1", service_id=1, stack_id=1, unit="u1"),
        container(2, "shop_web_log_1", service_id=1, stack_id=1, unit="u1", launch="log"),
        container(3, "shop_web_log_2", service_id=1, stack_id=1, unit="u2", launch="log"),
        container(4, "shop_db_1", service_id=2, stack_id=1),
        container(5, "other_db_1", service_id=3, stack_id=2),
        *more,
    )


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


def resolv(space: str, text: str) -> None:
    """What ``ip netns exec`` shows as /etc/resolv.conf."""
    folder = Path("/etc/netns", space)
    folder.mkdir(parents=True)
    (folder / "resolv.conf").write_text(text)


class Place:
    """The host with its service, and the box that asks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.version = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["ip", "netns", "exec", HOST, sys.executable, "-c", SERVE, str(self.folder)]
        self.process = subprocess.Popen(command)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def tell(self, known: Scene, **changes: object) -> None:
        self.version += 1
        state = NetState(version=self.version, host_id=1, scene=known, **changes)  # type: ignore[arg-type]
        write(self.folder / FOLDER / STATE, state)

    def run(self, *command: str) -> str:
        """In the box."""
        done = subprocess.run(
            ["ip", "netns", "exec", BOX, *command], capture_output=True, text=True, timeout=30, check=False
        )
        return done.stdout.strip()

    def addresses(self, name: str) -> list[str]:
        """As the C library finds them, by the search domains of a container."""
        return sorted({line.split()[0] for line in self.run("getent", "ahostsv4", name).splitlines()})

    def meta(self, path: str) -> str:
        return self.run("curl", "-s", "-m", "10", f"http://rancher-metadata/{path}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("names"))
    outside: subprocess.Popen[bytes] | None = None
    wish = resolver(search_domains("shop", "web"))
    try:
        for space in (HOST, BOX):
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
        ip("link", "add", "h0", "netns", HOST, "type", "veth", "peer", "name", "eth0", "netns", BOX)
        for address in ("10.42.255.1/16", f"{SERVICE_ADDRESS}/32"):
            ip("-n", HOST, "addr", "add", address, "dev", "h0")
        ip("-n", BOX, "addr", "add", "10.42.0.1/16", "dev", "eth0")
        for space, device in ((HOST, "h0"), (BOX, "eth0")):
            ip("-n", space, "link", "set", device, "up")
        ip("-n", BOX, "route", "add", "default", "via", "10.42.255.1")
        resolv(HOST, "nameserver 127.0.0.1\n")
        lines = [f"nameserver {a}" for a in wish["Dns"]] + ["search " + " ".join(wish["DnsSearch"])]
        resolv(BOX, "\n".join([*lines, "options " + " ".join(wish["DnsOptions"]), ""]))
        quiet = ["-k", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file", "--user=root"]
        where = ["--listen-address=127.0.0.1", "--bind-interfaces", "--address=/example.com/203.0.113.5"]
        outside = subprocess.Popen(["ip", "netns", "exec", HOST, "dnsmasq", *quiet, *where])
        place.tell(world())
        place.start()
        until("names are served", lambda: place.addresses("rancher-metadata") == [SERVICE_ADDRESS], 20)
        yield place
    finally:
        place.stop()
        if outside is not None:
            outside.kill()
            outside.wait(10)
        for space in (HOST, BOX):
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)
            for file in Path("/etc/netns", space).glob("*"):
                file.unlink()
            if Path("/etc/netns", space).exists():
                Path("/etc/netns", space).rmdir()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("db", ["10.42.0.4"]),
        ("db.other", ["10.42.0.5"]),
        ("DB.Other.rancher.internal", ["10.42.0.5"]),
        ("store", ["10.42.0.5"]),
        ("log", ["10.42.0.2"]),
        ("log.web.shop", ["10.42.0.2"]),
        ("other_db_1", ["10.42.0.5"]),
        ("www.example.com", ["203.0.113.5"]),
        ("ext", ["203.0.113.5"]),
        ("nothing", []),
        ("nothing.rancher.internal", []),
    ],
)
def test_a_name_as_the_c_library_finds_it(place: Place, name: str, found: list[str]) -> None:
    assert place.addresses(name) == found


def test_an_address_has_a_name(place: Place) -> None:
    assert place.run("getent", "hosts", "10.42.0.5").split() == ["10.42.0.5", "other_db_1.rancher.internal"]


def test_more_addresses_than_a_datagram_holds_come_all(place: Place) -> None:
    many = [container(n, f"many_{n}", service_id=2, stack_id=1) for n in range(10, 210)]
    place.tell(world(*many))
    until("all are answered", lambda: len(place.addresses("db")) == 201, 10)
    place.tell(world())


def test_what_dies_on_this_host_is_gone_within_a_second(place: Place) -> None:
    twin = container(6, "other_db_2", service_id=3, stack_id=2)
    place.tell(world(twin))
    until("both are answered", lambda: len(place.addresses("db.other")) == 2, 10)
    place.tell(world(twin), local={f"container-{n}": Local(running=n != 5) for n in range(1, 7)})
    began = time.monotonic()
    until("the dead one is gone", lambda: place.addresses("db.other") == ["10.42.0.6"], 10)
    assert time.monotonic() - began < 1.5
    place.tell(world())


def test_metadata_of_the_caller(place: Place) -> None:
    until("the scene is told", lambda: place.meta("latest/self/container/name") == "shop_web_1", 10)
    assert place.meta("2015-12-19/self/service/containers/0/primary_ip") == "10.42.0.1"
    assert place.meta("latest/self/host/name") == "h1"


def test_a_service_that_was_killed_begins_again_where_it_was(place: Place) -> None:
    place.stop()
    assert place.addresses("db") == []
    place.start()
    until("names are served again", lambda: place.addresses("db") == ["10.42.0.4"], 20)
    until("metadata too", lambda: place.meta("latest/version") == "7", 10)
