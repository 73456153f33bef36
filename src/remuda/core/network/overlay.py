"""What a host's kernel must know to reach the containers of other hosts, and how to get it there. Pure.

There is no flooding and no learning: for each remote container one forwarding entry (hardware address -> host) and one neighbour
entry (address -> hardware address). An address that is in nobody's scene is unreachable, and its neighbour query dies at home.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from remuda.core.network.addressing import mac_of
from remuda.core.network.scene import Scene, SceneContainer, SceneHost

PLAIN, IPSEC = "plain", "ipsec"


@dataclass(frozen=True, slots=True)
class Tables:
    """Forwarding (hardware address -> address of the host to send to) and neighbours (address -> hardware address)."""

    forwarding: Mapping[str, str] = field(default_factory=dict)
    neighbours: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Changes:
    """What to put over, and what to take out: the same words as in :class:`Tables`."""

    put: Tables
    drop: Tables

    @property
    def empty(self) -> bool:
        """Nothing to do."""
        return not any((self.put.forwarding, self.put.neighbours, self.drop.forwarding, self.drop.neighbours))

    @property
    def count(self) -> int:
        """How many entries change."""
        parts = (self.put.forwarding, self.put.neighbours, self.drop.forwarding, self.drop.neighbours)
        return sum(len(part) for part in parts)


def endpoint(scene: Scene, host: SceneHost) -> str:
    """Where the overlay's packets for a host are sent: into its tunnel, or to the host itself."""
    encrypted = scene.network is None or scene.network.encryption == IPSEC
    return host.tunnel if encrypted else host.agent_ip


def wanted(scene: Scene, host_id: int) -> Tables:
    """The tables of one host.

    A host that servers gave up stays in them: its agent may be dead while its containers run. An address that was taken over
    elsewhere leads there, since :func:`holders` prefers a host that is heard of.
    """
    forwarding: dict[str, str] = {}
    neighbours: dict[str, str] = {}

    def add(ip: str, mac: str, host: SceneHost) -> None:
        to = endpoint(scene, host)
        if ip and to:
            forwarding[mac or mac_of(ip)] = to
            neighbours[ip] = mac or mac_of(ip)

    for host in scene.hosts.values():
        if host.id != host_id:
            add(host.ip, "", host)
    for ip, container in holders(scene).items():
        host_of = scene.hosts.get(container.host_id or 0)
        if host_of is not None and host_of.id != host_id:
            add(ip, container.mac, host_of)
    return Tables(forwarding, neighbours)


def holders(scene: Scene) -> dict[str, SceneContainer]:
    """The container that an address belongs to now. One that moved has two for a while; the newer one that lives counts."""
    found: dict[str, SceneContainer] = {}
    for number in sorted(scene.containers):
        container = scene.containers[number]
        if not container.ip:
            continue
        before = found.get(container.ip)
        if before is None or _weight(scene, container) >= _weight(scene, before):
            found[container.ip] = container
    return found


def _weight(scene: Scene, container: SceneContainer) -> tuple[bool, bool]:
    host = scene.hosts.get(container.host_id or 0)
    return (host is not None and not host.lost, container.state not in ("removing", "removed", "stopped", "stopping"))


def difference(now: Tables, then: Tables) -> Changes:
    """How to come from the tables as they are to those that are wanted."""
    return Changes(
        Tables(_new(now.forwarding, then.forwarding), _new(now.neighbours, then.neighbours)),
        Tables(_gone(now.forwarding, then.forwarding), _gone(now.neighbours, then.neighbours)),
    )


def _new(now: Mapping[str, str], then: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in then.items() if now.get(key) != value}


def _gone(now: Mapping[str, str], then: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in now.items() if key not in then}
