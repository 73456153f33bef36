"""Run the controllers, each shard of environments on one server at a time, under a lease.

A *term* is the time for which this server holds a shard's lease: it starts with a look at everything, keeps its timers in
memory, and stops at once when the lease is in doubt; a successor starts its timers anew. What it writes is fenced.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from remuda.control.reconcile.feed import Feed, Listener, Resync
from remuda.control.reconcile.queue import KeyedQueue
from remuda.control.reconcile.snapshot import News
from remuda.core.model import Change
from remuda.ports.clock import Clock
from remuda.ports.leases import LeaseGrant, Leases
from remuda.ports.store import Conflict, Fenced, Store, Tx

log = logging.getLogger(__name__)

SHARDS = 4
WORKERS = 32
"""Many, because those of one environment wait for each other."""
CONFLICT_PAUSE = 0.02
RETRY_SECONDS = 1.0


class Key(NamedTuple):
    """What to look at: a controller's name and the id of a record of its kind."""

    controller: str
    record_id: int
    account_id: int


class Term:
    """What the controllers of one shard share while the lease is held."""

    def __init__(
        self, shard: int, grant: LeaseGrant, store: Store, leases: Leases, clock: Clock, server_id: str
    ) -> None:
        self.server_id = server_id
        self.shard = shard
        self.grant = grant
        self.store = store
        self.leases = leases
        self.clock = clock
        self.queue: KeyedQueue[Key] = KeyedQueue(clock, workers=WORKERS)
        self.placing: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        """One lock per environment: two services must not take the same port."""
        self._since: defaultdict[str, dict[tuple[int, str], float]] = defaultdict(dict)

    def mine(self, account_id: int) -> bool:
        """Does this environment belong to the shard?"""
        return account_id % SHARDS == self.shard

    def since(self, what: str, record_id: int, mark: str = "") -> float:
        """Seconds since this term first saw the record in this condition; another ``mark`` starts anew."""
        now = self.clock.monotonic()
        return now - self._since[what].setdefault((record_id, mark), now)

    def knows(self, what: str, record_id: int, mark: str = "") -> bool:
        """Does such a timer run?"""
        return (record_id, mark) in self._since.get(what, {})

    def keep(self, what: str, marks: Mapping[int, str]) -> None:
        """Forget all timers of kind ``what`` but these (record and mark)."""
        timers = self._since.get(what)
        if timers is None:
            return
        for number, mark in [key for key in timers if marks.get(key[0]) != key[1]]:
            del timers[number, mark]
        if not timers:
            del self._since[what]


class Controller(Protocol):
    """One kind of work. A new one is made for each term."""

    @property
    def name(self) -> str: ...

    def all_keys(self, tx: Tx, term: Term) -> list[Key]:
        """Everything of the shard that may need work; read at the start of a term."""

    def touched(self, news: News) -> list[Key]:
        """What to look at after these changes."""

    async def reconcile(self, key: Key) -> tuple[str, float | None]:
        """Bring one thing one step forward: a sentence on what was done (empty: nothing), when to look again."""


Factory = Callable[[Term], Controller]


class Loop:
    """All shards of this server."""

    def __init__(
        self, store: Store, leases: Leases, feed: Feed, clock: Clock, factories: Sequence[Factory], server_id: str
    ) -> None:
        self._server_id = server_id
        self._listeners: set[Listener] = set()
        self._store = store
        self._leases = leases
        self._feed = feed
        self._clock = clock
        self._factories = factories
        self.status: dict[str, str] = {}
        """One sentence per lease and per controller: what it does or did last."""
        self.cycles: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.terms: dict[int, Term] = {}
        leases.on_members(self._members_changed)

    def _members_changed(self, _members: object) -> None:
        """A server came or went: look at everything again."""
        for listener in self._listeners:
            listener.fall_behind()

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            for shard in range(SHARDS):
                group.create_task(self._candidate(shard))

    async def _candidate(self, shard: int) -> None:
        name = f"controllers/{shard}"
        while True:
            try:
                self.status[name] = "Waits for its lease; another server does the work"
                grant = await self._leases.acquire(name)
                try:
                    await self._term(Term(shard, grant, self._store, self._leases, self._clock, self._server_id))
                finally:
                    self.terms.pop(shard, None)
                    await _resign(grant)
            except Exception as error:
                self.failures[name] += 1
                self.status[name] = f"Interrupted and started again: {error}"
                log.warning("shard %d was interrupted and starts again: %s", shard, error)
            await asyncio.sleep(RETRY_SECONDS * self._clock.jitter())

    async def _term(self, term: Term) -> None:
        """Work until the lease is lost."""
        self.terms[term.shard] = term
        self.status[term.grant.name] = f"Held here (number {term.grant.fence})"
        work = asyncio.create_task(self._work(term))
        lost = asyncio.create_task(term.grant.lost.wait())
        try:
            await asyncio.wait({work, lost}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
        finally:
            await _cancel(work, lost)

    async def _work(self, term: Term) -> None:
        controllers = {c.name: c for c in (factory(term) for factory in self._factories)}
        async with asyncio.TaskGroup() as group:
            group.create_task(term.queue.run(lambda key: self._reconcile(term, controllers[key.controller], key)))
            group.create_task(self._follow(term, list(controllers.values())))

    async def _follow(self, term: Term, controllers: Sequence[Controller]) -> None:
        """Turn changes into keys; a failure to read is repeated, with a look at everything."""
        await self._feed.ready()
        with self._feed.listen() as listener:
            self._listeners.add(listener)
            try:
                await self._follow_listener(term, controllers, listener)
            finally:
                self._listeners.discard(listener)

    async def _follow_listener(self, term: Term, controllers: Sequence[Controller], listener: Listener) -> None:
        resync = True
        while True:
            try:
                if resync:
                    keys = await self._store.read(lambda tx: [k for c in controllers for k in c.all_keys(tx, term)])
                    resync = False
                else:
                    keys = await self._touched(term, controllers, await listener.next())
                for key in keys:
                    term.queue.add(key)
            except Resync:
                resync = True
            except Exception as error:
                resync = True
                self.status[term.grant.name] = f"Cannot read what changed: {error}"
                log.warning("shard %d cannot read what changed and tries again: %s", term.shard, error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _touched(self, term: Term, controllers: Sequence[Controller], changes: Sequence[Change]) -> list[Key]:
        mine = [c for c in changes if c.kind in INTERESTING and term.mine(c.account_id)]
        if not mine:
            return []

        def unit(tx: Tx) -> list[Key]:
            news = News(tx, mine)
            return [key for controller in controllers for key in controller.touched(news)]

        return await self._store.read(unit)

    async def _reconcile(self, term: Term, controller: Controller, key: Key) -> float | None:
        if not term.grant.held:
            return None
        self.cycles[controller.name] += 1
        try:
            sentence, again = await controller.reconcile(key)
        except Conflict:
            # Somebody else wrote first; the feed will tell, but look again soon in any case.
            return CONFLICT_PAUSE * (1 + term.clock.jitter())
        except Fenced as error:
            self.status[controller.name] = str(error)
            term.grant.lost.set()
            return None
        except Exception as error:
            self.failures[controller.name] += 1
            self.status[controller.name] = f"{controller.name} {key.record_id}: {error}"
            raise
        if sentence:
            self.status[controller.name] = sentence
        return again


INTERESTING = frozenset({"service", "instance", "host", "stack", "network", "health_observation"})


async def _cancel(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _resign(grant: LeaseGrant) -> None:
    try:
        async with asyncio.timeout(2):
            await grant.resign()
    except Exception as error:
        log.info("a lease could not be given back: %s", error)
