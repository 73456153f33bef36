"""The rows of named volumes, within the unit of work that needs them: who claims one, what hosts are told and tell of them.

A volume is claimed in the transaction that places its container, so two containers that need the same data can never be sent to
two hosts. Nothing here deletes data: only an order that somebody gave does, and the engine refuses it while a container has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from remuda.core.model import ACTIVE, REMOVED, Event, Host, Instance, Volume, VolumeTemplate
from remuda.core.volumes import Holdings, binds, holdings, names_of, template_of, uses
from remuda.core.wire import VolumeOrder, VolumeReport, VolumeWish
from remuda.ports.store import ALIVE, Conflict, Tx, Where, eq

GONE = "absent"
PRESENT = "present"


def named(tx: Tx, account_id: int, names: Iterable[str]) -> list[Volume]:
    """The volumes of an environment that an engine calls one of these."""
    wanted = sorted(set(names))
    return tx.find(Volume, eq("account_id", account_id), Where("external_id", "in", wanted), ALIVE) if wanted else []


def templates_of(tx: Tx, stack_id: int | None) -> list[VolumeTemplate]:
    """The volumes that the files of a stack declare."""
    return [] if stack_id is None else tx.find(VolumeTemplate, eq("stack_id", stack_id), ALIVE)


def held(tx: Tx, account_id: int, names: Iterable[str]) -> Holdings:
    """Where the data that these names stand for lies."""
    return holdings(named(tx, account_id, names))


def claim(tx: Tx, instance: Instance) -> None:
    """Bind the volumes of a container that was just given a host to that host; make rows of those that its stack declares.

    Raises :class:`Conflict` when one was bound elsewhere meanwhile: place again.
    """
    host_id, names = instance.host_id, names_of(instance.spec)
    if host_id is None or not names:
        return
    rows = named(tx, instance.account_id, names)
    templates = templates_of(tx, instance.stack_id)
    for name in names:
        here = [v for v in rows if v.external_id == name and v.desired != REMOVED]
        bound = next((v for v in here if binds(v) or (v.declared and not v.local)), None)
        if bound is not None:
            _bind(tx, bound, instance, [v for v in here if not v.declared and v.host_id == host_id])
            continue
        if any(v.host_id == host_id for v in here):
            continue
        template = template_of(name, templates)
        if template is not None and not template.external:
            _from_template(tx, template, name, host_id, [v for v in here if not v.local])


def _bind(tx: Tx, volume: Volume, instance: Instance, seen: Sequence[Volume]) -> None:
    if volume.local and volume.host_id not in (None, instance.host_id):
        raise Conflict(f"The volume {volume.name} was bound to another host meanwhile")
    tx.update(volume, host_id=instance.host_id)
    for other in seen:  # what was only seen there is this very volume
        tx.update(other, removed=tx.now(), desired=REMOVED)


def _from_template(tx: Tx, template: VolumeTemplate, name: str, host_id: int, shared: Sequence[Volume]) -> None:
    if shared:
        return
    tx.insert(
        Volume(
            account_id=template.account_id, kind="volume", name=name, external_id=name, driver=template.driver or "local",
            driver_opts=template.driver_opts, declared=True, host_id=host_id, stack_id=template.stack_id,
            volume_template_id=template.id,
        )
    )  # fmt: skip


# ---- what agents are told --------------------------------------------------------------------------------------------


def wishes(tx: Tx, instances: Sequence[Instance]) -> dict[int, list[VolumeWish]]:
    """The volumes that containers need made before them, by instance; those that nobody declared the engine makes itself."""
    found: dict[int, list[VolumeWish]] = {}
    asking = {i.id: names for i in instances if (names := names_of(i.spec))}
    if not asking:
        return found
    account_id = instances[0].account_id
    rows = [v for v in named(tx, account_id, {n for names in asking.values() for n in names}) if v.declared]
    for instance in instances:
        mine = [v for v in rows if not v.local or v.host_id == instance.host_id]
        names = asking.get(instance.id, [])
        needed = [v for v in mine if v.external_id in names and v.desired != REMOVED]
        if needed:
            found[instance.id] = [wish_of(v) for v in needed]
    return found


def wish_of(volume: Volume) -> VolumeWish:
    """A volume as an engine has to make it."""
    return VolumeWish(name=volume.external_id, driver=volume.driver or "local", options=volume.driver_opts)


def orders(tx: Tx, host_id: int, newer_than: int) -> list[VolumeOrder]:
    """What a host is to make or remove, out of the orders with a higher number."""
    rows = tx.find(Volume, eq("host_id", host_id), Where("assign_seq", "gt", newer_than), ALIVE)
    return [VolumeOrder(seq=v.assign_seq, uuid=v.uuid, desired=v.desired, wish=wish_of(v)) for v in rows]


def order(tx: Tx, volume: Volume, desired: str, next_seq: Callable[[int], int]) -> Volume:
    """Tell the volume's host to make it or to remove it; what never reached a host is closed at once."""
    if volume.host_id is None or (desired == REMOVED and volume.seen in ("", GONE) and not volume.assign_seq):
        return tx.update(volume, desired=desired, removed=tx.now() if desired == REMOVED else None)
    return tx.update(volume, desired=desired, assign_seq=next_seq(volume.host_id), message="")


def users_in(tx: Tx, volume: Volume) -> list[Instance]:
    """The containers that use a volume, or are about to: on its host, or anywhere where all hosts share it."""
    found = tx.find(Instance, eq("account_id", volume.account_id), *_reach(volume), ALIVE)
    if volume.local and volume.host_id is not None:
        found += tx.find(Instance, eq("account_id", volume.account_id), eq("host_id", None), ALIVE)
    return [i for i in found if any(name == volume.external_id for name, _ in uses(i))]


def _reach(volume: Volume) -> list[Where]:
    return [eq("host_id", volume.host_id)] if volume.local and volume.host_id is not None else []


# ---- what agents tell ------------------------------------------------------------------------------------------------


def store_report(tx: Tx, host: Host, reports: Sequence[VolumeReport]) -> None:
    """Write what a host tells of its volumes; all of them are named, so what is missing is not there."""
    rows = tx.find(Volume, eq("account_id", host.account_id), ALIVE)
    here = {v.external_id: v for v in rows if v.local and v.host_id == host.id}
    shared = {v.external_id: v for v in rows if not v.local}
    for report in reports:
        row = here.pop(report.name, None) if report.driver in ("", "local") else None
        row = row or shared.get(report.name)
        if row is None:
            row = here.pop(report.name, None)
        if row is not None:
            _observe(tx, row, report)
        elif report.seen == PRESENT:
            _adopt(tx, host, report, rows)
    for row in here.values():
        if row.seen == PRESENT:
            _observe(tx, row, VolumeReport(name=row.external_id, seen=GONE, applied_seq=row.applied_seq))


def _observe(tx: Tx, volume: Volume, report: VolumeReport) -> None:
    ours = report.uuid == volume.uuid
    applied = max(volume.applied_seq, report.applied_seq) if ours else volume.applied_seq
    changes: dict[str, Any] = {
        "seen": report.seen,
        "mountpoint": report.mountpoint or volume.mountpoint,
        "message": report.message if ours else volume.message,
        "applied_seq": applied,
    }
    if report.seen == GONE:
        carried_out = volume.desired == REMOVED and applied >= volume.assign_seq
        if carried_out or (volume.local and not volume.declared):
            changes |= {"desired": REMOVED, "removed": tx.now()}
        elif volume.seen == PRESENT and volume.desired == ACTIVE:
            _tell(tx, volume, f"Volume {volume.name} is no longer on its host, and nobody here removed it")
            if volume.requested_host_id is None and not volume.users and volume.local:
                changes["host_id"] = None
    tx.update(volume, **changes)


def _adopt(tx: Tx, host: Host, report: VolumeReport, rows: Sequence[Volume]) -> None:
    """A volume that is there: of a container that named it, or made by hand."""
    stack_id = next((v.stack_id for v in rows if v.external_id == report.name and v.stack_id is not None), None)
    tx.insert(
        Volume(
            account_id=host.account_id, kind="volume", name=report.name, external_id=report.name,
            driver=report.driver or "local", host_id=host.id, seen=PRESENT, mountpoint=report.mountpoint, stack_id=stack_id,
        )
    )  # fmt: skip


def _tell(tx: Tx, volume: Volume, text: str) -> None:
    tx.insert(
        Event(
            account_id=volume.account_id, resource_type=Volume.TABLE, resource_id=volume.id, description=text,
            level="warning", kind=Volume.TABLE,
        )
    )  # fmt: skip
