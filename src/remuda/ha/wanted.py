"""Which parts this node is to run, with their files brought up to date first; and what stands in their way."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from remuda.core.membership import Ensemble, Voter
from remuda.ha import probes, zookeeper
from remuda.ha.certificates import fingerprint
from remuda.ha.cluster import View
from remuda.ha.files import Files, Peer
from remuda.ha.ingress import ADMIN_SOCKET, SERVER_PORT, UNSEALED
from remuda.ha.node import Generation, write
from remuda.ha.parts import INGRESS, REDIS, SERVER, ZOOKEEPER, Part, part

_DOOR_FILES = ("haproxy.cfg.new", "front.pem", "node.pem", "cluster-ca.pem", "503.http")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What may differ between a machine and a test."""

    data: Path = Path("/var/lib/remuda")
    image: str = ""
    version: str = ""
    hostname: str = msgspec.field(default_factory=socket.gethostname)
    agent_image: str = ""


class Wanted:
    """The parts of the node ``uuid``."""

    def __init__(self, generation: Generation, uuid: str, options: Options) -> None:
        self._generation, self._uuid, self._options = generation, uuid, options
        self._home = options.data / "ha"
        self.files = Files(self._home, generation)
        self.image = options.image
        self._keys = fingerprint(generation.cluster_ca.cert)[:16]

    def voter(self, view: View, address: str) -> Voter | None:
        """The ZooKeeper server that this node is to run now."""
        ensemble, me = view.ensemble, view.me(self._uuid)
        if ensemble is None or me is None or me.slot is None:
            return None
        mine = (v for v in reversed(ensemble.known) if v.node == self._uuid and v.address == address)
        return next(mine, None)

    def parts(self, view: View, address: str) -> list[Part]:
        """Every part that this node is to run. Writes files; call it off the event loop."""
        now = datetime.now(UTC)  # certificates live by the calendar
        mark = self.files.certificates(address, self._options.hostname, now)
        ensemble, me = view.ensemble, view.me(self._uuid)
        others = [Peer(m.uuid, m.address) for m in view.members if m.slot is not None and m.uuid != self._uuid]
        runs_server = ensemble is not None and me is not None and me.slot is not None
        self.files.front(now)
        self.files.ingress(others, server=runs_server)
        wanted: list[Part] = []
        if me is None or me.slot is not None:
            wanted.append(self._redis(mark))
        voter = self.voter(view, address)
        if ensemble is not None and voter is not None:
            wanted.append(self._zookeeper(voter, ensemble, mark))
        if ensemble is not None and runs_server:
            self.files.peers(self._uuid, ensemble.voters, [*others, Peer(self._uuid, address)])
            wanted.append(self._server(address))
        wanted.append(self._ingress())
        return wanted

    def _part(self, name: str, command: list[str], **more: Any) -> Part:
        return part(name, self.image, command, str(self._options.data), keys=self._keys, **more)

    def _redis(self, mark: str) -> Part:
        digest = self.files.redis()
        return self._part(REDIS, ["redis-server", str(self.files.redis_conf)], depends=[digest, mark], memory_mb=160)

    def _zookeeper(self, voter: Voter, ensemble: Ensemble, mark: str) -> Part:
        ports, tls = self._generation.ports, str(self.files.tls)
        directory = zookeeper.write_files(self.files.zookeeper, voter, ensemble, tls, ports)
        return self._part(
            ZOOKEEPER,
            zookeeper.command(str(directory), self._generation.zookeeper_super),
            depends=[mark, voter.id, voter.address, ensemble.epoch],
            memory_mb=384,
        )

    def _server(self, address: str) -> Part:
        generation, tls = self._generation, self.files.tls
        database, anchor = generation.database, self.files.anchor()
        environment = {
            "CATTLE_DB_CATTLE_MYSQL_HOST": database.host,
            "CATTLE_DB_CATTLE_MYSQL_PORT": str(database.port),
            "CATTLE_DB_CATTLE_MYSQL_NAME": database.name,
            "CATTLE_DB_CATTLE_USERNAME": database.username,
            "CATTLE_DB_CATTLE_PASSWORD": generation.sealed_password,
            "REMUDA_DATA": str(self._options.data / "server"),
            "REMUDA_LISTEN": f"127.0.0.1:{SERVER_PORT}",
            "REMUDA_NODE": self._uuid,
            "REMUDA_NODE_ADDRESS": address,
            "REMUDA_PEERS_FILE": str(self.files.peers_file),
            "REMUDA_TLS_CA": str(tls / "ca.pem"),
            "REMUDA_TLS_CERT": str(tls / "node.crt"),
            "REMUDA_TLS_KEY": str(tls / "node.key"),
            "REMUDA_SECRET_KEY_FILE": f"{self._home}/current/secret.key",
            "REMUDA_HOST_REGISTRATION_URL": generation.url,
            "REMUDA_LOG": "json",
        }
        if anchor is not None:
            environment["REMUDA_CA_FILE"] = str(anchor)
        if self._options.agent_image:
            environment["REMUDA_AGENT_IMAGE"] = self._options.agent_image
        return self._part(SERVER, ["remuda", "server"], environment=environment, depends=[generation.fingerprint])

    def _ingress(self) -> Part:
        command = ["haproxy", "-W", "-db", "-f", str(self.files.door / "haproxy.cfg")]
        return self._part(INGRESS, command, memory_mb=512, capabilities=("NET_BIND_SERVICE",))

    # ------------------------------------------------------------ what stands in the way

    def obstacle(self, item: Part) -> str:
        """Why a part that does not run could not be started now; empty when nothing speaks against it."""
        ports = self._generation.ports
        everywhere, door = "0.0.0.0", [ports.https_port, ports.pp_https_port, ports.pp_http_port]  # noqa: S104
        if self._generation.http_enabled:
            door.append(ports.http_port)
        taken: dict[str, tuple[str, list[int]]] = {
            REDIS: (everywhere, [ports.redis_port]),
            ZOOKEEPER: (everywhere, [ports.zookeeper_client_port, ports.zookeeper_leader_port]),
            SERVER: ("127.0.0.1", [SERVER_PORT]),
            INGRESS: (everywhere, door),
        }
        where, numbers = taken[item.name]
        for number in numbers:
            if problem := probes.port_problem(where, number):
                extra = " (the server that made the script? Stop it: docker stop <name>)" if item.name == SERVER else ""
                return problem + extra
        if item.name == INGRESS and not (self.files.door / "haproxy.cfg").exists():
            return "its configuration was not accepted by haproxy; see the log of the supervisor"
        return ""

    # ------------------------------------------------------------ the front door's configuration

    async def renew_door(self) -> tuple[str, str]:
        """Put a new configuration in force if haproxy accepts it: (what a running one should have read, what is wrong)."""
        door = self.files.door
        digest = hashlib.sha256(b"\0".join((door / name).read_bytes() for name in _DOOR_FILES)).hexdigest()[:24]
        current = door / "haproxy.cfg"
        if current.exists() and f"description {digest}\n" in current.read_text():
            return digest, ""
        if wrong := await self._refused(door / "haproxy.cfg.new"):
            return "", f"haproxy refuses the new configuration, the old one stays in force: {wrong}"
        write(current, (door / "haproxy.cfg.new").read_text().replace(UNSEALED, digest, 1))
        return digest, ""

    async def _refused(self, path: Path) -> str:
        program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
        if not program:
            return ""
        check = await asyncio.create_subprocess_exec(
            program, "-c", "-f", str(path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(20):
            said, _ = await check.communicate()
        return said.decode(errors="replace").strip()[-400:] if check.returncode else ""

    async def door_read(self) -> str:
        """Which configuration the running haproxy has read; empty when it cannot be asked."""
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_unix_connection(str(self.files.door / ADMIN_SOCKET))
                try:
                    writer.write(b"show info\n")
                    text = (await reader.read(65536)).decode(errors="replace")
                    while not reader.at_eof():
                        text += (await reader.read(65536)).decode(errors="replace")
                finally:
                    writer.transport.abort()
        except (OSError, TimeoutError):
            return ""
        return next((line.split(": ", 1)[1] for line in text.splitlines() if line.startswith("description: ")), "")
