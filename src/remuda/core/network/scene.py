"""The scene: everything that a host must know of its environment to network, name, check and balance containers by itself.

Servers send it as a stream of changed entries; a host keeps it on disk and works on from it while no server can be
reached. Entries are small projections of records: a change of a record that does not change its entry is not told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from remuda.core import labels
from remuda.core.balancing.config import LbConfig
from remuda.core.model import REMOVED, Host, Instance, Network, PolicyRule, Port, Service, ServiceLink, Stack
from remuda.core.spec import PRIMARY, HealthCheck, LaunchConfig

MANAGED, HOST_MODE, BRIDGE, NONE, CONTAINER = "managed", "host", "bridge", "none", "container"
"""Network modes of a container."""

LIVE_STATES = ("running", "starting", "restarting")
"""States of a container that names and balancers may point to."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all entries."""

    id: int
    uuid: str = ""
    name: str = ""


class SceneNetwork(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The environment and its managed network. ``mtu`` is that of containers; ``encryption`` ``ipsec`` or ``plain``."""

    environment: str = ""
    environment_uuid: str = ""
    uuid: str = ""
    subnet: str = "10.42.0.0/16"
    mtu: int = 0
    encryption: str = "ipsec"
    default_policy: str = "allow"
    policy: list[PolicyRule] = []


class SceneHost(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """``ip`` is its address on the managed network (its containers' gateway), ``tunnel`` its address within IPsec.

    ``connected`` = its agent was heard of; ``lost`` = given up: its containers, which may run and keep their network, are
    named only when there are no others.
    """

    hostname: str = ""
    agent_ip: str = ""
    ip: str = ""
    tunnel: str = ""
    labels: dict[str, str] = {}
    connected: bool = False
    lost: bool = False


class SceneStack(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """A stack."""

    system: bool = False


class SceneService(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """``kind`` as in :class:`remuda.core.model.Service`. ``sidekicks`` are names of its further launch configurations."""

    stack_id: int = 0
    kind: str = "service"
    scale: int = 1
    links: list[ServiceLink] = []
    selector_link: str = ""
    selector_container: str = ""
    external_ips: list[str] = []
    hostname: str = ""
    sidekicks: list[str] = []
    labels: dict[str, str] = {}
    metadata: dict[str, Any] = {}
    ports: list[str] = []
    expose: list[str] = []
    health_check: HealthCheck | None = None
    lb_config: LbConfig | None = None
    create_index: int = 0
    fqdn: str = ""
    vip: str = ""
    active: bool = True
    system: bool = False


class SceneContainer(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """``ip`` is the managed address (empty in other modes); ``state`` is the state that clients see.

    ``launch`` names the launch configuration, ``unit`` the deployment unit, ``ordinal`` the n of its name.
    ``network`` is one of the modes; with ``container``, ``shares`` is the uuid or launch name whose network it uses.
    """

    service_id: int | None = None
    stack_id: int | None = None
    host_id: int | None = None
    launch: str = PRIMARY
    unit: str = ""
    ordinal: int = 0
    create_index: int = 0
    ip: str = ""
    mac: str = ""
    network: str = MANAGED
    shares: str = ""
    state: str = ""
    health: str = ""
    health_check: HealthCheck | None = None
    started: int | None = None
    start_count: int = 0
    labels: dict[str, str] = {}
    ports: list[Port] = []
    hostname: str = ""
    external_id: str = ""
    system: bool = False
    native: bool = False
    dns: list[str] = []
    dns_search: list[str] = []
    links: dict[str, str] = {}
    memory_reservation: int | None = None
    milli_cpu_reservation: int | None = None

    @property
    def live(self) -> bool:
        """Does it run (or is about to), so that names may point to it?"""
        return self.state in LIVE_STATES

    @property
    def wholesome(self) -> bool:
        """Is it to get traffic, as far as health is concerned?"""
        return self.health in ("", "healthy", "updating-healthy")


E = TypeVar("E", bound=Entry)


class Gone(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Ids of entries that are no more."""

    hosts: list[int] = []
    stacks: list[int] = []
    services: list[int] = []
    containers: list[int] = []


class Scene(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A whole scene, or (as an update) the entries that changed. ``through`` is the change number that it is true for."""

    through: int = 0
    network: SceneNetwork | None = None
    hosts: dict[int, SceneHost] = {}
    stacks: dict[int, SceneStack] = {}
    services: dict[int, SceneService] = {}
    containers: dict[int, SceneContainer] = {}

    def after(self, update: Scene, gone: Gone | None = None) -> Scene:
        """This scene with an update applied."""
        left = gone or Gone()
        return Scene(
            through=max(self.through, update.through),
            network=update.network or self.network,
            hosts=_merged(self.hosts, update.hosts, left.hosts),
            stacks=_merged(self.stacks, update.stacks, left.stacks),
            services=_merged(self.services, update.services, left.services),
            containers=_merged(self.containers, update.containers, left.containers),
        )


def _merged(before: Mapping[int, E], changed: Mapping[int, E], gone: Iterable[int]) -> dict[int, E]:
    merged = {**before, **changed}
    for number in gone:
        merged.pop(number, None)
    return merged


def network_entry(network: Network, environment: str, environment_uuid: str) -> SceneNetwork:
    """What hosts are told of their environment's network."""
    return SceneNetwork(
        environment=environment,
        environment_uuid=environment_uuid,
        uuid=network.uuid,
        subnet=network.subnet,
        mtu=network.mtu_in_use,
        encryption=network.encryption,
        default_policy=network.default_policy_action,
        policy=network.policy,
    )


def host_entry(host: Host) -> SceneHost | None:
    """None when the host is not (any more) part of the scene."""
    if host.removed is not None:
        return None
    return SceneHost(
        id=host.id,
        uuid=host.uuid,
        name=host.name or host.hostname,
        hostname=host.hostname,
        agent_ip=host.agent_ip,
        ip=host.network_ip,
        tunnel=host.tunnel_ip,
        labels=host.all_labels,
        connected=host.connection == "connected",
        lost=host.connection == "lost",
    )


def stack_entry(stack: Stack) -> SceneStack | None:
    """None for a removed one."""
    if stack.removed is not None:
        return None
    return SceneStack(id=stack.id, uuid=stack.uuid, name=stack.name, system=stack.system)


def service_entry(service: Service) -> SceneService | None:
    """None for a removed one."""
    if service.removed is not None:
        return None
    config = service.launch_config
    return SceneService(
        id=service.id,
        uuid=service.uuid,
        name=service.name,
        stack_id=service.stack_id,
        kind=service.kind or "service",
        scale=service.scale,
        links=service.links,
        selector_link=service.selector_link,
        selector_container=service.selector_container,
        external_ips=service.external_ips,
        hostname=service.hostname,
        sidekicks=[c.name for c in service.secondary_launch_configs],
        labels=config.labels if config else {},
        metadata=service.metadata,
        ports=config.ports if config else [],
        expose=config.expose if config else [],
        health_check=service.health_check or (config.health_check if config else None),
        lb_config=service.lb_config,
        create_index=service.create_index,
        fqdn=service.fqdn,
        vip=service.vip,
        active=service.desired == "active",
        system=service.system,
    )


def container_entry(instance: Instance) -> SceneContainer | None:
    """None for one that is removed, or whose host is not known to hold it yet."""
    if instance.removed is not None or (instance.desired == REMOVED and instance.observed == "absent"):
        return None
    spec = instance.spec
    mode, shares = network_of(instance)
    return SceneContainer(
        id=instance.id,
        uuid=instance.uuid,
        name=instance.name,
        service_id=instance.service_id,
        stack_id=instance.stack_id,
        host_id=instance.host_id,
        launch=instance.launch_config or PRIMARY,
        unit=instance.unit,
        ordinal=instance.ordinal,
        create_index=instance.create_index,
        ip=instance.managed_ip,
        mac=instance.mac,
        network=mode,
        shares=shares,
        state=instance.state,
        health=instance.health_state,
        health_check=spec.health_check,
        started=instance.started,
        start_count=instance.restarts,
        labels=spec.labels,
        ports=instance.published,
        hostname=spec.hostname,
        external_id=instance.external_id,
        system=instance.system,
        native=instance.native,
        dns=spec.dns,
        dns_search=spec.dns_search,
        links=spec.instance_links,
        memory_reservation=spec.memory_reservation,
        milli_cpu_reservation=spec.milli_cpu_reservation,
    )


def is_managed(spec: LaunchConfig) -> bool:
    """Does a container of this launch configuration get an address of the managed network?"""
    return not spec.network_launch_config and spec.network_mode in ("", MANAGED, "default")


def network_of(instance: Instance) -> tuple[str, str]:
    """The network mode, and whose network it shares."""
    spec = instance.spec
    if instance.native:
        joined = labels.truthy(spec.labels.get(labels.CONTAINER_NETWORK, ""))
        return (MANAGED, "") if joined or instance.managed_ip else (BRIDGE, "")
    if is_managed(spec):
        return MANAGED, ""
    if spec.network_launch_config:
        return CONTAINER, spec.network_launch_config
    if spec.network_mode.startswith("container:"):
        return CONTAINER, spec.network_mode.removeprefix("container:")
    return spec.network_mode, ""
