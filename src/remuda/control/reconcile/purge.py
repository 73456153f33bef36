"""Forget what nobody asks for any more: old changes, old history, rows removed long ago.

Looks once an hour and writes only if there is something to forget. Belongs to the first shard.
"""

from __future__ import annotations

from remuda.control.reconcile.loop import Key, Term
from remuda.control.reconcile.snapshot import News
from remuda.core.model import (
    AuditLog,
    Event,
    ExternalEvent,
    Host,
    Instance,
    Mount,
    PullTask,
    Record,
    Registry,
    RegistryCredential,
    Secret,
    Service,
    Stack,
    Volume,
    VolumeTemplate,
)
from remuda.ports.store import Tx, Where

NAME = "purge"
EVERY_SECONDS = 3600.0
KEEP_CHANGES = 50_000
HOUR = 3_600_000
KEEP_REMOVED: dict[type[Record], int] = {
    Instance: 24 * HOUR,
    Service: 7 * 24 * HOUR,
    Stack: 7 * 24 * HOUR,
    Host: 30 * 24 * HOUR,
    Registry: 7 * 24 * HOUR,
    RegistryCredential: 7 * 24 * HOUR,
    Secret: 7 * 24 * HOUR,
    Mount: 24 * HOUR,
    Volume: 7 * 24 * HOUR,
    VolumeTemplate: 7 * 24 * HOUR,
}
KEEP_CREATED: dict[type[Record], int] = {
    Event: 30 * 24 * HOUR,
    AuditLog: 90 * 24 * HOUR,
    ExternalEvent: 24 * HOUR,
    PullTask: 7 * 24 * HOUR,
}
BATCH = 500


class PurgeController:
    """One key, once an hour."""

    name = NAME

    def __init__(self, term: Term) -> None:
        self._term = term

    def all_keys(self, tx: Tx, term: Term) -> list[Key]:
        """The one key, on the first shard."""
        return [Key(NAME, 0, 0)] if term.shard == 0 else []

    def touched(self, news: News) -> list[Key]:
        """Nothing that changes makes it look."""
        return []

    async def reconcile(self, key: Key) -> tuple[str, float | None]:
        """Forget one batch of each; more soon if there was a full one."""
        term = self._term
        due = await term.store.read(lambda tx: purge(tx, dry=True))
        if not due:
            return "", EVERY_SECONDS
        count = await term.store.write(purge, grant=term.grant)
        return f"{count} old rows forgotten", 1.0 if count >= BATCH else EVERY_SECONDS


def purge(tx: Tx, *, dry: bool = False) -> int:
    """Forget one batch; returns how many rows that is."""
    old: list[Record] = []
    for kind, keep in KEEP_REMOVED.items():
        old += tx.find(kind, Where("removed", "lt", tx.now() - keep), limit=BATCH)
    for kind, keep in KEEP_CREATED.items():
        old += tx.find(kind, Where("created", "lt", tx.now() - keep), limit=BATCH)
    count = len(old)
    before = tx.last_change() - KEEP_CHANGES
    if dry:
        return count + max(0, before - tx.oldest_change())
    for record in old:
        tx.delete(record)
    if before > tx.oldest_change():
        count += tx.trim_changes(before)
    return count
