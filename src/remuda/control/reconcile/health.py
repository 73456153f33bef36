"""Health: from what observers saw to one word for each container, and the sentence behind it.

The decision itself is :func:`remuda.core.health.verdict`; here are the facts for it. Waiting is measured on this term's monotonic
clock: after a fail-over a container is given its time anew, never less.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from remuda.control.agents.assignments import note
from remuda.control.reconcile.loop import Key, Term
from remuda.control.reconcile.snapshot import HostWatch, News, hosts_of
from remuda.core.health import (
    HEALTHY,
    INITIALIZING,
    PASSING,
    REINITIALIZING,
    UNHEALTHY,
    Seen,
    Verdict,
    Watchers,
    verdict,
)
from remuda.core.model import REMOVED, HealthObservation, Host, Instance
from remuda.core.network.scene import host_entry
from remuda.ports.store import ALIVE, Tx, eq

NAME = "health"
RETURN_SECONDS = 10.0
"""So long after its host came (back) a container that all see fail is not condemned: the way to it is still being made."""
ENGINE_WORDS = {"healthy": True, "unhealthy": False}
Change = tuple[Instance, dict[str, Any]]


class HealthController:
    """One key per environment: its checks share hosts, and change together when one is lost."""

    name = NAME

    def __init__(self, term: Term) -> None:
        self._term = term
        self._hosts = HostWatch()
        self._watchers: dict[int, Watchers] = {}

    def all_keys(self, tx: Tx, term: Term) -> list[Key]:
        """Environments with containers."""
        accounts = {i.account_id for i in tx.find(Instance, ALIVE) if _checked(i)}
        return [Key(NAME, account, account) for account in accounts if term.mine(account)]

    def touched(self, news: News) -> list[Key]:
        """Where something was seen, a checked container changed, or a host did."""
        accounts = {o.account_id for o in news.records(HealthObservation)}
        accounts |= {i.account_id for i in news.records(Instance) if _checked(i)}
        accounts |= {h.account_id for h in self._hosts.changed(news)}
        return [Key(NAME, account, account) for account in accounts]

    async def reconcile(self, key: Key) -> tuple[str, float | None]:
        """One pass over an environment's checked containers."""
        term = self._term
        found = await term.store.read(lambda tx: self._look(tx, key.account_id))
        changes, stale, again = found
        if changes or stale:
            await term.store.write(lambda tx: _write(tx, changes, stale), grant=term.grant)
            return f"Health of {len(changes)} containers" if changes else "", 0.0
        return "", again

    def _look(self, tx: Tx, account_id: int) -> tuple[list[Change], list[HealthObservation], float | None]:
        instances = [i for i in tx.find(Instance, eq("account_id", account_id), ALIVE) if _checked(i)]
        what = f"health/{account_id}"
        if not instances:
            self._term.keep(what, {})
            self._watchers.pop(account_id, None)
            return [], [], None
        hosts = hosts_of(tx, account_id)
        entries = [entry for host in hosts if (entry := host_entry(host)) is not None]
        seen: dict[int, list[HealthObservation]] = {}
        for row in tx.find(HealthObservation, eq("account_id", account_id)):
            seen.setdefault(row.instance_id, []).append(row)
        marks = {i.id: _mark(i) for i in instances if i.health_state in ("", INITIALIZING, REINITIALIZING)}
        self._term.keep(what, marks)
        watchers = self._watchers.get(account_id)
        if watchers is None or not watchers.fits(entries):
            watchers = self._watchers[account_id] = Watchers(entries)
        live = {host.id for host in hosts if host.connection == "connected"}
        spared, again = self._spared(account_id, hosts)
        changes: list[Change] = []
        stale: list[HealthObservation] = []
        for instance in instances:
            rows = seen.get(instance.id, [])
            watching = _watching(instance, watchers, live)
            # Whoever is away tells all again on return; till then nothing is known to be different.
            stale += [row for row in rows if row.host_id in live and row.host_id not in watching]
            waited = self._term.since(what, instance.id, marks[instance.id]) if instance.id in marks else None
            fresh = judge(instance, rows, watching, live, waited)
            if fresh is None or (fresh.state == UNHEALTHY != instance.health_state and instance.host_id in spared):
                continue
            changed = _changes(instance, fresh)
            if changed:
                changes.append((instance, changed))
            limit = _limit(instance)
            if fresh.state in (INITIALIZING, REINITIALIZING) and limit is not None and waited is not None:
                left = max(limit - waited, 0.05)
                again = left if again is None else min(again, left)
        return changes, stale, again

    def _spared(self, account_id: int, hosts: Sequence[Host]) -> tuple[set[int], float | None]:
        """Hosts whose containers are not condemned now, and when that ends for the next of them.

        Of a host that is lost nobody knows whether the machine is gone or only its agent; what to do about it is decided
        elsewhere (``on_host_lost``).
        """
        what = f"health/hosts/{account_id}"
        marks = {host.id: "here" for host in hosts if host.connection != "lost"}
        self._term.keep(what, marks)
        left = {number: RETURN_SECONDS - self._term.since(what, number, mark) for number, mark in marks.items()}
        fresh = {number: seconds for number, seconds in left.items() if seconds > 0}
        spared = {host.id for host in hosts if host.connection == "lost"} | fresh.keys()
        return spared, max(min(fresh.values()), 0.05) if fresh else None


def _watching(instance: Instance, watchers: Watchers, live: AbstractSet[int]) -> set[int]:
    check = instance.spec.health_check
    if check is None or instance.host_id is None:
        return set()
    return ({instance.host_id} if check.command else set(watchers.of(instance.uuid, instance.host_id))) & live


def _checked(instance: Instance) -> bool:
    return instance.spec.health_check is not None or bool(instance.engine.get("Health"))


def _mark(instance: Instance) -> str:
    return f"{instance.started} {instance.observed}"


def _limit(instance: Instance) -> float | None:
    check = instance.spec.health_check
    if check is None:
        return None
    again = instance.health_state not in ("", INITIALIZING)
    limit = check.reinitializing_timeout if again else check.initializing_timeout
    return None if limit is None else limit / 1000


def judge(
    instance: Instance,
    rows: Sequence[HealthObservation],
    observers: AbstractSet[int],
    live: AbstractSet[int],
    waited: float | None,
) -> Verdict | None:
    """The verdict on one container; None while there is nothing to say of it (it does not run).

    ``observers`` are those of the ``live`` (connected) hosts that are to watch it.
    """
    if instance.desired == REMOVED or instance.observed != "running":
        return None
    watching = set(observers)
    start = instance.started or 0
    seen = [
        Seen(row.host_id, row.seen == PASSING, row.message)
        for row in rows
        if row.start == start and row.host_id in watching
    ]
    engine = ENGINE_WORDS.get(str(instance.engine.get("Health", "")))
    if engine is not None and instance.host_id in live:
        seen.append(Seen(0, engine, "as its engine's own health check says"))
        watching.add(0)
    restarted = bool(instance.health_state) and instance.data.get("health_start") != start
    return verdict(instance.health_state, seen, watching, restarted=restarted, waited=waited, limit=_limit(instance))


def _changes(instance: Instance, fresh: Verdict) -> dict[str, Any]:
    start = instance.started or 0
    changes: dict[str, Any] = {}
    if fresh.state != instance.health_state:
        changes = {"health_state": fresh.state, "health_because": fresh.because}
    elif fresh.because != instance.health_because and fresh.state != HEALTHY:
        changes = {"health_because": fresh.because}
    if instance.data.get("health_start") != start:
        changes["data"] = {**instance.data, "health_start": start}
    return changes


def _write(tx: Tx, changes: Sequence[Change], stale: Sequence[HealthObservation]) -> None:
    for row in stale:
        tx.delete(row)
    for instance, values in changes:
        changed = tx.update(instance, **values)
        if changed.health_state == instance.health_state:
            continue
        bad = changed.health_state == UNHEALTHY
        if bad or changed.health_state == HEALTHY:
            words = f"{changed.name} is {changed.health_state}"
            because = f": {changed.health_because}" if bad and changed.health_because else ""
            note(tx, changed, words + because, level="warning" if bad else "info")


__all__ = ["HealthController", "judge"]
