"""The agent's socket: who it is, then over to the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from remuda.api.context import Context
from remuda.core.model import Agent
from remuda.core.simulated import is_simulated
from remuda.ports.store import Tx, eq
from remuda.schema.fields import AGENT

if TYPE_CHECKING:
    from remuda.api.server import Api


class SocketChannel:
    """A Starlette WebSocket as the hub's channel."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def send(self, data: str | bytes) -> None:
        """One frame. Raises ConnectionError when the other side is gone."""
        try:
            if isinstance(data, bytes):
                data = data.decode()
            await self._socket.send_text(data)
        except (WebSocketDisconnect, RuntimeError) as problem:
            raise ConnectionError(str(problem)) from None

    async def receive(self) -> str | bytes | None:
        """The next frame, None at the end."""
        try:
            message = await self._socket.receive()
        except RuntimeError:
            return None
        if message["type"] != "websocket.receive":
            return None
        text: str | None = message.get("text")
        return text if text is not None else message.get("bytes")

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Hang up."""
        if self._socket.application_state is not WebSocketState.DISCONNECTED:
            try:
                await self._socket.close(code, reason[:120])
            except RuntimeError:
                return


async def serve(api: Api, socket: WebSocket, ctx: Context) -> None:
    """One session of an agent."""
    if ctx.caller.role != AGENT:
        await socket.close(1008, "Agents only.")
        return

    def unit(tx: Tx) -> Agent | None:
        return tx.first(Agent, eq("key_account_id", ctx.caller.account_id))

    agent = await api.read(unit)
    if agent is None:
        await socket.close(1008, "There is no agent for this key.")
        return
    if is_simulated(agent.uri):
        await socket.close(1008, "This host is simulated: a server speaks for it.")
        return
    await socket.accept()
    await api.plane.hub.serve(SocketChannel(socket), agent)
