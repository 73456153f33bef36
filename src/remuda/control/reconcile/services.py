"""Carry out the plans of services: one transaction per plan, placements and assignment numbers included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from remuda.control.agents.assignments import Assigner, note
from remuda.control.reconcile.loop import Key, Term
from remuda.control.reconcile.snapshot import HostWatch, News, hosts_of, occupancy
from remuda.control.volumes import held, templates_of
from remuda.core.health import HEALTHY, UNHEALTHY, calamity
from remuda.core.model import REMOVED, Account, Instance, Service, Stack
from remuda.core.services import Facts, Note, Plan, plan
from remuda.core.units import is_global, launch_configs
from remuda.core.volumes import names_of
from remuda.ports.store import ALIVE, Conflict, Tx, eq

NAME = "services"
SOONEST = 0.05
LINES = 4
TRYING = frozenset({"absent", "pulling", "creating", "created"})
"""What is observed between two attempts of a host at the same container."""


class ServiceController:
    """Keeps every service at its scale."""

    name = NAME

    def __init__(self, term: Term) -> None:
        self._term = term
        self._hosts = HostWatch()

    def all_keys(self, tx: Tx, term: Term) -> list[Key]:
        """All services that are not closed."""
        return [_key(s) for s in tx.find(Service, ALIVE) if term.mine(s.account_id)]

    def touched(self, news: News) -> list[Key]:
        """The service itself; that of an instance; after a host's change, or where room was made, the environment's."""
        tx, changed = news.tx, news.records(Service)
        keys = {_key(s) for s in changed}
        instances = news.records(Instance)
        keys |= {Key(NAME, i.service_id, i.account_id) for i in instances if i.service_id is not None}
        hosts = self._hosts.changed(news)
        wide = {h.account_id for h in hosts if self._hosts.is_new(h)}
        for account_id in wide:
            keys |= {_key(s) for s in tx.find(Service, eq("account_id", account_id), ALIVE)}
        roomier = {i.account_id for i in instances if i.removed is not None}
        roomier |= {h.account_id for h in hosts if h.connection == "connected"}
        for account_id in roomier - wide:
            # A thousand agents that move to another server change nothing for a service that has what it wants.
            keys |= {
                _key(s) for s in tx.find(Service, eq("account_id", account_id), ALIVE) if s.blocked or is_global(s)
            }
        for stack_id in {s.stack_id for s in changed if _was_active(s)}:
            siblings = tx.find(Service, eq("stack_id", stack_id), ALIVE)
            keys |= {_key(s) for s in siblings if s.depends_on and not _was_active(s)}
        return list(keys)

    async def reconcile(self, key: Key) -> tuple[str, float | None]:
        """Plan one service and carry the plan out."""
        term = self._term
        async with term.placing[key.account_id]:
            found = await term.store.read(lambda tx: self._plan(tx, key.record_id))
            if found is None:
                return "", None
            facts, draft = found
            if not draft.empty:
                await term.store.write(lambda tx: carry_out(tx, facts, draft), grant=term.grant)
        again = None if draft.wake_after is None else max(draft.wake_after, SOONEST)
        if draft.empty:
            return "", again
        return f"{facts.stack}/{facts.service.name}: {draft.because or facts.service.because}", again

    def _plan(self, tx: Tx, service_id: int) -> tuple[Facts, Plan] | None:
        service = tx.get(Service, service_id)
        if service is None or service.removed is not None:
            return None
        stack = tx.get(Stack, service.stack_id)
        project = tx.get(Account, service.account_id)
        facts = Facts(
            service,
            stack=stack.name if stack else "",
            project=project.name if project else "",
            instances=tx.find(Instance, eq("service_id", service_id), ALIVE),
            hosts=hosts_of(tx, service.account_id),
            waiting_for=self._waiting_for(tx, service),
        )
        volumes = [name for config in launch_configs(service).values() for name in names_of(config)]
        if volumes:
            facts = replace(facts, templates=templates_of(tx, service.stack_id))
        if any(i.health_state == UNHEALTHY for i in facts.instances):
            facts = replace(facts, calamity=_calamity(tx, facts))
        facts = replace(facts, lost_for=self._lost_for(facts), held_for=self._held_for(facts))
        draft = plan(facts)
        if draft.asked:
            # Only a plan that places something needs to know what lives where; reading that is the costly part.
            facts = replace(facts, occupancy=occupancy(tx, service.account_id))
            if volumes:
                asked = {*volumes, *(n for i in (*draft.create, *facts.instances) for n in names_of(i.spec))}
                facts = replace(facts, data=held(tx, service.account_id, asked))
            draft = plan(facts)
        return facts, draft

    def _waiting_for(self, tx: Tx, service: Service) -> list[str]:
        if not service.depends_on or _was_active(service):
            return []
        siblings = {s.name: s for s in tx.find(Service, eq("stack_id", service.stack_id), ALIVE)}
        return [n for n in service.depends_on if n in siblings and n != service.name and not _was_active(siblings[n])]

    def _lost_for(self, facts: Facts) -> dict[int, float]:
        what = f"lost/{facts.service.account_id}"
        lost = {h.id: "" for h in facts.hosts if h.connection == "lost"}
        self._term.keep(what, lost)
        return {host_id: self._term.since(what, host_id) for host_id in lost}

    def _held_for(self, facts: Facts) -> dict[int, float]:
        what = f"held/{facts.service.id}"
        ill = {n for n, attempt in facts.service.data.get("attempts", {}).items() if attempt.get("ill")}
        marks = {i.id: mark for i in facts.instances if (mark := self._mark(what, i))}
        marks |= {
            i.id: f"well {i.started}"
            for i in facts.instances
            if i.id not in marks and str(i.ordinal) in ill and i.health_state in ("", HEALTHY)
        }
        self._term.keep(what, marks)
        return {number: self._term.since(what, number, mark) for number, mark in marks.items()}

    def _mark(self, what: str, instance: Instance) -> str:
        if instance.desired == REMOVED:
            return REMOVED
        if instance.health_state == UNHEALTHY:
            return f"{UNHEALTHY} {instance.started}"
        mark = f"error {instance.assign_seq}"
        if instance.observed == "error" or (instance.observed in TRYING and self._term.knows(what, instance.id, mark)):
            return mark
        return ""


def _calamity(tx: Tx, facts: Facts) -> str:
    """Does most of the environment fail, and not only this service?"""
    checked = [
        i
        for i in tx.find(Instance, eq("account_id", facts.service.account_id), ALIVE)
        if i.health_state and i.observed == "running" and i.desired != REMOVED
    ]
    ill = [i for i in checked if i.health_state == UNHEALTHY]
    away = sum(1 for host in facts.hosts if host.connection != "connected")
    return calamity(len(facts.hosts), away, len(checked), len(ill), len({i.host_id for i in ill}))


def carry_out(tx: Tx, facts: Facts, draft: Plan) -> None:
    """Write a plan. Every row must still be as the planner saw it, else :class:`Conflict` and nothing is written."""
    service = facts.service
    _unchanged(tx, facts)
    assigner = Assigner(tx)
    ids: dict[str, Instance] = {}
    for instance, because in draft.remove:
        ids[instance.uuid] = assigner.change(instance, desired=REMOVED, because=because, blocked=False)
    for instance, changes in draft.update:
        ids[instance.uuid] = assigner.change(instance, **changes)
    for instance in draft.create:
        ids[instance.uuid] = assigner.create(instance)
    assigner.close()
    changes = dict(draft.service)
    if draft.finished:
        changes["removed"] = tx.now()
    if changes:
        tx.update(service, **changes)
    _tell(tx, service, draft.notes, ids)


def _tell(tx: Tx, service: Service, notes: Sequence[Note], ids: Mapping[str, Instance]) -> None:
    """Into the history: each line at its container, and at the service in a few lines, however many containers it has."""
    for line in notes:
        if line.uuid in ids:
            note(tx, ids[line.uuid], line.text, level=line.level)
    level = "warning" if any(line.level != "info" for line in notes) else "info"
    if len(notes) > LINES:
        note(tx, service, f"{notes[0].text}; and {len(notes) - 1} more of its containers", level=level)
    else:
        for line in notes:
            note(tx, service, line.text, level=line.level)


def _unchanged(tx: Tx, facts: Facts) -> None:
    """The service is the one that was planned for: its row is written last, and not by every plan."""
    now = tx.get(Service, facts.service.id)
    if now is None or now.version != facts.service.version:
        raise Conflict("The service changed while its plan was made")


def _key(service: Service) -> Key:
    return Key(NAME, service.id, service.account_id)


def _was_active(service: Service) -> bool:
    return service.data.get("was_active") is True
