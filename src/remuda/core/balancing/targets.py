"""What a load balancer is to do at this moment: its rules and the scene, as listeners, routes and servers. Pure.

The first route that fits decides: those with a priority of the user's, lowest number first, then exact host and path, exact host,
wildcard host and path, wildcard host, path, and what is left; of two alike the longer path.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import NamedTuple

from remuda.core import labels
from remuda.core.balancing.config import HEAVIEST, LbConfig, PortRule, StickinessPolicy
from remuda.core.network.relations import BALANCER, EXTERNAL, Relations, matches
from remuda.core.network.scene import Scene, SceneContainer, SceneService
from remuda.core.spec import HealthCheck

LOCAL_ONLY, LOCAL_FIRST = "only-local", "prefer-local"
SECURE = frozenset({"https", "tls"})
HTTP = frozenset({"http", "https"})


class Server(NamedTuple):
    """Where requests of a backend go. ``leaving``: no new ones, those under way may end. ``weight``: its share, 1-256."""

    address: str
    port: int
    leaving: bool = False
    weight: int = 1


class Backend(NamedTuple):
    """Servers that share requests. ``check`` is how they are asked whether they serve; None: by connecting."""

    name: str
    http: bool
    servers: tuple[Server, ...]
    check: HealthCheck | None = None


class Route(NamedTuple):
    """Which requests go to which backend; empty ``host`` and ``path`` fit all."""

    host: str
    path: str
    backend: str


class Listener(NamedTuple):
    """A port, and its routes in the order in which they are tried."""

    port: int
    protocol: str
    proxied: bool
    routes: tuple[Route, ...]


class Balance(NamedTuple):
    """All of one load balancer."""

    listeners: tuple[Listener, ...]
    backends: tuple[Backend, ...]
    stickiness: StickinessPolicy | None = None
    send_proxy: str = ""
    config: str = ""
    certificates: bool = False
    strict: bool = False
    """There is no default certificate: who names no known host gets none."""


class _Bin(NamedTuple):
    """What rules of one match come to, rule by rule."""

    rules: list[PortRule]
    servers: list[list[Server]]
    checks: list[HealthCheck | None]


def balance(scene: Scene, service: SceneService, host_id: int, relations: Relations | None = None) -> Balance:
    """What the balancers of this service on this host are to do."""
    config = service.lb_config or LbConfig()
    known = relations or Relations(scene)
    locality = service.labels.get(labels.LB_TARGET, "")
    bins: dict[tuple[int, str, str, int, str], _Bin] = {}
    for rule in _expanded(scene, service, config):
        key = (rule.source_port, rule.hostname.lower(), rule.path, rule.priority, rule.backend_name)
        found = bins.setdefault(key, _Bin([], [], []))
        found.rules.append(rule)
        servers, check = _servers(known, rule, host_id, locality)
        found.servers.append(servers)
        found.checks.append(check)
    backends: list[Backend] = []
    routes: dict[int, list[tuple[tuple[object, ...], Route]]] = {}
    protocols: dict[int, str] = {}
    for (port, host, path, priority, name), found in bins.items():
        protocol = found.rules[0].protocol
        chosen = name or f"b{zlib.crc32(f'{port} {host} {path} {priority}'.encode()):08x}"
        if chosen in {backend.name for backend in backends}:
            chosen = f"{chosen}_{port}"
        protocols.setdefault(port, protocol)
        check = found.checks[0] if len(set(map(repr, found.checks))) == 1 else None
        backends.append(Backend(chosen, protocol in HTTP, tuple(_shared(found)), check))
        routes.setdefault(port, []).append((_rank(host, path, priority), Route(host, path, chosen)))
    listeners = tuple(
        Listener(port, protocols[port], port in config.proxy_protocol_ports, tuple(r for _, r in sorted(routes[port])))
        for port in sorted(routes)
    )
    return Balance(
        listeners,
        tuple(sorted(backends)),
        config.stickiness_policy,
        config.send_proxy,
        config.config,
        any(one.protocol in SECURE for one in listeners),
        config.default_certificate_id is None,
    )


def targets(scene: Scene, service: SceneService, relations: Relations | None = None) -> set[int]:
    """Ids of the services that a load balancer sends requests to, be it only to one of their containers."""
    config = service.lb_config or LbConfig()
    relations = relations or Relations(scene)
    found: set[int] = set()
    for rule in _expanded(scene, service, config):
        target = scene.services.get(rule.service_id or 0)
        if target is not None:
            found |= {one.id for one in relations.targets_of(target)}
        container = scene.containers.get(rule.container_id or 0)
        if container is not None and container.service_id in scene.services:
            found.add(container.service_id)
    return found


def receivers(scene: Scene) -> set[str]:
    """The uuids of all containers that any load balancer sends requests to."""
    fronts = [s for s in scene.services.values() if s.kind == BALANCER and s.active]
    if not fronts:
        return set()
    known = Relations(scene)
    services = set[int]().union(*(targets(scene, service, known) for service in fronts))
    rules = (rule for service in fronts for rule in (service.lb_config or LbConfig()).port_rules)
    single = {rule.container_id for rule in rules if rule.container_id is not None}
    found = {c.uuid for number in services for c in known.containers_of(scene.services[number])}
    return found | {scene.containers[number].uuid for number in single if number in scene.containers}


def _expanded(scene: Scene, service: SceneService, config: LbConfig) -> Iterable[PortRule]:
    """Rules with a selector, once for each service that they select; what that says of itself fills what they leave open."""
    for rule in config.port_rules:
        if not rule.selector:
            yield rule
            continue
        for number in sorted(scene.services):
            other = scene.services[number]
            if number == service.id or not matches(rule.selector, other.labels):
                continue
            own = other.lb_config.port_rules if other.lb_config is not None else []
            for wish in own or [PortRule(source_port=rule.source_port)]:
                yield PortRule(
                    source_port=rule.source_port,
                    target_port=rule.target_port or wish.target_port,
                    protocol=rule.protocol,
                    hostname=rule.hostname or wish.hostname,
                    path=rule.path or wish.path,
                    service_id=number,
                    priority=rule.priority or wish.priority,
                    backend_name=rule.backend_name or wish.backend_name,
                )


def _servers(known: Relations, rule: PortRule, host_id: int, locality: str) -> tuple[list[Server], HealthCheck | None]:
    port = rule.target_port or rule.source_port
    if rule.container_id is not None:
        return _containers(known, [c for c in [known.scene.containers.get(rule.container_id)] if c], port), None
    target = known.scene.services.get(rule.service_id or 0)
    if target is None:
        return [], None
    found: list[Server] = []
    checks: list[HealthCheck | None] = []
    for one in known.targets_of(target):
        if not one.active:
            found += [Server(c.ip, port, leaving=True) for c in known.containers_of(one) if c.live and c.ip]
            continue
        checks.append(one.health_check)
        if one.kind == EXTERNAL:
            found += [Server(address, port) for address in one.external_ips or [one.hostname] if address]
            continue
        found += _containers(known, known.containers_of(one), port, host_id, locality)
    return found, checks[0] if len(checks) == 1 else None


def _containers(
    known: Relations, members: list[SceneContainer], port: int, host_id: int = 0, locality: str = ""
) -> list[Server]:
    ready = _near(known.worth_asking(members), host_id, locality)
    found = [Server(address, port) for c in ready if (address := known.address_of(c))]
    return found + [Server(c.ip, port, leaving=True) for c in members if _leaving(c) and c.ip]


def _shared(found: _Bin) -> list[Server]:
    """The servers of all rules, each once; weighted rules share by their weights however many servers each of them has."""
    if not any(rule.weight for rule in found.rules):
        return list(dict.fromkeys(server for servers in found.servers for server in servers))
    shares = [
        (rule.weight or 1) / max(1, sum(not s.leaving for s in servers))
        for rule, servers in zip(found.rules, found.servers, strict=True)
    ]
    unit = HEAVIEST / max(shares)
    weighed: dict[tuple[str, int, bool], Server] = {}
    for share, servers in zip(shares, found.servers, strict=True):
        for server in servers:
            weighed.setdefault(server[:3], server._replace(weight=max(1, round(share * unit))))
    return list(weighed.values())


def _near(containers: list[SceneContainer], host_id: int, locality: str) -> list[SceneContainer]:
    here = [c for c in containers if c.host_id == host_id]
    if locality == LOCAL_ONLY or (locality == LOCAL_FIRST and here):
        return here
    return containers


def _leaving(container: SceneContainer) -> bool:
    return container.state in ("stopping", "removing") or (container.live and not container.wholesome)


def _rank(host: str, path: str, priority: int) -> tuple[object, ...]:
    """Smaller is tried first."""
    wild = host.startswith("*") or host.endswith("*")
    kind = 5 if not host and not path else 4 if not host else 2 + (not path) if wild else 0 + (not path)
    return (priority == 0, priority, kind, -len(path), -len(host), host, path)
