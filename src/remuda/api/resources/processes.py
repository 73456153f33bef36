"""The published graph of states as rows (``schema.processes``), and what is on its way in it (``core.running``).

Nothing is stored: a row is on its way as long as what is wanted and what is so differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from remuda.api.behaviour import Behaviour
from remuda.api.context import Context
from remuda.api.render import Extra
from remuda.api.resources.joined import Joined
from remuda.core import ids, running
from remuda.core.model import Event
from remuda.core.running import DefinitionRow, ProcessRow, ResourceRow
from remuda.ports.store import ALIVE, Tx, Where
from remuda.schema import processes
from remuda.schema.fields import ResourceType
from remuda.schema.registry import TYPES

MOST = 1000
"""So many of a kind are looked at: who has more on the way at once looks at the environments one by one."""
_SOURCES = ("container", "service", "environment", "host")


class _Named(Joined):
    """Rows that go by name: ``1pd!host.activate``, or ``host.activate``."""

    letters = ""

    def names(self) -> list[str]:
        """All names; a row's number is its place in here."""
        raise NotImplementedError

    def number(self, key: str) -> int | None:
        name, names = key.removeprefix(f"1{self.letters}!"), self.names()
        return names.index(name) + 1 if name in names else None

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        return {r.id: {"id": f"1{self.letters}!{r.name}"} for r in records}


class Definitions(_Named):
    """Processes."""

    letters = "pd"

    def names(self) -> list[str]:
        return sorted(processes.processes())

    def rows(self, tx: Tx, ctx: Context, where: Sequence[Where]) -> Iterable[Any]:
        known = processes.processes()
        return [DefinitionRow(id=at, name=n, resource_type=known[n].resource) for at, n in enumerate(self.names(), 1)]

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        found = super().extra(tx, ctx, records)
        for record in records:
            found[record.id] |= {
                "extensionBased": False,
                "stateTransitions": _transitions(processes.processes()[record.name]),
                **{point: _nothing(f"{record.name}.{point}") for point in _POINTS},
            }
        return found


_POINTS = ("processHandlers", "preProcessListeners", "postProcessListeners")


def _nothing(name: str) -> dict[str, Any]:
    """A place where 1.x let one put something of one's own; here there is nothing to run it."""
    return {"type": "extensionPoint", "name": name, "implementations": []}


def _transitions(one: processes.Process) -> list[dict[str, str]]:
    during = [(s.start, s.during, "TRANSITIONING") for s in one.steps]
    after = [(s.during, s.end, "DONE") for s in one.steps]
    return [
        {"fromState": start, "toState": end, "field": one.field, "type": kind}
        for start, end, kind in dict.fromkeys([*during, *after])
    ]


class Resources(_Named):
    """Kinds of resources."""

    letters = "rd"

    def names(self) -> list[str]:
        return processes.resources()

    def rows(self, tx: Tx, ctx: Context, where: Sequence[Where]) -> Iterable[Any]:
        return [ResourceRow(id=at, name=name) for at, name in enumerate(self.names(), 1)]


def _process_of(table: str, state: str) -> str:
    """A host waits for its agent: that is a process of the agent."""
    return processes.running(table, state) or (processes.running("agent", state) if table == "host" else "")


def _under_way(tx: Tx, ctx: Context) -> list[ProcessRow]:
    found: list[Any] = []
    for name in _SOURCES:
        source = ctx.api.behaviour(TYPES[name])
        found += source.find(tx, ctx, [*source.scope(ctx), ALIVE, Where("transitioning", "ne", "no")], limit=MOST)
    return running.under_way(found, _process_of)


class Instances(Joined):
    """What is on its way."""

    def rows(self, tx: Tx, ctx: Context, where: Sequence[Where]) -> Iterable[Any]:
        return _under_way(tx, ctx)

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        return {r.id: {"resourceId": ids.public(r.resource_type, r.resource_id)} for r in records}


class Executions(Joined):
    """The history of what is on its way."""

    def rows(self, tx: Tx, ctx: Context, where: Sequence[Where]) -> Iterable[Any]:
        wanted = [w._replace(field="id") for w in where if w.field in ("id", "process_instance_id") and w.op == "eq"]
        under = [row for row in _under_way(tx, ctx) if all(row.id == w.value for w in wanted)]
        tables = sorted({row.resource_type for row in under})
        numbers = sorted({row.resource_id for row in under})
        history = (
            tx.find(
                Event, Where("resource_type", "in", tables), Where("resource_id", "in", numbers), order=("-id",),
                limit=MOST,
            )
            if under
            else []
        )  # fmt: skip
        return running.executions(under, history)


class Summaries(Joined):
    """How many are in each process."""

    def rows(self, tx: Tx, ctx: Context, where: Sequence[Where]) -> Iterable[Any]:
        return running.summary(_under_way(tx, ctx))


PROCESSES: dict[str, Callable[[ResourceType], Behaviour]] = {
    "processDefinition": Definitions,
    "resourceDefinition": Resources,
    "processInstance": Instances,
    "processExecution": Executions,
    "processSummary": Summaries,
}
