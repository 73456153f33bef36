"""A tiny world for planners: hosts and instances as values, and what carrying out a plan makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec

from remuda.core.draft import Facts, Plan
from remuda.core.model import REMOVED, RUNNING, Host, Instance, Service
from remuda.core.placement.values import tenant
from remuda.core.spec import LaunchConfig


def a_host(number: int, **changes: Any) -> Host:
    values = {"id": number, "name": f"h{number}", "connection": "connected", "docker": "up", "account_id": 5, **changes}
    return Host(**values)


def a_service(**changes: Any) -> Service:
    config = LaunchConfig(image_uuid="docker:nginx", **changes.pop("config", {}))
    values = {"id": 9, "uuid": "svc", "name": "web", "stack_id": 3, "account_id": 5, "launch_config": config, **changes}
    return Service(**values)


def occupied(instances: Iterable[Instance]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for i in instances:
        if i.host_id is not None:
            found.setdefault(i.host_id, []).append(tenant(i))
    return found


def facts_of(
    service: Service, instances: Iterable[Instance] = (), hosts: Iterable[Host] | int = 3, **more: Any
) -> Facts:
    rows = list(instances)
    machines = [a_host(n) for n in range(1, hosts + 1)] if isinstance(hosts, int) else list(hosts)
    return Facts(service, "shop", "Default", rows, machines, occupied(rows), **more)


def carried_out(facts: Facts, plan: Plan) -> Facts:
    """What the store holds after the plan was written; agents have done nothing yet."""
    rows = {i.uuid: i for i in facts.instances}
    number = max((i.id for i in rows.values()), default=0)
    for instance, because in plan.remove:
        if instance.host_id is None:
            del rows[instance.uuid]
        else:
            rows[instance.uuid] = _told(instance, desired=REMOVED, because=because, blocked=False)
    for instance, changes in plan.update:
        rows[instance.uuid] = _told(instance, **changes)
    for instance in plan.create:
        number += 1
        rows[instance.uuid] = _told(msgspec.structs.replace(instance, id=number))
    service = msgspec.structs.replace(facts.service, **plan.service)
    return replace(facts, service=service, instances=list(rows.values()), occupancy=occupied(rows.values()))


def _told(instance: Instance, **changes: Any) -> Instance:
    matters = instance.assign_seq == 0 or {"desired", "host_id", "spec", "restart_token"} & changes.keys()
    changed = msgspec.structs.replace(instance, **changes)
    if matters and changed.host_id is not None:
        changed = msgspec.structs.replace(changed, assign_seq=instance.assign_seq + 1)
    return changed


def obeyed(facts: Facts) -> Facts:
    """What the store holds after the reachable hosts did and said what they were told."""
    unreachable = {h.id for h in facts.hosts if h.connection != "connected"}
    rows = []
    for i in facts.instances:
        if i.host_id is None or i.host_id in unreachable:
            rows.append(i)
        elif i.desired == REMOVED:
            continue
        else:
            seen = "running" if i.desired == RUNNING else "exited"
            rows.append(msgspec.structs.replace(i, observed=seen, applied_seq=i.assign_seq, message=""))
    return replace(facts, instances=rows, occupancy=occupied(rows))
