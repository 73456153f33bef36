"""The audit log and the history of objects: read only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from remuda.api.behaviour import Behaviour
from remuda.api.context import Context
from remuda.api.render import Extra
from remuda.core import ids
from remuda.ports.store import Tx, Where
from remuda.schema.registry import find


def _named(records: Sequence[Any]) -> Extra:
    out: Extra = {}
    for record in records:
        kind = find(record.resource_type)
        public = ids.public(kind.record.TABLE, record.resource_id) if kind and kind.record else None
        out[record.id] = {"resourceType": kind.id if kind else record.resource_type, "resourceId": public}
    return out


class AuditLogs(Behaviour):
    """All entries, for administrators."""

    def ownership(self, ctx: Context) -> list[Where]:
        return (
            super().ownership(ctx)
            if ctx.caller.project_id is None
            else [Where("account_id", "eq", ctx.caller.project_id)]
        )

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        return _named(records)


class Events(Behaviour):
    """What was done to services, containers, stacks and hosts, and why."""

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        return _named(records)
