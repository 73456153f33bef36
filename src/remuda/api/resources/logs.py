"""The audit log and the history of objects: read only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from remuda.api.behaviour import Behaviour
from remuda.api.context import Context
from remuda.api.render import Extra
from remuda.core import ids
from remuda.core.model import Instance, Service
from remuda.ports.store import Tx
from remuda.schema.registry import find


def _named(records: Sequence[Any]) -> Extra:
    out: Extra = {}
    for record in records:
        kind = find(record.resource_type)
        public = ids.public(kind.record.TABLE, record.resource_id) if kind and kind.record else None
        out[record.id] = {"resourceType": kind.id if kind else record.resource_type, "resourceId": public}
    return out


class AuditLogs(Behaviour):
    """The entries of an environment for its members, all for administrators."""

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        named = _named(records)
        for record in records:
            # numbers and texts as programs of 1.x read them, whose types are strict
            request = msgspec.json.encode(record.request).decode()
            code = str(record.response_code)
            named[record.id] |= {"resourceId": record.resource_id, "responseCode": code, "requestObject": request}
        return named


class Events(Behaviour):
    """What was done to services, containers, stacks and hosts, and why."""

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        found = _named(records)
        for record in records:
            public = found[record.id]["resourceId"]
            found[record.id] |= {
                "serviceId": public if record.resource_type == Service.TABLE else None,
                "instanceId": public if record.resource_type == Instance.TABLE else None,
                "subLog": record.resource_type == Instance.TABLE,
            }
        return found
