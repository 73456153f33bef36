"""Hosts: from a session that ended to a lost host, and removal.

The deadlines run in this term's memory on a monotonic clock; after a fail-over they start anew, so a change of leader
can only make us wait longer, never give up a host too early.
"""

from __future__ import annotations

from typing import Any

from remuda.control.addresses import give_back, give_back_of
from remuda.control.agents.assignments import Assigner, note
from remuda.control.network import distrust
from remuda.control.reconcile.loop import Key, Term
from remuda.control.reconcile.snapshot import HostWatch, News
from remuda.core.hosts import REMOVAL_PATIENCE, SERVER, judge, removal_due
from remuda.core.model import REMOVED, Agent, HealthObservation, Host, Instance
from remuda.ports.store import ALIVE, Tx, eq

NAME = "hosts"
UNSURE_SECONDS = 0.5


class HostController:
    """Decides ``connection`` while there is no session, and takes removed hosts apart."""

    name = NAME

    def __init__(self, term: Term) -> None:
        self._term = term
        self._watch = HostWatch()

    def all_keys(self, tx: Tx, term: Term) -> list[Key]:
        """All hosts that are not closed."""
        return [Key(NAME, h.id, h.account_id) for h in tx.find(Host, ALIVE) if term.mine(h.account_id)]

    def touched(self, news: News) -> list[Key]:
        """Hosts whose session or wish changed, and removed hosts that instances left."""
        return [Key(NAME, h.id, h.account_id) for h in self._watch.changed(news)]

    async def reconcile(self, key: Key) -> tuple[str, float | None]:
        """One step for one host."""
        term = self._term
        host = await term.store.read(lambda tx: tx.get(Host, key.record_id))
        what = f"gone/{key.record_id}"
        if host is None or host.removed is not None:
            term.keep(what, {})
            return "", None
        if term.server_id not in term.leases.members():
            return "", UNSURE_SECONDS  # we do not even see ourselves: the picture of the servers is not complete yet
        mark = "session" if host.session_id else f"gone {host.data.get('session_end', '')}"
        term.keep(what, {host.id: mark})
        verdict = judge(host, term.since(what, host.id, mark), term.leases.members())
        changes: dict[str, Any] = {}
        if verdict.orphaned:
            changes = {"session_id": "", "session_server": "", "data": {**host.data, "session_end": SERVER}}
        if verdict.connection != host.connection:
            changes["connection"] = verdict.connection
        if changes:
            await term.store.write(lambda tx: _change(tx, host, changes, verdict.because), grant=term.grant)
            return f"Host {host.name}: {verdict.because or verdict.connection}", 0.0
        if host.connection == "lost":
            term.since(f"lost/{host.account_id}", host.id)
        if host.desired == REMOVED:
            return await self._remove(host)
        return "", verdict.wake_after

    async def _remove(self, host: Host) -> tuple[str, float | None]:
        term = self._term
        waited = term.since(f"removing/{host.id}", host.id)
        sentence, done = await term.store.write(lambda tx: take_apart(tx, host.id, waited), grant=term.grant)
        if done:
            term.keep(f"removing/{host.id}", {})
            return sentence, None
        return sentence, min(1.0, max(REMOVAL_PATIENCE - waited, 0.1))


def _change(tx: Tx, host: Host, changes: dict[str, Any], because: str) -> None:
    tx.update(host, **changes)
    if changes.get("connection") in ("lost", "connected") or "session_id" in changes:
        level = "warning" if changes.get("connection") == "lost" else "info"
        note(tx, host, because or f"The agent is {changes.get('connection', host.connection)}", level=level)


def take_apart(tx: Tx, host_id: int, waited: float) -> tuple[str, bool]:
    """One step of a host's removal: first its containers are asked to go; then all its rows are closed."""
    host = tx.get(Host, host_id)
    if host is None or host.removed is not None:
        return "", True
    instances = tx.find(Instance, eq("host_id", host_id), ALIVE)
    ours = [i for i in instances if not i.native]
    if not removal_due(host, waited, len(ours)):
        assigner = Assigner(tx)
        staying = [i for i in ours if i.desired != REMOVED]
        for instance in staying:
            assigner.change(instance, desired=REMOVED, because="Its host was removed")
        assigner.close()
        return f"Host {host.name} is being removed; {len(ours)} containers are left on it", False
    for instance in instances:
        tx.update(instance, desired=REMOVED, removed=tx.now(), because="Its host was removed")
        give_back_of(tx, instance)
    give_back(tx, f"host/{host.id}")
    distrust(tx, host.account_id)
    for row in tx.find(HealthObservation, eq("host_id", host.id)):
        tx.delete(row)
    tx.update(host, removed=tx.now(), session_id="", session_server="", connection="lost")
    agent = tx.get(Agent, host.agent_id)
    if agent is not None and agent.removed is None:
        tx.update(agent, desired=REMOVED, removed=tx.now())
    note(tx, host, f"Host {host.name} is removed")
    return f"Host {host.name} is removed", True
