"""Number what an agent must know. Whoever changes an instance's wish, host or spec does it through here.

The number of a host's newest assignment is raised in the transaction that makes the change, so an agent that is told
"everything up to n" has not missed anything. Never talks to an agent: the hub reads the numbers.
"""

from __future__ import annotations

from typing import Any

import msgspec

from remuda.core.model import REMOVED, Event, Host, Instance, Record
from remuda.core.wire import Assignment
from remuda.ports.store import Conflict, Tx

TOLD = frozenset({"desired", "spec", "restart_token", "host_id", "name"})
"""The fields that an agent carries out."""
STOP_TIMEOUT = 10


class Assigner:
    """Numbers the assignments of one transaction: each host's row is written once, at :meth:`close`."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._hosts: dict[int, tuple[Host, int]] = {}

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
        """Store a new instance; tell its host if it has one."""
        if instance.host_id is not None:
            return self._tx.insert(msgspec.structs.replace(instance, assign_seq=self.next_seq(instance.host_id)))
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
        return self._tx.update(instance, **changes, assign_seq=self.next_seq(host_id))

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


def assignment(instance: Instance) -> Assignment:
    """An instance as its agent is told of it."""
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
