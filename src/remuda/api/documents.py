"""Encoded documents of rows, kept as long as the row and what is added to it are the values that they were made of.

Records are frozen, and the store gives the same one again while its row is the same; so a document holds for the very record
that it was made of. What a type adds (``Behaviour.extra``) is worked out with every request and compared. Nothing here can be
out of date.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from remuda.api.context import Context
from remuda.core.model import Record
from remuda.schema.fields import ResourceType

MOST_BYTES = 8_000_000
"""Twice that at most, since two halves are kept."""

Key = tuple[object, ...]


class Document(NamedTuple):
    """What it was made of, and the document."""

    record: Record
    extra: dict[str, Any]
    told: msgspec.Raw


class Documents:
    """Those used last. Several threads share it: each step is one operation on a dict, and losing one costs a rendering."""

    def __init__(self) -> None:
        self._young: dict[Key, Document] = {}
        self._old: dict[Key, Document] = {}
        self._bytes = 0

    def get(self, view: Key, record: Record, extra: dict[str, Any]) -> msgspec.Raw | None:
        """The document of a row in a view, if it was made of these."""
        key = (view, record.id)
        found = self._young.get(key)
        if found is not None:
            return found.told if found.record is record and found.extra == extra else None
        found = self._old.get(key)
        if found is None or found.record is not record or found.extra != extra:
            return None
        self._put(key, found)
        return found.told

    def put(self, view: Key, record: Record, extra: dict[str, Any], told: bytes) -> msgspec.Raw:
        """Keep a document, and give it."""
        document = Document(record, extra, msgspec.Raw(told))
        self._put((view, record.id), document)
        return document.told

    def _put(self, key: Key, document: Document) -> None:
        size = len(memoryview(document.told))
        if self._bytes + size > MOST_BYTES:  # what was not used since the last time goes
            self._old, self._young, self._bytes = self._young, {}, 0
        self._young[key] = document
        self._bytes += size


def view_of(ctx: Context, kind: ResourceType) -> Key:
    """All that a document depends on besides the row and what is added to it."""
    return (kind.id, ctx.caller.role, ctx.dialect.version, ctx.root, ctx.prefix, ctx.action_links)
