"""Stacks, and the compose files they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.render import Extra
from remuda.api.resources.stackfiles import as_files, read, services_of, write_services
from remuda.core import ids, stackupgrades, upgrades
from remuda.core.model import (
    ACTIVE,
    INACTIVE,
    REMOVED,
    Account,
    Record,
    Service,
    Stack,
)
from remuda.ports.store import ALIVE, Tx, Where, eq


class Stacks(Behaviour):
    """Services that belong together."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self.actions |= {
            "apply": self.apply,
            "upgrade": self.upgrade,
            "finishupgrade": self.finish,
            "cancelupgrade": self.cancel,
            "rollback": self.roll_back,
            "addoutputs": self.add_outputs,
            "activateservices": self.activate_services,
            "deactivateservices": self.deactivate_services,
            "exportconfig": self.export,  # type: ignore[dict-item]
        }

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        owner = self.owner(tx, ctx)
        home = tx.hold(Account, owner)
        if home is None or home.removed is not None:
            raise ApiError(422, "InvalidState", "The environment was removed.")
        _unique_name(tx, owner, values["name"])
        project = read(values, values["name"])
        stack = tx.insert(Stack(**self.fill(tx, ctx, values)))
        write_services(tx, stack, project)
        return stack

    def update(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        if values.get("name") not in (None, record.name):
            tx.hold(Account, record.account_id)
            _unique_name(tx, record.account_id, values["name"])
        return super().update(tx, ctx, record, values)

    def apply(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Make the stack's services what the files say; those they do not name are left alone."""
        project = read(values, record.name)
        record = tx.hold(Stack, record.id) or record
        changed = tx.update(
            record,
            docker_compose=values.get("dockerCompose") or "",
            rancher_compose=values.get("rancherCompose") or "",
            environment=values.get("environment") or {},
        )
        write_services(tx, changed, project)
        return changed  # type: ignore[no-any-return]

    def upgrade(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Other files: services that they change are upgraded, those that they add are made, others are left alone."""
        given = {name: value for name, value in values.items() if value not in (None, "", {})}
        files = {
            "docker_compose": given.get("dockerCompose", record.docker_compose),
            "rancher_compose": given.get("rancherCompose", record.rancher_compose),
            "environment": given.get("environment", record.environment),
            "external_id": given.get("externalId", record.external_id),
        }
        project = read({"dockerCompose": files["docker_compose"], "rancherCompose": files["rancher_compose"],
                        "environment": files["environment"]}, record.name)  # fmt: skip
        record = tx.hold(Stack, record.id) or record
        before = {service.id for service in services_of(tx, record.id)}
        write_services(tx, record, project, upgrading=True)
        made = {service.id for service in services_of(tx, record.id)} - before
        return tx.update(record, **stackupgrades.begin(record, files, made))  # type: ignore[no-any-return]

    def finish(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Let all that was upgraded be as it is now."""
        for service in _upgraded(tx, record.id):
            tx.update(service, **upgrades.finish(service))
        return tx.update(record, **stackupgrades.advance(record, stackupgrades.FINISHING))  # type: ignore[no-any-return]

    def cancel(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Replace nothing more."""
        for service in _upgraded(tx, record.id):
            if upgrades.stage(service) == upgrades.UPGRADING:
                tx.update(service, **upgrades.cancel(service))
        return tx.update(record, **stackupgrades.advance(record, stackupgrades.CANCELED))  # type: ignore[no-any-return]

    def roll_back(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """The files of before; what the upgrade changed is changed back, what it added is removed."""
        for service in _upgraded(tx, record.id):
            tx.update(service, **upgrades.back(service))
        added = stackupgrades.made(record)
        for service in services_of(tx, record.id):
            if service.id in added:
                tx.update(service, desired=REMOVED, data={**service.data, "settled": False})
        return tx.update(record, **stackupgrades.back(record))  # type: ignore[no-any-return]

    def add_outputs(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """More of what a stack tells others (it means nothing to us)."""
        fields = record.data.get("fields", {})
        outputs = {**(fields.get("outputs") or {}), **values["outputs"]}
        return tx.update(record, data={**record.data, "fields": {**fields, "outputs": outputs}})  # type: ignore[no-any-return]

    def activate_services(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Start all services."""
        return _switch(tx, record, ACTIVE)

    def deactivate_services(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Stop all services."""
        return _switch(tx, record, INACTIVE)

    def export(self, tx: Tx, ctx: Context, record: Any, values: Values) -> dict[str, Any]:
        """The services as compose files."""
        wanted = {ids.number(i) for i in values.get("serviceIds") or []}
        services = [s for s in services_of(tx, record.id) if not wanted or s.id in wanted]
        docker, rancher = as_files(tx, record, services)
        return {
            "type": "composeConfig",
            "links": {},
            "actions": {},
            "dockerComposeConfig": docker,
            "rancherComposeConfig": rancher,
        }

    def remove(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        # the stack controller removes services and containers first, then the row
        return tx.update(record, desired=REMOVED)  # type: ignore[no-any-return]

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        out: Extra = {r.id: {"serviceIds": []} for r in records}
        for service in tx.find(Service, Where("stack_id", "in", list(out)), ALIVE):
            out[service.stack_id]["serviceIds"].append(ids.public("service", service.id))
        return out


def _unique_name(tx: Tx, project_id: int, name: str) -> None:
    if tx.first(Stack, eq("account_id", project_id), eq("name", name), ALIVE) is not None:
        raise ApiError(422, "NotUnique", f"There already is a stack '{name}' in this environment.", field="name")


def _upgraded(tx: Tx, stack_id: int) -> list[Service]:
    return [service for service in services_of(tx, stack_id) if upgrades.stage(service)]


def _switch(tx: Tx, stack: Stack, desired: str) -> Stack:
    for service in services_of(tx, stack.id):
        if service.desired not in (desired, REMOVED):
            tx.update(service, desired=desired, data={**service.data, "settled": False})
    return tx.update(stack, start_on_create=desired == ACTIVE)
