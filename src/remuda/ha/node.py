"""What a node knows of itself before it has spoken to anybody: its generation, its identity, its address.

The script wrote the generation; this module only reads it. The identity is made once and stays on this disk, whatever address
the machine has today.
"""

from __future__ import annotations

import os
import shlex
import socket
import uuid
from pathlib import Path

import msgspec

from remuda.ha.certificates import Pair
from remuda.ha.config import PORT_FIELDS, Ports
from remuda.ha.script import Database
from remuda.ha.sealing import SealError, read_key, unseal

ADVERTISE = ("REMUDA_ADVERTISE_ADDRESS", "CATTLE_HA_CLUSTER_IP", "CATTLE_AGENT_IP")
_PORT_NAMES = {
    "http_port": "HTTP", "https_port": "HTTPS", "pp_http_port": "PP_HTTP", "pp_https_port": "PP_HTTPS", "redis_port": "REDIS",
    "swarm_port": "SWARM", "zookeeper_client_port": "ZK_CLIENT", "zookeeper_quorum_port": "ZK_QUORUM",
    "zookeeper_leader_port": "ZK_LEADER",
}  # fmt: skip
assert set(_PORT_NAMES) == set(PORT_FIELDS)


class NodeError(Exception):
    """The node cannot start; the message says why and what to do."""


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """The generation on this disk, read."""

    directory: str
    number: int
    fingerprint: str
    size: int
    url: str
    ports: Ports
    http_enabled: bool
    database: Database
    sealed_password: str
    secret_key: str
    redis_password: str
    zookeeper_super: str
    cluster_ca: Pair
    front: Pair
    front_chain: str = ""
    front_ca: Pair | None = None
    anchor: str = ""

    @property
    def host(self) -> str:
        """The host part of the registration URL."""
        rest = self.url.partition("://")[2]
        return rest[1:].partition("]")[0] if rest.startswith("[") else rest.partition(":")[0]


def load(home: Path) -> Generation:
    """Read the generation in force. Raises :class:`NodeError`."""
    current = home / "current"
    try:
        directory = current.resolve(strict=True)
        values = _assignments((directory / "cluster.conf").read_text())
        texts = {path.name: path.read_text() for path in directory.iterdir()}
        key = read_key(texts["secret.key"])
        sealed = values["CATTLE_DB_CATTLE_PASSWORD"]
        ca = texts.get("ca.crt", "")
        return Generation(
            directory=str(directory),
            number=int(values["REMUDA_HA_GENERATION"]),
            fingerprint=values["REMUDA_HA_FINGERPRINT"],
            size=int(values["CATTLE_HA_CLUSTER_SIZE"]),
            url=values["CATTLE_HA_HOST_REGISTRATION_URL"],
            ports=Ports(**{name: int(values[f"CATTLE_HA_PORT_{tail}"]) for name, tail in _PORT_NAMES.items()}),
            http_enabled=values["CATTLE_HA_HTTP_ENABLED"] == "true",
            database=Database(
                host=values["CATTLE_DB_CATTLE_MYSQL_HOST"],
                port=int(values["CATTLE_DB_CATTLE_MYSQL_PORT"]),
                name=values["CATTLE_DB_CATTLE_MYSQL_NAME"],
                username=values["CATTLE_DB_CATTLE_USERNAME"],
                password=unseal(key, sealed),
            ),
            sealed_password=sealed,
            secret_key=texts["secret.key"].strip(),
            redis_password=texts["redis.password"].strip(),
            zookeeper_super=texts["zookeeper.super"].strip(),
            cluster_ca=Pair(texts["cluster-ca.crt"], texts["cluster-ca.key"]),
            front=Pair(texts["server.crt"], texts["server.key"]),
            front_chain=texts.get("server-chain.crt", ""),
            front_ca=Pair(ca, texts["front-ca.key"]) if "front-ca.key" in texts else None,
            anchor=ca,
        )
    except FileNotFoundError as error:
        message = f"there is no configuration below {current}: run remuda-ha.sh on this machine, it writes it"
        raise NodeError(message) from error
    except (KeyError, ValueError, SealError, OSError) as error:
        message = f"the configuration below {current} is not complete ({error}); run remuda-ha.sh again"
        raise NodeError(message) from error


def _assignments(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if len(words) == 2 and words[0] == "export":
            name, _, value = words[1].partition("=")
            values[name] = value
    return values


def identity(home: Path) -> str:
    """This node's uuid; made at the first call."""
    path = home / "node"
    if path.exists() and (known := path.read_text().strip()):
        return known
    made = str(uuid.uuid4())
    write(path, made + "\n")
    return made


def write(path: Path, text: str, mode: int = 0o600) -> bool:
    """Put ``text`` there, whole or not at all; False when it was there already."""
    if path.exists() and path.read_text() == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return True


def address(database: Database, environment: dict[str, str]) -> str:
    """What this node is known by: what the operator said, else the source address toward the database.

    Raises :class:`NodeError` when there is no route (yet).
    """
    for name in ADVERTISE:
        if value := environment.get(name, "").strip():
            return value
    try:
        found = socket.getaddrinfo(database.host, database.port, type=socket.SOCK_DGRAM)
        family, kind, proto, _, target = found[0]
        with socket.socket(family, kind, proto) as probe:
            probe.connect(target)  # a datagram socket: nothing is sent
            return str(probe.getsockname()[0])
    except OSError as error:
        message = (
            f"cannot find the way to the database at {database.host}:{database.port} ({error.strerror or error}); "
            "check the name and the network, or give this node's address in REMUDA_ADVERTISE_ADDRESS"
        )
        raise NodeError(message) from error
