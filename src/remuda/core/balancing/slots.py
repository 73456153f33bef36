"""Which server sits in which slot of a backend, and how to come from what haproxy has to what it is to have. Pure.

haproxy is started with more slots than servers; servers come, drain and go by its runtime socket, without a reload. A server
keeps its slot as long as it is there; slots are doubled (with a reload) when they are all taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from remuda.core.balancing.targets import Backend

FEWEST = 16
READY, DRAIN, MAINT = "ready", "drain", "maint"


class Slot(NamedTuple):
    """What a slot holds; ``state`` maint = nothing that gets requests."""

    address: str = ""
    port: int = 0
    state: str = MAINT
    weight: int = 1


Slots = tuple[Slot, ...]


class Change(NamedTuple):
    """One slot of one backend is to be this."""

    backend: str
    number: int
    slot: Slot
    moved: bool
    """Its address is another one than before."""
    weighed: bool = False
    """Its weight is."""


def size_for(count: int, before: int = 0) -> int:
    """How many slots a backend gets: never fewer than it has, room to double."""
    wanted = max(FEWEST, before)
    while wanted < count:
        wanted *= 2
    return wanted


def seat(backend: Backend, before: Sequence[Slot]) -> Slots:
    """The servers of a backend in slots, each where it was."""
    wanted = {(s.address, s.port): s for s in sorted(backend.servers, key=lambda s: not s.leaving)}
    size = size_for(len(wanted), len(before))
    slots: list[Slot] = [*before, *[Slot()] * (size - len(before))]
    placed: set[tuple[str, int]] = set()
    for number, slot in enumerate(slots):
        key = (slot.address, slot.port)
        server = wanted.get(key) if key not in placed else None
        if server is None:
            slots[number] = slot._replace(state=MAINT)
        elif not server.leaving or slot.state != MAINT:
            slots[number] = slot._replace(state=DRAIN) if server.leaving else Slot(*key, READY, server.weight)
            placed.add(key)
    free = iter([n for n, slot in enumerate(slots) if slot.state == MAINT])
    for key, server in wanted.items():
        # one that only leaves was never in use here: it gets no slot any more
        if key not in placed and not server.leaving:
            slots[next(free)] = Slot(*key, READY, server.weight)
    return tuple(slots)


def changes(before: Mapping[str, Sequence[Slot]], after: Mapping[str, Sequence[Slot]]) -> list[Change]:
    """The slots that differ; what goes before what comes."""
    found = []
    for backend, slots in after.items():
        old = before.get(backend, ())
        for number, slot in enumerate(slots):
            was = old[number] if number < len(old) else Slot()
            moved = (was.address, was.port) != (slot.address, slot.port)
            weighed = slot.state == READY and slot.weight != was.weight
            if slot.state != was.state or (slot.state != MAINT and moved) or weighed:
                found.append(Change(backend, number, slot, moved, weighed))
    return sorted(found, key=lambda change: change.slot.state == MAINT)


def fits(before: Mapping[str, Sequence[Slot]], after: Mapping[str, Sequence[Slot]]) -> bool:
    """Do the slots that a running haproxy has suffice?"""
    return before.keys() == after.keys() and all(len(after[name]) == len(slots) for name, slots in before.items())


def commands(found: Iterable[Change]) -> list[str]:
    """The same in the words of haproxy's runtime socket."""
    lines = []
    for change in found:
        name = f"{change.backend}/s{change.number + 1}"
        if change.moved and change.slot.state != MAINT:
            lines.append(f"set server {name} state maint")
            lines.append(f"set server {name} addr {change.slot.address} port {change.slot.port}")
        if change.weighed:
            lines.append(f"set server {name} weight {change.slot.weight}")
        lines.append(f"set server {name} state {change.slot.state}")
        if change.slot.state == MAINT:
            lines.append(f"shutdown sessions server {name}")  # they wait for somebody who is not there any more
    return lines
