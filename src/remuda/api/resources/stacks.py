"""Stacks, and the compose files they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from remuda import compose
from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.render import Extra
from remuda.api.resources.services import change_service
from remuda.core import ids
from remuda.core.model import (
    ACTIVE,
    INACTIVE,
    REMOVED,
    Account,
    Host,
    Instance,
    Port,
    Record,
    Service,
    ServiceLink,
    Stack,
)
from remuda.core.placement.filters import clash
from remuda.core.placement.values import public_ports
from remuda.ports.store import ALIVE, Tx, Where, eq

ON_HOST_LOST = 10
_LATER = "arrives with the managed network; leave it out for now"


class Stacks(Behaviour):
    """Services that belong together."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self.actions |= {
            "apply": self.apply,
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

    def activate_services(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Start all services."""
        return _switch(tx, record, ACTIVE)

    def deactivate_services(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Stop all services."""
        return _switch(tx, record, INACTIVE)

    def export(self, tx: Tx, ctx: Context, record: Any, values: Values) -> dict[str, Any]:
        """The services as compose files."""
        wanted = {ids.number(i) for i in values.get("serviceIds") or []}
        services = [s for s in _services(tx, record.id) if not wanted or s.id in wanted]
        docker, rancher = compose.dump([_spec(s, services) for s in services])
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


def _services(tx: Tx, stack_id: int) -> list[Service]:
    return tx.find(Service, eq("stack_id", stack_id), ALIVE)


def _switch(tx: Tx, stack: Stack, desired: str) -> Stack:
    for service in _services(tx, stack.id):
        if service.desired not in (desired, REMOVED):
            tx.update(service, desired=desired, data={**service.data, "settled": False})
    return tx.update(stack, start_on_create=desired == ACTIVE)


def read(values: Values, stack_name: str) -> compose.Project:
    """Parse the files of a request; refuse them, with the first error's place, when they do not make sense."""
    project = parse(values, stack_name)
    errors = [p for p in project.problems if p.severity == "error"]
    if errors:
        first = errors[0]
        side = "rancherCompose" if "rancher" in first.file else "dockerCompose"
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise ApiError(
            422, "InvalidFormat", f"{first}{more}", field=side, detail="\n".join(str(p) for p in errors)
        )  # fmt: skip
    return project


def parse(values: Values, stack_name: str) -> compose.Project:
    """Parse the files of a request, and say of what this version cannot run yet."""
    docker = values.get("dockerCompose") or ""
    rancher = values.get("rancherCompose") or ""
    if not docker.strip() and not rancher.strip():
        return compose.Project(services=[], problems=[])
    project = compose.load(docker, rancher, environment=values.get("environment") or {}, stack_name=stack_name)
    refused = [
        compose.Problem(
            severity="error",
            message=f"service '{s.name}': a {s.kind} {_LATER}",
            file="docker-compose.yml",
            field=f"services.{s.name}",
        )
        for s in project.services
        if s.kind != "service"
    ]
    return msgspec.structs.replace(project, problems=[*project.problems, *refused])


def write_services(tx: Tx, stack: Stack, project: compose.Project) -> None:
    """Create the services that are new and change those that differ; links are set once all exist."""
    there = {s.name: s for s in _services(tx, stack.id)}
    rows: dict[str, Service] = {}
    for spec in project.services:
        changes = _row(spec)
        if spec.name in there:
            rows[spec.name] = change_service(tx, there[spec.name], **changes)
        else:
            wanted = ACTIVE if stack.start_on_create and spec.start_on_create else INACTIVE
            rows[spec.name] = tx.insert(
                Service(
                    account_id=stack.account_id,
                    stack_id=stack.id,
                    kind="service",
                    name=spec.name,
                    desired=wanted,
                    start_on_create=spec.start_on_create,
                    **{"scale": 1, "on_host_lost": ON_HOST_LOST, **changes},
                )
            )
    known = {**{n: s.id for n, s in there.items()}, **{n: s.id for n, s in rows.items()}}
    for spec in project.services:
        links = [ServiceLink(service_id=known[target], name=alias) for target, alias in spec.links if target in known]
        if links != rows[spec.name].links:
            tx.update(rows[spec.name], links=links)


def _row(spec: compose.ServiceSpec) -> dict[str, Any]:
    changes: dict[str, Any] = {
        "launch_config": spec.launch_config,
        "secondary_launch_configs": list(spec.sidekicks),
        "depends_on": list(spec.depends_on),
        "metadata": dict(spec.metadata),
    }
    if spec.scale is not None:
        changes["scale"] = spec.scale
    if spec.on_host_lost is not None:
        changes["on_host_lost"] = spec.on_host_lost
    return changes


def _spec(service: Service, services: Sequence[Service]) -> compose.ServiceSpec:
    names = {s.id: s.name for s in services}
    assert service.launch_config is not None
    return compose.ServiceSpec(
        name=service.name,
        scale=service.scale,
        launch_config=service.launch_config,
        sidekicks=service.secondary_launch_configs,
        links=[(names[link.service_id], link.name) for link in service.links if link.service_id in names],
        depends_on=service.depends_on,
        metadata=service.metadata,
        start_on_create=service.start_on_create,
        on_host_lost=service.on_host_lost,
    )


def plan(tx: Tx, ctx: Context, values: Values) -> dict[str, Any]:
    """What deploying these files would do: problems with places, services, volumes, ports that clash. Stores nothing."""
    stack = tx.get(Stack, values["environmentId"]) if values.get("environmentId") else None
    project = parse(values, values.get("name") or (stack.name if stack else "stack"))
    there = {s.name: s for s in _services(tx, stack.id)} if stack else {}
    valid = not any(p.severity == "error" for p in project.problems)
    return {
        "id": None,
        "type": "composePlan",
        "links": {},
        "actions": {},
        "valid": valid,
        "problems": msgspec.to_builtins(project.problems),
        "services": [_told(s, there.get(s.name)) for s in project.services],
        "volumes": [v.docker_name or v.name for v in project.volumes],
        "portConflicts": _conflicts(tx, ctx, project, stack) if valid else [],
    }


def _told(spec: compose.ServiceSpec, there: Service | None) -> dict[str, Any]:
    same = there is not None and all(getattr(there, k) == v for k, v in _row(spec).items())
    change = "create" if there is None else "same" if same else "update"
    config = spec.launch_config
    return {
        "name": spec.name,
        "image": config.image,
        "scale": spec.scale if spec.scale is not None else (there.scale if there else 1),
        "ports": config.ports,
        "volumes": config.data_volumes,
        "sidekicks": [s.name for s in spec.sidekicks],
        "change": change,
    }


def _conflicts(tx: Tx, ctx: Context, project: compose.Project, stack: Stack | None) -> list[str]:
    """Published ports that are taken on every host that could take the container."""
    if ctx.caller.project_id is None:
        return []
    hosts = [h for h in tx.find(Host, eq("account_id", ctx.caller.project_id), ALIVE) if h.schedulable]
    taken: dict[int, list[tuple[Port, str]]] = {h.id: [] for h in hosts}
    for instance in tx.find(Instance, eq("account_id", ctx.caller.project_id), Where("host_id", "notnull"), ALIVE):
        if instance.host_id in taken and not (stack and instance.stack_id == stack.id):
            ports = instance.bound if instance.native else public_ports((instance.spec,))
            taken[instance.host_id] += [(p, instance.name) for p in ports]
    out = []
    for spec in project.services:
        for port in public_ports((spec.launch_config, *spec.sidekicks)):
            holders = [{name for other, name in taken[h.id] if clash(other, port)} for h in hosts]
            if hosts and all(holders):
                names = ", ".join(sorted(set().union(*holders)))
                out.append(f"{spec.name}: port {port.public}/{port.protocol} is taken on every host (by {names})")
    return out
