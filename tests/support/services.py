"""Real outside programs for tests: MariaDB, ZooKeeper, Redis, from Debian's packages, on free ports, in folders of their own.

Each is a context manager that gives the address and can ``kill()`` (SIGKILL, as a power cut would) and ``restart()``::

    with mariadb() as db:      SqlStore.mysql(**db.database())
    with zookeeper(3) as zk:   zk.hosts, zk.kill(zk.leader()), zk.restart(0)
    with redis() as server:    server.url

The calls block for as long as the program takes to start (``restart(wait=False)`` does not wait). Whatever was started
is killed at the end, by its own process id.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_SECONDS = 60
JAVA = [
    "-Xmx96m",
    "-Xms32m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    "-XX:ReservedCodeCacheSize=32m",
]
JARS = ":".join(f"/usr/share/java/{name}.jar" for name in ("zookeeper", "netty-codec", "slf4j-simple"))

_running: set[subprocess.Popen[bytes]] = set()


@atexit.register
def _kill_rest() -> None:
    for process in list(_running):
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, outside the range from which the kernel gives out ports by itself."""
    found: list[int] = []
    start = 20000 + (os.getpid() * 37 + time.monotonic_ns() // 1000) % 10000
    for port in range(start, 32700):
        if len(found) == count:
            return found
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(port)
    raise RuntimeError("no free ports")


def free_port() -> int:
    """One port that nobody listens on now."""
    return free_ports(1)[0]


class Program:
    """One process that can die and come back."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, ready: Callable[[], bool]) -> None:
        self.name = name
        self.command = list(command)
        self.folder = folder
        self.log = folder / f"{name}.log"
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id; fails when it is not running."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Is it running?"""
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it serves."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self.command, cwd=self.folder, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )
        _running.add(self._process)
        if wait:
            self.wait()

    def wait(self, seconds: float = START_SECONDS) -> None:
        """Wait until it serves."""
        end = time.monotonic() + seconds
        while not self._ready():
            if not self.alive or time.monotonic() > end:
                tail = self.log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} did not start:\n{tail}")
            time.sleep(0.05)

    def kill(self, sig: int = signal.SIGKILL) -> None:
        """Kill it and wait until it is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.send_signal(sig)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
        _running.discard(process)

    def pause(self) -> None:
        """Stop it without telling anybody (SIGSTOP): connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Undo :meth:`pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self, *, wait: bool = True) -> None:
        """Kill it if it runs, and start it again."""
        self.kill()
        self.start(wait=wait)


def listens(port: int) -> bool:
    """Does anybody listen on this port?"""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def _folder(prefix: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"remuda-{prefix}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# -- MariaDB


@dataclass
class MariaDb:
    """A MariaDB server with the user ``remuda``."""

    program: Program
    port: int
    socket: Path
    host: str = "127.0.0.1"
    user: str = "remuda"
    password: str = "a pass'word%"
    _count: int = 0

    def kill(self) -> None:
        """Power cut."""
        self.program.kill()

    def restart(self, *, wait: bool = True) -> None:
        """Power cut and back."""
        self.program.restart(wait=wait)

    def sql(self, statements: str) -> str:
        """Run statements as root; gives the rows, tab separated."""
        client = ["mariadb", "--no-defaults", "-uroot", "-S", str(self.socket), "-N", "-B", "-e", statements]
        done = subprocess.run(client, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout

    def database(self, *, charset: str = "utf8mb4") -> dict[str, Any]:
        """A new, empty database; gives the arguments for ``SqlStore.mysql`` (without ``clock``)."""
        self._count += 1
        name = f"remuda{self._count}"
        self.sql(
            f"CREATE DATABASE {name} CHARACTER SET {charset}; GRANT ALL ON {name}.* TO '{self.user}'@'%'; FLUSH PRIVILEGES"
        )
        return {"host": self.host, "port": self.port, "name": name, "user": self.user, "password": self.password}


@contextlib.contextmanager
def mariadb(*options: str) -> Iterator[MariaDb]:
    """A MariaDB server."""
    with _folder("mariadb") as folder:
        data, sock, port = folder / "data", folder / "s.sock", free_port()
        user = ["--user=root"] if os.geteuid() == 0 else []
        install = ["mariadb-install-db", "--no-defaults", *user, f"--datadir={data}", "--skip-test-db"]
        install.append("--auth-root-authentication-method=normal")
        subprocess.run(install, check=True, capture_output=True, timeout=120)
        command = ["mariadbd", "--no-defaults", *user, f"--datadir={data}", f"--socket={sock}", f"--port={port}"]
        command += ["--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-buffer-pool-size=32M"]
        command += ["--max-connections=300", f"--pid-file={folder}/pid", *options]
        server = MariaDb(Program("mariadbd", command, folder, lambda: listens(port)), port, sock)
        try:
            server.program.start()
            server.sql("CREATE USER 'remuda'@'%' IDENTIFIED BY 'a pass''word%'")
            yield server
        finally:
            server.program.kill()


# -- Redis


@dataclass
class Redis:
    """A Redis server with a password."""

    program: Program
    port: int
    password: str
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """With the password."""
        return f"redis://:{self.password}@{self.host}:{self.port}"

    def kill(self) -> None:
        """Power cut."""
        self.program.kill()

    def restart(self, *, wait: bool = True) -> None:
        """Power cut and back, empty."""
        self.program.restart(wait=wait)


@contextlib.contextmanager
def redis(password: str = "open-sesame") -> Iterator[Redis]:
    """A Redis server that keeps nothing on disk."""
    with _folder("redis") as folder:
        port = free_port()
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        command += ["--appendonly", "no", "--requirepass", password]
        server = Redis(Program("redis", command, folder, lambda: listens(port)), port, password)
        try:
            server.program.start()
            yield server
        finally:
            server.program.kill()


# -- ZooKeeper


@dataclass
class Tls:
    """PEM files for a client: the CA, its certificate, its key; ``server`` is certificate and key (PKCS#8) in one."""

    ca: Path
    cert: Path
    key: Path
    server: Path


def make_tls(folder: Path) -> Tls:
    """A CA and certificates for 127.0.0.1."""
    import trustme
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    ca = trustme.CA()
    tls = Tls(folder / "ca.pem", folder / "client.pem", folder / "client.key", folder / "server.pem")
    tls.ca.write_bytes(ca.cert_pem.bytes())
    for kind, path in (("server", tls.server), ("client", tls.cert)):
        leaf = ca.issue_cert("127.0.0.1", "localhost", common_name=kind)
        key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        path.write_bytes(pem + chain if kind == "server" else chain)
        if kind == "client":
            tls.key.write_bytes(pem)
    return tls


@dataclass
class ZooKeeper:
    """An ensemble; nodes are counted from 0."""

    nodes: list[Program] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    plain_ports: list[int] = field(default_factory=list)
    tls: Tls | None = None

    @property
    def hosts(self) -> str:
        """``host:port,...`` of all nodes."""
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def mode(self, node: int) -> str:
        """``leader``, ``follower``, ``standalone``; empty when it does not serve."""
        return _four_letters(self.plain_ports[node], b"srvr").partition("Mode: ")[2].partition("\n")[0].strip()

    def leader(self) -> int:
        """The number of the node that leads; waits for an election."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            for node, program in enumerate(self.nodes):
                if program.alive and self.mode(node) in ("leader", "standalone"):
                    return node
            time.sleep(0.1)
        raise RuntimeError("ZooKeeper elects no leader")

    def kill(self, node: int | None = None) -> None:
        """Power cut of one node, or of all."""
        for program in self.nodes if node is None else [self.nodes[node]]:
            program.kill()

    def restart(self, node: int | None = None, *, wait: bool = True) -> None:
        """Power cut of one node, or of all, and back with their data."""
        chosen = self.nodes if node is None else [self.nodes[node]]
        self.kill(node)
        for program in chosen:
            program.start(wait=False)
        if wait:
            for program in chosen:
                program.wait()


def _four_letters(port: int, word: bytes) -> str:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as link:
            link.sendall(word)
            answer = b""
            while piece := link.recv(4096):
                answer += piece
            return answer.decode(errors="replace")
    except OSError:
        return ""


@contextlib.contextmanager
def zookeeper(count: int = 1, *, tls: bool = False, tick: int = 500) -> Iterator[ZooKeeper]:
    """An ensemble of ``count`` nodes. ``tls``: ``ports`` then ask for a client certificate (see ``ZooKeeper.tls``)."""
    with _folder("zookeeper") as folder:
        ports = free_ports(count * 4)
        plain, quorum, election = ports[:count], ports[count : 2 * count], ports[2 * count : 3 * count]
        ensemble = ZooKeeper(plain_ports=plain, ports=ports[3 * count :] if tls else plain)
        lines = [
            f"tickTime={tick}\ninitLimit=20\nsyncLimit=10\n4lw.commands.whitelist=*\nadmin.enableServer=false",
            f"maxClientCnxns=0\nminSessionTimeout={2 * tick}\nmaxSessionTimeout=60000",
        ]
        if tls:
            lines.append("serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory")
            ensemble.tls = make_tls(folder)
            lines.append(f"ssl.keyStore.location={ensemble.tls.server}\nssl.trustStore.location={ensemble.tls.ca}")
            lines.append("ssl.keyStore.type=PEM\nssl.trustStore.type=PEM")
        if count > 1:
            lines += [f"server.{i + 1}=127.0.0.1:{quorum[i]}:{election[i]}" for i in range(count)]
        for i in range(count):
            ensemble.nodes.append(_zookeeper_node(folder / str(i), i, lines, ensemble, tls))
        try:
            ensemble.restart()
            yield ensemble
        finally:
            ensemble.kill()


def _zookeeper_node(home: Path, i: int, lines: list[str], ensemble: ZooKeeper, tls: bool) -> Program:
    home.mkdir()
    (home / "myid").write_text(str(i + 1))
    own = [f"dataDir={home}", f"clientPort={ensemble.plain_ports[i]}", "clientPortAddress=127.0.0.1"]
    if tls:
        own += [f"secureClientPort={ensemble.ports[i]}", "secureClientPortAddress=127.0.0.1"]
    (home / "zoo.cfg").write_text("\n".join([*lines, *own]) + "\n")
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
    command = ["java", *JAVA, quiet, "-cp", JARS, main, str(home / "zoo.cfg")]
    return Program("zookeeper", command, home, lambda: bool(ensemble.mode(i)))
