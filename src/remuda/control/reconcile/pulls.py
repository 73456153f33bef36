"""Pull tasks do not wait for hosts that will never answer: one that is lost or removed counts as failed, and is named."""

from __future__ import annotations

from remuda.control.reconcile.loop import Key, Term
from remuda.control.reconcile.snapshot import HostWatch, News, hosts_of
from remuda.core.model import PullTask
from remuda.core.pulls import given_up
from remuda.ports.store import Tx, eq

NAME = "pulls"


class PullController:
    """One pass over the open tasks of an environment."""

    name = NAME

    def __init__(self, term: Term) -> None:
        self._term = term
        self._hosts = HostWatch()

    def all_keys(self, tx: Tx, term: Term) -> list[Key]:
        """Environments with open tasks."""
        accounts = {task.account_id for task in _open(tx)}
        return [Key(NAME, a, a) for a in accounts if term.mine(a)]

    def touched(self, news: News) -> list[Key]:
        """A host came, went or changed; or a task is new."""
        accounts = {host.account_id for host in self._hosts.changed(news)}
        accounts |= {task.account_id for task in news.records(PullTask)}
        return [Key(NAME, a, a) for a in accounts]

    async def reconcile(self, key: Key) -> tuple[str, float | None]:
        """Close what waits for nobody."""
        term = self._term
        if not await term.store.read(lambda tx: sweep(tx, key.account_id, dry=True)):
            return "", None
        done = await term.store.write(lambda tx: sweep(tx, key.account_id), grant=term.grant)
        return f"{done} pull tasks wait no more for hosts that are gone", None


def sweep(tx: Tx, account_id: int, *, dry: bool = False) -> int:
    """Mark the hosts that will not answer; returns how many tasks that concerns."""
    tasks = [task for task in _open(tx) if task.account_id == account_id]
    hosts = {host.id: host for host in hosts_of(tx, account_id)} if tasks else {}
    count = 0
    for task in tasks:
        pulls = given_up(task, hosts)
        if pulls != task.hosts:
            count += 1
            if not dry:
                tx.update(task, hosts=pulls)
    return count


def _open(tx: Tx) -> list[PullTask]:
    return tx.find(PullTask, eq("transitioning", "yes"))
