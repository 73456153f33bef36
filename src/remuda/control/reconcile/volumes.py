"""Volumes: which containers use them, and the end of those whose host is gone or whose last container asked for it.

One key per volume; a container's change wakes only the volumes that it names.
"""

from __future__ import annotations

from remuda.control.agents.assignments import Assigner, note
from remuda.control.reconcile.loop import Key, Term
from remuda.control.reconcile.snapshot import HostWatch, News
from remuda.control.volumes import named, order, users_in
from remuda.core.model import REMOVED, Host, Instance, Mount, Volume
from remuda.core.volumes import Step, cleans_up, plan, uses
from remuda.ports.store import ALIVE, Tx, Where, eq

NAME = "volumes"


class VolumeController:
    """Keeps mounts and the number of users."""

    name = NAME

    def __init__(self, term: Term) -> None:
        self._term = term
        self._hosts = HostWatch()

    def all_keys(self, tx: Tx, term: Term) -> list[Key]:
        """All volumes that are not closed, and closed ones that still count as mounted."""
        keys = {_key(v) for v in tx.find(Volume, ALIVE)}
        keys |= {Key(NAME, m.volume_id, m.account_id) for m in tx.find(Mount, ALIVE)}
        return [key for key in keys if term.mine(key.account_id)]

    def touched(self, news: News) -> list[Key]:
        """The volume itself; those that a container names; those of a host that is gone."""
        keys = {_key(v) for v in news.records(Volume)}
        wanted: dict[int, set[str]] = {}
        for instance in news.records(Instance):
            if names := {name for name, _ in uses(instance)}:
                wanted.setdefault(instance.account_id, set()).update(names)
        for account_id, names in wanted.items():
            keys |= {_key(v) for v in named(news.tx, account_id, names)}
        for host in self._hosts.changed(news):
            if host.removed is not None:
                keys |= {_key(v) for v in news.tx.find(Volume, eq("host_id", host.id), ALIVE)}
        return list(keys)

    async def reconcile(self, key: Key) -> tuple[str, float | None]:
        """One step for one volume."""
        term = self._term
        if await term.store.read(lambda tx: look(tx, key.record_id).empty):
            return "", None
        return await term.store.write(lambda tx: step(tx, key.record_id), grant=term.grant), None


def look(tx: Tx, volume_id: int) -> Step:
    """What there is to do for a volume."""
    volume = tx.get(Volume, volume_id)
    if volume is None:
        return Step()
    mounts = tx.find(Mount, eq("volume_id", volume_id), ALIVE)
    if volume.removed is not None:
        return plan(volume, [], mounts, host_there=False)
    host = tx.get(Host, volume.host_id) if volume.host_id is not None else None
    instances = users_in(tx, volume)
    left = {m.instance_id for m in mounts} - {i.id for i in instances}
    before = tx.find(Instance, Where("id", "in", sorted(left))) if left and not instances else []
    return plan(
        volume, instances, mounts, host_there=host is not None and host.removed is None,
        cleaned=any(cleans_up(i) and i.removed is not None for i in before),
    )  # fmt: skip


def step(tx: Tx, volume_id: int) -> str:
    """Do it; one sentence on what was done."""
    todo, volume = look(tx, volume_id), tx.get(Volume, volume_id)
    if volume is None or todo.empty:
        return ""
    for mount in todo.unmount:
        tx.update(mount, desired=REMOVED, removed=tx.now())
    for mount in todo.mount:
        tx.insert(mount)
    changes = dict(todo.changes)
    if changes.get("desired") == REMOVED:
        changes["removed"] = tx.now()
    if changes:
        volume = tx.update(volume, **changes)
    if todo.order:
        assigner = Assigner(tx)
        volume = order(tx, volume, REMOVED, assigner.next_seq)
        assigner.close()
    if todo.because:
        note(tx, volume, todo.because)
    return f"Volume {volume.name}: {todo.because or f'{volume.users} containers use it'}"


def _key(volume: Volume) -> Key:
    return Key(NAME, volume.id, volume.account_id)
