"""Which simulated hosts are played, and by whom: one server plays all of them, under a lease.

What a machine is like is no business of this module: ``make`` gives one for an agent, and it talks to the hub of this server over
a :class:`Line`, as real ones do over their sockets. When the server ends, its machines end; the next server's begin empty, like
machines that lost their disks, and are made what their assignments say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from remuda.control.agents.hub import Hub
from remuda.control.agents.pipe import Pipe
from remuda.control.reconcile.feed import Feed, Resync
from remuda.control.reconcile.snapshot import by_ids
from remuda.core.model import ACTIVE, Agent
from remuda.core.simulated import DISCONNECTED, SCHEME, is_simulated
from remuda.ports.leases import Leases
from remuda.ports.store import ALIVE, Conflict, Store, StoreError, Tx, Where

log = logging.getLogger(__name__)

LEASE = "simulated-hosts"
RETRY_SECONDS = 1.0
AT_ONCE = 8
"""So many machines open their sessions at once: each is a transaction, and all are wanted at the same moment."""


class Machine(Protocol):
    """A host in this process."""

    async def run(self) -> None:
        """Be it, until cancelled."""

    def plug(self, on: bool) -> None:
        """Let it be reached, or not."""


class Line:
    """A machine's way to the hub. ``gate`` is held while a session is opened."""

    def __init__(self, hub: Hub, agent: Agent, gate: asyncio.Semaphore, unplug: Callable[[], None]) -> None:
        self.gate = gate
        self.unplug = unplug
        """To be called when the machine shall not be reached any more until somebody reconnects it."""
        self._hub, self._agent = hub, agent
        self._serving: set[asyncio.Task[None]] = set()

    def open(self) -> Pipe:
        """The machine's end of a new connection."""
        ours, theirs = Pipe.pair()
        task = asyncio.create_task(self._hub.serve(ours, self._agent))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        return theirs


Make = Callable[[Agent, Line], Machine]


class Simulator:
    """Plays while this server holds the lease. ``status`` says how it goes in one sentence."""

    def __init__(self, store: Store, feed: Feed, leases: Leases, hub: Hub, make: Make) -> None:
        self._store, self._feed, self._leases, self._hub = store, feed, leases, hub
        self._make = make
        self._machines: dict[int, tuple[Machine, asyncio.Task[None]]] = {}
        self._unplugging: set[asyncio.Task[None]] = set()
        self.status = "Another server plays the simulated hosts"

    def __len__(self) -> int:
        return len(self._machines)

    def machine(self, agent_id: int) -> Machine | None:
        """The machine of an agent, if it is played here."""
        found = self._machines.get(agent_id)
        return found[0] if found else None

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            grant = await self._leases.acquire(LEASE)
            playing, losing = asyncio.create_task(self._play()), asyncio.create_task(grant.lost.wait())
            try:
                await asyncio.wait({playing, losing}, return_when=asyncio.FIRST_COMPLETED)
                if playing.done():
                    playing.result()
            finally:
                for task in (playing, losing):
                    task.cancel()
                await asyncio.gather(playing, losing, return_exceptions=True)
                await self._end(list(self._machines))
                await grant.resign()
            self.status = "Another server plays the simulated hosts"

    async def _play(self) -> None:
        gate = asyncio.Semaphore(AT_ONCE)
        while True:
            try:
                await self._feed.ready()
                with self._feed.listen() as listener:
                    await self._look(None, gate)
                    while True:
                        changed = {c.record_id for c in await listener.next() if c.kind == Agent.TABLE}
                        if changed:
                            await self._look(changed, gate)
            except Resync:
                continue
            except StoreError as error:
                log.warning("the simulated hosts cannot be read and are tried again: %s", error)
                self.status = f"The simulated hosts cannot be read: {error}"
                await asyncio.sleep(RETRY_SECONDS)

    async def _look(self, changed: Iterable[int] | None, gate: asyncio.Semaphore) -> None:
        """Bring the machines to what the agents say; all of them, or those that changed."""

        def unit(tx: Tx) -> list[Agent]:
            return (
                tx.find(Agent, Where("uri", "prefix", SCHEME), ALIVE) if changed is None else by_ids(tx, Agent, changed)
            )

        agents = {a.id: a for a in await self._store.read(unit) if is_simulated(a.uri) and a.removed is None}
        known = self._machines.keys() if changed is None else self._machines.keys() & set(changed)
        await self._end([number for number in known if number not in agents])
        for agent in agents.values():
            if agent.id not in self._machines:
                self._begin(agent, gate)
            self._machines[agent.id][0].plug(agent.desired == ACTIVE and not agent.data.get(DISCONNECTED))
        self.status = f"{len(self._machines)} simulated hosts are played here"

    def _begin(self, agent: Agent, gate: asyncio.Semaphore) -> None:
        machine = self._make(agent, Line(self._hub, agent, gate, lambda: self._unplug(agent.id)))
        self._machines[agent.id] = machine, asyncio.create_task(_kept_up(machine, agent))

    async def _end(self, numbers: Iterable[int]) -> None:
        ended = [self._machines.pop(number) for number in numbers]
        for machine, task in ended:
            machine.plug(False)
            task.cancel()
        await asyncio.gather(*(task for _, task in ended), return_exceptions=True)

    def _unplug(self, number: int) -> None:
        """At once, and on record: until somebody reconnects it, whoever plays it."""
        found = self._machines.get(number)
        if found is None:
            return
        found[0].plug(False)
        task = asyncio.create_task(self._note_unplugged(number))
        self._unplugging.add(task)
        task.add_done_callback(self._unplugging.discard)

    async def _note_unplugged(self, number: int) -> None:
        def unit(tx: Tx) -> None:
            agent = tx.get(Agent, number)
            if agent is not None and agent.removed is None:
                tx.update(agent, data={**agent.data, DISCONNECTED: True})

        while number in self._machines:
            try:
                await self._store.write(unit)
                return
            except Conflict:
                continue
            except StoreError as error:
                log.warning("that a simulated host fell silent cannot be stored and is tried again: %s", error)
                await asyncio.sleep(RETRY_SECONDS)


async def _kept_up(machine: Machine, agent: Agent) -> None:
    """A machine that fails fails alone, and starts again."""
    while True:
        try:
            await machine.run()
        except Exception:
            log.exception("simulated host %s failed and is started again", agent.uuid)
        await asyncio.sleep(RETRY_SECONDS)
