"""``remuda ha-node``: brings up one node of a cluster and keeps it up.

Four loops that share what they know and never wait for each other: *look* (beat in the database, read the others, claim a
place), *keep* (containers as they should be), *judge* (is each part well?), *lead* (on the node whose ZooKeeper leads: let
servers in and out). Any of them may fail at any time; it says why on the status page and goes on. When the database is away,
the last known view stays in force: the parts of a node never stop because a database did.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from remuda.core.membership import (
    BEAT_EVERY,
    Claim,
    Ensemble,
    Stay,
    Watch,
    bootstrap,
    majority,
    may_stop,
    plan_slot,
    readdress,
    refound,
)
from remuda.ha import cluster, probes, zookeeper
from remuda.ha.cluster import Member, View
from remuda.ha.doubts import Doubts
from remuda.ha.ensemble import NoQuorum
from remuda.ha.ingress import SERVER_PORT
from remuda.ha.keeper import Keeper
from remuda.ha.lead import Lead, answering
from remuda.ha.node import Generation, NodeError, write
from remuda.ha.parts import INGRESS, PARTS, REDIS, SERVER, ZOOKEEPER, Part
from remuda.ha.probes import Health
from remuda.ha.reach import Reach
from remuda.ha.state import NodeState
from remuda.ha.wanted import Options, Wanted
from remuda.ports.engine import Engine, EngineError
from remuda.ports.store import Conflict, Duplicate, StoreError

log = logging.getLogger(__name__)

FIRST_PATIENCE = 60.0
"""How long a majority waits for the rest before it makes the first ensemble without it."""
DEAF_LIMIT = 45.0
"""A part that runs but has not answered for so long is killed; Docker starts it again."""
DEAF_AT_START = 180.0
"""The same for one that has not answered yet: it may be waiting for the database."""
FORGET_AFTER = 3600.0
_REASONS = (StoreError, EngineError, NodeError, NoQuorum, OSError)


class Supervisor:
    """One node. ``address_of`` is asked again at every look, because an address may change while we run."""

    def __init__(
        self, store: Any, engine: Engine, generation: Generation, uuid: str, state: NodeState, options: Options,
        address_of: Callable[[], str],
    ) -> None:  # fmt: skip
        self.state, self.options, self.generation, self.uuid = state, options, generation, uuid
        self._store, self._address_of = store, address_of
        self._wanted = Wanted(generation, uuid, options)
        self._keeper = Keeper(engine)
        self._lead = Lead(store, generation, self._wanted.files)
        self._cache = options.data / "ha" / "run" / "view.json"
        self._view = self._remembered()
        self._watch = Watch()
        self._address = ""
        self._migrated = False
        self._doubts = Doubts(uuid, options.data / "ha" / "node")
        self._door_told = 0.0
        self._reach = Reach(generation.ports)
        self._began = time.monotonic()
        self._wake = asyncio.Event()
        self._answered: dict[str, tuple[float, bool]] = {}
        self._hindered: dict[str, str] = {}
        self._seen: dict[str, dict[str, Any]] = {}
        state.facts.update(
            uuid=uuid, size=generation.size, url=generation.url, generation=generation.number,
            fingerprint=generation.fingerprint, version=options.version, hostname=options.hostname, address="",
        )  # fmt: skip
        state.stage("configuration", True, f"generation {generation.number}, cluster of {generation.size}")

    # ------------------------------------------------------------ loops

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await asyncio.gather(
                self._loop("look", self.look, BEAT_EVERY),
                self._loop("keep", self.keep, 1.0),
                self._loop("judge", self.judge, 1.0),
                self._loop("lead", self.lead, 2.0),
            )
        finally:
            await self._lead.rest()

    async def _loop(self, name: str, step: Callable[[], Awaitable[None]], every: float) -> None:
        while True:
            began = time.monotonic()
            try:
                await step()
            except _REASONS as error:
                log.warning("%s: %s", name, error)
            except Exception:
                log.exception("%s failed; it goes on", name)
            rest = max(0.1, every - (time.monotonic() - began))
            if name == "keep":
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), rest)
                self._wake.clear()
            else:
                await asyncio.sleep(rest)

    # ------------------------------------------------------------ look

    async def look(self) -> None:
        """Say that we live, see who else does, and take a place if one is to be had."""
        try:
            address = await asyncio.to_thread(self._address_of)
        except NodeError as error:
            self.state.stage("database", False, str(error))
            return
        if address != self._address:
            log.info("this node is known by the address %s", address)
            self._address = self.state.facts["address"] = address
            self._wake.set()
        database = self.generation.database
        where = f"{database.host}:{database.port}"
        try:
            if not self._migrated:
                self.state.stage("database", False, f"connecting to {where} and preparing its tables")
                await self._store.migrate()
                self._migrated = True
            view: View = await self._store.write(cluster.beat(self._myself()))
        except StoreError as error:
            self.state.stage("database", False, f"{error}; trying again")
            return
        self.state.stage("database", True, f"connected to {where}")
        self._watch = self._watch.look(view.nodes, time.monotonic())
        for key, text in self._doubts.about(view, self._watch, self._address).items():
            self.state.notice(key, text)
        view = await self._claim(view)
        view = await self._agree(view)
        self._learn(view)

    def _myself(self) -> Member:
        return Member(
            uuid=self.uuid, slot=None, address=self._address, beat=0, hostname=self.options.hostname,
            version=self.options.version, generation=self.generation.number, fingerprint=self.generation.fingerprint,
            parts=self.state.reported(),
        )  # fmt: skip

    async def _claim(self, view: View) -> View:
        me = view.me(self.uuid)
        if me is not None and me.slot is not None and me.slot > self.generation.size:
            await self._store.write(cluster.release(self.uuid))
            view = await self._store.read(cluster.read)
        for _ in range(self.generation.size + 1):  # several nodes that start at once try for the same place
            plan = plan_slot(self.uuid, view.nodes, self.generation.size, self._watch, view.lost_after, view.given_up)
            if isinstance(plan, Stay):
                break
            if await self._take(view, plan):
                log.warning("this node takes place %d: %s", plan.slot, plan.because)
            view = await self._store.read(cluster.read)
        me = view.me(self.uuid)
        self.state.spare = me is not None and me.slot is None
        self.state.stage("place", isinstance(plan, Stay), plan.because)
        for member in view.members:
            if member.slot is None and self._watch.silent(member.uuid) > FORGET_AFTER:
                await self._store.write(cluster.forget(member.uuid, member.beat))
        return view

    async def _take(self, view: View, plan: Claim) -> bool:
        evicted = view.me(plan.evict) if plan.evict else None
        try:
            return bool(await self._store.write(cluster.claim(self.uuid, plan, evicted.beat if evicted else None)))
        except (Conflict, Duplicate):
            return False

    async def _agree(self, view: View) -> View:
        """The first ensemble, or all members at new addresses."""
        if view.ensemble is None:
            if self.state.spare:
                self.state.stage("peers", False, "this node is a spare; the others have not met yet")
                return view
            waited = time.monotonic() - self._began
            made = bootstrap(view.nodes, self.generation.size, self._watch, waited, FIRST_PATIENCE)
            if isinstance(made, str):
                self.state.stage("peers", False, made)
                return view
            try:
                await self._store.write(cluster.found(made))
                log.warning("the first ensemble is made: %s", ", ".join(v.address for v in made.voters))
            except Duplicate:
                log.info("another node made the first ensemble")
            return await self._store.read(cluster.read)  # type: ignore[no-any-return]
        self.state.stage("peers", True, f"{len(view.ensemble.voters)} voters are agreed upon")
        moved = readdress(view.ensemble, view.nodes, self._watch)
        if moved is not None and await self._store.write(cluster.rewrite(view.ensemble, moved)):
            log.warning("most nodes have new addresses; the ensemble is entered anew with them")
            return await self._store.read(cluster.read)  # type: ignore[no-any-return]
        return await self._begin_anew(view, view.ensemble)

    async def _begin_anew(self, view: View, ensemble: Ensemble) -> View:
        mine = self.state.parts.get(ZOOKEEPER)
        if mine is not None and mine.state == "up":
            return view
        made = refound(ensemble, view.nodes, self.generation.size, self._watch)
        if made is None or not await self._store.write(cluster.rewrite(ensemble, made)):
            return view
        log.warning(
            "most voters are gone for good; a new ensemble begins: %s", ", ".join(v.address for v in made.voters)
        )
        return await self._store.read(cluster.read)  # type: ignore[no-any-return]

    def _learn(self, view: View) -> None:
        changed = (view.ensemble, [(m.uuid, m.slot, m.address) for m in view.members]) != (
            self._view.ensemble,
            [(m.uuid, m.slot, m.address) for m in self._view.members],
        )
        self._view = view
        self.state.peers = [self._peer(member) for member in view.members if member.uuid != self.uuid]
        newest = view.newest_fingerprint
        old = newest and newest != self.generation.fingerprint and view.newest_generation >= self.generation.number
        self.state.notice(
            "generation",
            f"this node runs generation {self.generation.number}, the cluster's newest is {view.newest_generation}: "
            "download the current remuda-ha.sh and run it here"
            if old
            else "",
        )
        if changed:
            write(self._cache, msgspec.json.encode(view).decode())
            self._wake.set()

    def _peer(self, member: Member) -> dict[str, Any]:
        return {
            "uuid": member.uuid, "hostname": member.hostname, "address": member.address, "slot": member.slot,
            "alive": self._watch.alive(member.uuid), "silent": self._watch.silent(member.uuid),
            "generation": member.generation, "parts": member.parts,
            "trouble": self._reach.trouble.get(member.uuid, []),
        }  # fmt: skip

    def _remembered(self) -> View:
        try:
            return msgspec.json.decode(self._cache.read_bytes(), type=View)
        except (OSError, msgspec.MsgspecError):
            return View()

    # ------------------------------------------------------------ keep

    async def keep(self) -> None:
        """One look at the containers, and one step for each that is not as it should be."""
        wanted, keeper = self._wanted, self._keeper
        try:
            if not wanted.image:
                wanted.image = await keeper.own_image()
            seen = await keeper.look()
        except EngineError as error:
            self.state.stage("engine", False, f"Docker does not answer: {error}")
            return
        self.state.stage("engine", True, "Docker answers")
        me = self._view.me(self.uuid)
        address = self._address or (me.address if me else "")
        if not address:
            return
        items = await asyncio.to_thread(wanted.parts, self._view, address)
        await self._keep_door(seen)
        for item in items:
            try:
                problem = await keeper.ensure(item, seen.get(item.name), self._may_replace, wanted.obstacle)
            except EngineError as error:
                problem = f"Docker refuses: {error}"
            if problem:
                self._hindered[item.name] = problem
                self.state.part(item.name, "down", problem)
            else:
                self._hindered.pop(item.name, None)
        names = {item.name for item in items}
        if me is not None:  # before the database was seen, nothing is taken down
            await keeper.drop([name for name in PARTS if name not in names], seen)
            self._off(names)
        self._seen = seen  # only now: a part that is about to be replaced must not be asked how it is

    async def _keep_door(self, seen: dict[str, dict[str, Any]]) -> None:
        """The running haproxy must have read what is in force; a signal in the middle of its reload is lost, so it is asked."""
        digest, wrong = await self._wanted.renew_door()
        self.state.notice("ingress", wrong)
        if not digest or seen.get(INGRESS, {}).get("State") != "running":
            return
        has = await self._wanted.door_read()
        now = time.monotonic()
        if has and has != digest and now - self._door_told > 3:
            log.info("the front door takes up its new configuration")
            self._door_told = now
            await self._keeper.signal(INGRESS, "SIGUSR2")

    def _off(self, names: set[str]) -> None:
        met = self._view.ensemble is not None
        why = "waits until the nodes have agreed on the first ensemble"
        if met:
            why = (
                "waits until the ensemble lets this node in, which its leader does within seconds while it has a quorum"
            )
        for name in PARTS:
            if name not in names:
                off = self.state.spare
                self.state.part(name, "off" if off else "waiting", "not needed on a spare" if off else why)

    async def _may_replace(self, item: Part) -> str:
        """Taking down ZooKeeper must not cost the quorum."""
        ensemble, mine = self._view.ensemble, self.state.parts.get(ZOOKEEPER)
        if item.name != ZOOKEEPER or ensemble is None or mine is None or mine.state != "up":
            return ""
        port = self.generation.ports.zookeeper_client_port
        return may_stop(ensemble, self.uuid, await answering(ensemble, port, self._tls()))

    def _tls(self) -> ssl.SSLContext:
        tls = self._wanted.files.tls
        return zookeeper.tls_context(str(tls / "ca.pem"), str(tls / "node.pem"))

    # ------------------------------------------------------------ judge and lead

    async def judge(self) -> None:
        """Ask each running part how it is."""
        if not (self._wanted.files.tls / "node.pem").exists():
            return
        ports, tls = self.generation.ports, self._tls()
        questions: dict[str, Callable[[], Awaitable[Health]]] = {
            ZOOKEEPER: lambda: probes.check_zookeeper(ports.zookeeper_client_port, tls),
            REDIS: lambda: probes.check_redis(ports.redis_port, tls, self.generation.redis_password),
            SERVER: lambda: probes.check_server(SERVER_PORT),
            INGRESS: lambda: probes.check_ingress(ports.https_port),
        }
        running = {name for name, seen in self._seen.items() if seen.get("State") == "running"}
        asked = [name for name in PARTS if name in running and name not in self._hindered]
        for name in set(self._answered) - set(asked):
            del self._answered[name]
        answers = await asyncio.gather(*(questions[name]() for name in asked))
        now = time.monotonic()
        for name, health in zip(asked, answers, strict=True):
            state = health.state
            known = self._answered.get(name)
            limit = DEAF_LIMIT if known is None or known[1] else DEAF_AT_START
            if state != "down":
                self._answered[name] = (now, True)
            silent = now - self._answered.setdefault(name, (now, False))[0]
            if state == "down" and silent < (limit if limit == DEAF_AT_START else DEAF_LIMIT / 3):
                state = "starting"
            message = self._explained(name, health)
            if self.state.part(name, state, message, health.role):
                log.info("%s: %s (%s)", name, state, message)
            if silent > limit:
                log.warning("%s runs but has not answered for %.0f s; it is killed and starts anew", name, silent)
                self._answered[name] = (now, False)
                await self._keeper.restart(name)

    def _explained(self, name: str, health: Health) -> str:
        if name != ZOOKEEPER or health.state != "waiting" or self._view.ensemble is None:
            return health.message
        others = [v.address for v in self._view.ensemble.voters if v.node != self.uuid]
        need = majority(len(self._view.ensemble.voters))
        return f"{health.message}: {need} of the voters must answer; the others are {', '.join(others) or 'none'}"

    async def lead(self) -> None:
        """On one node only: the live one whose ZooKeeper leads, else the live one in the lowest place that serves."""
        self._reach.soon([m for m in self._view.members if m.uuid != self.uuid and self._watch.alive(m.uuid)])
        self.state.notice("ports", self._reach.summary)
        serving = [m for m in self._view.members if m.slot is not None and self._watch.alive(m.uuid) and _role(m)]
        first = min(serving, key=lambda m: (_role(m) != "leader", m.slot or 0), default=None)
        mine = self.state.parts.get(ZOOKEEPER)
        if first is None or first.uuid != self.uuid or mine is None or mine.state != "up":
            await self._lead.rest()
            self.state.notice("ensemble", "")
            return
        await self._lead.step(self._view, lambda text: self.state.notice("ensemble", text), self._tls())


def _role(member: Member) -> str:
    zookeeper_part = member.parts.get(ZOOKEEPER)
    return str(zookeeper_part.get("role", "")) if isinstance(zookeeper_part, dict) else ""
