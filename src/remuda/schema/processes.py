"""The state graph that 1.x published: by which process a row goes from one state to the next.

Remuda runs no such processes: states are derived from what is wanted and what is so (``core.states``). But a client may see no
step that the graph does not have, and clients read the graph itself as ``processDefinition``. The table is
``published/processes.txt``::

    resource
        verb start,start>during>end ... [field=<where it is not state>] [then=<the verb that follows by itself>]
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import NamedTuple

import msgspec

STATE = "state"


class Step(NamedTuple):
    """From ``start`` over ``during`` to ``end``."""

    start: str
    during: str
    end: str


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process of one kind of resource."""

    resource: str
    verb: str
    steps: tuple[Step, ...]
    field: str = STATE
    then: str = ""

    @property
    def name(self) -> str:
        """What clients call it, such as ``host.activate``."""
        return f"{self.resource.lower()}.{self.verb}"


@cache
def processes() -> dict[str, Process]:
    """All of them by name."""
    found: dict[str, Process] = {}
    resource = ""
    for line in (files("remuda.schema.published") / "processes.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if not line.startswith(" "):
            resource = line.strip()
            continue
        one = _process(resource, line.split())
        found[one.name] = one
    return found


def _process(resource: str, words: list[str]) -> Process:
    verb, *rest = words
    options = dict(w.split("=", 1) for w in rest if "=" in w)
    steps = [
        Step(start, during, end)
        for starts, during, end in (w.split(">") for w in rest if ">" in w)
        for start in starts.split(",")
    ]
    return Process(
        resource=resource,
        verb=verb,
        steps=tuple(steps),
        field=options.get("field", STATE),
        then=options.get("then", ""),
    )


@cache
def states(resource: str) -> tuple[str, ...]:
    """The states that the graph has for this kind of resource, in order of the alphabet; empty where it says nothing."""
    steps = [
        step
        for one in processes().values()
        if one.field == STATE and one.resource.lower() == resource.lower()
        for step in one.steps
    ]
    return tuple(sorted({state for step in steps for state in step}))


def resources() -> list[str]:
    """The kinds of resources that have processes."""
    return sorted({one.resource for one in processes().values()})


@cache
def moves(resource: str) -> frozenset[tuple[str, str]]:
    """The single steps of a resource's state that the graph has: from a state to the very next one."""
    steps = [s for one in processes().values() if one.resource == resource and one.field == STATE for s in one.steps]
    return frozenset({(s.start, s.during) for s in steps} | {(s.during, s.end) for s in steps})


@cache
def reachable(resource: str, state: str) -> frozenset[str]:
    """The states that may follow on this one, however many steps later: a client that polls does not see each."""
    found: set[str] = set()
    edge = {state}
    while edge:
        edge = {after for before, after in moves(resource) if before in edge} - found
        found |= edge
    return frozenset(found)


@cache
def running(resource: str, state: str) -> str:
    """The name of the process that a resource in this state is in; empty when it is in none."""
    return next(
        (
            one.name
            for one in processes().values()
            if one.resource == resource and one.field == STATE and any(s.during == state for s in one.steps)
        ),
        "",
    )
