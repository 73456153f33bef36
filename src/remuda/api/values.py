"""The settings of the installation as this server knows them: defaults, over them what was changed, over them what this
process was started with (a version cannot be stored)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from remuda.core.model import Setting
from remuda.ports.store import ALIVE, Store
from remuda.schema.settings import SETTINGS


class SettingValues:
    """Settings, read from memory; loaded again when the change log says so."""

    def __init__(self, fixed: Mapping[str, str], defaults: Mapping[str, str] | None = None) -> None:
        self._fixed = dict(fixed)
        self._defaults = dict(defaults or {})
        self._stored: dict[str, str] = {}
        self._store: Store | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def load(self, store: Store) -> None:
        """Read the stored ones."""
        self._store = store
        rows = await store.read(lambda tx: tx.find(Setting, ALIVE))
        self._stored = {r.name: r.value for r in rows}

    def reload_soon(self) -> None:
        """Read them again in the background."""
        if self._store is not None:
            task = asyncio.get_running_loop().create_task(self.load(self._store))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

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
