"""The settings of the installation as this server knows them: defaults, over them what was changed, over them what this
process was started with (a version cannot be stored)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from remuda.core.model import Setting
from remuda.ports.store import ALIVE, Store, StoreError
from remuda.schema.settings import SETTINGS

log = structlog.get_logger()
RETRY_SECONDS = 1.0


class SettingValues:
    """Settings, read from memory; loaded again when the change log says so."""

    def __init__(self, fixed: Mapping[str, str], defaults: Mapping[str, str] | None = None) -> None:
        self._fixed = dict(fixed)
        self._defaults = dict(defaults or {})
        self._stored: dict[str, str] = {}
        self._store: Store | None = None
        self._reloading: asyncio.Task[None] | None = None
        self._again = False

    async def load(self, store: Store) -> None:
        """Read the stored ones."""
        self._store = store
        rows = await store.read(lambda tx: tx.find(Setting, ALIVE))
        self._stored = {r.name: r.value for r in rows}

    def reload_soon(self, then: Callable[[], None] = lambda: None) -> None:
        """Read them again in the background, until it works; one reading at a time, so that an older one never wins."""
        self._again = True
        if self._store is not None and (self._reloading is None or self._reloading.done()):
            self._reloading = asyncio.get_running_loop().create_task(self._reload(self._store, then))

    async def _reload(self, store: Store, then: Callable[[], None]) -> None:
        while self._again:
            self._again = False
            try:
                await self.load(store)
            except StoreError as problem:
                log.warning("the settings could not be read and are read again", problem=str(problem))
                self._again = True
                await asyncio.sleep(RETRY_SECONDS)
        then()

    def get(self, name: str) -> str:
        """The value in force, empty for a name that nobody knows."""
        if name in self._fixed:
            return self._fixed[name]
        if name in self._stored:
            return self._stored[name]
        if name in self._defaults:
            return self._defaults[name]
        declared = SETTINGS.get(name)
        return declared.default if declared else ""

    def names(self) -> list[str]:
        """All names: declared or stored."""
        return sorted({*SETTINGS, *self._stored})
