"""A plan in the making: the rows as they will be once it is carried out, and what was decided on the way.

Holds the facts and the few moves that every policy is made of (remove, place, add); the policies themselves are in
:mod:`remuda.core.services`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from remuda.core import restarts
from remuda.core.health import UNHEALTHY
from remuda.core.model import REMOVED, Host, Instance, Service, VolumeTemplate
from remuda.core.placement.pipeline import Placed, Refused, place
from remuda.core.placement.values import Request, Tenant, candidate, tenant
from remuda.core.spec import LaunchConfig
from remuda.core.summary import Summary, summarise
from remuda.core.units import Maker, Unit, group, is_global, launch_configs
from remuda.core.volumes import NOTHING, Holdings, names_of

GOING_SECONDS = 30.0
"""So long a replacement waits for its predecessor to be gone from a host that answers."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a plan depends on.

    ``instances``: the rows of this service that are not closed. ``hosts``: those of the environment. ``occupancy``: what
    lives on them (all services and stand-alone containers), needed only when something has to be placed. ``lost_for``:
    seconds since a host was declared lost. ``held_for``: seconds that an instance has been in error, or on its way out.
    ``waiting_for``: names from ``depends_on`` that have not settled once yet. ``calamity``: why nothing unhealthy should be made
    anew now (:func:`remuda.core.health.calamity`). ``templates``: the volumes that its stack declares; ``data``: where
    those that it names lie, needed like ``occupancy``.
    """

    service: Service
    stack: str
    project: str = ""
    instances: Sequence[Instance] = ()
    hosts: Sequence[Host] = ()
    occupancy: Mapping[int, Sequence[Tenant]] = field(default_factory=dict)
    lost_for: Mapping[int, float] = field(default_factory=dict)
    held_for: Mapping[int, float] = field(default_factory=dict)
    waiting_for: Sequence[str] = ()
    calamity: str = ""
    templates: Sequence[VolumeTemplate] = ()
    data: Holdings = NOTHING


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the history of a service or of one of its containers (``uuid``)."""

    text: str
    uuid: str = ""
    level: str = "info"


@dataclass(frozen=True, slots=True)
class Plan:
    """The next steps. ``create`` is in the order in which hosts must make them; ``update`` maps an instance to its changes.

    ``service`` are the changes of the service's decided fields; ``finished`` = nothing is left of a removed service.
    ``wake_after``: plan again after so many seconds, even if nothing changes.
    """

    create: tuple[Instance, ...] = ()
    update: tuple[tuple[Instance, dict[str, Any]], ...] = ()
    remove: tuple[tuple[Instance, str], ...] = ()
    service: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    finished: bool = False
    wake_after: float | None = None
    asked: bool = False
    """A place was looked for, so the plan depends on the occupancy."""

    @property
    def because(self) -> str:
        """One sentence on what the service waits for or has reached, if it changed."""
        return str(self.service.get("because", ""))

    @property
    def empty(self) -> bool:
        """Nothing to write."""
        return not (self.create or self.update or self.remove or self.service or self.finished)


class Draft:
    """Facts in, moves, plan out."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.service = facts.service
        self.maker = Maker(facts.service, facts.stack, facts.project, facts.templates)
        self.configs: dict[str, LaunchConfig] = launch_configs(facts.service)
        self.is_global = is_global(facts.service)
        self.before: dict[str, Instance] = {i.uuid: i for i in facts.instances}
        self.after: dict[str, Instance] = dict(self.before)
        self.hosts: dict[int, Host] = {host.id: host for host in facts.hosts}
        self.tenants: dict[int, list[Tenant]] = {
            host.id: list(facts.occupancy.get(host.id, ())) for host in facts.hosts
        }
        self.candidates = {h.id: candidate(h, self.tenants[h.id]) for h in facts.hosts if h.removed is None}
        self.real = any(not c.simulated for c in self.candidates.values())
        """Are there hosts that are not simulated?"""
        self.next_index = facts.service.create_index
        self.attempts: dict[str, Any] = dict(facts.service.data.get("attempts", {}))
        self.reasons: dict[str, str] = {}
        self.refusals: list[str] = []
        self.waits: list[str] = []
        self.remarks: list[str] = []
        """What is to be told though nothing is done about it."""
        self.notes: list[Note] = []
        self.wakes: list[float] = []
        self.asked = False
        self.restart = restarts.wish(facts.service)
        """What is still to be restarted; None once all were told."""
        self.data = facts.data

    # ---- looking ------------------------------------------------------------------------------------------------------

    def units(self) -> list[Unit]:
        """The units as they stand now in the draft."""
        return group(self.after.values())

    def live_units(self) -> list[Unit]:
        """The units of which something is to stay."""
        return [unit for unit in self.units() if unit.live]

    def lost(self, host_id: int | None) -> bool:
        """Is this host out of reach for good, as far as we know?"""
        if host_id is None:
            return False
        host = self.hosts.get(host_id)
        return host is None or host.removed is not None or host.desired == REMOVED or host.connection == "lost"

    def going(self) -> list[Instance]:
        """Instances on their way out whose place must not be taken yet: on a host that answers, and not for too long."""
        found = []
        for i in self.after.values():
            if i.desired != REMOVED or i.host_id is None or self.lost(i.host_id):
                continue
            held = self.facts.held_for.get(i.id, 0.0) if self.before[i.uuid].desired == REMOVED else 0.0
            if held < GOING_SECONDS:
                found.append(i)
                self.wakes.append(GOING_SECONDS - held)
        return found

    # ---- deciding -----------------------------------------------------------------------------------------------------

    def remove(self, instances: Iterable[Instance], because: str, level: str = "info") -> None:
        """Let these go."""
        for i in instances:
            if i.uuid not in self.before:
                del self.after[i.uuid]
                continue
            self.after[i.uuid] = msgspec.structs.replace(i, desired=REMOVED, because=because, blocked=False)
            self.reasons[i.uuid] = because
            self.notes.append(Note(f"{i.name} is removed: {because[0].lower()}{because[1:]}", i.uuid, level))

    # ---- placing ------------------------------------------------------------------------------------------------------

    def new_unit(self, ordinal: int, host_id: int | None = None) -> list[Instance]:
        """The instances of a new unit, not placed yet (or for one certain host)."""
        self.next_index += 1
        unit = self.maker.unit_id(self.next_index)
        return [
            self.maker.make(n, c, unit=unit, ordinal=ordinal, create_index=self.next_index, requested_host=host_id)
            for n, c in self.configs.items()
        ]

    def find(self, request: Request) -> Placed | Refused:
        """A host as things stand in the draft."""
        self.asked = True
        asked = self.candidates.get(request.requested_host or 0)
        hosts = list(self.candidates.values()) if asked is None else [asked]
        return place(replace(request, data=self.data), hosts, real=self.real)

    def place(self, unit: list[Instance], avoid: int | None) -> None:
        """Place a unit, or keep it waiting with the reason."""
        verdict = self.find(self.maker.request(unit, [] if avoid is None else [avoid]))
        if isinstance(verdict, Refused):
            self.refusals.append(verdict.because)
            if any(i.because != verdict.because for i in unit):
                self.notes.append(Note(f"{unit[0].name}: {verdict.because}", unit[0].uuid, "warning"))
            for i in unit:
                self.after[i.uuid] = msgspec.structs.replace(i, because=verdict.because, blocked=True)
            return
        self.settle_on(unit, verdict)

    def settle_on(self, unit: list[Instance], verdict: Placed) -> None:
        """Put a unit where the verdict says."""
        placed = [
            msgspec.structs.replace(i, host_id=verdict.host_id, because=verdict.because, blocked=False) for i in unit
        ]
        self.notes.append(Note(f"{placed[0].name}: {verdict.because}", placed[0].uuid))
        self.adopt(placed, verdict.host_id)

    def adopt(self, instances: Sequence[Instance], host_id: int | None) -> None:
        """Take instances into the draft; from now on they occupy their host."""
        for i in instances:
            told = i.restart_token if self.restart is None else self.restart.token
            self.after[i.uuid] = msgspec.structs.replace(i, restart_token=told)
            if host_id is not None:
                self.data = self.data.settled(names_of(i.spec), host_id)
            if host_id in self.tenants:
                self.tenants[host_id].append(tenant(i))  # the candidate sees it: it holds this very list

    # ---- the result ---------------------------------------------------------------------------------------------------

    def result(self) -> Plan:
        """What changed, as a plan."""
        create, update, remove = [], [], []
        for key, row in self.after.items():
            old = self.before.get(key)
            if old is None:
                create.append(row)
            elif key in self.reasons:
                remove.append((old, self.reasons[key]))
            else:
                changes = {
                    f: getattr(row, f)
                    for f in ("desired", "host_id", "because", "blocked", "spec", "restart_token")
                    if getattr(row, f) != getattr(old, f)
                }
                if changes:
                    update.append((old, changes))
        rows = list(self.after.values())
        removed = self.service.desired == REMOVED
        finished = removed and not any(i.host_id is not None and not self.lost(i.host_id) for i in rows)
        summary = self._summary(rows)
        changes = self._service_changes(summary)
        return Plan(
            create=tuple(create),
            update=tuple(update),
            remove=tuple(remove),
            service=changes,
            notes=tuple(self.notes),
            finished=finished,
            wake_after=min(self.wakes) if self.wakes else None,
            asked=self.asked,
        )

    def _summary(self, rows: Sequence[Instance]) -> Summary:
        units = [unit for unit in group(rows) if unit.live]
        running = [u for u in units if u.started() and not self.lost(u.host_id)]
        once = bool(units) and all(i.spec.start_once and i.observed == "exited" for u in units for i in u.live)
        still = [i for u in units for i in u.live if i.observed == "running" and not self.lost(i.host_id)]
        return summarise(
            self.service,
            wanted=len(units) if self.is_global else (self.service.scale if self.configs else 0),
            running=len(running),
            well=sum(1 for u in running if u.wholesome),
            ill=sum(1 for u in running if any(i.health_state == UNHEALTHY for i in u.live)),
            stopping=len({i.unit for i in still}),
            ran_once=once,
            going=sum(1 for i in rows if i.desired == REMOVED and i.host_id is not None and not self.lost(i.host_id)),
            refusals=list(dict.fromkeys(self.refusals)),
            waits=list(dict.fromkeys(self.waits)),
            remarks=list(dict.fromkeys(self.remarks)),
            waiting_for=self.facts.waiting_for,
        )

    def _service_changes(self, summary: Summary) -> dict[str, Any]:
        service = self.service
        data = {**service.data, "settled": summary.settled, "was_active": summary.was_active}
        data.pop("attempts", None)
        if self.restart is None:
            data = restarts.over(data)
        if self.attempts:
            data["attempts"] = self.attempts
        if summary.blocked and data.get("told") != summary.because:
            # Told once: while a host tries again and again the sentence comes and goes.
            data["told"] = summary.because
            self.notes.append(Note(summary.because, level="warning"))
        elif summary.settled:
            data.pop("told", None)
        values: dict[str, Any] = {
            "current_scale": summary.current_scale, "health_state": summary.health_state, "because": summary.because,
            "blocked": summary.blocked, "create_index": self.next_index, "data": data,
        }  # fmt: skip
        return {name: value for name, value in values.items() if getattr(service, name) != value}
