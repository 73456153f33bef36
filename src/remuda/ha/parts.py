"""The four parts of a node as containers: what they run, what they see, and what would make them be made anew.

All come from the image of the supervisor itself, use the host's network, and keep everything that must survive below one
directory of the host. Programs and packages of Debian that the image must have:

    zookeeper   java -cp /usr/share/java/zookeeper.jar:...   default-jre-headless libzookeeper-java libnetty-java libslf4j-java
    redis       redis-server <file>                           redis-server (with TLS, as Debian builds it)
    server      remuda server                                 this package with the extra "server"
    ingress     haproxy -W -db -f <file>                      haproxy

Documents only; starting and judging them is the supervisor's work.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec

from remuda.ha.config import Ports

ZOOKEEPER, REDIS, SERVER, INGRESS = "zookeeper", "redis", "server", "ingress"
PARTS = (ZOOKEEPER, REDIS, SERVER, INGRESS)
SUPERVISOR = "remuda-ha"
LABEL_PART = "io.remuda.ha.part"
LABEL_HASH = "io.remuda.ha.hash"
LABEL_KEYS = "io.remuda.ha.keys"
"""Which cluster CA the part was started with: parts of two CAs cannot talk to each other."""
STOP_SECONDS = {ZOOKEEPER: 5, REDIS: 3, SERVER: 10, INGRESS: 3}


class Part(msgspec.Struct, frozen=True):
    """One part as it should be. ``hash`` changes when it must be made anew."""

    name: str
    document: dict[str, Any]
    hash: str
    keys: str = ""

    @property
    def container(self) -> str:
        """The name of its container."""
        return f"{SUPERVISOR}-{self.name}"


def part(
    name: str, image: str, command: list[str], data: str, *, environment: dict[str, str] | None = None,
    depends: object = None, volatile: dict[str, str] | None = None, memory_mb: int = 0, capabilities: tuple[str, ...] = (),
    keys: str = "",
) -> Part:  # fmt: skip
    """Describe a part. ``depends`` is what its files say and a restart alone would take up; ``volatile`` environment is
    given at the start but does not make it be made anew."""
    host: dict[str, Any] = {
        "NetworkMode": "host",
        "Binds": [f"{data}:{data}"],
        "RestartPolicy": {"Name": "unless-stopped"},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "20m", "max-file": "3"}},
        "CapDrop": ["ALL"],
        "CapAdd": list(capabilities),
        "SecurityOpt": ["no-new-privileges"],
        "Init": False,
    }
    if memory_mb:
        host["Memory"] = memory_mb << 20
    fixed = {
        "Image": image,
        "Entrypoint": command[:1],
        "Cmd": command[1:],
        "User": "0:0",
        "HostConfig": host,
        "Healthcheck": {"Test": ["NONE"]},
    }
    env = dict(environment or {})
    seal = json.dumps([fixed, sorted(env.items()), depends], sort_keys=True, default=str)
    digest = hashlib.sha256(seal.encode()).hexdigest()[:24]
    document = {
        **fixed,
        "Env": [f"{key}={value}" for key, value in {**env, **(volatile or {})}.items()],
        "Labels": {LABEL_PART: name, LABEL_HASH: digest, LABEL_KEYS: keys, "io.remuda.ha": "true"},
    }
    return Part(name, document, digest, keys)


def redis_config(ports: Ports, tls: str, password: str, *, bind: str = "") -> str:
    """``redis.conf``: TLS only, a password, and nothing kept: what passes through is worth nothing after a restart."""
    return "\n".join(
        [
            "port 0", f"tls-port {ports.redis_port}", f"bind {bind or '* -::*'}", "protected-mode yes",
            f"tls-cert-file {tls}/node.crt", f"tls-key-file {tls}/node.key", f"tls-ca-cert-file {tls}/ca.pem",
            "tls-auth-clients optional", "tls-protocols \"TLSv1.2 TLSv1.3\"",
            f"requirepass {password}", "save \"\"", "appendonly no", "dir /tmp", "daemonize no", "logfile \"\"",
            "loglevel notice", "databases 1", "maxmemory 64mb", "maxmemory-policy noeviction",
            "client-output-buffer-limit pubsub 32mb 8mb 30", "tcp-keepalive 15", "timeout 0", "maxclients 2000",
            "rename-command DEBUG \"\"", "rename-command CONFIG \"\"", "",
        ]
    )  # fmt: skip
