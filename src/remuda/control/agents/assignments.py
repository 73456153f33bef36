"""Number what an agent must know. Whoever changes an instance's wish, host or spec does it through here.

The number of a host's newest assignment is raised in the transaction that makes the change, so an agent that is told
"everything up to n" has not missed anything. Never talks to an agent: the hub reads the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from remuda.control.addresses import Addresses
from remuda.control.network import network_of
from remuda.control.volumes import claim
from remuda.core.labels import BALANCER, truthy
from remuda.core.model import REMOVED, Event, Host, Instance, Port, Record, Service
from remuda.core.network.addressing import wants_address
from remuda.core.network.publishing import publish
from remuda.core.placement.values import tenant
from remuda.core.wire import Assignment, VolumeWish
from remuda.ports.store import ALIVE, Conflict, Tx, eq

TOLD = frozenset({"desired", "spec", "restart_token", "host_id", "name", "managed_ip"})
"""The fields that an agent carries out."""
STOP_TIMEOUT = 10


class Assigner:
    """Numbers the assignments of one transaction: each host's row is written once, at :meth:`close`."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._hosts: dict[int, tuple[Host, int]] = {}
        self._addresses: dict[int, Addresses] = {}

    def next_seq(self, host_id: int) -> int:
        """The next assignment number of this host."""
        if host_id not in self._hosts:
            host = self._tx.get(Host, host_id)
            if host is None or host.removed is not None:
                raise Conflict(f"Host 1h{host_id} was removed meanwhile")
            self._hosts[host_id] = (host, host.assign_seq)
        host, seq = self._hosts[host_id]
        self._hosts[host_id] = (host, seq + 1)
        return seq + 1

    def create(self, instance: Instance) -> Instance:
        """Store a new instance; if it has a host, give it its address and tell the host."""
        if instance.host_id is not None:
            given = self._settled(instance)
            return self._tx.insert(
                msgspec.structs.replace(instance, **given, assign_seq=self.next_seq(instance.host_id))
            )
        return self._tx.insert(instance)

    def change(self, instance: Instance, **changes: Any) -> Instance:
        """Write changes over an instance; tell its host if they matter there. What never reached a host is closed at once."""
        host_id = changes.get("host_id", instance.host_id)
        matters = any(name in TOLD and getattr(instance, name) != value for name, value in changes.items())
        if not matters:
            return self._tx.update(instance, **changes)
        if host_id is None:
            if changes.get("desired", instance.desired) == REMOVED:
                changes["removed"] = self._tx.now()
            return self._tx.update(instance, **changes)
        if changes.get("desired", instance.desired) != REMOVED and ("host_id" in changes or "spec" in changes):
            changes |= self._settled(msgspec.structs.replace(instance, **changes))
        return self._tx.update(instance, **changes, assign_seq=self.next_seq(host_id))

    def tell(self, instance: Instance) -> Instance:
        """Tell a host of a container again: something that goes with it changed elsewhere."""
        if instance.host_id is None:
            return instance
        return self._tx.update(instance, assign_seq=self.next_seq(instance.host_id))

    def _settled(self, instance: Instance) -> dict[str, Any]:
        """What a container gets with its place: an address, public numbers for its ports, and the volumes that it claims."""
        claim(self._tx, instance)
        given = self._address(instance)
        placed = msgspec.structs.replace(instance, **given)
        if placed.managed_ip and (placed.spec.ports or placed.spec.publish_all_ports or placed.published):
            given["published"] = self._ports(placed)
        return given

    def _ports(self, instance: Instance) -> list[Port]:
        host = self._tx.get(Host, instance.host_id or 0)
        if host is None:
            return []
        others = self._tx.find(Instance, eq("host_id", host.id), ALIVE)
        taken = [port for other in others if other.uuid != instance.uuid for port in tenant(other).ports]
        return publish(instance, host, taken, network_of(self._tx, instance.account_id))

    def _address(self, instance: Instance) -> dict[str, Any]:
        if not wants_address(instance):
            return {}
        account_id = instance.account_id
        if account_id not in self._addresses:
            self._addresses[account_id] = Addresses(self._tx, account_id)
        service = None if instance.service_id is None else self._tx.get(Service, instance.service_id)
        return self._addresses[account_id].of_instance(instance, service)

    def close(self) -> None:
        """Write the hosts' new numbers."""
        for host, seq in self._hosts.values():
            self._tx.update(host, assign_seq=seq)
        self._hosts.clear()


def change_instance(tx: Tx, instance: Instance, **changes: Any) -> Instance:
    """One change of one instance, for API actions: start, stop, restart (``restart_token`` + 1), remove, place on a host.

    Raises :class:`remuda.ports.store.Conflict` when the instance (or its host) changed meanwhile: run the unit again.
    """
    assigner = Assigner(tx)
    changed = assigner.change(instance, **changes)
    assigner.close()
    return changed


def assignment(instance: Instance, volumes: Sequence[VolumeWish] = ()) -> Assignment:
    """An instance as its agent is told of it; ``volumes`` are made before it."""
    return Assignment(
        seq=instance.assign_seq,
        uuid=instance.uuid,
        desired=instance.desired,
        name=instance.name,
        spec=instance.spec,
        restart_token=instance.restart_token,
        stop_timeout=STOP_TIMEOUT if instance.spec.stop_timeout is None else instance.spec.stop_timeout,
        native=instance.native,
        external_id=instance.external_id,
        managed_ip=instance.managed_ip,
        mac=instance.mac,
        balancer=truthy(instance.spec.labels.get(BALANCER, "")),
        volumes=list(volumes),
    )


def note(tx: Tx, record: Record, text: str, *, level: str = "info", kind: str = "") -> None:
    """Add a line to the history of a record."""
    tx.insert(
        Event(
            account_id=record.account_id,
            resource_type=record.TABLE,
            resource_id=record.id,
            description=text,
            level=level,
            kind=kind or record.TABLE,
        )
    )
