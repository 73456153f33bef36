"""Turn what a service should be into the next few safe steps.

Never looks at a clock, a database or a host: the caller hands in the facts (how long a host has been lost included) and
carries out the orders. Carrying out a plan and planning again gives an empty plan; ``tests/core`` holds us to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from remuda.core.labels import GLOBAL, truthy
from remuda.core.model import INACTIVE, REMOVED, RUNNING, STOPPED, Host, Instance, Service
from remuda.core.placement.filters import Affinity
from remuda.core.placement.pipeline import Placed, Refused, place
from remuda.core.placement.rules import rules_of
from remuda.core.placement.values import Candidate, Request, Tenant, candidate, tenant
from remuda.core.spec import LaunchConfig
from remuda.core.summary import Summary, summarise
from remuda.core.units import Maker, Unit, free_ordinal, group, launch_configs, needs, started

GOING_SECONDS = 30.0
"""So long a replacement waits for its predecessor to be gone from a host that answers."""
BACKOFF_SECONDS, BACKOFF_LIMIT = 5.0, 300.0


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a plan depends on.

    ``instances``: the rows of this service that are not closed. ``hosts``: those of the environment. ``occupancy``: what lives on
    them (all services and stand-alone containers), needed only when something has to be placed. ``lost_for``: seconds since a host
    was declared lost. ``held_for``: seconds that an instance has been in error, or on its way out. ``waiting_for``: names from
    ``depends_on`` that have not settled once yet.
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


def plan(facts: Facts) -> Plan:
    """The next steps for one service."""
    draft = _Draft(facts)
    service = facts.service
    if service.desired == REMOVED:
        draft.remove_all("Its service was removed")
    elif not draft.configs:
        draft.remove_all("Its service has no containers of its own")
    elif service.desired == INACTIVE:
        draft.trim()
        draft.set_desired(STOPPED)
    elif facts.waiting_for:
        draft.set_desired(RUNNING)
    else:
        draft.set_desired(RUNNING)
        if draft.is_global:
            draft.follow_hosts()
        else:
            draft.trim()
        draft.recreate_broken()
        draft.roll()
        draft.complete_units()
        draft.place_waiting()
        if draft.is_global:
            draft.cover_hosts()
        else:
            draft.leave_lost_hosts()
            draft.fill_up()
    return draft.result()


class _Draft:
    """A plan in the making: the rows as they will be once it is carried out, and what was decided on the way."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.service = facts.service
        self.maker = Maker(facts.service, facts.stack, facts.project)
        self.configs: dict[str, LaunchConfig] = launch_configs(facts.service)
        self.is_global = any(truthy(c.labels.get(GLOBAL, "")) for c in self.configs.values())
        self.before: dict[str, Instance] = {i.uuid: i for i in facts.instances}
        self.after: dict[str, Instance] = dict(self.before)
        self.hosts: dict[int, Host] = {host.id: host for host in facts.hosts}
        self.tenants: dict[int, list[Tenant]] = {h: list(ts) for h, ts in facts.occupancy.items()}
        self.next_index = facts.service.create_index
        self.attempts: dict[str, Any] = dict(facts.service.data.get("attempts", {}))
        self.reasons: dict[str, str] = {}
        self.refusals: list[str] = []
        self.waits: list[str] = []
        self.notes: list[Note] = []
        self.wakes: list[float] = []
        self.asked = False

    # ---- looking ------------------------------------------------------------------------------------------------------

    def units(self) -> list[Unit]:
        """The units as they stand now in the draft."""
        return group(self.after.values())

    def live_units(self) -> list[Unit]:
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
        for i in instances:
            if i.uuid not in self.before:
                del self.after[i.uuid]
                continue
            self.after[i.uuid] = msgspec.structs.replace(i, desired=REMOVED, because=because, blocked=False)
            self.reasons[i.uuid] = because
            self.notes.append(Note(f"{i.name} is removed: {because[0].lower()}{because[1:]}", i.uuid, level))

    def remove_all(self, because: str) -> None:
        for unit in self.units():
            self.remove(unit.live, because)

    def set_desired(self, desired: str) -> None:
        for unit in self.units():
            for i in unit.live:
                if i.desired != desired:
                    self.after[i.uuid] = msgspec.structs.replace(i, desired=desired)

    def trim(self) -> None:
        """Scale down: what has no host or is broken goes first, then the newest."""
        units = self.live_units()
        surplus = len(units) - max(self.service.scale, 0)
        if surplus <= 0:
            return
        units.sort(key=lambda u: (u.host_id is None, self.lost(u.host_id), _broken(u), u.create_index), reverse=True)
        for unit in units[:surplus]:
            self.remove(unit.live, f"The service was scaled to {self.service.scale}")

    def recreate_broken(self) -> None:
        """What could not be made is made again, each time after a longer pause and elsewhere if possible."""
        for unit in self.live_units():
            key = str(unit.ordinal)
            if not _broken(unit):
                if unit.started() and not self.is_outdated(unit):
                    self.attempts.pop(key, None)
                continue
            if self.lost(unit.host_id):
                continue
            bad = next(i for i in unit.live if i.observed == "error")
            count = int(self.attempts.get(key, {}).get("count", 0))
            pause = min(BACKOFF_SECONDS * 2**count, BACKOFF_LIMIT)
            held = self.facts.held_for.get(bad.id, 0.0)
            reason = bad.message or "its host could not make it"
            if held < pause and not self.is_outdated(unit):
                self.wakes.append(pause - held)
                self.refusals.append(
                    f"{bad.name} failed: {reason.rstrip('.')}. It is tried again after {pause:.0f} seconds."
                )
                continue
            self.attempts[key] = {"count": min(count + 1, 10), "host": unit.host_id}
            self.remove(unit.live, f"It failed ({reason.rstrip('.')}) and is made anew", "warning")

    def is_outdated(self, unit: Unit) -> bool:
        return unit.revision < self.service.revision

    def roll(self) -> None:
        """Replace what is of an older revision, one unit at a time, the next only when the last runs."""
        units = self.live_units()
        outdated = [unit for unit in units if self.is_outdated(unit)]
        if not outdated:
            return
        because = f"Its configuration changed (revision {self.service.revision})"
        idle = [unit for unit in outdated if not unit.started() and (unit.host_id is None or _broken(unit))]
        for unit in idle:
            self.remove(unit.live, because)
        left = len(outdated) - len(idle)
        if left:
            self.waits.append(f"{left} of {len(units)} containers still have the old configuration")
        fresh_run = all(unit.started() for unit in units if not self.is_outdated(unit))
        if idle or self.going() or not fresh_run or (not self.is_global and len(units) < self.service.scale):
            return
        reachable = [unit for unit in outdated if not self.lost(unit.host_id)]
        if reachable:
            self.remove(min(reachable, key=lambda u: (u.started(), u.create_index)).live, because)

    def complete_units(self) -> None:
        """A unit that lacks a container gets it again on the same host, and with it those that depend on it."""
        for unit in self.live_units():
            have = {i.launch_config: i for i in unit.live}
            missing = {name for name in self.configs if name not in have}
            extra = [i for i in unit.live if i.launch_config not in self.configs]
            self.remove(extra, "Its launch configuration is gone")
            if not missing or self.is_outdated(unit) or self.lost(unit.host_id):
                continue
            for name, config in self.configs.items():
                if name in have and missing.intersection(needs(self.service, config)):
                    self.remove([have[name]], "The container that it shares with was removed")
                    missing.add(name)
            gone = {(i.unit, i.launch_config) for i in self.going()}
            if any((unit.id, name) in gone for name in missing):
                self.waits.append(
                    f"{self.maker.name(next(iter(self.configs)), unit.ordinal)} waits for its old containers to go"
                )
                continue
            self._add_members(unit, missing)

    def _add_members(self, unit: Unit, names: set[str]) -> None:
        new = []
        self.next_index += 1
        for name, config in self.configs.items():
            if name in names:
                i = self.maker.make(name, config, unit=unit.id, ordinal=unit.ordinal, create_index=unit.create_index,
                                    turn=self.next_index, requested_host=self._pinned(unit))  # fmt: skip
                new.append(
                    msgspec.structs.replace(i, host_id=unit.host_id, because="Placed beside the rest of its unit")
                )
        self._adopt(new, unit.host_id)

    def _pinned(self, unit: Unit) -> int | None:
        return next((i.requested_host_id for i in unit.members), None) if self.is_global else None

    def place_waiting(self) -> None:
        """Units that found no host before ask again."""
        for unit in self.live_units():
            if unit.host_id is None:
                self._place(list(unit.live), self.attempts.get(str(unit.ordinal), {}).get("host"))

    def leave_lost_hosts(self) -> None:
        """After its grace a unit on a lost host is replaced, but only once the replacement has a place."""
        grace = self.service.on_host_lost
        for unit in self.live_units():
            host_id = unit.host_id
            if host_id is None or not self.lost(host_id):
                continue
            host = self.hosts.get(host_id)
            name = f"1h{host_id}" if host is None else host.name or host.hostname
            if host is None or host.removed is not None or host.desired == REMOVED:
                because = f"Its host {name} was removed"
            elif grace < 0:
                self.waits.append(f"host {name} is lost, and the service is never moved")
                continue
            else:
                lost_for = self.facts.lost_for.get(host_id, 0.0)
                if lost_for < grace:
                    self.wakes.append(grace - lost_for)
                    self.waits.append(f"host {name} is lost; its containers move after {grace} seconds")
                    continue
                because = f"Its host {name} has been lost for more than {grace} seconds"
            new = self._new_unit(unit.ordinal)
            verdict = self._find(self.maker.request(new, [host_id]))
            if isinstance(verdict, Refused):
                self.refusals.append(verdict.because)
                self.next_index -= 1
                continue
            self.remove(unit.live, because, "warning")
            self._settle_on(new, verdict)

    def fill_up(self) -> None:
        """Scale up to what was asked for, each new unit with the lowest free number."""
        going = self.going()
        live = self.live_units()
        for _ in range(self.service.scale - len(live)):
            used = {u.ordinal for u in self.live_units()}
            ordinal = free_ordinal(used)
            old = [i for i in going if i.ordinal == ordinal and i.unit not in {u.id for u in live}]
            if old:
                ordinal = free_ordinal(used | {i.ordinal for i in going})
                if ordinal > self.service.scale:
                    self.waits.append(f"{old[0].name} must be gone before it is made anew")
                    return
            new = self._new_unit(ordinal)
            self._place(new, self.attempts.get(str(ordinal), {}).get("host"))

    # ---- global services ----------------------------------------------------------------------------------------------

    def follow_hosts(self) -> None:
        """A global service leaves hosts that no longer match its rules, and hosts that were removed."""
        for unit in self.live_units():
            pinned = self._pinned(unit)
            if pinned is None:
                self.remove(unit.live, "Its service now runs once per host")
                continue
            host = self.hosts.get(pinned)
            if host is None or host.removed is not None or host.desired == REMOVED:
                self.remove(unit.live, "Its host was removed")
            elif not self._matches(host):
                self.remove(unit.live, f"Host {host.name or host.hostname} no longer matches the service's rules")

    def _matches(self, host: Host) -> bool:
        request = self.maker.request(
            [self.maker.make(n, c, unit="", ordinal=0, create_index=0) for n, c in self.configs.items()]
        )
        wanted = [Affinity(rule) for rule in rules_of(request) if rule.kind == "host_label" and not rule.soft]
        return all(condition.check(candidate(host)) for condition in wanted)

    def cover_hosts(self) -> None:
        """One unit on every host that matches and takes new containers."""
        covered = {self._pinned(unit) for unit in self.live_units()}
        covered |= {i.requested_host_id for i in self.going()}
        for host in sorted(self.hosts.values(), key=lambda h: h.id):
            if host.id in covered or not host.schedulable or host.removed is not None or not self._matches(host):
                continue
            self._place(self._new_unit(free_ordinal(u.ordinal for u in self.live_units()), host.id), None)

    # ---- placing ------------------------------------------------------------------------------------------------------

    def _new_unit(self, ordinal: int, host_id: int | None = None) -> list[Instance]:
        self.next_index += 1
        unit = self.maker.unit_id(self.next_index)
        return [
            self.maker.make(n, c, unit=unit, ordinal=ordinal, create_index=self.next_index, requested_host=host_id)
            for n, c in self.configs.items()
        ]

    def _find(self, request: Request) -> Placed | Refused:
        self.asked = True
        hosts: list[Candidate] = [
            candidate(h, self.tenants.get(h.id, ())) for h in self.hosts.values() if h.removed is None
        ]
        return place(request, hosts)

    def _place(self, unit: list[Instance], avoid: int | None) -> None:
        verdict = self._find(self.maker.request(unit, [] if avoid is None else [avoid]))
        if isinstance(verdict, Refused):
            self.refusals.append(verdict.because)
            if any(i.because != verdict.because for i in unit):
                self.notes.append(Note(f"{unit[0].name}: {verdict.because}", unit[0].uuid, "warning"))
            for i in unit:
                self.after[i.uuid] = msgspec.structs.replace(i, because=verdict.because, blocked=True)
            return
        self._settle_on(unit, verdict)

    def _settle_on(self, unit: list[Instance], verdict: Placed) -> None:
        placed = [
            msgspec.structs.replace(i, host_id=verdict.host_id, because=verdict.because, blocked=False) for i in unit
        ]
        self.notes.append(Note(f"{placed[0].name}: {verdict.because}", placed[0].uuid))
        self._adopt(placed, verdict.host_id)

    def _adopt(self, instances: Sequence[Instance], host_id: int | None) -> None:
        for i in instances:
            self.after[i.uuid] = i
            if host_id is not None:
                self.tenants.setdefault(host_id, []).append(tenant(i))

    # ---- the result ---------------------------------------------------------------------------------------------------

    def result(self) -> Plan:
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
                    for f in ("desired", "host_id", "because", "blocked")
                    if getattr(row, f) != getattr(old, f)
                }
                if changes:
                    update.append((old, changes))
        rows = list(self.after.values())
        removed = self.service.desired == REMOVED
        finished = removed and not any(i.host_id is not None and not self.lost(i.host_id) for i in rows)
        summary = self._summary(rows)
        changes = self._service_changes(summary)
        return Plan(tuple(create), tuple(update), tuple(remove), changes, tuple(self.notes), finished,
                    min(self.wakes) if self.wakes else None, self.asked)  # fmt: skip

    def _summary(self, rows: Sequence[Instance]) -> Summary:
        units = [unit for unit in group(rows) if unit.live]
        running = [u for u in units if u.started() and not self.lost(u.host_id)]
        once = bool(units) and all(i.spec.start_once and i.observed == "exited" for u in units for i in u.live)
        still = [i for u in units for i in u.live if i.observed == "running" and not self.lost(i.host_id)]
        return summarise(
            self.service,
            wanted=len(units) if self.is_global else (self.service.scale if self.configs else 0),
            running=len(running),
            stopping=len({i.unit for i in still}),
            ran_once=once,
            going=sum(1 for i in rows if i.desired == REMOVED and not self.lost(i.host_id)),
            refusals=list(dict.fromkeys(self.refusals)),
            waits=list(dict.fromkeys(self.waits)),
            waiting_for=self.facts.waiting_for,
        )

    def _service_changes(self, summary: Summary) -> dict[str, Any]:
        service = self.service
        data = {**service.data, "settled": summary.settled, "was_active": summary.was_active}
        data.pop("attempts", None)
        if self.attempts:
            data["attempts"] = self.attempts
        values: dict[str, Any] = {
            "current_scale": summary.current_scale, "health_state": summary.health_state, "because": summary.because,
            "blocked": summary.blocked, "create_index": self.next_index, "data": data,
        }  # fmt: skip
        return {name: value for name, value in values.items() if getattr(service, name) != value}


def _broken(unit: Unit) -> bool:
    return any(i.observed == "error" and i.applied_seq >= i.assign_seq for i in unit.live)


__all__ = ["Facts", "Note", "Plan", "plan", "started"]
