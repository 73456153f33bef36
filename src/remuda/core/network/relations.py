"""Who belongs to whom in a scene: selectors, containers of services, links, targets of aliases, addresses. Pure.

Everything that names, balances or allows traffic asks here, so that all of them see the same services.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from remuda.core.network.scene import CONTAINER, HOST_MODE, Scene, SceneContainer, SceneService
from remuda.core.spec import PRIMARY

ALIAS, EXTERNAL, BALANCER = "dnsService", "externalService", "loadBalancerService"
_SET = re.compile(r"^(?P<key>\S+)\s+(?P<not>not)?in\s*\((?P<values>[^)]*)\)$")
_PAIR = re.compile(r"^(?P<key>[^\s=!]+)\s*(?P<op>!=|=)\s*(?P<value>[^\s=!,]*)$")


class Term(NamedTuple):
    """One condition of a selector: the label ``key`` is (or, ``negative``, is not) one of ``values``; without any: it exists."""

    key: str
    values: frozenset[str] | None = None
    negative: bool = False

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Does it hold for these labels (keys in lower case)?"""
        if self.values is None:
            return self.key in labels
        return (labels.get(self.key) in self.values) != self.negative


@lru_cache(maxsize=4096)
def parse(selector: str) -> tuple[Term, ...]:
    """A selector's terms, all of which must hold. Raises ValueError with what is wrong."""
    terms = []
    for part in re.split(r",(?![^(]*\))", selector):
        text = part.strip()
        if not text:
            continue
        if found := _SET.match(text):
            values = frozenset(v.strip() for v in found["values"].split(",") if v.strip())
            terms.append(Term(found["key"].lower(), values, bool(found["not"])))
        elif found := _PAIR.match(text):
            terms.append(Term(found["key"].lower(), frozenset({found["value"]}), found["op"] == "!="))
        elif re.fullmatch(r"[^\s=!()]+", text):
            terms.append(Term(text.lower()))
        else:
            raise ValueError(f"{text!r} is none of: key, key=value, key!=value, key in (a, b), key notin (a, b)")
    return tuple(terms)


def matches(selector: str, labels: Mapping[str, str]) -> bool:
    """Do these labels meet a selector? An empty or unreadable one selects nothing."""
    try:
        terms = parse(selector)
    except ValueError:
        return False
    lowered = {key.lower(): value for key, value in labels.items()}
    return bool(terms) and all(term.holds(lowered) for term in terms)


class Relations:
    """Indices over one scene, made once and asked often. Throw it away with the scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._members: defaultdict[int, list[SceneContainer]] = defaultdict(list)
        self._by_uuid: dict[str, SceneContainer] = {}
        self._by_name: defaultdict[str, list[SceneContainer]] = defaultdict(list)
        self._units: dict[tuple[str, str], SceneContainer] = {}
        for number in sorted(scene.containers):
            container = scene.containers[number]
            self._by_uuid[container.uuid] = container
            self._by_name[container.name.lower()].append(container)
            if container.service_id is not None:
                self._members[container.service_id].append(container)
                before = self._units.get((container.unit, container.launch))
                if before is None or (container.live and not before.live):
                    self._units[container.unit, container.launch] = container
        self._adopters = [s for s in scene.services.values() if s.selector_container]
        self._adopted: dict[int, list[SceneContainer]] = {}
        if self._adopters:
            loose = [c for c in scene.containers.values() if c.service_id is None]
            self._adopted = {
                s.id: [c for c in loose if matches(s.selector_container, c.labels)] for s in self._adopters
            }

    def containers_of(self, service: SceneService, launch: str = PRIMARY) -> list[SceneContainer]:
        """A service's containers: of its primary launch configuration (with those that its selector adopts), or of a sidekick."""
        own = [c for c in self._members.get(service.id, ()) if c.launch == launch]
        return own + self._adopted.get(service.id, []) if launch == PRIMARY else own

    def links_of(self, service: SceneService) -> list[tuple[str, SceneService]]:
        """(alias, service) of what a service is linked to; the alias is empty where the service's own name is meant."""
        services = self.scene.services
        found = [(link.name, services[link.service_id]) for link in service.links if link.service_id in services]
        if service.selector_link:
            linked = {target.id for _, target in found}
            found += [
                ("", other)
                for number, other in sorted(services.items())
                if number != service.id and number not in linked and matches(service.selector_link, other.labels)
            ]
        return found

    def targets_of(self, service: SceneService) -> list[SceneService]:
        """The services behind an alias, through aliases of aliases; a service that is no alias stands for itself."""
        found: dict[int, SceneService] = {}
        seen: set[int] = set()

        def visit(one: SceneService) -> None:
            if one.id in seen:
                return
            seen.add(one.id)
            if one.kind != ALIAS:
                found[one.id] = one
            elif one.active:
                for _, target in self.links_of(one):
                    visit(target)

        visit(service)
        return list(found.values())

    def unit_of(self, container: SceneContainer) -> list[SceneContainer]:
        """The containers that live together with this one, itself included."""
        if not container.unit:
            return [container]
        return [c for c in self._members.get(container.service_id or 0, ()) if c.unit == container.unit]

    def namesakes(self, name: str) -> list[SceneContainer]:
        """All containers of a name in any case: a replacement has the name of what it replaces while both are there."""
        return self._by_name.get(name.lower(), [])

    def named(self, name: str) -> SceneContainer | None:
        """A container by uuid or name; of several, the one that lives."""
        found = self.namesakes(name)
        return self._by_uuid.get(name) or next((c for c in found if c.live), None) or next(iter(found), None)

    def owner_of(self, container: SceneContainer) -> SceneContainer | None:
        """Whose network a container uses: its own in most cases; None when that one is not there."""
        for _ in range(8):
            if container.network != CONTAINER:
                return container
            sharer = self._units.get((container.unit, container.shares)) or self.named(container.shares)
            if sharer is None and container.service_id in self.scene.services:
                primary = self.scene.services[container.service_id or 0].name == container.shares
                sharer = self._units.get((container.unit, PRIMARY)) if primary else None
            if sharer is None or sharer is container:
                return None
            container = sharer
        return None

    def address_of(self, container: SceneContainer) -> str:
        """Where a container is reached from others: its own address, that of the one whose network it shares, or its host's."""
        owner = self.owner_of(container)
        if owner is None:
            return ""
        if owner.network == HOST_MODE:
            host = self.scene.hosts.get(owner.host_id or 0)
            return host.agent_ip if host is not None else ""
        return owner.ip

    def eligible(self, containers: Iterable[SceneContainer]) -> list[SceneContainer]:
        """What names lead to: :meth:`worth_asking`, but when nothing is well only one of them, as clients of 1.x know it."""
        found = self.worth_asking(containers)
        return found if any(self._well(c) for c in found) else found[-1:]

    def worth_asking(self, containers: Iterable[SceneContainer]) -> list[SceneContainer]:
        """Those that run and are well, on hosts that are heard of; if none is, those on such hosts; if none is, all that run.

        When all count as out, that says more about whoever watches them than about them, and an answer that may fail beats none.
        """
        living = [c for c in containers if c.live]
        there = [c for c in living if not self._lost(c)]
        return [c for c in there if c.wholesome] or there or living

    def _well(self, container: SceneContainer) -> bool:
        return container.wholesome and not self._lost(container)

    def _lost(self, container: SceneContainer) -> bool:
        host = self.scene.hosts.get(container.host_id or 0)
        return host is not None and host.lost


def containers_of(scene: Scene, service: SceneService, launch: str = PRIMARY) -> list[SceneContainer]:
    """:meth:`Relations.containers_of` for a single question."""
    return Relations(scene).containers_of(service, launch)


def links_of(scene: Scene, service: SceneService) -> list[tuple[str, SceneService]]:
    """:meth:`Relations.links_of` for a single question."""
    return Relations(scene).links_of(service)


def targets_of(scene: Scene, service: SceneService) -> list[SceneService]:
    """:meth:`Relations.targets_of` for a single question."""
    return Relations(scene).targets_of(service)


def address_of(scene: Scene, container: SceneContainer) -> str:
    """:meth:`Relations.address_of` for a single question."""
    return Relations(scene).address_of(container)


def eligible(scene: Scene, containers: Iterable[SceneContainer]) -> list[SceneContainer]:
    """:meth:`Relations.eligible` for a single question."""
    return Relations(scene).eligible(containers)
