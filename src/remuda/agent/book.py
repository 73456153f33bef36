"""What the agent remembers: its assignments and how far each was carried out. One small file, written atomically.

With it a host restarts its own containers while no server can be reached, and a restarted agent repeats nothing.
Credentials for registries and values of secrets are never written: they live in memory only.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from remuda.agent.plan import Done
from remuda.core.model import REMOVED
from remuda.core.wire import Assign, Assignment

NAME = "assignments.json"


class Page(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The file. ``server`` tells whose assignments these are."""

    server: str = ""
    through: int = 0
    complete: bool = False
    assignments: dict[str, Assignment] = {}
    done: dict[str, Done] = {}


class Book:
    """The memory; ``changed`` is True when the file is behind."""

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / NAME if folder else None
        self.folder = str(folder.absolute()) if folder else ""
        self.page = Page()
        self.changed = False
        self.trouble = ""
        if self._path is not None and self._path.exists():
            try:
                self.page = msgspec.json.decode(self._path.read_bytes(), type=Page)
            except (OSError, msgspec.DecodeError) as error:
                self.trouble = f"{self._path} cannot be read ({error}); the server will send everything again"

    @property
    def assignments(self) -> dict[str, Assignment]:
        """By uuid."""
        return self.page.assignments

    @property
    def done(self) -> dict[str, Done]:
        """By uuid."""
        return self.page.done

    @property
    def applied_seq(self) -> int:
        """Every assignment up to this number is carried out."""
        undone = [wish.seq for uuid, wish in self.assignments.items() if self.seq_done(uuid) < wish.seq]
        return min(self.page.through, min(undone) - 1) if undone else self.page.through

    def seq_done(self, uuid: str) -> int:
        """The newest assignment of ``uuid`` that was carried out."""
        known = self.done.get(uuid)
        return known.seq if known else 0

    def belongs_to(self, server: str) -> None:
        """Forget everything that another server assigned."""
        if self.page.server and self.page.server != server:
            self.page = Page(server=server)
            self.changed = True
        elif not self.page.server:
            self.page.server = server
            self.changed = True

    def take(self, message: Assign) -> set[str]:
        """Enter assignments; the uuids that the server wants to hear of. Older or repeated ones have no effect."""
        touched = set()
        for wish in message.items:
            touched.add(wish.uuid)
            current = self.assignments.get(wish.uuid)
            # A complete list is the truth even if its numbers are lower: the server's database may have been restored.
            newer = (
                current is None
                or wish.seq > current.seq
                or (wish.seq == current.seq and (wish.registry_auth or wish.secrets))
            )
            if newer or (message.complete and wish != current):
                self.assignments[wish.uuid] = wish
                self.changed = True
        if message.complete:
            named = {wish.uuid for wish in message.items}
            gone = [uuid for uuid in self.assignments if uuid not in named]
            touched.update(gone)
            self.forget(gone)
            self.changed |= not self.page.complete
            self.page.complete = True
        through = max(self.page.through, message.through) if not message.complete else message.through
        if through != self.page.through:
            self.page.through = through
            self.changed = True
        return touched

    def carried_out(self, uuid: str, seq: int, token: int, *, restarted: bool = False) -> None:
        """Remember that the container is as assignment ``seq`` wanted it."""
        before = self.done.get(uuid, Done())
        after = Done(max(seq, before.seq), max(token, before.token), before.restarts + int(restarted))
        if after != before:
            self.done[uuid] = after
            self.changed = True

    def forget(self, uuids: Iterable[str]) -> None:
        """Drop what is no longer assigned here."""
        for uuid in uuids:
            found = self.assignments.pop(uuid, None), self.done.pop(uuid, None)
            self.changed |= found != (None, None)

    def removals_done(self) -> set[str]:
        """Assignments to remove that are carried out: once the server knows, they can be forgotten."""
        return {
            uuid
            for uuid, wish in self.assignments.items()
            if wish.desired == REMOVED and self.seq_done(uuid) >= wish.seq
        }

    def bytes(self) -> bytes:
        """The file's content, without secrets."""
        clean = {
            uuid: msgspec.structs.replace(wish, registry_auth="", secrets={})
            if wish.registry_auth or wish.secrets
            else wish
            for uuid, wish in self.assignments.items()
        }
        return msgspec.json.encode(msgspec.structs.replace(self.page, assignments=clean))

    def save(self) -> None:
        """Write the file if it is behind."""
        if self._path is None or not self.changed:
            return
        self.changed = False
        write_private(self._path, self.bytes())

    async def save_soon(self) -> None:
        """Write the file if it is behind, without holding up the event loop while the disk works."""
        if self._path is None or not self.changed:
            return
        self.changed = False
        await asyncio.to_thread(write_private, self._path, self.bytes())


def write_private(path: Path, data: bytes) -> None:
    """Replace a file atomically, readable by its owner only; after a power cut it holds the old or the new content."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
