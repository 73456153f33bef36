"""Pull tasks: the hosts are chosen here, the pulling is told to them by the servers that hold their sessions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.render import Extra
from remuda.core import ids
from remuda.core.model import Host, PullTask, Record
from remuda.core.pulls import sentence, targets
from remuda.ports.store import ALIVE, Tx, Where, eq


class PullTasks(Behaviour):
    """Made once, then only watched."""

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        row = self.fill(tx, ctx, values)
        row["image"] = row["image"].removeprefix("docker:")
        hosts = tx.find(Host, eq("account_id", row["account_id"]), ALIVE)
        return tx.insert(PullTask(**row, hosts=targets(hosts, row.get("labels") or {})))

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        numbers = sorted({int(key) for task in records for key in task.hosts})
        hosts = tx.find(Host, Where("id", "in", numbers)) if numbers else []
        called = Counter(host.name or host.hostname for host in hosts)
        names: dict[str, str] = {}
        for host in hosts:
            name, public = host.name or host.hostname, ids.public("host", host.id) or ""
            names[str(host.id)] = name if name and called[name] == 1 else f"{name} ({public})".strip()
        return {task.id: _shown(task, names) for task in records}


def _shown(task: PullTask, names: dict[str, str]) -> dict[str, Any]:
    percent = [100 if pull.over else pull.percent for pull in task.hosts.values()]
    return {
        "status": {names.get(key, f"1h{key}"): sentence(pull) for key, pull in task.hosts.items()},
        "transitioningProgress": sum(percent) // len(percent) if percent and task.transitioning == "yes" else None,
    }
