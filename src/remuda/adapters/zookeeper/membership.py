"""Who is there: one ephemeral node per server, watched by all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec
from kazoo.exceptions import KazooException, NodeExistsError, NoNodeError

from remuda.adapters.zookeeper.bridge import TRANSIENT, Bridge
from remuda.ports.leases import ServerInfo

log = logging.getLogger(__name__)

RECHECK_SECONDS = 30.0


class Membership:
    """Keeps our own node there and knows the others'. ``up`` is set while there is quorum."""

    def __init__(
        self, bridge: Bridge, root: str, up: asyncio.Event, tell: Callable[[dict[str, ServerInfo]], None]
    ) -> None:
        self.members: dict[str, ServerInfo] = {}
        self._bridge = bridge
        self._path = f"{root}/servers"
        self._up = up
        self._tell = tell
        self._own: ServerInfo | None = None
        self._owned_by = 0
        self._entered = asyncio.Event()
        self._changed = asyncio.Event()
        self._known: dict[str, ServerInfo] = {}
        self.task = asyncio.create_task(self._run(), name="zookeeper membership")

    def poke(self) -> None:
        """Look again soon."""
        self._changed.set()

    async def join(self, info: ServerInfo) -> None:
        """Be a member from now on; returns once we are, if there is quorum."""
        if self._own is not None and self._own.server_id != info.server_id and self._up.is_set():
            await self._delete(self._own.server_id)
        self._own = info
        self._owned_by = 0
        self._entered.clear()
        self.poke()
        if self._up.is_set():
            try:
                async with asyncio.timeout(RECHECK_SECONDS):
                    await self._entered.wait()
            except TimeoutError:
                log.warning("zookeeper: this server could not enter the list of servers yet; it goes on trying")

    async def _run(self) -> None:
        while True:
            try:
                await self._up.wait()
                self._changed.clear()
                await self._enter()
                await self._look()
                async with asyncio.timeout(RECHECK_SECONDS):
                    await self._changed.wait()
            except TRANSIENT:
                await asyncio.sleep(0.1)
            except (KazooException, msgspec.MsgspecError, OSError) as error:
                log.warning("zookeeper: membership: %s", type(error).__name__)
                await asyncio.sleep(0.5)
            except Exception:
                log.exception("zookeeper: membership")
                await asyncio.sleep(1)

    async def _enter(self) -> None:
        """Our node must be there and belong to this very session: one of an older session is about to vanish."""
        own = self._own
        if own is None:
            return
        path, data, session = f"{self._path}/{own.server_id}", msgspec.json.encode(own), self._bridge.session
        stat = await self._bridge.call("exists", path)
        if stat is not None and stat.ephemeralOwner != session:
            await self._delete(own.server_id)
            stat = None
        if stat is None:
            try:
                await self._bridge.call("create", path, data, ephemeral=True, makepath=True)
            except NodeExistsError:
                self.poke()
                return
        elif self._owned_by != session:
            await self._bridge.call("set", path, data)
        self._owned_by = session
        self._entered.set()

    async def _delete(self, server_id: str) -> None:
        try:
            await self._bridge.call("delete", f"{self._path}/{server_id}")
        except NoNodeError:
            return

    async def _look(self) -> None:
        names = await self._bridge.call("get_children", self._path, watch=self._bridge.watcher(self.poke))
        found: dict[str, ServerInfo] = {}
        for name in sorted(names):
            info = self._known.get(name) or await self._read(name)
            if info is not None:
                found[name] = info
        own = self._own
        if own is not None:
            if own.server_id in found:
                found[own.server_id] = own
            else:
                self._changed.set()  # somebody removed our node
        self._known = found
        if found != self.members:
            self.members = found
            self._tell(dict(found))

    async def _read(self, name: str) -> ServerInfo | None:
        try:
            data: tuple[bytes, Any] = await self._bridge.call("get", f"{self._path}/{name}")
            return msgspec.json.decode(data[0], type=ServerInfo)
        except NoNodeError:
            return None
        except msgspec.MsgspecError:
            return ServerInfo(server_id=name)
