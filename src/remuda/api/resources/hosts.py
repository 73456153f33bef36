"""Hosts as people see them: the stored row, and the fresh numbers that its session keeps in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from remuda.api.access import access, allow_docker
from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.render import Extra
from remuda.api.resources.containers import endpoints
from remuda.core import ids, tickets
from remuda.core.model import REMOVED, Instance, Record
from remuda.ports.store import ALIVE, Tx, Where


class Hosts(Behaviour):
    """Machines with an engine and an agent."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self.served = {"hoststats": self.stats, "stats": self.stats, "dockersocket": self.docker}

    def remove(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        # the host controller closes the rows of its containers and then the host's own
        return tx.update(record, desired=REMOVED)  # type: ignore[no-any-return]

    async def stats(self, ctx: Context, record: Any, values: Values) -> dict[str, Any]:
        """Where to read the host's numbers live."""
        claims = tickets.stats(ids.public("host", record.id), {})
        return await access(ctx, tickets.HOST_STATS, record.id, claims, kind="statsAccess")

    async def docker(self, ctx: Context, record: Any, values: Values) -> dict[str, Any]:
        """Where to reach the host's own engine."""
        allow_docker(ctx)
        await ctx.api.note(ctx, "api.host.dockersocket", self.kind, record, {})
        return await access(ctx, tickets.DOCKER, record.id, {})

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        out: Extra = {}
        by_host: dict[int, list[Instance]] = {r.id: [] for r in records}
        for instance in tx.find(Instance, Where("host_id", "in", list(by_host)), ALIVE):
            by_host[instance.host_id or 0].append(instance)
        for record in records:
            there = by_host[record.id]
            out[record.id] = {
                "info": ctx.api.plane.hub.live(record.id) or record.info,
                "agentState": {"connected": "active", "lost": "disconnected"}.get(record.connection, "reconnecting"),
                "instanceIds": [ids.public("instance", i.id) for i in there],
                "publicEndpoints": [e for i in there for e in endpoints(i, record)],
            }
        return out
