"""Store what agents observe. The only place that writes the observed fields of instances.

Works on many hosts' reports in one transaction. What an agent says of a container that is not (or no longer) its
business changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from remuda.control.addresses import Addresses, give_back_of
from remuda.control.agents.assignments import note
from remuda.control.volumes import store_report
from remuda.core.model import REMOVED, RUNNING, STOPPED, Host, Instance
from remuda.core.network.addressing import wants_address
from remuda.core.spec import LaunchConfig
from remuda.core.wire import ContainerReport, Observed, VolumeReport
from remuda.ports.store import ALIVE, Tx, Where, eq


@dataclass
class Batch:
    """All that one session reported since the last write, newest wins."""

    host_id: int
    token: str
    reports: dict[str, ContainerReport] = field(default_factory=dict)
    complete: bool = False
    applied_seq: int = 0
    number: int = 0
    volumes: list[VolumeReport] | None = None

    def add(self, message: Observed) -> None:
        """Merge one message."""
        if message.complete:
            self.reports.clear()
            self.complete = True
        for report in message.containers:
            self.reports[report.uuid] = report
        self.applied_seq = max(self.applied_seq, message.applied_seq)
        self.number = max(self.number, message.number)
        if message.volumes is not None:
            self.volumes = message.volumes


def store(tx: Tx, batches: Sequence[Batch]) -> set[str]:
    """Write all batches; returns the tokens of sessions that are not valid any more (theirs was not written)."""
    stale = set()
    for batch in batches:
        host = tx.get(Host, batch.host_id)
        if host is None or host.session_id != batch.token:
            stale.add(batch.token)
            continue
        _store_one(tx, host, batch)
    return stale


def _store_one(tx: Tx, host: Host, batch: Batch) -> None:
    known = {i.uuid: i for i in _known(tx, host, batch)}
    for uuid, report in batch.reports.items():
        instance = known.get(uuid)
        if instance is None:
            if report.native and report.observed != "absent":
                _adopt(tx, host, report)
        elif instance.host_id == host.id:
            _write(tx, instance, observed(instance, report))
        elif instance.native and instance.removed is not None and report.native:
            # The machine was registered anew: what it runs by itself is the same container on another host row.
            moved = {"host_id": host.id, "account_id": host.account_id, "assign_seq": 0, "applied_seq": 0}
            _write(tx, tx.update(instance, **moved), observed(instance, report) | {"applied_seq": 0})
    if batch.complete:
        for uuid, instance in known.items():
            if uuid not in batch.reports and instance.host_id == host.id and instance.removed is None:
                _write(tx, instance, missing(instance, batch.applied_seq))
    if batch.volumes is not None:
        store_report(tx, host, batch.volumes)
    applied = max(host.applied_seq, batch.applied_seq)
    if applied >= host.assign_seq and applied != host.applied_seq:
        # Only when the agent has caught up: the row is also written by whoever assigns, and need not be fought over.
        tx.update(host, applied_seq=applied)


def _known(tx: Tx, host: Host, batch: Batch) -> Iterable[Instance]:
    found: dict[str, Instance] = {}
    uuids = list(batch.reports)
    for start in range(0, len(uuids), 500):
        for instance in tx.find(Instance, Where("uuid", "in", uuids[start : start + 500])):
            found[instance.uuid] = instance
    if batch.complete:
        for instance in tx.find(Instance, eq("host_id", host.id), ALIVE):
            found.setdefault(instance.uuid, instance)
    return found.values()


def observed(instance: Instance, report: ContainerReport) -> dict[str, Any]:
    """The changes that a report means for an instance."""
    changes: dict[str, Any] = {
        "observed": report.observed,
        "external_id": report.external_id or ("" if report.observed == "absent" else instance.external_id),
        "exit_code": report.exit_code,
        "started": report.started if report.started is not None else instance.started,
        "restarts": report.restarts,
        "address": report.address,
        "bound": list(report.ports),
        "engine": report.engine or ({} if report.observed == "absent" else instance.engine),
        "message": report.message,
        "progress": report.progress,
        "applied_seq": max(instance.applied_seq, report.applied_seq),
    }
    if instance.native:
        changes |= _native(report.observed, pending=changes["applied_seq"] < instance.assign_seq)
        changes["name"] = report.name.lstrip("/") or instance.name
    return changes


def missing(instance: Instance, applied_seq: int) -> dict[str, Any]:
    """The changes for an instance that a complete report does not name."""
    changes: dict[str, Any] = {
        "observed": "absent", "external_id": "", "address": "", "bound": [], "progress": None,
        "applied_seq": max(instance.applied_seq, min(applied_seq, instance.assign_seq)),
    }  # fmt: skip
    if instance.native:
        changes |= _native("absent", pending=False)
    return changes


def _native(seen: str, *, pending: bool) -> dict[str, Any]:
    """A container that somebody else owns: its wish follows what it does, once our own order (if any) is carried out."""
    if seen == "absent":
        return {"desired": REMOVED}
    return {} if pending else {"desired": RUNNING if seen == "running" else STOPPED}


def _write(tx: Tx, instance: Instance, changes: dict[str, Any]) -> None:
    if instance.native:
        if changes["observed"] != "absent":
            changes["removed"] = None  # it may have been gone and come back
            if instance.removed is not None:
                changes |= {"managed_ip": "", "mac": ""}
        elif instance.removed is None:
            changes["removed"] = tx.now()
        else:
            return
    elif instance.removed is not None:
        return
    changed = tx.update(instance, **changes)
    if instance.native and changed.removed is not None:
        give_back_of(tx, changed)
    elif instance.native:
        _join(tx, changed)
    if instance.native or changed.observed == instance.observed:
        return
    text, level = _story(changed)
    if text:
        note(tx, changed, text, level=level)


def _story(instance: Instance) -> tuple[str, str]:
    """What an observation adds to the history: only what people ask for afterwards."""
    match instance.observed:
        case "exited" if instance.desired == RUNNING:
            return (
                f"{instance.name} exited with code {instance.exit_code}",
                "info" if instance.spec.start_once else "warning",
            )
        case "error":
            return f"{instance.name}: {instance.message or 'the host could not make it'}", "error"
        case "running":
            return f"{instance.name} runs", "info"
    return "", "info"


def _adopt(tx: Tx, host: Host, report: ContainerReport) -> None:
    running = report.observed == "running"
    instance = tx.insert(
        Instance(
            uuid=report.uuid,
            account_id=host.account_id,
            host_id=host.id,
            native=True,
            system=report.system,
            kind="container",
            name=report.name.lstrip("/") or report.external_id[:12],
            desired=RUNNING if running else STOPPED,
            spec=LaunchConfig(image_uuid=f"docker:{report.image}", labels=report.labels),
            observed=report.observed,
            external_id=report.external_id,
            exit_code=report.exit_code,
            started=report.started,
            restarts=report.restarts,
            address=report.address,
            bound=list(report.ports),
            engine=report.engine,
            because=f"Started by hand on {host.name}; it is only watched",
        )
    )
    _join(tx, instance)


def _join(tx: Tx, instance: Instance) -> None:
    """A container that was started by hand and asks for the managed network gets its address."""
    if wants_address(instance):
        tx.update(instance, **Addresses(tx, instance.account_id).of_instance(instance))
