"""Who this agent is. The identity is made once, kept in a file that only root reads, and survives everything but its deletion.

Beside it lies a fingerprint of the machine. A disk that was cloned carries the same identity on another machine: the agent
then says which machine it is on, and the server refuses the second one with the way out.
"""

from __future__ import annotations

import fcntl
import hashlib
import secrets
import uuid as uuids
from pathlib import Path
from typing import IO

import msgspec

from remuda.agent.book import write_private

NAME = "identity.json"
_VIRTUAL = ("lo", "veth", "docker", "br-", "cni", "flannel", "virbr", "vx", "tun", "tap", "wg", "cali", "ov", "ipsec")


class Identity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``uuid`` is what the machine registers as; the keys are what it got for it. ``url`` is the API it talks to."""

    uuid: str
    machine: str = ""
    registration_url: str = ""
    url: str = ""
    access_key: str = ""
    secret_key: str = ""
    detected_ip: str = ""
    ca: str = ""
    """The private CA that the server's certificate is checked with, in PEM; empty = the system's."""

    @property
    def registered(self) -> bool:
        """May it open a session?"""
        return bool(self.url and self.access_key and self.secret_key)


class IdentityFile:
    """Loads and keeps the identity in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._lock: IO[str] | None = None

    def lock(self) -> None:
        """Be the only agent with this identity; two on one machine would take the session from each other for ever."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = (self.path.parent / "lock").open("w")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.close()
            raise ValueError(
                f"Another agent already runs with the state in {self.path.parent}: stop that one first, or give --state"
                " another folder"
            ) from error
        self._lock = handle

    def load(self) -> Identity:
        """The kept identity, or a new one that is kept from now on."""
        if self.path.exists():
            try:
                return msgspec.json.decode(self.path.read_bytes(), type=Identity)
            except msgspec.DecodeError as error:
                raise ValueError(
                    f"{self.path} is damaged ({error}). Remove it to register this machine anew; it will appear as a new host"
                ) from error
        fresh = Identity(uuid=str(uuids.uuid4()))
        self.keep(fresh)
        return fresh

    def keep(self, identity: Identity) -> None:
        """Write it, readable by its owner only."""
        write_private(self.path, msgspec.json.encode(identity))


def machine_fingerprint(root: Path = Path("/"), sys: Path = Path("/sys")) -> str:
    """A stable digest of what differs between a machine and its clone: machine id and first hardware address."""
    parts = [_text(root / "etc/machine-id") or _text(root / "var/lib/dbus/machine-id"), _first_mac(sys / "class/net")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def engine_fingerprint(engine_id: str) -> str:
    """The fingerprint of an agent that sees nothing of its machine but the Docker engine."""
    return hashlib.sha256(f"engine\n{engine_id}".encode()).hexdigest()[:32]


def boot_token() -> str:
    """Random per start of the agent."""
    return secrets.token_hex(8)


def _first_mac(folder: Path) -> str:
    found = []
    try:
        links = sorted(folder.iterdir())
    except OSError:
        return ""
    for link in links:
        if link.name.startswith(_VIRTUAL) or _text(link / "type") != "1":
            continue
        index, address = _text(link / "ifindex"), _text(link / "address")
        if address and address != "00:00:00:00:00:00":
            found.append((int(index or 0), address))
    return min(found)[1] if found else ""


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
