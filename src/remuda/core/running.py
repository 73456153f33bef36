"""What is under way, as rows: which rows are on their way to what is wanted of them, and what holds them up.

1.x kept a row for every process that it ran. Remuda runs none: a row whose wish and observation differ *is* in transition. So
these rows are there exactly as long as that lasts, and what was done before is told by the history of the row itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import msgspec

from remuda.core.joins import Made
from remuda.core.model import Event, Host, Instance, Json, Record, Service, Stack

KINDS: tuple[type[Record], ...] = (Instance, Service, Stack, Host)
"""What is watched. The place in here is part of a row's number: add at the end."""
SPACE = 8
LINES = 20
RUNNING, WAITING = "RUNNING", "WAITING"


class DefinitionRow(Made, frozen=True, kw_only=True):
    """A process of the published graph."""

    TABLE: ClassVar[str] = "process_definition"
    resource_type: str = ""


class ResourceRow(Made, frozen=True, kw_only=True):
    """A kind of resource of the published graph."""

    TABLE: ClassVar[str] = "resource_definition"


class ProcessRow(Made, frozen=True, kw_only=True):
    """Something in transition. ``phase`` is WAITING when it cannot go on; ``exit_reason`` says what for."""

    TABLE: ClassVar[str] = "process_instance"
    process_name: str = ""
    resource_type: str = ""
    resource_id: int = 0
    phase: str = RUNNING
    priority: int = 0
    exit_reason: str = ""


class ExecutionRow(Made, frozen=True, kw_only=True):
    """What was done lately to something in transition."""

    TABLE: ClassVar[str] = "process_execution"
    process_instance_id: int = 0
    log: Json = msgspec.field(default_factory=dict)


class SummaryRow(Made, frozen=True, kw_only=True):
    """How many are in the same process."""

    TABLE: ClassVar[str] = "process_summary"
    process_name: str = ""
    running: int = 0
    ready: int = 0
    delay: int = 0


def under_way(rows: Iterable[Record], process_of: Callable[[str, str], str]) -> list[ProcessRow]:
    """Those of the rows that are in a process. ``process_of`` names it by the row's table and state."""
    found = []
    for row in rows:
        name = process_of(row.TABLE, row.state) if row.transitioning != "no" else ""
        if name:
            found.append(
                ProcessRow(
                    id=row.id * SPACE + KINDS.index(type(row)), account_id=row.account_id, created=row.created,
                    process_name=name, resource_type=row.TABLE, resource_id=row.id,
                    phase=WAITING if row.transitioning == "error" else RUNNING,
                    exit_reason=row.transitioning_message[:128],
                )
            )  # fmt: skip
    return found


def executions(under: Sequence[ProcessRow], history: Iterable[Event]) -> list[ExecutionRow]:
    """The newest lines of history of each. ``history``: newest first."""
    lines: dict[tuple[str, int], list[Event]] = defaultdict(list)
    for event in history:
        lines[event.resource_type, event.resource_id].append(event)
    found = []
    for row in under:
        told = lines[row.resource_type, row.resource_id][:LINES]
        entries = [{"time": event.created, "level": event.level, "message": event.description} for event in told]
        found.append(
            ExecutionRow(
                id=row.id, uuid=f"{row.process_name}/{row.id}", account_id=row.account_id, process_instance_id=row.id,
                created=told[0].created if told else row.created, log={"entries": entries},
            )
        )  # fmt: skip
    return found


def summary(under: Iterable[ProcessRow]) -> list[SummaryRow]:
    """How many are in each process, and how many of them wait."""
    phases: dict[str, list[str]] = defaultdict(list)
    for row in under:
        phases[row.process_name].append(row.phase)
    return [
        SummaryRow(id=at, process_name=name, running=told.count(RUNNING), delay=told.count(WAITING))
        for at, (name, told) in enumerate(sorted(phases.items()), 1)
    ]
