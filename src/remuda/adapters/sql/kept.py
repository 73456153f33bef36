"""Rows that were read, kept as the records that they are: only what changed since is read and decoded again.

A record is a frozen value, and a version of a row is never written twice; so a kept record is right exactly when the row's
identity (its version, and what tells it from another row that had the same id) is. Readers ask the database for the
identities, in the same snapshot in which they read what they do not have. Nothing here is believed because it is new, and
nothing must be told of changes.

It refuses to learn from units that write: what they see may be rolled back, and the same version be written with other
contents.
"""

from __future__ import annotations

from typing import Any

from remuda.core.model import AuditLog, Event, HealthObservation, Record

MOST_WEIGHT = 16_000_000
"""Characters of text, roughly; twice that at most, since two halves are kept."""
_PER_ROW = 1500
_NEVER: frozenset[type[Record]] = frozenset({AuditLog, Event, HealthObservation})
"""Histories are long and seldom read twice; observations change as often as they are read."""

FEW = 8
"""So few rows are read whole: asking twice would cost more."""

Identity = tuple[int, int, str, int]


class Kept:
    """The records that were used last. Threads share it: each step is one operation on a dict, and losing one costs a read."""

    def __init__(self) -> None:
        self._young: dict[tuple[type[Record], int], tuple[Identity, Any]] = {}
        self._old: dict[tuple[type[Record], int], tuple[Identity, Any]] = {}
        self._weight = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    @staticmethod
    def keeps(kind: type[Record], limit: int | None) -> bool:
        """Are rows of this kind worth keeping, when so many are asked for?"""
        return kind not in _NEVER and (limit is None or limit > FEW)

    def get(self, kind: type[Record], identity: Identity) -> Any | None:
        """The record of this state of a row."""
        key = (kind, identity[0])
        found = self._young.get(key)
        if found is not None:
            return found[1] if found[0] == identity else None
        found = self._old.get(key)
        if found is None or found[0] != identity:
            return None
        self._put(key, found, _PER_ROW)
        return found[1]

    def put(self, kind: type[Record], record: Record, values: list[Any]) -> None:
        """Keep a record that was read; ``values`` are its columns."""
        identity = (record.id, record.version, record.uuid, record.created)
        weight = _PER_ROW + sum(len(value) for value in values if isinstance(value, str))
        self._put((kind, record.id), (identity, record), weight)

    def _put(self, key: tuple[type[Record], int], entry: tuple[Identity, Any], weight: int) -> None:
        if self._weight + weight > MOST_WEIGHT:  # what was not used since the last time goes
            self._old, self._young, self._weight = self._young, {}, 0
        self._young[key] = entry
        self._weight += weight
