"""The catalogs of an installation as this server has them: fetched, indexed again when they changed, kept when that fails.

Every server keeps its own copies; nothing of them is in the database. A repository that cannot be reached costs its news only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from remuda.catalog.index import index
from remuda.catalog.model import Finding, Template
from remuda.catalog.sources import SETTING, Source, sources
from remuda.ports.git import Git, GitError

log = logging.getLogger(__name__)

INTERVAL = "catalog.refresh.interval.seconds"
LOOK_SECONDS = 2.0
"""How soon another address in the settings is followed."""
MOST_BYTES = 1_000_000
"""No file of a template is larger than this."""
MOST_FILES = 50_000


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    """One of them. ``problem`` is why there is no news; what was there before is still offered."""

    source: Source
    commit: str = ""
    problem: str = ""
    templates: dict[str, Template] = {}
    """By id."""
    findings: list[Finding] = []


class Catalogs:
    """``setting`` gives the value of a setting in force now; ``folder`` is this server's own."""

    def __init__(self, git: Git, folder: Path, setting: Callable[[str], str]) -> None:
        self._git, self._folder, self._setting = git, folder, setting
        self._known: dict[str, Catalog] = {}
        self._gate = asyncio.Lock()
        self._told = ""

    def sources(self) -> list[Source]:
        """The repositories that the settings name; none while they make no sense."""
        try:
            return sources(self._setting(SETTING))
        except ValueError as problem:
            if self._told != str(problem):
                self._told = str(problem)
                log.warning("the setting %s is not followed: %s", SETTING, problem)
            return []

    def all(self) -> list[Catalog]:
        """All catalogs of the settings by name, also those that were not fetched yet."""
        return [self._known.get(source.name, Catalog(source=source)) for source in self.sources()]

    def templates(self) -> list[Template]:
        """All that is offered."""
        return [template for catalog in self.all() for template in catalog.templates.values()]

    def find(self, template_id: str) -> Template | None:
        """A template by its id."""
        catalog = self._known.get(template_id.partition(":")[0])
        return catalog.templates.get(template_id) if catalog else None

    def read(self, template: Template, path: str) -> bytes:
        """A file by its path in the repository. Raises OSError."""
        place = self._place(template.catalog)
        file = (place / path).resolve()
        if not file.is_relative_to(place.resolve()) or file.stat().st_size > MOST_BYTES:
            raise FileNotFoundError(path)
        return file.read_bytes()

    async def run(self) -> None:
        """Follow settings and repositories, until cancelled."""
        loop = asyncio.get_running_loop()
        due, followed = 0.0, list[Source]()
        while True:
            wanted = self.sources()
            if loop.time() >= due or wanted != followed:
                followed = wanted
                await self.refresh()
                due = loop.time() + max(10.0, float(self._setting(INTERVAL) or 300))
            await asyncio.sleep(LOOK_SECONDS)

    async def refresh(self, names: Iterable[str] = ()) -> None:
        """Look for news now, of these or of all. Never raises for a repository."""
        chosen = set(names)
        async with self._gate:
            wanted = self.sources()
            for gone in self._known.keys() - {source.name for source in wanted}:
                del self._known[gone]
            for source in wanted:
                if not chosen or source.name in chosen:
                    self._known[source.name] = await self._fetched(source)

    async def _fetched(self, source: Source) -> Catalog:
        before = self._known.get(source.name)
        if before is not None and before.source != source:
            before = None
        try:
            commit = await self._git.fetch(source.url, source.branch, self._place(source.name))
            if before is not None and before.commit == commit:
                return msgspec.structs.replace(before, problem="")
            found, findings = await asyncio.to_thread(index_folder, source.name, self._place(source.name))
        except (GitError, OSError) as problem:
            log.warning("the catalog %s has no news: %s: %s", source.name, source.url, problem)
            return msgspec.structs.replace(before or Catalog(source=source), problem=str(problem))
        log.info("the catalog %s has %d templates at %s", source.name, len(found), commit[:12])
        for finding in findings:
            log.warning("the catalog %s: %s is left out: %s", source.name, finding.path, finding.message)
        return Catalog(source=source, commit=commit, templates={one.id: one for one in found}, findings=findings)

    def _place(self, name: str) -> Path:
        return self._folder / name


def index_folder(name: str, place: Path) -> tuple[list[Template], list[Finding]]:
    """What a folder that holds a repository offers. Raises OSError."""
    paths = [
        str(path.relative_to(place))
        for path in place.rglob("*")
        if path.is_file() and not path.is_symlink() and path.relative_to(place).parts[0] != ".git"
    ]

    def read(path: str) -> str:
        file = place / path
        if file.stat().st_size > MOST_BYTES:
            raise OSError(f"{path} is larger than 1 MB")
        return file.read_text()

    return index(name, paths[:MOST_FILES], read)
