"""Named volumes of this host: carries out the orders about them, and tells which there are.

A container's own volumes are made with it (:mod:`remuda.agent.worker`); orders are for what no container asks for now. Each is
carried out once: a volume that somebody makes again under the same name is not removed by an old order. Orders live in memory
only, since the server sends them again to whoever starts anew, and so their options never reach a disk.

Docker tells events of volumes too late to be of use, so the list is read when a container with volumes changed, and now and then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from remuda.agent.plan import Backoff, failed
from remuda.core.model import REMOVED
from remuda.core.volumes import NAMELESS
from remuda.core.wire import VolumeOrder, VolumeReport
from remuda.ports.engine import Document, Engine, EngineDown, EngineError

log = logging.getLogger("remuda.agent.volumes")

SLOW_SECONDS = 30.0
_MERGE_SECONDS = 0.1
"""Containers rarely come alone: a list of volumes serves all that changed within this time."""


def due(
    orders: Iterable[VolumeOrder], done: Mapping[str, int], backoffs: Mapping[str, Backoff], now: float
) -> tuple[list[VolumeOrder], float | None]:
    """The orders to carry out now, and when (monotonic) the next one is to be tried again; None = no other waits."""
    open_ = sorted((o for o in orders if done.get(o.uuid, 0) < o.seq), key=lambda o: o.seq)
    waits = {o.uuid: backoffs[o.uuid].until for o in open_ if o.uuid in backoffs and backoffs[o.uuid].until > now}
    return [o for o in open_ if o.uuid not in waits], min(waits.values(), default=None)


def reports(
    listed: Iterable[Document], orders: Iterable[VolumeOrder], done: Mapping[str, int], backoffs: Mapping[str, Backoff]
) -> list[VolumeReport]:
    """What to tell of: every volume that has a name, and what became of each order."""
    found = {
        str(one["Name"]): VolumeReport(
            name=str(one["Name"]), driver=str(one.get("Driver") or "local"), mountpoint=str(one.get("Mountpoint") or "")
        )
        for one in listed
        if not NAMELESS.fullmatch(str(one["Name"]))
    }
    for order in orders:
        there, trouble = found.get(order.wish.name), backoffs.get(order.uuid)
        message = trouble.message if trouble is not None and done.get(order.uuid, 0) < order.seq else ""
        found[order.wish.name] = VolumeReport(
            name=order.wish.name,
            uuid=order.uuid,
            driver=there.driver if there else order.wish.driver,
            mountpoint=there.mountpoint if there else "",
            seen="present" if there else ("error" if message else "absent"),
            message=message,
            applied_seq=done.get(order.uuid, 0),
        )
    return [found[name] for name in sorted(found)]


class VolumeKeeper:
    """``up`` tells whether the engine answers. ``on_change()`` is called when there is something new to tell."""

    def __init__(self, engine: Engine, up: Callable[[], bool]) -> None:
        self._engine, self._up = engine, up
        self.on_change: Callable[[], None] = lambda: None
        self._orders: dict[str, VolumeOrder] = {}
        self._done: dict[str, int] = {}
        self._backoffs: dict[str, Backoff] = {}
        self._told: list[VolumeReport] | None = None
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something happened that volumes may have to do with."""
        self._wake.set()

    def take(self, orders: Iterable[VolumeOrder], *, complete: bool) -> None:
        """Enter orders; ``complete`` = there are no others."""
        given = {order.uuid: order for order in orders}
        before = {} if complete else self._orders
        self._orders = {**before, **given}
        self._done = {uuid: seq for uuid, seq in self._done.items() if uuid in self._orders}
        for uuid in given:
            self._backoffs.pop(uuid, None)
        if given:
            self._wake.set()

    def reports(self) -> list[VolumeReport] | None:
        """All named volumes as they were seen last; None before that."""
        return self._told

    async def run(self) -> None:
        """For ever."""
        while True:
            self._wake.clear()
            pause = SLOW_SECONDS
            try:
                if self._up():
                    pause = await self._round()
            except EngineError as error:
                log.info("Volumes cannot be looked at: %s", error)
            except Exception:  # a bug must not end the looking after
                log.exception("Looking after volumes failed; trying again")
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
                await asyncio.sleep(_MERGE_SECONDS)
            except TimeoutError:
                continue

    async def _round(self) -> float:
        now = asyncio.get_running_loop().time()
        todo, again = due(self._orders.values(), self._done, self._backoffs, now)
        for order in todo:
            await self._carry_out(order)
        listed = await self._engine.volumes()
        told = reports(listed, self._orders.values(), self._done, self._backoffs)
        if told != self._told:
            self._told = told
            self.on_change()
        _, again = due(self._orders.values(), self._done, self._backoffs, now)
        return SLOW_SECONDS if again is None else max(0.01, min(SLOW_SECONDS, again - now))

    async def _carry_out(self, order: VolumeOrder) -> None:
        wish = order.wish
        try:
            if order.desired == REMOVED:
                log.info("remove volume %s", wish.name)
                await self._engine.remove_volume(wish.name)
            else:
                log.info("make volume %s", wish.name)
                await self._engine.create_volume(wish.name, wish.driver, wish.options)
        except EngineDown:
            raise
        except EngineError as error:
            log.warning("volume %s: %s", wish.name, error)
            before = self._backoffs.get(order.uuid)
            self._backoffs[order.uuid] = failed(before, asyncio.get_running_loop().time(), str(error))
        else:
            self._done[order.uuid] = order.seq
            self._backoffs.pop(order.uuid, None)
