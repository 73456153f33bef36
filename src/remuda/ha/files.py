"""The files that the parts of a node read: certificates, configurations, the list of peers.

Each is written whole or not at all, and only when it says something new; what is returned tells whether a part must be told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from remuda.core.membership import Voter
from remuda.ha import ingress, parts
from remuda.ha.certificates import Pair, fingerprint, issue, names_of, needs_renewal
from remuda.ha.node import Generation, write
from remuda.ha.script import front_pair
from remuda.ha.zookeeper import client_hosts


class Peer(msgspec.Struct, frozen=True):
    """A node that runs parts."""

    uuid: str
    address: str


class Files:
    """Writes below ``home`` (``/var/lib/remuda/ha``)."""

    def __init__(self, home: Path, generation: Generation) -> None:
        self.home, self.generation = home, generation
        self.run = home / "run"
        self.tls = self.run / "tls"
        self.door = self.run / "ingress"
        self.peers_file = self.run / "peers.json"
        self.redis_conf = self.run / "redis" / "redis.conf"
        self.zookeeper = home / "zookeeper"

    def certificates(self, address: str, hostname: str, now: datetime) -> str:
        """This node's own certificate, made anew when it does not fit; returns its fingerprint."""
        ca, cert, key = self.tls / "ca.pem", self.tls / "node.crt", self.tls / "node.key"
        wanted = list(dict.fromkeys([ingress.NODE_NAME, "localhost", *_dns(hostname), address, "127.0.0.1", "::1"]))
        fits = (
            ca.exists()
            and cert.exists()
            and key.exists()
            and ca.read_text() == self.generation.cluster_ca.cert
            and set(wanted) <= set(names_of(cert.read_text()))
            and not needs_renewal(cert.read_text(), now)
        )
        if not fits:
            pair = issue(self.generation.cluster_ca, f"node {address}", wanted, now)
            write(key, pair.key)
            write(cert, pair.cert)
            write(ca, self.generation.cluster_ca.cert)
        write(self.tls / "node.pem", cert.read_text() + key.read_text())
        return fingerprint(cert.read_text())

    def front(self, now: datetime) -> bool:
        """The front certificate; one of our own making is renewed before it ends. True when it changed."""
        known, path = self.generation.front, self.door / "front.pem"
        chain = self.generation.front_chain
        own = self.door / "renewed.json"
        if self.generation.front_ca is not None and needs_renewal(known.cert, now):
            pair = _stored(own)
            if pair is None or needs_renewal(pair.cert, now):
                pair = front_pair(self.generation.front_ca, self.generation.host, now)
                write(own, msgspec.json.encode(pair).decode())
            known = pair
        return write(path, known.cert + chain + known.key)

    def anchor(self) -> Path | None:
        """The CA that hosts must trust, as a file."""
        if not self.generation.anchor:
            return None
        path = self.tls / "front-ca.crt"
        write(path, self.generation.anchor)
        return path

    def redis(self) -> str:
        """``redis.conf``; returns a digest of it."""
        text = parts.redis_config(self.generation.ports, str(self.tls), self.generation.redis_password)
        write(self.redis_conf, text)
        return hashlib.sha256(text.encode()).hexdigest()

    def ingress(self, others: Sequence[Peer], *, server: bool) -> bool:
        """Everything haproxy reads but the front certificate. True when something changed."""
        generation = self.generation
        text = ingress.configuration(
            generation.ports,
            [ingress.Peer(f"node-{peer.uuid[:8]}", peer.address) for peer in others],
            directory=str(self.door),
            mark=ingress.hop_mark(generation.secret_key),
            http=generation.http_enabled,
            server=server,
            ipv6=Path("/proc/net/if_inet6").exists() and bool(Path("/proc/net/if_inet6").read_text()),
        )
        changed = [
            write(self.door / "503.http", ingress.UNAVAILABLE.replace("\n", "\r\n")),
            write(self.door / "cluster-ca.pem", generation.cluster_ca.cert),
            write(self.door / "node.pem", (self.tls / "node.pem").read_text()),
            write(self.door / "haproxy.cfg.new", text),
        ]
        return any(changed)

    def peers(self, mine: str, voters: Sequence[Voter], redis: Sequence[Peer]) -> bool:
        """The list that the server follows while it runs: this node's first."""
        ordered = sorted(voters, key=lambda voter: (voter.node != mine, voter.id))
        nodes = sorted(redis, key=lambda peer: (peer.uuid != mine, peer.uuid))
        urls = [self._redis_url(peer.address) for peer in nodes]
        document = {"zookeeper": ",".join(client_hosts(ordered, self.generation.ports)), "redis": urls}
        return write(self.peers_file, msgspec.json.format(msgspec.json.encode(document)).decode() + "\n")

    def _redis_url(self, address: str) -> str:
        host = f"[{address}]" if ":" in address else address
        return f"rediss://:{self.generation.redis_password}@{host}:{self.generation.ports.redis_port}"


def _stored(path: Path) -> Pair | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Pair)
    except (OSError, msgspec.MsgspecError):
        return None


def _dns(name: str) -> list[str]:
    ok = name and len(name) < 64 and all(c.isalnum() or c in "-." for c in name) and name.isascii()
    return [name.lower()] if ok else []
