"""Deployment units: the containers of a service that live and move together (a primary and its sidekicks).

Groups instances into units and makes the records of new ones: names, ordinals, labels. Identities are derived from the
service and its running number, never random, so that planning the same step twice gives the same rows.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import msgspec

from remuda.core import labels
from remuda.core.balancing import launch as balancer
from remuda.core.health import WELL
from remuda.core.model import REMOVED, RUNNING, Instance, Service, VolumeTemplate
from remuda.core.placement.values import Request
from remuda.core.spec import PRIMARY, LaunchConfig
from remuda.core.volumes import owner_of, resolved

_SPACE = uuid.UUID("6f0d3a0e-4b1c-5d7e-9a57-7265006d7564")
HOSTNAME_LIMIT = 64
BODILESS = frozenset({"dnsService", "externalService"})
"""Kinds of services that are only names: they have no containers."""


@dataclass(frozen=True, slots=True)
class Unit:
    """All instance rows (also those on their way out) with the same ``unit``."""

    id: str
    members: tuple[Instance, ...]

    @property
    def live(self) -> tuple[Instance, ...]:
        """Those that are to stay."""
        return tuple(i for i in self.members if i.desired != REMOVED)

    @property
    def ordinal(self) -> int:
        """The n of its containers' names."""
        return self.members[0].ordinal

    @property
    def create_index(self) -> int:
        """When it was made, among the units of its service."""
        return self.members[0].create_index

    @property
    def host_id(self) -> int | None:
        """Where it lives; None while it has no host."""
        return next((i.host_id for i in self.live if i.host_id is not None), None)

    @property
    def revision(self) -> int:
        """The oldest revision among its containers."""
        return min((i.revision for i in self.live), default=0)

    @property
    def wholesome(self) -> bool:
        """Is every container of it well, as far as it is checked?"""
        return all(i.health_state in WELL for i in self.live)

    def started(self) -> bool:
        """Does every container run (or has run, where once is enough) as it was last ordered?"""
        return bool(self.live) and all(started(i) for i in self.live)


def started(instance: Instance) -> bool:
    """Does it run as last ordered? What ran to an end that its configuration calls natural counts as well."""
    if instance.host_id is None or instance.applied_seq < instance.assign_seq:
        return False
    return instance.observed == "running" or ended_well(instance)


def ended_well(instance: Instance) -> bool:
    """Did it come to an end after which nobody is to start it again (``start_once``, or its restart policy)?"""
    if instance.observed != "exited":
        return False
    policy = instance.spec.restart_policy
    by_policy = policy is not None and (
        policy.name == "no" or (policy.name == "on-failure" and instance.exit_code == 0)
    )
    return instance.spec.start_once or by_policy


def group(instances: Iterable[Instance]) -> list[Unit]:
    """The units of a service, oldest first."""
    rows: dict[str, list[Instance]] = {}
    for instance in instances:
        rows.setdefault(instance.unit or instance.uuid, []).append(instance)
    units = [Unit(unit, tuple(sorted(members, key=lambda i: i.id or 1 << 62))) for unit, members in rows.items()]
    return sorted(units, key=lambda unit: (unit.create_index, unit.id))


def launch_configs(service: Service) -> dict[str, LaunchConfig]:
    """A service's launch configurations by name, each after those that it needs (its network, its volumes)."""
    if service.kind in BODILESS or service.launch_config is None:
        return {}
    if service.launch_config.image in {"", "none", "rancher/none"}:
        return {}
    primary = service.launch_config
    if service.kind == balancer.KIND:
        primary = balancer.launch(primary, str(service.data.get("image") or balancer.IMAGE))
    given = {PRIMARY: primary, **{c.name: c for c in service.secondary_launch_configs}}
    ordered: dict[str, LaunchConfig] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in ordered or name in path:
            return
        for needed in needs(service, given[name]):
            if needed in given:
                visit(needed, (*path, name))
        ordered[name] = given[name]

    for name in given:
        visit(name, ())
    return ordered


def is_global(service: Service) -> bool:
    """Does it run once per host instead of ``scale`` times?"""
    return any(labels.truthy(config.labels.get(labels.GLOBAL, "")) for config in launch_configs(service).values())


def needs(service: Service, config: LaunchConfig) -> list[str]:
    """Names of the launch configurations that must exist before this one. The service's own name means the primary."""
    wanted = [*config.data_volumes_from_launch_configs]
    if config.network_launch_config:
        wanted.append(config.network_launch_config)
    return [PRIMARY if name == service.name else name for name in wanted]


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes the instances of one service."""

    service: Service
    stack: str
    project: str
    templates: Sequence[VolumeTemplate] = ()

    def unit_id(self, create_index: int) -> str:
        """The identity of the unit with this running number."""
        return str(uuid.uuid5(_SPACE, f"{self.service.uuid or self.service.id}/{create_index}"))

    def name(self, launch_name: str, ordinal: int) -> str:
        """``stack_service_n``, or ``stack_service_sidekick_n``."""
        parts = [self.stack, self.service.name]
        if launch_name != PRIMARY:
            parts.append(launch_name)
        return "_".join([*(p for p in parts if p), str(ordinal)])

    def make(
        self, launch_name: str, config: LaunchConfig, *, unit: str, ordinal: int, create_index: int, turn: int = 0,
        requested_host: int | None = None,
    ) -> Instance:  # fmt: skip
        """One new container, not placed yet. ``turn`` tells a container from one that it replaces within its unit."""
        service = self.service
        name = self.name(launch_name, ordinal)
        injected = self._labels(launch_name, unit, requested_host)
        config = resolved(config, self.templates, owner_of(service.name, launch_name, ordinal))
        config = msgspec.structs.replace(config, labels=merge_labels(config.labels, injected))
        if config.labels.get(labels.HOSTNAME_OVERRIDE, "").strip().lower() == "container_name":
            config = msgspec.structs.replace(config, hostname=hostname(name, config.domain_name))
        return Instance(
            uuid=str(uuid.uuid5(_SPACE, f"{unit}/{launch_name}/{turn}")),
            account_id=service.account_id, name=name, kind="container", desired=RUNNING,
            service_id=service.id, stack_id=service.stack_id, spec=config, launch_config=launch_name, unit=unit,
            ordinal=ordinal, create_index=create_index, revision=service.revision, system=service.system,
            requested_host_id=requested_host if requested_host is not None else host_number(config.requested_host_id),
            data={"turn": turn} if turn else {},
        )  # fmt: skip

    def _labels(self, launch_name: str, unit: str, requested_host: int | None) -> dict[str, str]:
        path = f"{self.stack}/{self.service.name}"
        if launch_name != PRIMARY:
            path += f"/{launch_name}"
        injected = {
            labels.STACK_NAME: self.stack,
            labels.STACK_SERVICE_NAME: path,
            labels.PROJECT_NAME: self.stack,
            labels.PROJECT_SERVICE_NAME: path,
            labels.DEPLOYMENT_UNIT: unit,
            labels.LAUNCH_CONFIG: launch_name,
        }
        if requested_host is not None:
            injected[labels.REQUESTED_HOST] = str(requested_host)
        return injected

    def request(self, instances: Sequence[Instance], avoid: Iterable[int] = ()) -> Request:
        """Ask for one host for these containers together."""
        return Request(
            specs=tuple(i.spec for i in instances),
            service_id=self.service.id,
            requested_host=next((i.requested_host_id for i in instances if i.requested_host_id is not None), None),
            stack=self.stack,
            service=self.service.name,
            project=self.project,
            uuids=frozenset(i.uuid for i in instances),
            avoid=frozenset(avoid),
        )


def merge_labels(given: Mapping[str, str], injected: Mapping[str, str]) -> dict[str, str]:
    """Ours over theirs; keys of the ``io.rancher`` family in lower case, affinity values of the same key joined."""
    merged: dict[str, str] = {}
    for source in (given, injected):
        for key, value in source.items():
            lower = key.lower()
            if not lower.startswith("io.rancher"):
                merged[key] = value
            elif lower.startswith(labels.AFFINITY) and merged.get(lower) not in (None, value):
                merged[lower] = f"{merged[lower]},{value}"
            else:
                merged[lower] = value
    return merged


def hostname(name: str, domain: str) -> str:
    """A container's name as its host name: at most 64 characters with its domain, the ordinal kept."""
    room = HOSTNAME_LIMIT - (len(domain) + 1 if domain else 0)
    if len(name) <= room:
        return name
    head, _, ordinal = name.rpartition("_")
    return f"{head[: max(room - len(ordinal) - 1, 0)]}_{ordinal}"


def host_number(public_id: str | None) -> int | None:
    """The number in a host's public id (``1h5``); None when there is none."""
    digits = (public_id or "").rpartition("h")[2]
    return int(digits) if digits.isdecimal() else None


def free_ordinals(used: Iterable[int]) -> Iterator[int]:
    """The positive numbers that are not used, the lowest first."""
    taken = set(used)
    return (n for n in count(1) if n not in taken)
