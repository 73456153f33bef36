"""Who may talk to whom on the managed network, and why. Pure.

The first rule that fits a pair of containers decides; else the network's default does. Enforced on the host of the container
that is asked; answers always pass, so ``linked`` is a one-way street. Containers of the platform itself are exempt, and so are
the hosts: their probes must get through.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from remuda.core.balancing.launch import KIND as BALANCER
from remuda.core.balancing.targets import targets
from remuda.core.model import PolicyRule
from remuda.core.network.addressing import mac_of
from remuda.core.network.relations import Relations
from remuda.core.network.scene import Scene, SceneContainer, SceneNetwork

ALLOW, DENY = "allow", "deny"


class Answer(NamedTuple):
    """May it pass, and the sentence why."""

    allowed: bool
    because: str


@dataclass(frozen=True, slots=True)
class Door:
    """What a container of this host lets in: sets of addresses in the order in which they are tried, then the default."""

    address: str
    steps: tuple[tuple[str, str], ...]
    """(set name, allow or deny)."""


@dataclass(frozen=True, slots=True)
class Filter:
    """The policy of one host, ready to be loaded."""

    default: str
    exempt: frozenset[str]
    doors: tuple[Door, ...] = ()
    sets: dict[str, frozenset[str]] = field(default_factory=dict)
    own: frozenset[tuple[str, str]] = frozenset()
    """(hardware address, address) of this host's containers: nobody may send under another one."""

    def passes(self, source: str, target: str) -> bool:
        """What the loaded filter does with a packet that opens a connection; for those who want to be sure."""
        if source in self.exempt:
            return True
        door = next((one for one in self.doors if one.address == target), None)
        if door is None:
            return True
        for name, action in door.steps:
            if source in self.sets[name]:
                return action == ALLOW
        return self.default == ALLOW


def in_force(network: SceneNetwork | None) -> bool:
    """Is there anything to enforce?"""
    return network is not None and (network.default_policy == DENY or bool(network.policy))


class Policy:
    """The rules over one scene."""

    def __init__(self, scene: Scene, relations: Relations | None = None) -> None:
        self._scene = scene
        self._relations = relations or Relations(scene)
        self._network = scene.network or SceneNetwork()
        self._linked: dict[int, frozenset[int]] = {}
        self._groups: dict[tuple[str, object], frozenset[str]] = {}

    def verdict(self, source: SceneContainer, target: SceneContainer) -> Answer:
        """May ``source`` open connections to ``target``?"""
        if not in_force(self._network):
            return Answer(True, "No policy is in force: everything may talk to everything")
        for container in (source, target):
            if container.system:
                return Answer(True, f"{container.name} belongs to the platform, which no policy holds back")
        for number, rule in enumerate(self._network.policy, 1):
            if self._fits(rule, source, target):
                word = "allows" if rule.action == ALLOW else "denies"
                return Answer(rule.action == ALLOW, f"Rule {number} ({describe(rule)}) {word} it")
        default = self._network.default_policy
        return Answer(default == ALLOW, f"No rule fits, and the default is {default}")

    def _fits(self, rule: PolicyRule, source: SceneContainer, target: SceneContainer) -> bool:
        if rule.between is not None:
            value = target.labels.get(rule.between.group_by)
            return value is not None and source.labels.get(rule.between.group_by) == value
        if rule.within == "stack":
            return target.stack_id is not None and source.stack_id == target.stack_id
        if rule.within == "service":
            return target.service_id is not None and source.service_id == target.service_id
        return rule.within == "linked" and source.service_id in self._linked_to(target.service_id)

    def _linked_to(self, service_id: int | None) -> frozenset[int]:
        """Ids of the services that are linked to this one, or balance requests to it."""
        if service_id is None:
            return frozenset()
        if not self._linked:
            found: dict[int, set[int]] = {}
            for service in self._scene.services.values():
                linked = {
                    real.id for _, one in self._relations.links_of(service) for real in self._relations.targets_of(one)
                }
                if service.kind == BALANCER:
                    linked |= targets(self._scene, service, self._relations)
                for number in linked:
                    found.setdefault(number, set()).add(service.id)
            self._linked = {number: frozenset(ids) for number, ids in found.items()} or {0: frozenset()}
        return self._linked.get(service_id, frozenset())

    def compile(self, host_id: int) -> Filter | None:
        """The filter of one host; None when nothing is to be enforced."""
        if not in_force(self._network):
            return None
        members = [c for c in self._scene.containers.values() if c.ip]
        self._groups = self._grouped(members)
        own = frozenset((c.mac or mac_of(c.ip), c.ip) for c in members if c.host_id == host_id)
        exempt = {c.ip for c in members if c.system} | {h.ip for h in self._scene.hosts.values() if h.ip}
        sets: dict[str, frozenset[str]] = {}
        doors = []
        for number in sorted(self._scene.containers):
            target = self._scene.containers[number]
            if target.host_id != host_id or not target.ip or target.system:
                continue
            steps = []
            for rule in self._network.policy:
                name = self._set_name(rule, target)
                if not name:
                    continue
                if name not in sets:
                    sets[name] = self._members(rule, target)
                steps.append((name, rule.action))
            doors.append(Door(target.ip, tuple(steps)))
        return Filter(self._network.default_policy, frozenset(exempt), tuple(doors), sets, own)

    def _set_name(self, rule: PolicyRule, target: SceneContainer) -> str:
        if rule.between is not None:
            value = target.labels.get(rule.between.group_by)
            if value is None:
                return ""
            # whoever chooses labels must not be able to make two groups one
            text = repr((rule.between.group_by, value))
            return f"group_{hashlib.sha256(text.encode()).hexdigest()[:24]}"
        if rule.within == "stack":
            return f"stack_{target.stack_id}" if target.stack_id is not None else ""
        if target.service_id is None:
            return ""
        return f"{rule.within}_{target.service_id}" if rule.within in ("service", "linked") else ""

    def _members(self, rule: PolicyRule, target: SceneContainer) -> frozenset[str]:
        """Addresses that a rule speaks of, toward this target."""
        if rule.between is not None:
            return self._groups.get((rule.between.group_by, target.labels.get(rule.between.group_by)), frozenset())
        if rule.within == "stack":
            return self._groups.get(("", f"stack {target.stack_id}"), frozenset())
        services = self._linked_to(target.service_id) if rule.within == "linked" else (target.service_id,)
        return frozenset().union(*(self._groups.get(("", f"service {n}"), frozenset()) for n in services))

    def _grouped(self, members: list[SceneContainer]) -> dict[tuple[str, object], frozenset[str]]:
        """Addresses by what rules ask for; one pass, because a host works this out whenever a container changes."""
        keys = {rule.between.group_by for rule in self._network.policy if rule.between is not None}
        found: defaultdict[tuple[str, object], set[str]] = defaultdict(set)
        for container in members:
            found["", f"stack {container.stack_id}"].add(container.ip)
            found["", f"service {container.service_id}"].add(container.ip)
            for key in keys & container.labels.keys():
                found[key, container.labels[key]].add(container.ip)
        return {group: frozenset(addresses) for group, addresses in found.items()}


def describe(rule: PolicyRule) -> str:
    """A rule in a few words."""
    if rule.between is not None:
        return f"between containers with the same {rule.between.group_by}"
    return "from linked services" if rule.within == "linked" else f"within a {rule.within}"
