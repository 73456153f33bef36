"""Upgrades of services to others: the next step when both are at their scale, and the interval has passed."""

from __future__ import annotations

from remuda.control.agents.assignments import note
from remuda.control.reconcile.loop import Key, Term
from remuda.control.reconcile.snapshot import News
from remuda.core import handover, upgrades
from remuda.core.handover import Scales
from remuda.core.model import ACTIVE, REMOVED, Service
from remuda.ports.store import ALIVE, Tx

NAME = "handovers"


class HandoverController:
    """One handover a key: the old service's."""

    name = NAME

    def __init__(self, term: Term) -> None:
        self._term = term

    def all_keys(self, tx: Tx, term: Term) -> list[Key]:
        """Services that are being upgraded to another."""
        return [_key(s) for s in tx.find(Service, ALIVE) if handover.going(s) and term.mine(s.account_id)]

    def touched(self, news: News) -> list[Key]:
        """The old service or the new one changed."""
        changed = news.records(Service)
        keys = {_key(service) for service in changed if handover.going(service)}
        keys |= {Key(NAME, old, s.account_id) for s in changed if (old := handover.source(s)) is not None}
        return list(keys)

    async def reconcile(self, key: Key) -> tuple[str, float | None]:
        """The next step, or how long until then."""
        term = self._term
        found = await term.store.read(lambda tx: _look(tx, key.record_id))
        what = f"handover/{key.record_id}"
        if found is None:
            term.keep(what, {})
            return "", None
        old, wait = found
        mark = f"{old.version}"
        term.keep(what, {key.record_id: mark})
        left = 0.0 if wait is None else wait / 1000 - term.since(what, key.record_id, mark)
        if left > 0:
            return "", left
        return await term.store.write(lambda tx: advance(tx, key.record_id), grant=term.grant), None


def _look(tx: Tx, number: int) -> tuple[Service, int | None] | None:
    """The old service, and the milliseconds to wait before the next step (None: nothing to wait for); None: nothing to do."""
    old = tx.get(Service, number)
    asked = handover.going(old) if old is not None else None
    if old is None or asked is None or old.removed is not None:
        return None
    new = tx.get(Service, asked.to)
    if new is None or new.desired == REMOVED:
        return old, None
    if not (_settled(old) and _settled(new)) or new.desired != ACTIVE or old.desired != ACTIVE:
        return None
    return old, asked.interval_millis


def _settled(service: Service) -> bool:
    return service.data.get("settled") is True and service.current_scale >= service.scale


def advance(tx: Tx, number: int) -> str:
    """Carry out one step if all is still as it was."""
    if _look(tx, number) is None:
        return ""
    old = tx.get(Service, number)
    asked = handover.going(old) if old is not None else None
    if old is None or asked is None:
        return ""
    new = tx.get(Service, asked.to)
    if new is None or new.desired == REMOVED:
        tx.update(old, **upgrades.cancel(old))
        note(tx, old, "Its upgrade stopped: the service that it goes to is gone", level="warning")
        return f"{old.name}: the service that it goes to is gone"
    before = Scales(old.scale, new.scale)
    after = handover.step(before, asked)
    if after == before:
        tx.update(old, **handover.over(old))
        note(tx, old, f"It is handed over to {new.name}")
        return f"{old.name} is handed over to {new.name}"
    for service, scale in ((old, after.old), (new, after.new)):
        if service.scale != scale:
            tx.update(service, scale=scale, data={**service.data, "settled": False})
    return f"{old.name} has {after.old} and {new.name} {after.new}"


def _key(service: Service) -> Key:
    return Key(NAME, service.id, service.account_id)
