"""One ZooKeeper server of the ensemble: its files, its command line, and what it says when asked.

It listens for clients on the TLS port only; everybody must show a certificate of the cluster's CA, between servers too. After
its first start ZooKeeper itself rewrites the list of servers (the dynamic file, and the line in ``zoo.cfg`` that points to
it), so both are made once per server number and epoch, and never touched again.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Sequence
from pathlib import Path

import msgspec

from remuda.core.membership import Ensemble, Voter
from remuda.ha.config import Ports
from remuda.ha.script import super_digest

# Debian packages: default-jre-headless, libzookeeper-java, libnetty-java, libslf4j-java. zookeeper.jar's manifest lists most of
# what it needs; missing there are netty-codec (TLS for clients) and one slf4j backend (any log at all). Nothing else may be
# added: two slf4j bridges on one path deadlock.
JARS = ("zookeeper.jar", "netty-codec.jar", "slf4j-simple.jar")
JAVA_DIR = "/usr/share/java"
HEAP_MB = 128


def dynamic_line(voter: Voter, ports: Ports) -> str:
    """The entry of one server.

    A reconfiguration refuses an entry without a plain client port, so there is one: any free port of the loopback
    interface, where (see ``enforce.auth``) a client without a certificate may do nothing.
    """
    host = f"[{voter.address}]" if ":" in voter.address else voter.address
    return f"{voter.id}={host}:{ports.zookeeper_quorum_port}:{ports.zookeeper_leader_port}:participant;127.0.0.1:0"


def static_config(directory: str, tls: str, ports: Ports, *, dynamic: str, listen: str = "") -> str:
    """``zoo.cfg``. ``listen`` binds everything to one address (several servers on one machine); empty: all addresses."""
    lines = [
        "tickTime=500", "initLimit=20", "syncLimit=6", f"dataDir={directory}/data",
        f"dynamicConfigFile={dynamic}", "reconfigEnabled=true", "standaloneEnabled=false",
        f"secureClientPort={ports.zookeeper_client_port}",
        *([f"secureClientPortAddress={listen}"] if listen else []),
        f"quorumListenOnAllIPs={'false' if listen else 'true'}",
        "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
        "minSessionTimeout=1000", "maxSessionTimeout=60000", "maxClientCnxns=500",
        "admin.enableServer=false", "4lw.commands.whitelist=srvr,ruok,mntr",
        "autopurge.snapRetainCount=3", "autopurge.purgeInterval=1", "preAllocSize=4096", "snapCount=20000",
        "enforce.auth.enabled=true", "enforce.auth.schemes=x509",
        "sslQuorum=true",
    ]  # fmt: skip
    for prefix in ("ssl", "ssl.quorum"):
        # Every holder of a certificate of this CA belongs to the cluster, so names prove nothing more; checking them
        # would ask DNS in the middle of an election.
        lines += [
            f"{prefix}.keyStore.location={tls}/node.pem", f"{prefix}.keyStore.type=PEM",
            f"{prefix}.trustStore.location={tls}/ca.pem", f"{prefix}.trustStore.type=PEM",
            f"{prefix}.hostnameVerification=false",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"


def command(directory: str, super_password: str, jars: str = JAVA_DIR) -> list[str]:
    """The JVM: small heap, quick start, and no five-second wait for a machine that is switched off."""
    return [
        "java", "-Xms24m", f"-Xmx{HEAP_MB}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError",
        "-Dzookeeper.cnxTimeout=800",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
        f"-Dzookeeper.DigestAuthenticationProvider.superDigest={super_digest(super_password)}",
        "-cp", ":".join(f"{jars}/{jar}" for jar in JARS),
        "org.apache.zookeeper.server.quorum.QuorumPeerMain", f"{directory}/zoo.cfg",
    ]  # fmt: skip


def write_files(root: Path, me: Voter, ensemble: Ensemble, tls: str, ports: Ports, *, listen: str = "") -> Path:
    """Make the directory of server ``me`` if it is not there for this epoch; returns it.

    A server that joins lists the voters and itself: alone it can never make a majority of that list.
    """
    directory = root / str(me.id)
    marker = directory / "epoch"
    if marker.exists() and marker.read_text().strip() == str(ensemble.epoch):
        return directory
    data = directory / "data"
    data.mkdir(parents=True, exist_ok=True)
    (data / "myid").write_text(f"{me.id}\n")
    for old in directory.glob("dynamic*"):
        old.unlink()
    members = {voter.id: voter for voter in (*ensemble.voters, me)}
    lines = [f"server.{dynamic_line(voter, ports)}" for _, voter in sorted(members.items())]
    # The end of the name is the version of the list. One that joins has none: it takes the list of those who are there.
    entered_anew = ensemble.epoch > 1 and me in ensemble.voters
    if entered_anew and not (data / "version-2").exists():
        _seed(data / "version-2", ensemble.epoch)
    dynamic = directory / (f"dynamic.{_next_version(data):x}" if entered_anew else "dynamic")
    dynamic.write_text("\n".join(lines) + "\n")
    (directory / "zoo.cfg").write_text(static_config(str(directory), tls, ports, dynamic=str(dynamic), listen=listen))
    marker.write_text(f"{ensemble.epoch}\n")
    return directory


def _seed(directory: Path, epoch: int) -> None:
    """A new ensemble counts on far above where the one before it can have been.

    Clients refuse a server that is behind what they saw, and fencing numbers must go on growing.
    """
    directory.mkdir()
    for name in ("currentEpoch", "acceptedEpoch"):
        (directory / name).write_text(str((epoch - 1) << 20))


def _next_version(data: Path) -> int:
    """A version above every list that these servers ever agreed on, and below the first one they will agree on next.

    ZooKeeper numbers a list by the transaction that made it: the leader's epoch, and a count within it. The next leader
    has a higher epoch than this server ever saw, so the number between the two is free.
    """
    epochs = [
        int(path.read_text())
        for name in ("currentEpoch", "acceptedEpoch")
        if (path := data / "version-2" / name).exists()
    ]
    return (max(epochs, default=0) + 1) << 32


class ServerState(msgspec.Struct, frozen=True):
    """What a server said: ``role`` leader|follower|observer|standalone, or empty with the reason why it serves nobody."""

    answers: bool
    role: str = ""
    message: str = ""
    zxid: str = ""
    followers: int = 0


def tls_context(ca: str, cert: str, key: str | None = None) -> ssl.SSLContext:
    """For links between nodes: our CA, our certificate, names not asked (see :func:`static_config`)."""
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    context.load_cert_chain(cert, key)
    return context


async def ask(host: str, port: int, word: str, tls: ssl.SSLContext, timeout: float = 2.0) -> str:
    """One of ZooKeeper's four-letter words. Raises OSError or TimeoutError."""
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        try:
            writer.write(word.encode())
            await writer.drain()
            return (await reader.read(65536)).decode(errors="replace")
        finally:
            writer.transport.abort()


def connect_problem(port: int, error: OSError) -> str:
    """Why a connection did not come about, in words."""
    if error.errno == errno.ECONNREFUSED:
        return f"nothing listens on port {port} yet"
    if isinstance(error, ssl.SSLError):
        return f"port {port}: no TLS between us ({error.reason})"
    return f"port {port}: {error.strerror or error}"


async def probe(host: str, port: int, tls: ssl.SSLContext) -> ServerState:
    """Its state in one question; never raises for a server that is not there."""
    try:
        text = await ask(host, port, "srvr", tls)
    except TimeoutError:
        return ServerState(False, message=f"does not answer on port {port} within 2 s")
    except OSError as error:
        return ServerState(False, message=connect_problem(port, error))
    return parse_srvr(text)


def parse_srvr(text: str) -> ServerState:
    """From the text of ``srvr``."""
    facts = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    if "Mode" not in facts:
        return ServerState(True, message="runs, and waits for a majority of its peers")
    proposal = facts.get("Proposal sizes last/min/max", "")
    return ServerState(True, facts["Mode"].strip(), zxid=facts.get("Zxid", ""), message=proposal and "")


def client_hosts(voters: Sequence[Voter], ports: Ports) -> list[str]:
    """``host:port`` of each, as clients want it."""
    shown = [f"[{v.address}]" if ":" in v.address else v.address for v in voters]
    return [f"{host}:{ports.zookeeper_client_port}" for host in shown]
