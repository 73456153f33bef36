"""Containers as such: places for those without a service, and the end of those that are gone.

One pass per environment, so that thirty containers that go at the same time are closed by one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from remuda.control.addresses import give_back_of
from remuda.control.agents.assignments import Assigner, note
from remuda.control.reconcile.loop import Key, Term
from remuda.control.reconcile.snapshot import HostWatch, News, hosts_of, occupancy
from remuda.control.volumes import held
from remuda.core.model import REMOVED, RUNNING, Host, Instance, Stack
from remuda.core.placement.pipeline import Refused, place
from remuda.core.placement.values import Request, candidate, tenant
from remuda.core.units import host_number
from remuda.core.volumes import names_of
from remuda.ports.store import ALIVE, Tx, eq

NAME = "instances"
STAYS = "Its host {host} is lost. A container without a service is never moved; it goes on when the host returns"


class InstanceController:
    """Places stand-alone containers and closes rows."""

    name = NAME

    def __init__(self, term: Term) -> None:
        self._term = term
        self._hosts = HostWatch()

    def all_keys(self, tx: Tx, term: Term) -> list[Key]:
        """Every environment that has hosts or stand-alone containers."""
        accounts = {h.account_id for h in tx.find(Host, ALIVE)}
        accounts |= {i.account_id for i in tx.find(Instance, ALIVE, eq("service_id", None), eq("host_id", None))}
        return [Key(NAME, a, a) for a in accounts if term.mine(a)]

    def touched(self, news: News) -> list[Key]:
        """Environments in which a container goes, waits for a place or made room, or a host changed."""
        accounts = {h.account_id for h in self._hosts.changed(news)}
        for i in news.records(Instance):
            waiting = i.service_id is None and i.host_id is None
            if i.desired == REMOVED or waiting:
                accounts.add(i.account_id)
        return [Key(NAME, a, a) for a in accounts]

    async def reconcile(self, key: Key) -> tuple[str, float | None]:
        """One pass over one environment."""
        term = self._term
        async with term.placing[key.account_id]:
            if not await term.store.read(lambda tx: sweep(tx, key.account_id, dry=True)):
                return "", None
            done = await term.store.write(lambda tx: sweep(tx, key.account_id), grant=term.grant)
        return f"{done} containers placed or closed", None


def sweep(tx: Tx, account_id: int, *, dry: bool = False) -> int:
    """Place what waits, close what is gone; returns how many rows it changes (changed nothing yet if ``dry``)."""
    going = tx.find(Instance, eq("account_id", account_id), eq("desired", REMOVED), ALIVE)
    loose = tx.find(Instance, eq("account_id", account_id), eq("service_id", None), eq("native", False), ALIVE)
    if not (going or loose):
        return 0  # before the hosts are read, which may be a thousand and all coming back
    hosts = {h.id: h for h in hosts_of(tx, account_id)}
    gone = [i for i in going if is_gone(i, hosts)]
    assigner = Assigner(tx)
    count = len(gone)
    if not dry:
        for i in gone:
            tx.update(i, removed=tx.now())
            give_back_of(tx, i)
    count += _place_loose(tx, [i for i in loose if i.host_id is None and i.desired == RUNNING], hosts, assigner, dry)
    for i in loose:
        because = _lost_sentence(i, hosts)
        if because is not None and because != i.because:
            count += 1
            if not dry:
                tx.update(i, because=because)
    if not dry:
        assigner.close()
    return count


def is_gone(instance: Instance, hosts: Mapping[int, Host]) -> bool:
    """May the row of a container that is to be removed be closed?"""
    if instance.host_id is None or instance.host_id not in hosts:
        return True
    return instance.observed == "absent" and instance.applied_seq >= instance.assign_seq


def _lost_sentence(instance: Instance, hosts: Mapping[int, Host]) -> str | None:
    host = hosts.get(instance.host_id or 0)
    if host is None or instance.desired == REMOVED:
        return None
    sentence = STAYS.format(host=host.name)
    if host.connection == "lost":
        return sentence
    return f"On {host.name}, which is back" if instance.because == sentence else None


def _place_loose(tx: Tx, waiting: Sequence[Instance], hosts: Mapping[int, Host], assigner: Assigner, dry: bool) -> int:
    if not waiting:
        return 0
    tenants = occupancy(tx, waiting[0].account_id)
    count = 0
    data = held(tx, waiting[0].account_id, {name for i in waiting for name in names_of(i.spec)})
    for instance in waiting:
        stack = tx.get(Stack, instance.stack_id) if instance.stack_id is not None else None
        request = Request(
            specs=(instance.spec,),
            requested_host=instance.requested_host_id or host_number(instance.spec.requested_host_id),
            stack=stack.name if stack else "",
            uuids=frozenset({instance.uuid}),
            data=data,
        )
        verdict = place(request, [candidate(h, tenants.get(h.id, ())) for h in hosts.values()])
        changes: dict[str, Any] = {"because": verdict.because, "blocked": isinstance(verdict, Refused)}
        if not isinstance(verdict, Refused):
            changes["host_id"] = verdict.host_id
            data = data.settled(names_of(instance.spec), verdict.host_id)
            tenants.setdefault(verdict.host_id, []).append(tenant(instance))
        if all(getattr(instance, name) == value for name, value in changes.items()):
            continue
        count += 1
        if not dry:
            assigner.change(instance, **changes)
            note(tx, instance, verdict.because, level="warning" if changes["blocked"] else "info")
    return count
