"""Names as a part of the network service: served as long as their address is on this machine, from the newest scene there is."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from remuda.agent.network.dns.server import Server
from remuda.agent.network.dns.upstream import RESOLV, Upstream
from remuda.agent.network.state import SERVICE_ADDRESS, NetState
from remuda.core.network.names import Names
from remuda.core.network.scene import Scene, SceneContainer

DOCKER_RESOLVER = "127.0.0.11"
"""Docker's own within a container: no way out of one for others."""
STARTED = "running"


class NamesPart:
    """``name`` of the part is ``names``. ``upstreams`` instead of the host's own resolvers, asked at ``upstream_port``."""

    name = "names"

    def __init__(
        self,
        address: str = SERVICE_ADDRESS,
        port: int = 53,
        upstreams: Sequence[str] = (),
        upstream_port: int = 53,
        resolv: Path = RESOLV,
    ) -> None:
        self._address, self.port = address, port
        self._upstream = Upstream([address, SERVICE_ADDRESS, DOCKER_RESOLVER], upstreams, resolv, upstream_port)
        self._server: Server | None = None
        self._state: NetState | None = None

    async def apply(self, state: NetState) -> str:
        """Serve what the state says."""
        if self._server is None:
            server = Server(Names(Scene(), self._address), self._upstream)
            try:
                self.port = await server.open(self._address, self.port)
            except OSError as error:
                return f"no names are served: {unusable(error, self._address, self.port)}"
            self._server, self._state = server, None
        if state is not self._state:
            self._server.use(Names(state.scene, SERVICE_ADDRESS, lambda container: here(state, container)))
            self._state = state
        if self._upstream.servers():
            return ""
        return "names outside cannot be looked up: this host's /etc/resolv.conf names no resolver; name one there"

    async def close(self) -> None:
        """Let go of the sockets."""
        if self._server is not None:
            await self._server.close()
            self._server = None


def here(state: NetState, container: SceneContainer) -> bool | None:
    """Does a container of this host really run? None: nothing is known beyond what the server says.

    One that ran, and that the engine does not know any more, does not run; an engine that was not looked at says nothing.
    """
    if container.host_id != state.host_id or not state.local:
        return None
    local = state.local.get(container.uuid)
    if local is not None:
        return local.running
    return False if container.state == STARTED else None


def unusable(error: OSError, address: str, port: int) -> str:
    """Why a port cannot be listened on, and what to do about it."""
    where = f"{address}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"another program listens on {where} or on port {port} of every address; stop it, or bind it to its own addresses"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this host does not have the address {address} yet, which the overlay gives it"
    return f"{where} cannot be listened on ({error.strerror or error})"
