"""The metadata documents of 1.x: what a container may read of itself and its environment. Pure.

One tree per version and caller, worked out where it is looked at: a host of a large environment must not describe ten thousand
containers because one of them asks for its own name. Version ``2015-07-25`` names things where later ones describe them, and only
``2016-07-29`` has what the later 1.x added. Nothing secret is in it: no environment variables, no keys, no certificates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar

from remuda.core import labels as names
from remuda.core.health import observers
from remuda.core.network.overlay import holders
from remuda.core.network.relations import BALANCER, EXTERNAL, Relations
from remuda.core.network.scene import HOST_MODE, Entry, Scene, SceneContainer, SceneHost, SceneService, SceneStack
from remuda.core.spec import PRIMARY

OLDEST, OBJECTS, NEWEST, LATEST = "2015-07-25", "2015-12-19", "2016-07-29", "latest"
VERSIONS = (OLDEST, OBJECTS, NEWEST, LATEST)
GONE = ("removing", "removed")
Document = dict[str, Any]
T = TypeVar("T")


class Listing(Generic[T]):
    """A list of things with names, each described when it is looked at."""

    def __init__(self, things: Sequence[T], name: Callable[[T], str], describe: Callable[[T], Document]) -> None:
        self._things, self._name, self._describe = things, name, describe

    def names(self) -> list[str]:
        """In order."""
        return [self._name(thing) for thing in self._things]

    def item(self, key: str) -> Document:
        """By name in any case, or by index. Raises :class:`Missing`."""
        lowered = key.lower()
        for thing in self._things:
            if self._name(thing).lower() == lowered:
                return self._describe(thing)
        if key.isdecimal() and int(key) < len(self._things):
            return self._describe(self._things[int(key)])
        raise Missing(key)

    def all(self) -> list[Document]:
        """Everything."""
        return [self._describe(thing) for thing in self._things]


class Metadata:
    """All documents of one scene, as the host ``host_id`` tells them."""

    def __init__(self, scene: Scene, host_id: int) -> None:
        self._scene, self._host_id = scene, host_id

    @cached_property
    def _relations(self) -> Relations:
        return Relations(self._scene)

    @cached_property
    def _clients(self) -> Mapping[str, SceneContainer]:
        return holders(self._scene)

    @property
    def size(self) -> int:
        """How many containers a whole document describes."""
        return len(self._scene.containers)

    def tree(self, version: str, address: str) -> Document | None:
        """The whole tree for the caller at an address; None for an unknown version."""
        return _Tree(self, version).root(address) if version in VERSIONS else None


class _Tree:
    """One version of the documents."""

    def __init__(self, whole: Metadata, version: str) -> None:
        self._whole, self._scene = whole, whole._scene
        self._short, self._late = version == OLDEST, version in (NEWEST, LATEST)

    @property
    def _relations(self) -> Relations:
        return self._whole._relations

    def root(self, address: str) -> dict[str, Any]:
        """What is at the top."""
        scene = self._scene
        found: Document = {
            "version": str(scene.through),
            "self": lambda: self.own(address),
            "containers": lambda: self.containers(scene.containers.values()),
            "services": lambda: self.services(_sorted(scene.services)),
            "stacks": lambda: Listing(_sorted(scene.stacks), _own_name, self.stack),
            "hosts": lambda: Listing(_sorted(scene.hosts), _own_name, self.host),
        }
        if self._late and scene.network is not None:
            found["environment_name"] = scene.network.environment
            found["environment_uuid"] = scene.network.environment_uuid
        return found

    def own(self, address: str) -> Document:
        """What belongs to the caller; a stranger on this host sees the host."""
        scene = self._scene
        host = scene.hosts.get(self._whole._host_id)
        found: Document = {"host": lambda: self.host(host)} if host is not None else {}
        client = self._whole._clients.get(address)
        if client is None:
            return found
        found["container"] = lambda: self.container(client)
        service = scene.services.get(client.service_id or 0)
        if service is not None:
            launch = client.launch if client.launch in service.sidekicks else PRIMARY
            found["service"] = lambda: self.service(service, launch)
        stack = scene.stacks.get((service.stack_id if service else client.stack_id) or 0)
        if stack is not None:
            found["stack"] = lambda: self.stack(stack)
        return found

    # ---- lists ----------------------------------------------------------------------------------------------------------

    def containers(self, members: Iterable[SceneContainer]) -> Listing[SceneContainer]:
        """Those that are not about to go, in the order of their making."""
        shown = sorted((c for c in members if c.state not in GONE), key=lambda c: (c.create_index, c.id))
        return Listing(shown, _own_name, self.container)

    def services(self, services: Iterable[SceneService]) -> Listing[tuple[SceneService, str]]:
        """Services, and each of their sidekicks, which 1.x lists as services too."""
        launches = [(s, launch) for s in services for launch in (PRIMARY, *s.sidekicks)]
        return Listing(launches, lambda one: _name(*one), lambda one: self.service(*one))

    def _named(self, listing: Listing[T]) -> Listing[T] | list[str]:
        return listing.names() if self._short else listing

    # ---- single things ----------------------------------------------------------------------------------------------------

    def container(self, container: SceneContainer) -> Document:
        """One container."""
        scene, address = self._scene, self._relations.address_of(container)
        service = scene.services.get(container.service_id or 0)
        stack = scene.stacks.get((service.stack_id if service else container.stack_id) or 0)
        host = scene.hosts.get(container.host_id or 0)
        ports = container.ports
        found = {
            "name": container.name,
            "uuid": container.uuid,
            "external_id": container.external_id,
            "state": container.state,
            "primary_ip": address,
            "ips": [address] if address else [],
            "ports": [_published(host, port.bind, port.public, port.private, port.protocol) for port in ports],
            "service_name": None if service is None else _name(service, container.launch),
            "service_index": str(container.ordinal) if container.ordinal else None,
            "stack_name": stack.name if stack else None,
            "labels": container.labels,
            "create_index": container.create_index,
            "host_uuid": host.uuid if host else None,
            "hostname": container.hostname or container.external_id[:12] or container.name,
            "health_state": container.health or None,
            "start_count": container.start_count + 1 if container.started else container.start_count,
        }
        return found | self._later(container, stack) if self._late else found

    def _later(self, container: SceneContainer, stack: SceneStack | None) -> Document:
        scene = self._scene
        owner = self._relations.owner_of(container)
        watched = container.health_check is not None
        return {
            "stack_uuid": stack.uuid if stack else None,
            "primary_mac_address": container.mac,
            "network_uuid": scene.network.uuid if scene.network and container.network != HOST_MODE else None,
            "network_from_container_uuid": owner.uuid if owner is not None and owner is not container else None,
            "health_check_hosts": lambda: [scene.hosts[h].uuid for h in observers(scene, container)] if watched else [],
            "system": container.system,
            "dns": container.dns,
            "dns_search": container.dns_search,
            "links": container.links,
            "memory_reservation": container.memory_reservation,
            "milli_cpu_reservation": container.milli_cpu_reservation,
        }

    def service(self, service: SceneService, launch: str = PRIMARY) -> Document:
        """One service, or one of its sidekicks."""
        stack = self._scene.stacks.get(service.stack_id)
        linked = self._relations.links_of(service)
        found: Document = {
            "name": _name(service, launch),
            "uuid": service.uuid,
            "kind": service.kind,
            "stack_name": stack.name if stack else "",
            "scale": service.scale,
            "create_index": service.create_index,
            "containers": lambda: self._named(self.containers(self._relations.containers_of(service, launch))),
            "links": {self._path(target): alias or target.name for alias, target in linked},
            "labels": service.labels,
            "metadata": service.metadata,
            "ports": service.ports,
            "expose": service.expose,
            "sidekicks": list(service.sidekicks),
            "external_ips": service.external_ips,
            "hostname": service.hostname if service.kind == EXTERNAL else "",
            "fqdn": service.fqdn,
            "vip": service.vip or None,
            "token": None,
        }
        if not self._late:
            return found
        found |= {
            "stack_uuid": stack.uuid if stack else "",
            "primary_service_name": service.name,
            "global": names.truthy(service.labels.get(names.GLOBAL, "")),
            "state": "active" if service.active else "inactive",
            "system": service.system,
            "selector": service.selector_container or None,
            "health_check": _health(service),
        }
        if service.kind == BALANCER and service.lb_config is not None:
            found["lb_config"] = lambda: self._balancing(service)
        return found

    def stack(self, stack: SceneStack) -> Document:
        """One stack with its services."""
        network = self._scene.network
        members = [s for s in _sorted(self._scene.services) if s.stack_id == stack.id]
        found: Document = {
            "name": stack.name,
            "uuid": stack.uuid,
            "environment_name": network.environment if network else "",
            "environment_uuid": network.environment_uuid if network else "",
            "services": lambda: self._named(self.services(members)),
        }
        return {**found, "system": stack.system} if self._late else found

    def host(self, host: SceneHost) -> Document:
        """One host."""
        return {
            "name": host.name,
            "hostname": host.hostname,
            "uuid": host.uuid,
            "agent_ip": host.agent_ip,
            "agent_state": "active" if host.connected else "reconnecting",
            "hostId": host.id,
            "labels": host.labels,
        }

    # ---- bits -----------------------------------------------------------------------------------------------------------

    def _path(self, service: SceneService) -> str:
        stack = self._scene.stacks.get(service.stack_id)
        return f"{stack.name if stack else ''}/{service.name}"

    def _balancing(self, service: SceneService) -> Document:
        """The rules of a load balancer. Certificates are told by nobody here."""
        config = service.lb_config
        assert config is not None
        rules = []
        for rule in config.port_rules:
            target = self._scene.services.get(rule.service_id or 0)
            container = self._scene.containers.get(rule.container_id or 0)
            rules.append(
                {
                    "source_port": rule.source_port,
                    "target_port": rule.target_port or rule.source_port,
                    "protocol": rule.protocol,
                    "hostname": rule.hostname,
                    "path": rule.path,
                    "priority": rule.priority,
                    "service": self._path(target) if target else "",
                    "container": container.name if container else "",
                    "selector": rule.selector,
                    "backend_name": rule.backend_name,
                }
            )
        policy = config.stickiness_policy
        sticky = {"name": policy.name, "cookie": policy.cookie, "mode": policy.mode} if policy else None
        return {"port_rules": rules, "stickiness_policy": sticky, "config": config.config}


def _own_name(entry: Entry) -> str:
    return entry.name


def _name(service: SceneService, launch: str) -> str:
    return launch if launch in service.sidekicks else service.name


def _health(service: SceneService) -> Document | None:
    check = service.health_check
    if check is None:
        return None
    return {
        "port": check.port,
        "request_line": check.request_line or None,
        "interval": check.interval,
        "response_timeout": check.response_timeout,
        "healthy_threshold": check.healthy_threshold,
        "unhealthy_threshold": check.unhealthy_threshold,
    }


def _published(host: SceneHost | None, bind: str, public: int, private: int, protocol: str) -> str:
    return f"{bind or (host.agent_ip if host else '')}:{public}:{private}/{protocol}"


def _sorted(entries: Mapping[int, Any]) -> list[Any]:
    return [entries[number] for number in sorted(entries)]


# ---- reading it ----------------------------------------------------------------------------------------------------------------


class Missing(KeyError):  # noqa: N818 - a state
    """There is nothing at this path."""


def look_up(tree: Any, path: Sequence[str]) -> Any:
    """What is at a path: keys of maps; indices, or names of things, in lists. Raises :class:`Missing`."""
    found = tree
    for part in path:
        if isinstance(found, Mapping):
            if part not in found:
                raise Missing(part)
            found = found[part]
        elif isinstance(found, Listing):
            found = found.item(part)
        elif isinstance(found, list):
            found = _item(found, part)
        else:
            raise Missing(part)
        found = found() if callable(found) else found
    return found


def _item(items: list[Any], part: str) -> Any:
    if part in items:
        return part
    if part.isdecimal() and int(part) < len(items):
        return items[int(part)]
    for item in items:
        if isinstance(item, Mapping) and str(item.get("name", "")).lower() == part.lower():
            return item
    raise Missing(part)


def described(value: Any) -> Any:
    """What stands where a description was put off; an encoder calls it for all that it does not know itself."""
    return value.all() if isinstance(value, Listing) else value()


def as_text(value: Any) -> str:
    """A value as its listing: keys (with ``/`` where there is more), ``0=name`` for lists, or the value itself."""
    if isinstance(value, Mapping):
        return "\n".join(f"{key}/" if _more(item) else key for key, item in value.items())
    if isinstance(value, Listing):
        return "\n".join(f"{n}={name}" for n, name in enumerate(value.names()))
    if isinstance(value, list):
        return "\n".join(_listed(n, item) for n, item in enumerate(value))
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _more(item: Any) -> bool:
    return callable(item) or isinstance(item, Mapping | list | Listing)


def _listed(index: int, item: Any) -> str:
    if isinstance(item, Mapping) and item.get("name"):
        return f"{index}={item['name']}"
    return f"{index}/" if _more(item) else f"{index}={item}"
