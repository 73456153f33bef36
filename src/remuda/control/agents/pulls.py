"""Pull tasks on their way to the hosts whose sessions this server holds, and what those hosts say of them.

Level-triggered like all the rest: an order is sent once in each session until its host has answered for good, and agents join a
pull that is under way. What they say is written at most twice a second, for all hosts of a task at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

import msgspec

from remuda.control.agents.confidences import Logins, logins_in
from remuda.control.agents.session import Session
from remuda.core import wire
from remuda.core.model import PullTask
from remuda.core.pulls import CACHED, Pull
from remuda.ports.clock import Clock
from remuda.ports.keyring import Keyring
from remuda.ports.store import Conflict, Store, Tx, Where, eq

log = logging.getLogger(__name__)

WRITE_SECONDS, RETRY_SECONDS = 0.5, 0.5


class Pulls:
    """``session(host id)`` is the session of a host, if this server holds it."""

    def __init__(
        self, store: Store, keyring: Keyring | None, clock: Clock, session: Callable[[int], Session | None]
    ) -> None:
        self._store, self._keyring, self._clock, self._session = store, keyring, clock, session
        self._sent: dict[tuple[str, int], str] = {}
        """(task, host) -> the session in which the order was sent."""
        self._said: dict[str, dict[str, Pull]] = {}
        self._news = asyncio.Event()
        self._looking = True

    def look(self) -> None:
        """A task or a session is new: see what there is to send."""
        self._looking = True
        self._news.set()

    def take(self, session: Session, message: wire.Pulled) -> None:
        """A host says how far it is."""
        self._said.setdefault(message.task, {})[str(session.host_id)] = message.pull
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            pause = WRITE_SECONDS
            try:
                if self._said:
                    await self._write()
                if self._looking:
                    self._looking = False
                    await self._send()
            except Conflict:
                pause = 0.01 * (1 + self._clock.jitter())
                self._news.set()
            except Exception as error:
                log.warning("pull tasks cannot be looked after and are tried again: %s", error)
                self._looking, pause = True, RETRY_SECONDS
                self._news.set()
            await asyncio.sleep(pause)

    async def _write(self) -> None:
        said, self._said = self._said, {}
        try:
            await self._store.write(lambda tx: _store(tx, said))
        except BaseException:
            for task, pulls in said.items():
                self._said[task] = {**pulls, **self._said.get(task, {})}
            raise

    async def _send(self) -> None:
        tasks, logins = await self._store.read(self._open)
        open_now: set[tuple[str, int]] = set()
        for task in tasks:
            for key, pull in task.hosts.items():
                session = self._session(int(key))
                if pull.over or session is None or session.account_id != task.account_id:
                    continue
                mark = (task.uuid, session.host_id)
                open_now.add(mark)
                if self._sent.get(mark) == session.token:
                    continue
                self._sent[mark] = session.token
                auth = logins.auth(task.account_id, task.image) if logins else ""
                session.send(
                    wire.PullOrder(task=task.uuid, image=task.image, cached=task.mode == CACHED, registry_auth=auth)
                )
        self._sent = {mark: token for mark, token in self._sent.items() if mark in open_now}

    def _open(self, tx: Tx) -> tuple[list[PullTask], Logins | None]:
        tasks = tx.find(PullTask, eq("transitioning", "yes"))
        if not tasks or self._keyring is None:
            return tasks, None
        return tasks, Logins(self._keyring, *logins_in(tx, {task.account_id for task in tasks}))


def _store(tx: Tx, said: Mapping[str, Mapping[str, Pull]]) -> None:
    for task in tx.find(PullTask, Where("uuid", "in", sorted(said))):
        news = {k: p for k, p in said[task.uuid].items() if k in task.hosts and not task.hosts[k].over}
        if news:
            short = {k: msgspec.structs.replace(p, message=p.message[:500]) for k, p in news.items()}
            tx.update(task, hosts={**task.hosts, **short})
