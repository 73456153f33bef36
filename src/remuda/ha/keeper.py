"""Keeps containers as they should be: makes, starts, replaces and removes them through the engine, one step per look.

Level-triggered: it looks at what is, compares with what should be, and acts; called again after a crash it goes on from there.
Docker's own restart policy brings a died process back at once; this is for everything that policy does not see.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from remuda.ha.parts import LABEL_HASH, LABEL_KEYS, LABEL_PART, STOP_SECONDS, SUPERVISOR, Part
from remuda.ports.engine import Engine, EngineError

log = logging.getLogger(__name__)


class Keeper:
    """``may_replace(part)`` says why a running part must not be taken down now, or nothing."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def own_image(self, given: str = "") -> str:
        """The image this supervisor runs from, by id, so that its siblings are of the very same build."""
        if given:
            return given
        document = await self._engine.inspect(SUPERVISOR)
        return str(document["Image"])

    async def look(self) -> dict[str, dict[str, Any]]:
        """Our containers by part, whether they run or not."""
        found: dict[str, dict[str, Any]] = {}
        for document in await self._engine.containers():
            labels = document.get("Labels") or {}
            name = labels.get(LABEL_PART)
            if name and f"/{SUPERVISOR}-{name}" in (document.get("Names") or []):
                found[name] = document
        return found

    async def ensure(
        self,
        part: Part,
        seen: dict[str, Any] | None,
        may_replace: Callable[[Part], Awaitable[str]],
        obstacle: Callable[[Part], str],
    ) -> str:
        """One step toward ``part``; returns a sentence on what hinders it, empty when it runs as it should."""
        if seen is not None and (seen.get("Labels") or {}).get(LABEL_HASH) != part.hash:
            running = seen.get("State") == "running"
            same_keys = (seen.get("Labels") or {}).get(LABEL_KEYS) == part.keys
            # with other keys nobody of the old cluster can be asked any more: waiting for them would be for ever
            if running and same_keys and (why := await may_replace(part)):
                return f"is to be started anew with new settings, but not now: {why}"
            log.info("%s is made anew: its settings or its image changed", part.container)
            await self._remove(part.name, running)
            seen = None
        if seen is None:
            if why := obstacle(part):
                return why
            await self._clear_name(part)
            await self._engine.create(part.container, part.document)
            await self._engine.start(part.container)
            log.info("%s is started", part.container)
            return ""
        state = seen.get("State")
        if state == "running":
            return ""
        if state == "restarting":
            return f"ends as soon as it starts and is tried again; its last words: {await self._last_words(part)}"
        if state == "paused":
            return f"is paused; continue it: docker unpause {part.container}"
        if state in ("dead", "removing"):
            await self._remove(part.name, False)
            return "was dead and is made anew"
        if why := obstacle(part):
            return why
        log.info("%s is %s and is started", part.container, state)
        await self._engine.start(part.container)
        return ""

    async def _last_words(self, part: Part) -> str:
        text = b""
        with contextlib.suppress(EngineError):
            async for _, piece in self._engine.logs(part.container, follow=False, lines=3, timestamps=False):
                text += piece
        lines = [line.strip() for line in text.decode(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else f"none (docker logs {part.container})"

    async def _clear_name(self, part: Part) -> None:
        """Another container under our name would refuse ours its name: it can only be a leftover."""
        for document in await self._engine.containers():
            if f"/{part.container}" in (document.get("Names") or []):
                await self._engine.remove(str(document["Id"]), force=True, volumes=False)

    async def drop(self, names: Sequence[str], seen: dict[str, dict[str, Any]]) -> None:
        """Remove parts that this node is not to run any more."""
        for name in names:
            if name in seen:
                log.info("%s-%s is not wanted on this node any more and is removed", SUPERVISOR, name)
                await self._remove(name, seen[name].get("State") == "running")

    async def restart(self, name: str) -> None:
        """Stop and start again: for a process that runs but does not answer."""
        await self._engine.kill(f"{SUPERVISOR}-{name}", "SIGKILL")

    async def signal(self, name: str, signal: str) -> None:
        """Send a signal to a part's first process."""
        await self._engine.kill(f"{SUPERVISOR}-{name}", signal)

    async def _remove(self, name: str, running: bool) -> None:
        container = f"{SUPERVISOR}-{name}"
        if running:
            try:
                await self._engine.stop(container, STOP_SECONDS.get(name, 5))
            except EngineError as error:
                log.warning("%s does not stop (%s); it is removed by force", container, error)
        await self._engine.remove(container, force=True, volumes=False)
