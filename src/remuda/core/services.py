"""Turn what a service should be into the next few safe steps.

Never looks at a clock, a database or a host: the caller hands in the facts (how long a host has been lost included) and
carries out the orders. Carrying out a plan and planning again gives an empty plan; ``tests/core`` holds us to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from remuda.core import upgrades
from remuda.core.draft import Draft, Facts, Note, Plan
from remuda.core.health import CALAMITY_SECONDS, UNHEALTHY
from remuda.core.model import INACTIVE, REMOVED, RUNNING, STOPPED, Host, Instance
from remuda.core.network.scene import is_managed
from remuda.core.placement.filters import Affinity, Filter, RunsIt
from remuda.core.placement.pipeline import Refused
from remuda.core.placement.rules import rules_of
from remuda.core.placement.values import candidate, free_at, name_of, port_addresses, public_ports
from remuda.core.spec import PRIMARY, HealthCheck, LaunchConfig
from remuda.core.units import Unit, free_ordinals, needs

BACKOFF_SECONDS, BACKOFF_LIMIT = 15.0, 600.0
"""A host tries again by itself first; only then is a container made anew, elsewhere if possible."""
CALM_SECONDS = 120.0
"""A replacement that is unhealthy within this time of being well is the same trouble, and waits longer than the last one."""
LOOK_SECONDS = 5.0


def plan(facts: Facts) -> Plan:
    """The next steps for one service."""
    draft = _Planner(facts)
    service = facts.service
    if service.desired == REMOVED:
        draft.remove_all("Its service was removed")
    elif not draft.configs:
        draft.remove_all("Its service has no containers of its own")
    else:
        draft.follow_hosts() if draft.is_global else draft.trim()
        if service.desired == INACTIVE:
            draft.set_desired(STOPPED)
        elif not facts.waiting_for:
            draft.to_run()
    return draft.result()


class _Planner(Draft):
    """The policies."""

    def to_run(self) -> None:
        """An active service: keep what it has in order, then make what it lacks."""
        self.set_desired(RUNNING)
        self.part_units()
        self.recreate_broken()
        self.recreate_unhealthy()
        self.roll()
        self.restart_some()
        self.republish()
        self.complete_units()
        self.place_waiting()
        if self.is_global:
            self.cover_hosts()
        else:
            self.leave_lost_hosts()
            self.fill_up()
        self.watch_hosts()
        left = sum(self.is_outdated(unit) for unit in self.live_units())
        if left:
            told = self.remarks if self.halted else self.waits
            told.append(f"{left} still {'has' if left == 1 else 'have'} the old configuration")

    def watch_hosts(self) -> None:
        """Say what stands in the way of containers that have a place."""
        for host_id in {unit.host_id for unit in self.live_units()}:
            host = self.hosts.get(host_id or 0)
            if host is None:
                continue
            if host.connection == "connected" and host.docker == "down":
                self.waits.append(f"Docker on {name_of(host)} does not answer")
            elif self.is_global and self.lost(host.id):
                self.waits.append(f"host {name_of(host)} is lost; its container goes on when it returns")

    def remove_all(self, because: str) -> None:
        for unit in self.units():
            self.remove(unit.live, because)

    def set_desired(self, desired: str) -> None:
        for unit in self.units():
            for i in unit.live:
                if i.desired != desired:
                    if desired == RUNNING and self.service.data.get("was_active") is True:
                        self.notes.append(Note(f"{i.name} is started again: its service is active", i.uuid))
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
                if unit.started() and unit.wholesome and not self.is_outdated(unit):
                    self._forget_attempts(unit)
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

    def recreate_unhealthy(self) -> None:
        """What is unhealthy is made anew, as its check's strategy says: at once the first time, then after longer pauses."""
        units = self.live_units()
        sound = sum(1 for unit in units if unit.started() and unit.wholesome)
        for unit in units:
            sick = next((i for i in unit.live if i.health_state == UNHEALTHY), None)
            if sick is None or self.lost(unit.host_id) or self.is_outdated(unit):
                continue
            check = sick.spec.health_check
            strategy = check.strategy if check is not None else "none"
            quorum = int((check.recreate_on_quorum_strategy_config or {}).get("quorum", 1)) if check is not None else 1
            if strategy == "none":
                self.remarks.append(f"{sick.name} is unhealthy, and its check only watches")
                continue
            if strategy == "recreateOnQuorum" and sound < quorum:
                self.remarks.append(
                    f"{sick.name} is unhealthy, and is kept: only {sound} of {quorum} that must be healthy are"
                )
                continue
            self._make_anew(unit, sick, check)

    def _make_anew(self, unit: Unit, sick: Instance, check: HealthCheck | None) -> None:
        key, held = str(unit.ordinal), self.facts.held_for.get(sick.id, 0.0)
        count = int(self.attempts.get(key, {}).get("count", 0))
        # One interval shows whether it is this container that fails or everything at once.
        pause = min((check.interval if check else 0) / 1000, LOOK_SECONDS)
        again = bool(count)
        if again:
            pause = max(pause, min(BACKOFF_SECONDS * 2 ** (count - 1), BACKOFF_LIMIT))
        calamity = self.facts.calamity
        if calamity and (held < CALAMITY_SECONDS or self.going()):
            self.wakes.append(LOOK_SECONDS)
            self.refusals.append(f"{sick.name} is unhealthy, but kept for now: {calamity}.")
        elif held < pause:
            self.wakes.append(pause - held)
            if again:
                self.refusals.append(f"{sick.name} is unhealthy again. It is made anew after {pause:.0f} seconds.")
            else:
                self.waits.append(f"{sick.name} is unhealthy and about to be made anew")
        else:
            self.attempts[key] = {"count": min(count + 1, 10), "host": None, "ill": True}
            because = sick.health_because.rstrip(".") or "its observers see it fail"
            self.remove(unit.live, f"It is unhealthy ({because[0].lower()}{because[1:]}) and is made anew", "warning")

    def _forget_attempts(self, unit: Unit) -> None:
        """What runs well has a clean record; what was unhealthy before must stay well for a while first."""
        key = str(unit.ordinal)
        attempt = self.attempts.get(key)
        if attempt is None:
            return
        well = min((self.facts.held_for.get(i.id, 0.0) for i in unit.live), default=0.0)
        if attempt.get("ill") and well < CALM_SECONDS:
            self.wakes.append(CALM_SECONDS - well)
        else:
            del self.attempts[key]

    def is_outdated(self, unit: Unit) -> bool:
        return unit.revision < self.service.revision

    @property
    def halted(self) -> bool:
        """Was its upgrade stopped halfway?"""
        return upgrades.stage(self.service) == upgrades.CANCELED

    def roll(self) -> None:
        """Replace what is of an older revision, one batch of units at a time, the next only when the last runs."""
        if self.halted:
            return
        units = self.live_units()
        outdated = [unit for unit in units if self.is_outdated(unit)]
        if not outdated:
            return
        because = f"Its configuration changed (revision {self.service.revision})"
        idle = [unit for unit in outdated if not unit.started() and (unit.host_id is None or _broken(unit))]
        for unit in idle:
            self.remove(unit.live, because)
        fresh = [unit for unit in units if not self.is_outdated(unit)]
        fresh_run = all(unit.started() and unit.wholesome for unit in fresh)
        slow = next((unit for unit in fresh if unit.started() and not unit.wholesome), None)
        if slow is not None:
            self.waits.append(f"{slow.members[0].name} is not healthy yet; the next is replaced when it is")
        complete = self.is_global or len(units) - len(idle) >= self.service.scale
        reachable = [unit for unit in outdated if not self.lost(unit.host_id)]
        if reachable and complete and fresh_run and not self.going():
            batch = sorted(
                (unit for unit in reachable if unit not in idle), key=lambda u: (u.started(), u.create_index)
            )
            for unit in batch[: upgrades.batch_size(self.service)]:
                self.remove(unit.live, because)

    def restart_some(self) -> None:
        """Restart what was not told yet, one batch of units at a time, the next only when the last runs and is well."""
        if self.restart is None:
            return
        token = self.restart.token
        units = [u for u in self.live_units() if u.host_id is not None and not self.lost(u.host_id)]
        due = [u for u in units if any(i.restart_token < token for i in u.live)]
        run_again = not self.going() and all(u.started() and u.wholesome for u in units if u not in due)
        if not due and run_again:
            self.restart = None
            return
        batch = due[: self.restart.batch] if run_again else []
        for i in (i for unit in batch for i in unit.live):
            # told, and not done yet: from now on it does not count as running
            self.after[i.uuid] = msgspec.structs.replace(i, restart_token=token, assign_seq=i.assign_seq + 1)
            self.notes.append(Note(f"{i.name} is restarted, as was asked of its service", i.uuid))
        left = len(due) - len(batch)
        self.waits.append(f"{left} still to be restarted" if left else "the last are being restarted")

    def republish(self) -> None:
        """Ports that changed lead to the containers that run: nothing is made anew for them."""
        for unit in self.live_units():
            if self.is_outdated(unit):
                continue
            for i in unit.live:
                config = self.configs.get(i.launch_config)
                if config is None or (i.spec.ports, i.spec.expose) == (config.ports, config.expose):
                    continue
                spec = msgspec.structs.replace(i.spec, ports=config.ports, expose=config.expose)
                taken = self._taken(i, spec)
                if taken:
                    self.refusals.append(f"{i.name} keeps its old ports: on its host port {taken} is taken; free it")
                    continue
                self.after[i.uuid] = msgspec.structs.replace(i, spec=spec)
                self.notes.append(Note(f"{i.name} publishes other ports now", i.uuid))

    def _taken(self, instance: Instance, spec: LaunchConfig) -> str:
        """The first port of ``spec`` that somebody else on the instance's host has; empty when there is none."""
        self.asked = True
        others = [t for t in self.tenants.get(instance.host_id or 0, ()) if t.uuid != instance.uuid]
        host = self.hosts.get(instance.host_id or 0)
        places = port_addresses(host.all_labels) if host is not None and is_managed(spec) else ()
        for port in public_ports((spec,)):
            if not free_at(port, (other for tenant in others for other in tenant.ports), places):
                return f"{port.public}/{port.protocol}"
        return ""

    def part_units(self) -> None:
        """In a unit that lacks a container, those that share with it must go too; as must what has no configuration left."""
        for unit in self.live_units():
            self.remove(
                [i for i in unit.live if i.launch_config not in self.configs], "Its launch configuration is gone"
            )
            for name in sorted(self._lacks(unit)):
                for i in unit.live:
                    if i.launch_config == name:
                        self.remove([i], "The container that it shares with was removed")

    def _lacks(self, unit: Unit) -> set[str]:
        """Launch configurations of which a unit needs a new container: those it has none of, and those that depend on them."""
        if self.is_outdated(unit) or self.lost(unit.host_id):
            return set()
        missing = self.configs.keys() - {i.launch_config for i in unit.live}
        for name, config in self.configs.items():
            if missing.intersection(needs(self.service, config)):
                missing.add(name)
        return missing

    def complete_units(self) -> None:
        """A unit that lacks a container gets it again on the same host, once the old one is gone."""
        gone = {(i.unit, i.launch_config) for i in self.going()}
        for unit in self.live_units():
            missing = self._lacks(unit)
            if any((unit.id, name) in gone for name in missing):
                self.waits.append(
                    f"{self.maker.name(PRIMARY, unit.ordinal)} waits for old containers of its unit to go"
                )
            elif missing:
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
        self.adopt(new, unit.host_id)

    def _pinned(self, unit: Unit) -> int | None:
        return next((i.requested_host_id for i in unit.members), None) if self.is_global else None

    def place_waiting(self) -> None:
        """Units that found no host before ask again."""
        for unit in self.live_units():
            if unit.host_id is None:
                self.place(list(unit.live), self.attempts.get(str(unit.ordinal), {}).get("host"))

    def leave_lost_hosts(self) -> None:
        """After its grace a unit on a lost host is replaced, but only once the replacement has a place."""
        grace = self.service.on_host_lost
        for unit in self.live_units():
            host_id = unit.host_id
            if host_id is None or not self.lost(host_id):
                continue
            host = self.hosts.get(host_id)
            name = f"1h{host_id}" if host is None else name_of(host)
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
                because = f"Its host {name} has been lost for {grace} seconds" if grace else f"Its host {name} is lost"
            new = self.new_unit(unit.ordinal)
            verdict = self.find(self.maker.request(new, [host_id]))
            if isinstance(verdict, Refused):
                self.refusals.append(verdict.because)
                self.next_index -= 1
                continue
            self.remove(unit.live, because, "warning")
            self.settle_on(new, verdict)

    def fill_up(self) -> None:
        """Scale up to what was asked for, each new unit with the lowest free number."""
        live = self.live_units()
        used = {unit.ordinal for unit in live}
        known = {unit.id for unit in live}
        going = {i.ordinal for i in self.going() if i.unit not in known}
        free, held = free_ordinals(used | going), min(going - used, default=None)
        for _ in range(self.service.scale - len(live)):
            ordinal = next(free)
            if held is not None and held < ordinal and ordinal > self.service.scale:
                self.waits.append(f"{self.maker.name(PRIMARY, held)} must be gone before it is made anew")
                break
            used.add(ordinal)
            self.place(self.new_unit(ordinal), self.attempts.get(str(ordinal), {}).get("host"))
        self.attempts = {
            k: v for k, v in self.attempts.items() if int(k) in used or int(k) in going or int(k) <= self.service.scale
        }

    def follow_hosts(self) -> None:
        """A global service leaves hosts that no longer match its rules, and hosts that were removed."""
        conditions = self._conditions()
        for unit in self.live_units():
            pinned = self._pinned(unit)
            if pinned is None:
                self.remove(unit.live, "Its service now runs once per host")
                continue
            host = self.hosts.get(pinned)
            if host is None or host.removed is not None or host.desired == REMOVED:
                self.remove(unit.live, "Its host was removed")
            elif not _meets(host, conditions):
                self.remove(unit.live, f"Host {name_of(host)} no longer matches the service's rules")

    def _conditions(self) -> list[Filter]:
        """What a host must meet for a global service to run there."""
        request = self.maker.request(
            [self.maker.make(n, c, unit="", ordinal=0, create_index=0) for n, c in self.configs.items()]
        )
        rules = [rule for rule in rules_of(request) if rule.kind == "host_label" and not rule.soft]
        return [RunsIt(request.specs, real=self.real), *(Affinity(rule) for rule in rules)]

    def cover_hosts(self) -> None:
        """One unit on every host that matches and takes new containers."""
        units, going, conditions = self.live_units(), self.going(), self._conditions()
        covered = {self._pinned(unit) for unit in units} | {i.requested_host_id for i in going}
        ordinals = free_ordinals([*(unit.ordinal for unit in units), *(i.ordinal for i in going)])
        for host in sorted(self.hosts.values(), key=lambda h: h.id):
            if host.id in covered or not host.schedulable or host.removed is not None or not _meets(host, conditions):
                continue
            self.place(self.new_unit(next(ordinals), host.id), None)


def _meets(host: Host, conditions: Sequence[Filter]) -> bool:
    return all(condition.check(candidate(host)) for condition in conditions)


def _broken(unit: Unit) -> bool:
    return any(i.observed == "error" for i in unit.live)


__all__ = ["Facts", "Note", "Plan", "plan"]
