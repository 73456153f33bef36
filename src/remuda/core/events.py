"""Names of events, and how often a row that keeps changing is worth one. Pure: the caller brings the time.

Events are hints for people and programs that look on; nothing in the platform acts upon them, and none is kept.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Sequence

import msgspec

from remuda.core.model import Change

ROW_CHANGED = "resource.change"
MOST_NAMES, LONGEST_NAME = 100, 256
_CHARACTERS = re.compile(r"[*._0-9a-zA-Z;=]+")

FIRST_GAP, LONGEST_GAP = 0.125, 1.0
"""Seconds between two frames of one row: at first, and while it goes on changing (each gap is twice the one before)."""

Key = tuple[str, int]


class Wanted(msgspec.Struct, frozen=True):
    """What a subscriber asked for."""

    names: tuple[str, ...]

    @property
    def rows(self) -> bool:
        """Do they want to hear of rows that changed?"""
        return self.match(ROW_CHANGED)

    def match(self, name: str) -> bool:
        """Did they ask for events of this name?"""
        return any(_fits(asked, name) for asked in self.names)


def wanted(names: Iterable[str]) -> Wanted | str:
    """What these names ask for, or a sentence on what is wrong with them. Whose events they are is not for them to say, so
    qualifiers (``;account=1a5``) are taken off."""
    found = []
    for name in names:
        if len(name) > LONGEST_NAME or not _CHARACTERS.fullmatch(name):
            return f"'{name[:64]}' is no name of an event: letters, digits and . _ * only, at most {LONGEST_NAME}"
        found.append(bare(name))
    if not any(found):
        return "Say which events: eventNames=resource.change"
    if len(found) > MOST_NAMES:
        return f"At most {MOST_NAMES} names of events"
    return Wanted(tuple(dict.fromkeys(name for name in found if name)))


def bare(name: str) -> str:
    """A name without its qualifiers."""
    return name.partition(";")[0]


def may_publish(name: str) -> bool:
    """May anybody who is not part of the installation say this? Else programs could be told of changes that never were."""
    return bare(name).startswith(("reply.", "service."))


def _fits(asked: str, name: str) -> bool:
    """Is this the name, or does it fit the pattern? The first place for each part will do, so nothing is tried twice: patterns
    come from strangers."""
    first, *rest = asked.split("*")
    if not rest:
        return asked == name
    if not name.startswith(first):
        return False
    at = len(first)
    for part in rest[:-1]:
        found = name.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(name) - at >= len(rest[-1]) and name.endswith(rest[-1])


class Pace:
    """Which rows are due to be told. The first change of a row is due at once; one that keeps changing is told once a second.

    ``floor`` is the number up to which everything was handed out: whoever resumes from there misses nothing.
    """

    def __init__(self, seq: int) -> None:
        self._last = seq
        self._told: dict[Key, tuple[float, float]] = {}
        """Row -> when its next frame may come, and the gap that led there."""
        self._held: dict[Key, tuple[int, Change]] = {}
        """Row -> number of the first change that was not told yet, and the newest. In the order of those numbers."""
        self._due: list[tuple[float, Key]] = []

    @property
    def floor(self) -> int:
        """See the class."""
        return next(iter(self._held.values()))[0] - 1 if self._held else self._last

    def take(self, changes: Sequence[Change], now: float) -> None:
        """These happened."""
        for change in changes:
            self._last = max(self._last, change.seq)
            key = (change.kind, change.record_id)
            if key in self._held:
                self._held[key] = (self._held[key][0], change)
                continue
            self._held[key] = (change.seq, change)
            heapq.heappush(self._due, (self._told[key][0] if key in self._told else now, key))

    def due(self, now: float) -> list[Change]:
        """The newest change of each row that is to be told now."""
        found = []
        while self._due and self._due[0][0] <= now:
            key = heapq.heappop(self._due)[1]
            found.append(self._held.pop(key)[1])
            allowed, gap = self._told.pop(key, (now - 2 * LONGEST_GAP, FIRST_GAP))
            gap = FIRST_GAP if now > allowed + LONGEST_GAP else min(2 * gap, LONGEST_GAP)
            self._told[key] = (now + gap, gap)
        self._forget(now)
        return sorted(found, key=lambda change: change.seq)

    def wait(self, now: float) -> float | None:
        """Seconds until something is due; None when nothing is."""
        return max(0.0, self._due[0][0] - now) if self._due else None

    def skip(self, seq: int) -> None:
        """Nobody listens (any more): nothing before this number is to be told."""
        self._last = max(self._last, seq)
        self._told.clear()
        self._held.clear()
        self._due.clear()

    def _forget(self, now: float) -> None:
        while self._told and next(iter(self._told.values()))[0] + LONGEST_GAP < now:
            del self._told[next(iter(self._told))]
