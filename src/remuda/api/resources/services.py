"""Services: scale, start, stop, restart, change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.render import Extra
from remuda.api.resources.containers import endpoints
from remuda.control.agents.assignments import change_instance
from remuda.core import ids
from remuda.core.model import ACTIVE, INACTIVE, REMOVED, RUNNING, Host, Instance, Record, Service, Stack
from remuda.core.spec import LaunchConfig
from remuda.ports.store import ALIVE, Tx, Where, eq


class Services(Behaviour):
    """What is to run, and how often. The service controller does the rest."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self.actions["restart"] = self.restart

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        stack = tx.hold(Stack, values["environmentId"])
        assert stack is not None  # the reference was checked
        if stack.desired == REMOVED:
            raise ApiError(422, "InvalidState", f"The stack '{stack.name}' is being removed.", field="environmentId")
        unique_name(tx, stack.id, values["name"])
        config = values.get("launchConfig")
        if config is None or not config.image:
            raise ApiError(
                422, "MissingRequired", "'launchConfig.imageUuid' is required, e.g. docker:nginx.",
                field="launchConfig.imageUuid",
            )  # fmt: skip
        _sidekicks(values.get("secondaryLaunchConfigs"))
        row = self.fill(tx, ctx, values)
        row["account_id"] = stack.account_id
        row["desired"] = ACTIVE if values.get("startOnCreate", True) else INACTIVE
        return tx.insert(Service(**row))

    def attributes(self, values: Values) -> Values:
        out = super().attributes(values)
        if out.get("secondary_launch_configs") is None and "secondary_launch_configs" in out:
            out["secondary_launch_configs"] = []
        if out.get("metadata") is None and "metadata" in out:
            out["metadata"] = {}
        return out

    def update(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        if "name" in values and values["name"] != record.name:
            tx.hold(Stack, record.stack_id)
            unique_name(tx, record.stack_id, values["name"] or "")
        return change_service(tx, record, **self.attributes(values))

    def activate(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        return tx.update(record, desired=ACTIVE, data={**record.data, "settled": False})  # type: ignore[no-any-return]

    def deactivate(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        return tx.update(record, desired=INACTIVE, data={**record.data, "settled": False})  # type: ignore[no-any-return]

    def restart(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Ask the hosts to restart all its containers."""
        for instance in tx.find(Instance, eq("service_id", record.id), eq("desired", RUNNING), ALIVE):
            change_instance(tx, instance, restart_token=instance.restart_token + 1)
        return record  # type: ignore[no-any-return]

    def remove(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        return tx.update(record, desired=REMOVED, data={**record.data, "settled": False})  # type: ignore[no-any-return]

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        by_service: dict[int, list[Instance]] = {r.id: [] for r in records}
        for instance in tx.find(Instance, Where("service_id", "in", list(by_service)), ALIVE):
            by_service[instance.service_id or 0].append(instance)
        wanted = sorted({i.host_id for group in by_service.values() for i in group if i.host_id and i.bound})
        hosts = {h.id: h for h in tx.find(Host, Where("id", "in", wanted))} if wanted else {}
        return {
            r.id: {
                "instanceIds": [ids.public("instance", i.id) for i in by_service[r.id]],
                "publicEndpoints": [e for i in by_service[r.id] for e in endpoints(i, hosts.get(i.host_id or 0))],
            }
            for r in records
        }


def change_service(tx: Tx, service: Service, **changes: Any) -> Service:
    """Change a service; a changed launch configuration raises its revision, so that containers are replaced in turn."""
    configs = ("launch_config", "secondary_launch_configs")
    changes = {k: v for k, v in changes.items() if not (k == "launch_config" and v is None)}
    _sidekicks(changes.get("secondary_launch_configs"))
    if any(name in changes and changes[name] != getattr(service, name) for name in configs):
        changes["revision"] = service.revision + 1
    if not any(getattr(service, name) != value for name, value in changes.items()):
        return service
    return tx.update(service, **changes, data={**service.data, "settled": False})


def unique_name(tx: Tx, stack_id: int, name: str) -> None:
    """Refuse a second service of this name in the stack."""
    if tx.first(Service, eq("stack_id", stack_id), eq("name", name), ALIVE) is not None:
        raise ApiError(422, "NotUnique", f"The stack already has a service '{name}'.", field="name")


def _sidekicks(configs: list[LaunchConfig] | None) -> None:
    names = [c.name for c in configs or []]
    if "" in names:
        raise ApiError(422, "MissingRequired", "Every sidekick needs a name.", field="secondaryLaunchConfigs.name")
    if len(set(names)) != len(names):
        raise ApiError(422, "NotUnique", "Two sidekicks have the same name.", field="secondaryLaunchConfigs.name")
