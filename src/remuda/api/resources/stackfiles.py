"""Compose files into the services of a stack, and services into compose files again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from remuda import compose
from remuda.api.behaviour import Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.resources import filesecrets
from remuda.api.resources.services import change_service, outside, requested_addresses, upgrade_service
from remuda.api.resources.volumes import declare, declared
from remuda.catalog.questions import complete, questions_of
from remuda.control.agents.certificates import certificate_ids, tell_again
from remuda.core.balancing.compose import from_compose, to_compose
from remuda.core.balancing.config import LbConfig
from remuda.core.labels import REQUESTED_IP, SELECTOR_CONTAINER, SELECTOR_LINK
from remuda.core.model import (
    ACTIVE,
    INACTIVE,
    Certificate,
    Host,
    Instance,
    Port,
    Service,
    ServiceLink,
    Stack,
)
from remuda.core.placement.values import clash, public_ports
from remuda.core.spec import LaunchConfig
from remuda.core.units import BODILESS
from remuda.ports.store import ALIVE, Tx, Where, eq

ON_HOST_LOST = 10
KINDS = frozenset({"service", "dnsService", "externalService", "loadBalancerService"})


def services_of(tx: Tx, stack_id: int) -> list[Service]:
    """The services of a stack that are not removed."""
    return tx.find(Service, eq("stack_id", stack_id), ALIVE)


def as_files(tx: Tx, stack: Stack, services: Sequence[Service]) -> tuple[str, str]:
    """Services of a stack as a docker-compose file and a rancher-compose file."""
    specs = filesecrets.named(tx, [_spec(tx, s, services) for s in services])
    return compose.dump(specs, declared(tx, stack), stack.name)


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
    answers = complete(questions_of(rancher), values.get("environment") or {})
    project = compose.load(docker, rancher, environment=answers, stack_name=stack_name)
    refused = [
        _problem(s, f"a {s.kind} is not supported: Remuda has no plug-in services")
        for s in project.services
        if s.kind not in KINDS
    ]
    refused += [problem for s in project.services for problem in _unsound(s)]
    return msgspec.structs.replace(project, problems=[*project.problems, *refused])


def _problem(spec: compose.ServiceSpec, sentence: str) -> compose.Problem:
    return compose.Problem(
        severity="error",
        message=f"service '{spec.name}': {sentence}",
        file="docker-compose.yml",
        field=f"services.{spec.name}",
    )


def _unsound(spec: compose.ServiceSpec) -> Iterator[compose.Problem]:
    """What the further kinds of services need."""
    if spec.kind == "externalService":
        try:
            outside(_row(spec))
        except ApiError as error:
            yield _problem(spec, f"{error.message.replace('externalIpAddresses', 'external_ips')}")
    for pair in (*spec.links, *spec.external_links):
        if pair[0] == spec.name:
            yield _problem(spec, "it cannot be linked to itself")


def write_services(tx: Tx, stack: Stack, project: compose.Project, *, upgrading: bool = False) -> None:
    """Create the services that are new and change those that differ; links are set once all exist.

    ``upgrading``: what differs in a launch configuration is changed as an upgrade, to be finished or rolled back.
    """
    project = filesecrets.known(tx, stack.account_id, project)
    declare(tx, stack, project.volumes)
    there = {s.name: s for s in services_of(tx, stack.id)}
    rows: dict[str, Service] = {}
    for spec in project.services:
        changes = _row(spec)
        try:
            requested_addresses(tx, stack.account_id, changes)
        except ApiError as error:
            sentence = error.message.partition(": ")[2]
            raise ApiError(
                422, "InvalidFormat", f"service '{spec.name}': {REQUESTED_IP}: {sentence}", field="dockerCompose"
            ) from None
        if spec.name in there:
            change = upgrade_service if upgrading and spec.kind not in BODILESS else change_service
            rows[spec.name] = change(tx, there[spec.name], **changes)
        else:
            wanted = ACTIVE if stack.start_on_create and spec.start_on_create else INACTIVE
            rows[spec.name] = tx.insert(
                Service(
                    account_id=stack.account_id,
                    stack_id=stack.id,
                    kind=spec.kind,
                    name=spec.name,
                    desired=wanted,
                    start_on_create=spec.start_on_create,
                    **{"scale": 1, "on_host_lost": ON_HOST_LOST, **changes},
                )
            )
    known = {**{n: s.id for n, s in there.items()}, **{n: s.id for n, s in rows.items()}}
    for spec in project.services:
        links = [ServiceLink(service_id=known[target], name=alias) for target, alias in spec.links if target in known]
        links += [_elsewhere(tx, stack, spec, target, alias) for target, alias in spec.external_links]
        found: dict[str, Any] = {"links": links} if links != rows[spec.name].links else {}
        if spec.kind == "loadBalancerService":
            config = balancing(tx, stack, spec, links, known)
            if config != rows[spec.name].lb_config:
                found["lb_config"] = config
        if found:
            before = rows[spec.name]
            changed = tx.update(before, **found)
            if certificate_ids(changed) != certificate_ids(before):
                tell_again(tx, changed)


def _elsewhere(tx: Tx, stack: Stack, spec: compose.ServiceSpec, target: str, alias: str) -> ServiceLink:
    """A link to a service of another stack (``stack/service``)."""
    stack_name, _, name = target.rpartition("/")
    found = stack if not stack_name else tx.first(
        Stack, eq("account_id", stack.account_id), eq("name", stack_name), ALIVE
    )  # fmt: skip
    service = tx.first(Service, eq("stack_id", found.id), eq("name", name), ALIVE) if found is not None else None
    if service is None:
        raise ApiError(
            422, "InvalidReference", f"service '{spec.name}': external_links names {target}, and there is no such service in "
            "this environment.", field="dockerCompose",
        )  # fmt: skip
    return ServiceLink(service_id=service.id, name=alias)


def balancing(
    tx: Tx, stack: Stack, spec: compose.ServiceSpec, links: Sequence[ServiceLink], known: Mapping[str, int]
) -> LbConfig:
    """The rules of a load balancer of these files."""

    def service_id(name: str) -> int:
        if "/" not in name and name in known:
            return known[name]
        return _elsewhere(tx, stack, spec, name, "").service_id

    def certificate_id(name: str) -> int:
        row = tx.first(Certificate, eq("account_id", stack.account_id), eq("name", name), ALIVE)
        if row is None:
            raise ApiError(
                422, "InvalidReference", f"service '{spec.name}': there is no certificate '{name}' in this environment.",
                field="rancherCompose",
            )  # fmt: skip
        return row.id

    try:
        return from_compose(spec.launch_config, spec.extra, links, service_id, certificate_id)
    except ValueError as error:
        raise ApiError(422, "InvalidFormat", f"service '{spec.name}': {error}.", field="rancherCompose") from None


def _row(spec: compose.ServiceSpec) -> dict[str, Any]:
    changes: dict[str, Any] = {
        "launch_config": spec.launch_config,
        "secondary_launch_configs": list(spec.sidekicks),
        "depends_on": list(spec.depends_on),
        "metadata": dict(spec.metadata),
        "retain_ip": spec.retain_ip,
        "selector_link": spec.launch_config.labels.get(SELECTOR_LINK, ""),
        "selector_container": spec.launch_config.labels.get(SELECTOR_CONTAINER, ""),
    }
    if spec.kind == "externalService":
        changes["external_ips"] = [str(a) for a in spec.extra.get("external_ips") or []]
        changes["hostname"] = spec.launch_config.hostname
        changes["health_check"] = spec.launch_config.health_check
    if spec.scale is not None:
        changes["scale"] = spec.scale
    if spec.on_host_lost is not None:
        changes["on_host_lost"] = spec.on_host_lost
    return changes


def _spec(tx: Tx, service: Service, services: Sequence[Service]) -> compose.ServiceSpec:
    names = {s.id: s.name for s in services}
    return compose.ServiceSpec(
        name=service.name,
        kind=service.kind,
        scale=None if service.kind in BODILESS else service.scale,
        launch_config=_launch(service),
        sidekicks=service.secondary_launch_configs,
        links=[(names[link.service_id], link.name) for link in service.links if link.service_id in names],
        external_links=[
            (path, link.name)
            for link in service.links
            if link.service_id not in names and (path := _path(tx, link.service_id))
        ],
        depends_on=service.depends_on,
        metadata=service.metadata,
        start_on_create=service.start_on_create,
        on_host_lost=None if service.kind in BODILESS else service.on_host_lost,
        retain_ip=service.retain_ip,
        extra=_extra(tx, service, names),
    )


def _path(tx: Tx, service_id: int) -> str:
    """``stack/service``; empty when it is no more."""
    service = tx.get(Service, service_id)
    stack = tx.get(Stack, service.stack_id) if service is not None and service.removed is None else None
    return f"{stack.name}/{service.name}" if service is not None and stack is not None else ""


def _launch(service: Service) -> LaunchConfig:
    """The launch configuration as a file says it: of kinds without containers only the image that marks the kind."""
    config = service.launch_config or LaunchConfig()
    marker = {"dnsService": "docker:rancher/dns-service", "externalService": "docker:rancher/external-service"}
    if service.kind in marker:
        config = LaunchConfig(image_uuid=config.image_uuid or marker[service.kind], labels=config.labels)
    if service.kind == "externalService" and service.hostname:
        config = msgspec.structs.replace(config, hostname=service.hostname)
    if service.kind == "externalService" and service.health_check:
        config = msgspec.structs.replace(config, health_check=service.health_check)
    return config


def _extra(tx: Tx, service: Service, names: Mapping[int, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if service.external_ips:
        found["external_ips"] = service.external_ips
    if service.lb_config is not None:
        config = service.lb_config
        rows = {c.id: c.name for c in tx.find(Certificate, eq("account_id", service.account_id), ALIVE)}
        found |= to_compose(config, lambda number: names.get(number) or _path(tx, number), rows.get)
    return found


def plan(tx: Tx, ctx: Context, values: Values) -> dict[str, Any]:
    """What deploying these files would do: problems with places, services, volumes, ports that clash. Stores nothing."""
    stack = tx.get(Stack, values["environmentId"]) if values.get("environmentId") else None
    project = parse(values, values.get("name") or (stack.name if stack else "stack"))
    project = filesecrets.known(tx, ctx.caller.project_id or 0, project, strict=False)
    there = {s.name: s for s in services_of(tx, stack.id)} if stack else {}
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
