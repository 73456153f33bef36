"""Stacks: the health of their services in one word, and removal from the outside in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from remuda.control.agents.assignments import Assigner, note
from remuda.control.reconcile.loop import Key, Term
from remuda.control.reconcile.snapshot import News
from remuda.core import stackupgrades
from remuda.core.model import INACTIVE, REMOVED, Instance, Service, Stack, VolumeTemplate
from remuda.ports.store import ALIVE, Tx, eq

NAME = "stacks"
WORST_FIRST = ("unhealthy", "degraded", "initializing", "healthy")


class StackController:
    """Aggregates health; removes a stack after its services and containers."""

    name = NAME

    def __init__(self, term: Term) -> None:
        self._term = term

    def all_keys(self, tx: Tx, term: Term) -> list[Key]:
        """All stacks that are not closed."""
        return [Key(NAME, s.id, s.account_id) for s in tx.find(Stack, ALIVE) if term.mine(s.account_id)]

    def touched(self, news: News) -> list[Key]:
        """The stack itself, and that of a service or of a stand-alone container."""
        keys = {Key(NAME, s.id, s.account_id) for s in news.records(Stack)}
        for service in news.records(Service):
            keys.add(Key(NAME, service.stack_id, service.account_id))
        for i in news.records(Instance):
            if i.stack_id is not None and i.service_id is None and i.removed is not None:
                keys.add(Key(NAME, i.stack_id, i.account_id))
        return list(keys)

    async def reconcile(self, key: Key) -> tuple[str, float | None]:
        """One step for one stack."""
        term = self._term
        needed = await term.store.read(lambda tx: step(tx, key.record_id, dry=True))
        if not needed:
            return "", None
        return await term.store.write(lambda tx: step(tx, key.record_id), grant=term.grant), None


def step(tx: Tx, stack_id: int, *, dry: bool = False) -> str:
    """What there is to do for a stack, done unless ``dry``; empty when nothing is."""
    stack = tx.get(Stack, stack_id)
    if stack is None or stack.removed is not None:
        return ""
    services = tx.find(Service, eq("stack_id", stack_id), ALIVE)
    if stack.desired != REMOVED:
        health, changes = aggregate(services), stackupgrades.arrived(stack, services) or {}
        if health != stack.health_state:
            changes["health_state"] = health
        return _write(tx, stack, dry, f"{stack.name} is {health}", **changes) if changes else ""
    loose = tx.find(Instance, eq("stack_id", stack_id), eq("service_id", None), ALIVE)
    if not services and not loose:
        if not dry:
            for template in tx.find(VolumeTemplate, eq("stack_id", stack_id), ALIVE):
                tx.update(template, desired=REMOVED, removed=tx.now())
        return _write(tx, stack, dry, f"{stack.name} is removed", removed=tx.now())
    staying_services = [s for s in services if s.desired != REMOVED]
    staying = [i for i in loose if i.desired != REMOVED]
    if not staying_services and not staying:
        return ""
    if not dry:
        for service in staying_services:
            tx.update(service, desired=REMOVED)
        assigner = Assigner(tx)
        for instance in staying:
            assigner.change(instance, desired=REMOVED, because="Its stack was removed")
        assigner.close()
        note(tx, stack, f"{stack.name} is being removed with {len(services)} services")
    return f"{stack.name}: its services are being removed"


def _write(tx: Tx, stack: Stack, dry: bool, sentence: str, **changes: Any) -> str:
    if not dry:
        tx.update(stack, **changes)
    return sentence


def aggregate(services: Sequence[Service]) -> str:
    """The worst health of the services that are to run; started-once ones count as healthy."""
    states = {s.health_state for s in services if s.desired not in (INACTIVE, REMOVED)}
    return next((state for state in WORST_FIRST if state in states), "healthy")
