"""What the agent and the network service of a host tell each other: two small files, replaced whole.

``state.json`` (agent -> service, 0600 because it holds the IPsec keys) and ``status.json`` (service -> agent). Files, because
either side may be away for any time, and whoever comes back must find the newest word of the other.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from remuda.core.network.scene import Scene, SceneHost

FOLDER, STATE, STATUS = "network", "state.json", "status.json"
BRIDGE = "remuda0"
"""The bridge of the managed network, made by Docker."""
DOCKER_NETWORK = "remuda"
"""Docker's name of the managed network."""
SERVICE_ADDRESS = "169.254.169.250"
"""Where containers find names (53) and metadata (80)."""
VXLAN_DEVICE, VXLAN_ID, VXLAN_PORT = "remuda1", 1042, 4789
REACH_PORT = 10420
"""UDP port of a host's own managed address at which other hosts ask whether it is there."""

T = TypeVar("T")


class Local(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A container of this host as its engine shows it now, by instance uuid; fresher than the scene."""

    external_id: str = ""
    running: bool = False
    ip: str = ""
    pid: int = 0


class NetState(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """All that the network service works from. ``version`` counts up with each write."""

    version: int = 0
    host_id: int = 0
    scene: Scene = msgspec.field(default_factory=Scene)
    local: dict[str, Local] = {}
    keys: dict[int, str] = {}
    use: int = 0

    @property
    def host(self) -> SceneHost | None:
        """This host, once the server has told of it."""
        return self.scene.hosts.get(self.host_id)

    @property
    def peers(self) -> list[SceneHost]:
        """The other hosts that are part of the network. One that servers gave up may run without its agent."""
        return [h for h in self.scene.hosts.values() if h.id != self.host_id and h.ip]


class PeerStatus(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Another host as seen from here. ``state``: ``up``, ``small`` (large packets do not pass), ``down``; empty = not tried."""

    state: str = ""
    tunnel: str = ""
    latency_ms: float = 0.0
    message: str = ""


class NetStatus(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the network service says of itself. ``state``: up, limited, error. ``message``: a sentence with the next step."""

    version: int = 0
    pid: int = 0
    release: str = ""
    state: str = ""
    message: str = ""
    encryption: str = ""
    """What encrypts packets to other hosts: ``kernel`` or ``user space``; empty where nothing does."""
    keys: list[int] = []
    use: int = 0
    """Generations of the keys that tunnels accept, and the one in use."""
    link_mtu: int = 0
    """MTU of the device that has the host's address; 0 = not known."""
    parts: dict[str, str] = {}
    """Part -> its problem, empty when well."""
    peers: dict[int, PeerStatus] = {}


class Part(Protocol):
    """One thing that the network service looks after."""

    name: str

    async def apply(self, state: NetState) -> str:
        """Bring the machine to this state, whatever it is now. Returns the problem as a sentence; empty when well.

        Called at each change and now and then without one; never raises for what a user can mend.
        """

    async def close(self) -> None:
        """Let go of sockets and children; the kernel's state stays."""


def write(path: Path, value: msgspec.Struct) -> None:
    """Replace a file, readable by its owner only, as one step that survives a power loss or does nothing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.new")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(value))
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()


def read(path: Path, kind: type[T]) -> T | None:
    """The value in a file; None when there is none or it cannot be understood."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None
