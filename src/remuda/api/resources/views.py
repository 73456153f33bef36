"""Rows shown once more the way 1.x had them in tables of their own: which container is on which host, or of which service; which
service is linked to which.

Nothing is stored for them, and nothing can be changed by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from remuda.api.behaviour import Behaviour
from remuda.api.context import Context
from remuda.api.render import Extra
from remuda.core import ids
from remuda.core.model import Service
from remuda.ports.store import ALIVE, Tx, Where
from remuda.schema.registry import TYPES

LINKS_AT_MOST = 1000
"""A service's links are numbered within this; together with the service's number that makes an id."""


class Views(Behaviour):
    """A row is part of the view once it has what is joined."""

    def scope(self, ctx: Context) -> list[Where]:
        return [*super().scope(ctx), Where(self.kind.joins, "notnull")]

    def fetch(self, tx: Tx, ctx: Context, number: int) -> Any | None:
        found = super().fetch(tx, ctx, number)
        return found if found is not None and getattr(found, self.kind.joins) is not None else None

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        shown = {field.name for field in self.kind.fields}
        return {r.id: {"managed": True} for r in records} if "managed" in shown else {}


def consume_maps(tx: Tx, ctx: Context) -> list[dict[str, Any]]:
    """The links between services that the caller sees, filtered by either end."""
    services = tx.find(Service, *ctx.api.behaviour(TYPES["service"]).scope(ctx), ALIVE)
    ends = {name: ctx.param(name) for name in ("serviceId", "consumedServiceId")}
    found = [_consume_map(ctx, service, at) for service in services for at in range(len(service.links[:LINKS_AT_MOST]))]
    return [
        one
        for one in found
        if all(ids.number(wanted) == ids.number(one[name]) for name, wanted in ends.items() if wanted)
    ]


def _consume_map(ctx: Context, service: Service, at: int) -> dict[str, Any]:
    link = service.links[at]
    public = f"1scm{service.id * LINKS_AT_MOST + at}"
    return {
        "id": public,
        "type": "serviceConsumeMap",
        "baseType": "serviceConsumeMap",
        "links": {
            "self": ctx.url("serviceconsumemaps", public),
            "service": ctx.url("services", ids.public("service", service.id)),
            "consumedService": ctx.url("services", ids.public("service", link.service_id)),
        },
        "actions": {},
        "name": link.name,
        "kind": "serviceConsumeMap",
        "state": "active",
        "accountId": ids.public("account", service.account_id),
        "serviceId": ids.public("service", service.id),
        "consumedServiceId": ids.public("service", link.service_id),
        "ports": [],
        "transitioning": "no",
        "transitioningMessage": "",
        "transitioningProgress": None,
        "removed": None,
    }
