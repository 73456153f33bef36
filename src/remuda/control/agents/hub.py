"""The agents whose sockets this server holds: takes sessions over, tells each agent its assignments, stores what it sees.

All that is not in the store may be lost with the process: the agents connect elsewhere and say everything again.
One task pings all agents, one writes all reports, one tells all news; a session costs two small tasks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from remuda.control.agents import enrol, reports
from remuda.control.agents.assignments import assignment
from remuda.control.agents.certificates import certificates_of, is_balancer, with_certificates
from remuda.control.agents.confidences import Confidences, confidences_of
from remuda.control.agents.netkeys import rekeyed, tell_keys
from remuda.control.agents.news import HostNews, news_of
from remuda.control.agents.pulls import Pulls
from remuda.control.agents.scenes import Scenes
from remuda.control.agents.session import Channel, Session
from remuda.control.agents.sightings import Sightings
from remuda.control.agents.sightings import store as store_sighting
from remuda.control.reconcile.feed import Feed, Resync
from remuda.core import wire
from remuda.core.hosts import CLOSED
from remuda.core.ids import public
from remuda.core.model import Agent, Host, Network, PullTask
from remuda.ports.clock import Clock
from remuda.ports.keyring import Keyring
from remuda.ports.leases import Leases
from remuda.ports.store import Conflict, Duplicate, Store, StoreError, Tx

log = logging.getLogger(__name__)

HELLO_SECONDS = 10.0
ENROL_SECONDS = 5.0
CLOSE_SECONDS = 2.0
TICK_SECONDS = 0.5
STALL_SECONDS = 0.5
RETRY_SECONDS = 0.5
GATHER_SECONDS = 0.03
"""From one write to the next: what many hosts say at once is one transaction, and wakes everybody once."""
FIGURES_SECONDS = 300.0
"""CPU and memory figures reach the database at most this often; live ones are in :meth:`Hub.live`."""


class Hub:
    """The sessions of this server."""

    def __init__(
        self, store: Store, feed: Feed, leases: Leases, server_id: str, clock: Clock, keyring: Keyring | None = None
    ) -> None:
        self._keyring = keyring
        self._keyless: set[int] = set()
        self._networks: set[int] = set()
        self._key_marks: dict[int, tuple[object, ...]] = {}
        self._sightings = Sightings()
        self._store = store
        self._feed = feed
        self._leases = leases
        self._server_id = server_id
        self._clock = clock
        self._sessions: dict[int, Session] = {}
        self._live: dict[int, wire.HostFacts] = {}
        self._written: dict[int, float] = {}
        self._reports: dict[int, reports.Batch] = {}
        self._facts: dict[int, tuple[str, wire.HostFacts, bool]] = {}
        self._endings: dict[str, tuple[int, str, str]] = {}
        self._dirty: set[int] = set()
        self._to_write = asyncio.Event()
        self._to_tell = asyncio.Event()
        self._closing = False
        self._scenes = Scenes(store, feed)
        self._pulls = Pulls(store, keyring, clock, self.session)
        self.status = "No agent is connected here"

    # ---- for others on this server --------------------------------------------------------------------------------------

    def session(self, host_id: int) -> Session | None:
        """The session of a host, if this server holds it."""
        return self._sessions.get(host_id)

    def __len__(self) -> int:
        return len(self._sessions)

    def live(self, host_id: int) -> dict[str, Any] | None:
        """The newest figures of a host (the ``info`` document), fresher than the database; None if it is not connected here."""
        facts = self._live.get(host_id)
        return None if facts is None else facts.info

    def ping(self) -> None:
        """Ask all agents that are connected here at once whether they are there."""
        for session in self._sessions.values():
            session.send(wire.Ping())

    async def run(self) -> None:
        """Serve until cancelled; then hang up on all agents, so that they look for another server at once."""
        self._closing = False
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tick())
                group.create_task(self._write())
                group.create_task(self._listen())
                group.create_task(self._tell())
                group.create_task(self._scenes.run())
                group.create_task(self._pulls.run())
        finally:
            await asyncio.shield(self._hang_up())

    async def _hang_up(self) -> None:
        self._closing = True
        for session in list(self._sessions.values()):
            session.end(CLOSED, "The server is stopping")
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(*[s.gone.wait() for s in list(self._sessions.values())])
        except TimeoutError:
            log.info("%d sessions did not end in time", len(self._sessions))
        try:
            await self._write_once()
        except StoreError as error:
            log.info("the ends of sessions could not be written: %s", error)

    # ---- one session ----------------------------------------------------------------------------------------------------

    async def serve(self, channel: Channel, agent: Agent) -> None:
        """One agent's socket, from its Hello to its end. Returns when the socket is closed."""
        try:
            session = await self._begin(channel, agent)
        except Exception as error:
            log.warning("a session could not begin: %s", error)
            session = None
        if session is None:
            await _close(channel, 1008, "refused")
            return
        reader = asyncio.create_task(self._receive(session))
        sender = asyncio.create_task(session.pump())
        ended = asyncio.create_task(session.ended.wait())
        try:
            await asyncio.wait({reader, sender, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reader, sender, ended):
                task.cancel()
            self._end(session)
            await asyncio.gather(reader, sender, ended, return_exceptions=True)
            await _close(channel, 1012 if self._closing else 1001, session.end_reason)

    async def _begin(self, channel: Channel, agent: Agent) -> Session | None:
        async with asyncio.timeout(HELLO_SECONDS):
            frame = await channel.receive()
        if frame is None:
            return None
        hello = wire.decode_from_agent(frame)
        token = self._clock.token()
        try:
            answer = await self._enrol(agent, hello, token)
        except BaseException:
            # The row may say all the same that the session stands: nobody else could ever take that back.
            self._endings[token] = (0, CLOSED, "The session ended before it began")
            self._to_write.set()
            raise
        if isinstance(answer, enrol.Refusal):
            await channel.send(wire.encode(wire.Refused(reason=str(answer), final=answer.final)))
            return None
        host = answer.host
        session = Session(channel, host.id, host.account_id, token, self._clock)
        old = self._sessions.get(host.id)
        self._sessions[host.id] = session
        if old is not None:
            old.end(CLOSED, "The agent opened a new session")
        self._live[host.id] = hello.facts
        self.status = f"{len(self._sessions)} agents are connected here"
        session.send(wire.Welcome(host=public("host", host.id) or "", session=token, server=self._server_id))
        self._mark(host.id)
        self._scenes.join(session, hello.scene_through)
        self._mark_keys([host.id])
        self._pulls.look()
        return session

    async def _enrol(self, agent: Agent, hello: wire.FromAgent, token: str) -> enrol.Enrolled | enrol.Refusal:
        """Write the beginning of a session; repeated while others write to the same host."""
        if not isinstance(hello, wire.Hello):
            return enrol.Refusal("The first frame must be a Hello", final=False)
        if hello.protocol != wire.PROTOCOL:
            return enrol.Refusal(enrol.PROTOCOL_FIX.format(ours=wire.PROTOCOL, theirs=hello.protocol), final=True)
        deadline = self._clock.monotonic() + ENROL_SECONDS
        while True:
            try:
                return await self._store.write(
                    lambda tx: enrol.begin_or_refuse(
                        tx, agent.id, hello, token=token, server_id=self._server_id, members=self._leases.members()
                    )
                )
            except (Conflict, Duplicate) as error:
                problem: StoreError = error
                pause = 0.02 * (1 + self._clock.jitter())
            except StoreError as error:
                problem, pause = error, RETRY_SECONDS
            if self._clock.monotonic() + pause > deadline:
                return enrol.Refusal(f"The server cannot write to its database now: {problem}", final=False)
            await asyncio.sleep(pause)

    async def _receive(self, session: Session) -> None:
        try:
            while (frame := await session.channel.receive()) is not None:
                session.heard = self._clock.monotonic()
                self._take(session, wire.decode_from_agent(frame))
            session.end(CLOSED, "The agent closed the connection")
        except asyncio.CancelledError:
            raise
        except Exception as error:
            session.end(CLOSED, f"The connection failed: {error}")

    def _take(self, session: Session, message: wire.FromAgent) -> None:
        match message:
            case wire.Observed():
                batch = self._reports.get(session.host_id)
                if batch is None or batch.token != session.token:
                    batch = self._reports[session.host_id] = reports.Batch(session.host_id, session.token)
                batch.add(message)
                self._to_write.set()
            case wire.Facts():
                self._restate(session, message.facts)
            case wire.Health():
                self._sightings.take(session.host_id, session.token, message)
                self._to_write.set()
            case wire.Pulled():
                self._pulls.take(session, message)
            case wire.SceneWanted():
                self._scenes.join(session, 0)
            case wire.StreamData() | wire.StreamCredit() | wire.StreamEnd():
                sink = session.streams.get(message.stream)
                if sink is not None:
                    if isinstance(message, wire.StreamEnd):
                        del session.streams[message.stream]
                    sink(message)
            case _:
                pass  # a Pong: being heard is all there is to it; a second Hello means nothing

    def _restate(self, session: Session, facts: wire.HostFacts) -> None:
        host_id, now = session.host_id, self._clock.monotonic()
        old = self._live.get(host_id)
        self._live[host_id] = facts
        same = old is not None and _plain(old) == _plain(facts)
        figures = now - self._written.setdefault(host_id, now) >= FIGURES_SECONDS
        if same and not figures:
            return
        self._written[host_id] = now
        self._facts[host_id] = (session.token, facts, figures)
        self._to_write.set()

    def _end(self, session: Session) -> None:
        session.end(CLOSED, "The session ended")
        session.gone.set()
        self._scenes.leave(session)
        if self._sessions.get(session.host_id) is session:
            del self._sessions[session.host_id]
            self._live.pop(session.host_id, None)
            self._written.pop(session.host_id, None)
        session.close_streams(f"The connection to the host ended: {session.end_reason}")
        self._endings[session.token] = (session.host_id, session.end_kind, session.end_reason)
        self._to_write.set()
        self.status = f"{len(self._sessions)} agents are connected here"

    # ---- the tasks that serve all sessions ------------------------------------------------------------------------------

    async def _tick(self) -> None:
        """Ping all agents, and end the sessions of those that are silent."""
        token, next_ping = 0, self._clock.monotonic()
        now = next_ping
        while True:
            await asyncio.sleep(TICK_SECONDS)
            last, now = now, self._clock.monotonic()
            if (stall := now - last - TICK_SECONDS) > STALL_SECONDS:
                for session in self._sessions.values():
                    session.excuse(stall)
            ping = now >= next_ping
            if ping:
                token += 1
                next_ping = now + wire.HEARTBEAT_SECONDS
            question = wire.encode(wire.Ping(token=token))
            for session in list(self._sessions.values()):
                session.watch()
                if ping:
                    session.send(question)

    async def _write(self) -> None:
        """Write what was reported; what cannot be written now is kept and written later."""
        while True:
            await self._to_write.wait()
            self._to_write.clear()
            try:
                await self._write_once()
                await asyncio.sleep(GATHER_SECONDS)
                continue
            except (Conflict, Duplicate):
                pause = 0.01 * (1 + self._clock.jitter())
            except Exception as error:
                pause = RETRY_SECONDS
                self.status = f"What agents report cannot be stored and is kept: {error}"
                log.warning("what agents report cannot be stored and is tried again: %s", error)
            await asyncio.sleep(pause)
            self._to_write.set()

    async def _write_once(self) -> None:
        batches, facts, endings = self._reports, self._facts, self._endings
        self._reports, self._facts, self._endings = {}, {}, {}
        sightings = self._sightings.drain()
        if not (batches or facts or endings or sightings):
            return

        def unit(tx: Tx) -> set[str]:
            stale = reports.store(tx, list(batches.values()))
            for host_id, (token, host_facts, figures) in facts.items():
                enrol.restate(tx, host_id, token, host_facts, figures=figures)
            for host_id, sighting in sightings.items():
                store_sighting(tx, host_id, sighting)
            for token, (host_id, kind, reason) in endings.items():
                enrol.finish(tx, host_id, token, kind, reason, server_id=self._server_id)
            return stale

        try:
            stale = await self._store.write(unit)
        except BaseException:
            self._put_back(batches, facts, endings)
            self._sightings.put_back(sightings)
            raise
        for host_id, batch in batches.items():
            session = self._sessions.get(host_id)
            if session is None or session.token != batch.token:
                continue
            if batch.token in stale:
                session.end(CLOSED, "Another session of this agent has taken over")
            elif batch.number:
                session.send(wire.Noted(number=batch.number))

    def _put_back(self, batches: dict[int, reports.Batch], facts: dict[int, tuple[str, wire.HostFacts, bool]],
                  endings: dict[str, tuple[int, str, str]]) -> None:  # fmt: skip
        for host_id, batch in batches.items():
            newer = self._reports.get(host_id)
            if newer is not None and newer.token == batch.token:
                batch = _merged(batch, newer)
            elif newer is not None:
                continue
            self._reports[host_id] = batch
        self._facts = {**facts, **self._facts}
        self._endings = {**endings, **self._endings}

    async def _listen(self) -> None:
        """Which of our hosts have news?"""
        with self._feed.listen() as listener:
            while True:
                try:
                    for change in await listener.next():
                        if change.kind == Host.TABLE and change.record_id in self._sessions:
                            self._mark(change.record_id)
                        elif change.kind == PullTask.TABLE:
                            self._pulls.look()
                        elif change.kind == Network.TABLE:
                            self._networks.add(change.account_id)
                            self._to_tell.set()
                except Resync:
                    for host_id in self._sessions:
                        self._mark(host_id)
                    self._mark_keys(self._sessions)
                    self._pulls.look()

    def _mark(self, host_id: int) -> None:
        self._dirty.add(host_id)
        self._to_tell.set()

    def _mark_keys(self, hosts: Iterable[int]) -> None:
        self._keyless.update(hosts)
        self._to_tell.set()

    async def _tell_keys(self) -> None:
        lacking, self._keyless = self._keyless, set()
        networks, self._networks = self._networks, set()
        if not (lacking or networks) or self._keyring is None:
            return
        try:
            if networks and (new := await rekeyed(self._store, networks, self._key_marks)):
                lacking |= {h for h, s in self._sessions.items() if s.account_id in new}
            await tell_keys(self._store, self._keyring, [s for h, s in self._sessions.items() if h in lacking])
        except Exception as error:
            log.warning("keys cannot be told and are tried again: %s", error)
            self._keyless |= lacking
            self._networks |= networks
            for account in networks:
                self._key_marks.pop(account, None)
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._to_tell.set)

    async def _tell(self) -> None:
        """Tell agents what is new for them, all hosts with news in one read."""
        while True:
            await self._to_tell.wait()
            self._to_tell.clear()
            await self._tell_keys()
            dirty, self._dirty = self._dirty & self._sessions.keys(), set()
            sessions = [self._sessions[host_id] for host_id in sorted(dirty)]
            if not sessions:
                continue
            try:
                news = await self._store.read(news_of({s.host_id: (s.told, s.complete) for s in sessions}))
                fronts = [i for one in news.values() for i in one.instances if is_balancer(i)]
                pems = await certificates_of(self._store, self._keyring, fronts)
                secrets = await confidences_of(
                    self._store, self._keyring, [i for one in news.values() for i in one.instances]
                )
                for session in sessions:
                    self._tell_one(session, news.get(session.host_id), pems, secrets)
            except Exception as error:
                log.warning("assignments cannot be read and are tried again: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                self._dirty |= dirty
                self._to_tell.set()

    def _tell_one(
        self, session: Session, news: HostNews | None, pems: Mapping[int, dict[str, str]], secrets: Confidences
    ) -> None:
        host = news.host if news is not None else None
        if news is None or host is None or host.removed is not None:
            session.send(wire.Refused(reason=enrol.REMOVED_FIX, final=True))
            # The pump sends it before the socket is closed: the end is asked for a moment later.
            asyncio.get_running_loop().call_later(0.2, session.end, CLOSED, "The host was removed")
            return
        if host.session_id != session.token:
            session.end(CLOSED, "Another session of this agent has taken over")
            return
        if session.complete and host.assign_seq <= session.told:
            return
        items = [
            secrets.told(i, with_certificates(assignment(i, news.wishes.get(i.id, ())), pems.get(i.id, {})))
            for i in sorted(news.instances, key=lambda i: i.assign_seq)
        ]
        complete = not session.complete
        session.send(wire.Assign(items=items, complete=complete, through=host.assign_seq, volumes=list(news.orders)))
        session.told, session.complete = host.assign_seq, True


def _merged(older: reports.Batch, newer: reports.Batch) -> reports.Batch:
    if not newer.complete:
        newer.reports = {**older.reports, **newer.reports}
        newer.complete = older.complete
    newer.applied_seq = max(older.applied_seq, newer.applied_seq)
    if newer.volumes is None:
        newer.volumes = older.volumes
    return newer


def _plain(facts: wire.HostFacts) -> tuple[object, ...]:
    return (facts.hostname, facts.agent_ip, facts.labels, facts.docker, facts.docker_message, facts.docker_version,
            facts.kernel, facts.network, facts.network_message, facts.link_mtu, facts.network_keys, facts.network_use,
            enrol.steady(facts.info))  # fmt: skip


async def _close(channel: Channel, code: int, reason: str) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await channel.close(code, reason[:120])
    except Exception as error:
        log.debug("a socket could not be closed: %s", error)
