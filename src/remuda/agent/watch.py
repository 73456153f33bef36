"""The agent's view of its engine: one list, then events, then a list every 30 s because events may be lost.

Inspect is asked only for containers that the list or an event shows as changed. When Docker does not answer, the view is
kept as it was and marked stale: a dead engine says nothing about its containers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from remuda.agent.observe import Container, from_inspect, owned_uuid
from remuda.ports.engine import Document, Engine, EngineDown, EngineError

log = logging.getLogger("remuda.agent.watch")

RELIST_SECONDS = 30.0
PING_SECONDS = 1.5
_RETRY_SECONDS = 0.5
_CHANGES = frozenset(
    {"create", "start", "die", "stop", "kill", "destroy", "pause", "unpause", "rename", "oom", "update", "restart",
     "health_status"}
)  # fmt: skip
_SILENT = frozenset({"kill", "stop", "restart", "oom"})
"""Events that are always followed by one that tells the outcome (die, start)."""

T = TypeVar("T")
Changed = Callable[[Container | None, Container | None], None]


@asynccontextmanager
async def closing(items: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Iterate over an engine's stream; leaving the block hangs up at once instead of when the garbage is collected."""
    try:
        yield items
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _health_in(status: str) -> str:
    """What the engine's own check says, from the words of its list (``Up 5 minutes (healthy)``)."""
    return next((word for word in ("unhealthy", "healthy") if f"({word})" in status), "")


class Watch:
    """``containers`` by Docker id. ``on_change(before, after)`` is called for each difference, ``on_docker`` when the engine
    comes or goes. A container that is ``busy`` (somebody works on it, by uuid) is not looked at: that somebody will."""

    def __init__(
        self,
        engine: Engine,
        agent: str,
        *,
        on_change: Changed,
        on_docker: Callable[[], None],
        busy: Callable[[str], bool],
    ) -> None:
        self._engine, self._agent = engine, agent
        self._on_change, self._on_docker, self._busy = on_change, on_docker, busy
        self.containers: dict[str, Container] = {}
        self.up = False
        self.seen = False
        """True once the engine was listed: until then nothing may be concluded from a missing container."""
        self.message = "Docker has not answered yet"
        self.info: Document = {}
        self._dirty: set[str] = set()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """For ever: connect, follow, say why not, try again."""
        while True:
            why = ""
            try:
                await self._follow()
            except* EngineError as group:
                why = str(_first(group))
            except* Exception as group:  # the loop survives whatever a broken engine may answer
                log.exception("The view of Docker failed; starting it again")
                why = f"The answer of Docker could not be understood: {_first(group)}"
            self._down(why)
            await asyncio.sleep(_RETRY_SECONDS)

    async def refresh(self, container: str) -> Container | None:
        """Look at one container now; None when it is gone."""
        try:
            after = from_inspect(await self._engine.inspect(container), self._agent)
        except EngineError as error:
            if error.status != 404:
                raise
            after = None
        self._dirty.discard(container)
        self._put(container, after)
        return after

    async def relist(self) -> None:
        """Compare the engine's list with the view and inspect what differs."""
        items = await self._engine.containers()
        listed = {str(item["Id"]): str(item.get("State", "")) for item in items}
        health = {str(item["Id"]): _health_in(str(item.get("Status", ""))) for item in items}
        for gone in [known for known in self.containers if known not in listed]:
            self._put(gone, None)
        for found, state in listed.items():
            known = self.containers.get(found)
            moved = known is not None and health[found] not in ("", known.engine.get("Health"))
            if known is None or known.state != state or not known.engine or moved:
                await self.refresh(found)
        self.seen = True

    async def _follow(self) -> None:
        await self._engine.ping()
        async with asyncio.TaskGroup() as group:
            ready = asyncio.Event()
            group.create_task(self._events(ready))
            group.create_task(self._pings())
            try:
                async with asyncio.timeout(10):
                    await ready.wait()
                self.info = await self._engine.info()
                await self.relist()
            except TimeoutError as error:
                raise EngineDown("Docker does not offer its events") from error
            self._came_up()
            group.create_task(self._inspections())

    async def _events(self, ready: asyncio.Event) -> None:
        async with closing(self._engine.events()) as events:
            async for event in events:
                if not event:
                    ready.set()
                    continue
                self._heard(event)
        raise EngineDown("Docker closed the stream of events: it is being stopped or restarted")

    def _heard(self, event: Document) -> None:
        action = str(event.get("Action") or event.get("status", "")).partition(":")[0]
        actor = event.get("Actor") or {}
        container = str(actor.get("ID") or event.get("id", ""))
        if action not in _CHANGES or action in _SILENT or not container:
            return
        if action == "destroy":
            self._dirty.discard(container)
            self._put(container, None)
            return
        uuid = owned_uuid(actor.get("Attributes") or {}, self._agent)
        if uuid and self._busy(uuid):
            return  # whoever works on it looks when the work is done
        self._dirty.add(container)
        self._wake.set()

    async def _pings(self) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            await self._engine.ping()

    async def _inspections(self) -> None:
        loop = asyncio.get_running_loop()
        next_list = loop.time() + RELIST_SECONDS
        while True:
            try:
                async with asyncio.timeout_at(next_list):
                    await self._wake.wait()
            except TimeoutError:
                await self.relist()
                next_list = loop.time() + RELIST_SECONDS
            self._wake.clear()
            for container in list(self._dirty):
                await self.refresh(container)

    def _put(self, container: str, after: Container | None) -> None:
        before = self.containers.get(container)
        if before == after:
            return
        if after is None:
            self.containers.pop(container, None)
        else:
            self.containers[container] = after
        self._on_change(before, after)

    def _came_up(self) -> None:
        if not self.up:
            log.info("Docker %s answers", self.info.get("ServerVersion", ""))
            self.up, self.message = True, ""
            self._on_docker()

    def _down(self, why: str) -> None:
        if self.up or why != self.message:
            log.warning("Docker is down: %s", why)
            self.up, self.message = False, why
            self._on_docker()
