"""Metadata as a part of the network service: served as long as its address is on this machine, from the newest scene there is."""

from __future__ import annotations

from remuda.agent.network.dns.part import unusable
from remuda.agent.network.metadata.server import Server
from remuda.agent.network.state import SERVICE_ADDRESS, NetState
from remuda.core.network.metadata import Metadata
from remuda.core.network.scene import Scene


class MetadataPart:
    """``name`` of the part is ``metadata``. ``forwarded``: believe ``X-Forwarded-For``; only behind a proxy of one's own."""

    name = "metadata"

    def __init__(self, address: str = SERVICE_ADDRESS, port: int = 80, *, forwarded: bool = False) -> None:
        self._address, self.port, self._forwarded = address, port, forwarded
        self._server: Server | None = None
        self._state: NetState | None = None

    async def apply(self, state: NetState) -> str:
        """Serve what the state says."""
        if self._server is None:
            server = Server(Metadata(Scene(), 0), forwarded=self._forwarded)
            try:
                self.port = await server.open(self._address, self.port)
            except OSError as error:
                return f"no metadata is served: {unusable(error, self._address, self.port)}"
            self._server, self._state = server, None
        if self._state is None or (state.scene is not self._state.scene or state.host_id != self._state.host_id):
            self._server.use(Metadata(state.scene, state.host_id))
        self._state = state
        return ""

    async def close(self) -> None:
        """Let go of the socket."""
        if self._server is not None:
            await self._server.close()
            self._server = None
