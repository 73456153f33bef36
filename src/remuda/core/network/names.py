"""Names of containers and services: what a question means for the one who asks. Pure.

All names stand under ``rancher.internal``: ``service.stack``, ``sidekick.service.stack`` and ``container``. A shorter one means
what it means with one of the asker's search domains behind it, so a bare name is that of a companion in the same unit, of a
service in the same stack, of a link, or of any container. A service of another stack needs its stack.

Links are names of their own for who is linked. They come first: whoever links ``db`` to another stack's service means that one,
whatever else is called so. Answers hold those that run and are healthy; if none is, the last that runs; a name that exists is
never denied.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from remuda.core import ids
from remuda.core.labels import DNS_PRIORITY
from remuda.core.network.overlay import holders
from remuda.core.network.relations import ALIAS, EXTERNAL, Relations
from remuda.core.network.scene import Scene, SceneContainer, SceneService, SceneStack
from remuda.core.spec import PRIMARY

DOMAIN = "rancher.internal"
METADATA_NAME = "rancher-metadata"
REVERSE = "in-addr.arpa"
SERVICE_LAST = "service_last"
"""Value of :data:`DNS_PRIORITY`: companions of the unit are looked for last instead of first."""


class Answer(NamedTuple):
    """What a name stands for: addresses (IPv4 and IPv6), or another name (``alias``). Neither: it has no address now."""

    addresses: tuple[str, ...] = ()
    alias: str = ""


def search_domains(stack: str, service: str, own: Sequence[str] = (), priority: str = "") -> list[str]:
    """Where a container looks for a bare name: its service, its stack, everywhere, and then what its user gave (``own``)."""
    stack, service = stack.lower(), service.lower()
    nearest = [f"{service}.{stack}.{DOMAIN}"] if stack and service else []
    found = [*([f"{stack}.{DOMAIN}"] if stack else []), DOMAIN, *own]
    return list(dict.fromkeys([*found, *nearest] if priority == SERVICE_LAST else [*nearest, *found]))


def ours(name: str) -> bool:
    """Is a name below our own domain, so that nobody else can know it?"""
    return name == DOMAIN or name.endswith("." + DOMAIN)


class Names:
    """All names of one scene. ``here`` says of a container of this host whether it really runs, None of any other.

    Making one costs milliseconds even for ten thousand containers; what a name stands for is worked out when it is asked for.
    Names are in lower case and without a dot at their end.
    """

    def __init__(
        self,
        scene: Scene,
        service_address: str,
        here: Callable[[SceneContainer], bool | None] = lambda _container: None,
    ) -> None:
        self.relations = Relations(scene)
        self._scene = scene
        self._service_address = service_address
        self._here = here
        self._stacks: dict[str, SceneStack] = {s.name.lower(): s for s in scene.stacks.values()}
        self._services: dict[tuple[int, str], SceneService] = {
            (s.stack_id, s.name.lower()): s for s in scene.services.values()
        }
        self._clients = holders(scene)
        self._links: dict[int, dict[str, list[SceneService]]] = {}

    def client(self, address: str) -> SceneContainer | None:
        """The container that asks from this address."""
        return self._clients.get(address)

    def viewpoint(self, client: SceneContainer | None) -> Hashable:
        """Clients of the same viewpoint get the same answers."""
        if client is None:
            return None
        service = self._scene.services.get(client.service_id or 0)
        unit = (client.unit, client.launch) if service is not None and service.sidekicks else ()
        own = (tuple(sorted(client.links.items())), tuple(client.dns_search), client.labels.get(DNS_PRIORITY, ""))
        return client.service_id, client.stack_id, unit, own

    def find(self, name: str, client: SceneContainer | None = None) -> Answer | None:
        """What a name means for a client (None: anybody); None when we know no such name."""
        if ours(name):
            return self._below(name[: -len(DOMAIN) - 1], client)
        for base in self._bases(client) if name else ():
            found = self._below(f"{name}.{base}" if base else name, client)
            if found is not None:
                return found
        return None

    def reverse(self, name: str) -> str:
        """The name behind an address's ``in-addr.arpa`` name; empty when it has none."""
        address = _forward(name)
        if address == self._service_address:
            return f"{METADATA_NAME}.{DOMAIN}"
        container = self._clients.get(address)
        return f"{container.name.lower()}.{DOMAIN}" if container is not None else ""

    def covers(self, name: str) -> bool:
        """Is an ``in-addr.arpa`` name that of an address of ours, so that nobody else can know it?"""
        address = _forward(name)
        network = self._scene.network
        if not address or network is None:
            return bool(address) and address == self._service_address
        subnet = ipaddress.IPv4Network(network.subnet)
        return address == self._service_address or ipaddress.IPv4Address(address) in subnet

    # ---- by form --------------------------------------------------------------------------------------------------------

    def _bases(self, client: SceneContainer | None) -> Iterator[str]:
        """What may be left out of a name, below our domain."""
        if client is None:
            yield ""
            return
        stack, service = self._home(client)
        names = (stack.name if stack else "", service.name if service else "")
        for domain in search_domains(*names, client.dns_search, client.labels.get(DNS_PRIORITY, "")):
            if ours(domain.lower()):
                yield domain.lower()[: -len(DOMAIN) - 1]

    def _home(self, client: SceneContainer) -> tuple[SceneStack | None, SceneService | None]:
        service = self._scene.services.get(client.service_id or 0)
        return self._scene.stacks.get((service.stack_id if service else client.stack_id) or 0), service

    def _below(self, name: str, client: SceneContainer | None) -> Answer | None:
        """What a name below our domain means; the domain itself is the empty name."""
        if not name:
            return Answer()
        if name == METADATA_NAME:
            return Answer((self._service_address,))
        own = self._for_client(name, client) if client is not None else None
        if own is not None:
            return own
        labels = name.split(".")
        if len(labels) in (2, 3):
            stack = self._stacks.get(labels[-1])
            service = self._services.get((stack.id, labels[-2])) if stack is not None else None
            found = self._of_launch(service, labels[:-2]) if service is not None else None
            if found is not None:
                return found
        return self._of_container(name, client)

    def _for_client(self, name: str, client: SceneContainer) -> Answer | None:
        """Links and companions, which others do not see."""
        stack, service = self._home(client)
        below = "." + stack.name.lower() if stack is not None else ""
        names = [name.removesuffix(below), name] if below and name.endswith(below) else [name]
        for one in names:
            linked = self._linked(one, client, service)
            if linked is not None:
                return linked
        inside = f".{service.name.lower()}{below}" if service is not None else ""
        if service is not None and name.endswith(inside):
            return self._companion(name.removesuffix(inside), client, service)
        return None

    def _linked(self, name: str, client: SceneContainer, service: SceneService | None) -> Answer | None:
        if service is not None:
            links = self._links.get(service.id)
            if links is None:
                links = self._links[service.id] = {}
                for alias, target in self.relations.links_of(service):
                    links.setdefault((alias or target.name).lower(), []).append(target)
            if name in links:
                return self.of_services(links[name])
        for alias, target_name in client.links.items():
            if alias.lower() == name:
                found = self._container(target_name)
                return self._addresses([found]) if found is not None else Answer()
        return None

    def _container(self, reference: str) -> SceneContainer | None:
        """By public id (``1i5``), uuid or name."""
        return self._scene.containers.get(ids.number(reference) or 0) or self.relations.named(reference)

    def _companion(self, name: str, client: SceneContainer, own: SceneService) -> Answer | None:
        """A unit's containers know each other by launch configuration; a sidekick knows its primary by the service's name."""
        wanted = PRIMARY if name == own.name.lower() and client.launch != PRIMARY else name
        mates = [c for c in self.relations.unit_of(client) if c.launch.lower() == wanted]
        return self._addresses(mates) if mates else None

    def _of_launch(self, service: SceneService, launch: list[str]) -> Answer | None:
        if not launch:
            return self.of_service(service)
        sidekick = next((s for s in service.sidekicks if s.lower() == launch[0]), None)
        return self._addresses(self.relations.containers_of(service, sidekick)) if sidekick is not None else None

    def _of_container(self, name: str, client: SceneContainer | None) -> Answer | None:
        found = self.relations.namesakes(name)
        if found:
            return self._addresses(found)
        stack, _ = self._home(client) if client is not None else (None, None)
        service = self._services.get((stack.id, name)) if stack is not None else None
        return self.of_service(service) if service is not None else None

    # ---- what stands behind it -------------------------------------------------------------------------------------------

    def of_service(self, service: SceneService) -> Answer:
        """The addresses of a service, of all behind an alias, or the name of an external one."""
        return self.of_services([service])

    def of_services(self, services: Iterable[SceneService]) -> Answer:
        """The same of several: while one is upgraded to another, a link leads to both."""
        containers: list[SceneContainer] = []
        outside: list[Answer] = []
        each = (self.relations.targets_of(one) if one.kind == ALIAS else [one] for one in services)
        for target in chain.from_iterable(each):
            if target.kind == EXTERNAL:
                outside += [_external(target)] if target.active else []
            else:
                containers += self.relations.containers_of(target)
        addresses = self._addresses(containers).addresses + tuple(a for answer in outside for a in answer.addresses)
        if addresses:
            return Answer(tuple(dict.fromkeys(addresses)))
        return Answer((), next((answer.alias for answer in outside if answer.alias), ""))

    def _addresses(self, containers: Iterable[SceneContainer]) -> Answer:
        there = [c for c in containers if self._here(c) is not False]
        found = (self.relations.address_of(c) for c in self.relations.eligible(there))
        return Answer(tuple(dict.fromkeys(address for address in found if address)))


def _external(service: SceneService) -> Answer:
    if service.external_ips:
        return Answer(tuple(service.external_ips))
    return Answer((), service.hostname.rstrip(".").lower())


def _forward(name: str) -> str:
    """The address that an ``in-addr.arpa`` name is about; empty when it is about none, or about many."""
    parts = name.removesuffix("." + REVERSE).split(".")
    text = ".".join(reversed(parts))
    try:
        return str(ipaddress.IPv4Address(text)) if name.endswith("." + REVERSE) else ""
    except ValueError:
        return ""
