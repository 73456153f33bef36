"""Leases by ZooKeeper: ephemeral sequential candidates, the lowest holds, each waits for the one before it.

A grant is trusted only while the connection has not changed since it was verified: at the first sign of trouble
(SUSPENDED) all grants are in doubt, at once and without asking a clock. When the connection is back in the same session
they are trusted again only after a sync and a read showed that their node is there and still the lowest.

The fence is the candidate's ``czxid`` plus the installation's *floor*: a number kept in ZooKeeper itself, written once by
the first server to come, above every fence that the store has ever seen. Without it, an ensemble whose data was lost, or
one that takes over from a single node's in-process leases, would count from one and be shut out by the store for ever.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from kazoo.exceptions import KazooException, NodeExistsError, NoNodeError

from remuda.adapters.zookeeper.bridge import TRANSIENT, Bridge, Tls
from remuda.adapters.zookeeper.membership import Membership
from remuda.ports.leases import ServerInfo

log = logging.getLogger(__name__)

RECHECK_SECONDS = 30.0
"""A candidate looks again after this time even if no watch fired."""


class ZookeeperGrant:
    """A won lease."""

    def __init__(self, leases: ZookeeperLeases, name: str, path: str, fence: int, session: int) -> None:
        self.name = name
        self.fence = fence
        self.lost = asyncio.Event()
        self.path = path
        self.session = session
        self._leases = leases

    @property
    def held(self) -> bool:
        """False as soon as there is any doubt."""
        return self._leases.quorum and not self.lost.is_set()

    async def resign(self) -> None:
        """Give it back."""
        self.lost.set()
        await self._leases.release(self)


class ZookeeperLeases:
    """Implements :class:`remuda.ports.leases.Leases`. Create it inside the event loop; it connects by itself, for ever."""

    def __init__(
        self,
        hosts: str,
        *,
        tls: Tls | None = None,
        root: str = "/remuda",
        floor: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        """``hosts``: ``host:port,...``. ``floor`` gives the highest fence that the store has seen."""
        self._hosts = hosts
        self._root = root
        self._give_floor = floor
        self._floor = 0
        self._grants: set[ZookeeperGrant] = set()
        self._verified = -1
        self._up = asyncio.Event()
        self._quorum_hooks: list[Callable[[bool], None]] = []
        self._member_hooks: list[Callable[[dict[str, ServerInfo]], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = ""
        self._closed = False
        self._ever = False
        self._bridge = Bridge(hosts, tls, self._on_state)
        self._membership = Membership(self._bridge, root, self._up, self._tell_members)

    # -- the connection

    def _on_state(self, connected: bool, epoch: int) -> None:
        was_up = self._up.is_set()
        self._up.clear()
        for grant in self._grants:
            grant.lost.set()
        if was_up:
            log.warning("zookeeper: connection in doubt; leader work stops")
            self._tell_quorum(False)
        if connected and not self._closed:
            self._spawn(self._verify(epoch))

    async def _verify(self, epoch: int) -> None:
        """After a (re)connect: nothing is trusted before a round trip through the leader, and each grant is looked at."""
        while epoch == self._bridge.epoch and not self._closed:
            try:
                session = self._bridge.session
                await self._bridge.call("ensure_path", f"{self._root}/servers")
                await self._bridge.call("sync", self._root)
                await self._find_floor()
                good = [grant for grant in list(self._grants) if await self._still_first(grant, session)]
            except TRANSIENT:
                await asyncio.sleep(0.05)
            except Exception as error:
                log.warning("zookeeper: cannot verify the connection: %s", type(error).__name__, exc_info=True)
                await asyncio.sleep(0.5)
            else:
                if epoch == self._bridge.epoch:
                    self._trust(epoch, good)
                return

    def _trust(self, epoch: int, good: list[ZookeeperGrant]) -> None:
        self._verified = epoch
        self._ever = True
        self._grants.intersection_update(good)
        for grant in self._grants:
            grant.lost.clear()
        self._up.set()
        self._membership.poke()
        log.info("zookeeper: quorum")
        self._tell_quorum(True)

    async def _still_first(self, grant: ZookeeperGrant, session: int) -> bool:
        folder, _, node = grant.path.rpartition("/")
        if grant.session != session:
            return False
        stat = await self._bridge.call("exists", grant.path, watch=self._bridge.watcher(lambda: self._check(grant)))
        if stat is None or stat.ephemeralOwner != session:
            return False
        try:
            return bool(_in_order(await self._bridge.call("get_children", folder))[:1] == [node])
        except NoNodeError:
            return False

    def _check(self, grant: ZookeeperGrant) -> None:
        """The node of a grant changed, or the connection did (then the verification looks at it)."""
        if grant in self._grants and self.quorum:
            self._spawn(self._recheck(grant))

    async def _recheck(self, grant: ZookeeperGrant) -> None:
        try:
            if await self._still_first(grant, self._bridge.session):
                return
        except TRANSIENT:
            return  # the connection is in doubt, and so is the grant
        grant.lost.set()
        self._grants.discard(grant)

    async def _find_floor(self) -> None:
        path = f"{self._root}/floor"
        while not self._floor:
            try:
                self._floor = int((await self._bridge.call("get", path))[0])
                return
            except NoNodeError:
                value = max(1, await self._give_floor() if self._give_floor else 1)
            try:
                await self._bridge.call("create", path, str(value).encode())
            except NodeExistsError:
                continue

    # -- leases

    async def acquire(self, name: str) -> ZookeeperGrant:
        """Wait until this process holds the lease ``name``. A doubtful grant of the same name is given up first."""
        for old in [grant for grant in self._grants if grant.name == name and not grant.held]:
            self._grants.discard(old)
            self._spawn(self._sweep(*old.path.rsplit("/", 1)))
        folder, mark = f"{self._root}/leases/{quote(name, safe='')}", uuid.uuid4().hex
        try:
            while True:
                await self._up.wait()
                try:
                    grant = await self._try(name, folder, mark)
                except TRANSIENT:
                    await asyncio.sleep(0.05 + 0.1 * random.random())  # noqa: S311
                except KazooException as error:
                    log.warning("zookeeper: lease %s: %s", name, type(error).__name__)
                    await asyncio.sleep(0.5)
                else:
                    if grant is not None:
                        return grant
        except BaseException:
            # A create that timed out may still be carried out: take out whatever bears our mark.
            self._spawn(self._sweep(folder, mark))
            raise

    async def holder(self, name: str) -> str:
        """The ``server_id`` of who holds a lease, for display."""
        folder = f"{self._root}/leases/{quote(name, safe='')}"
        try:
            for node in _in_order(await self._bridge.call("get_children", folder))[:1]:
                data, _ = await self._bridge.call("get", f"{folder}/{node}")
                return str(data.decode())
        except (*TRANSIENT, KazooException):
            return ""
        return ""

    async def _try(self, name: str, folder: str, mark: str) -> ZookeeperGrant | None:
        """One look: a grant if we are first; otherwise return when it is time to look again."""
        epoch, session = self._bridge.epoch, self._bridge.session
        node, stat, before = await self._place(folder, mark, session)
        if node is None:
            await self._bridge.call(
                "create", f"{folder}/{mark}-", self._server.encode(), ephemeral=True, sequence=True, makepath=True
            )
            return None
        if before is not None:
            await self._wait_for(f"{folder}/{before}")
            return None
        grant = ZookeeperGrant(self, name, f"{folder}/{node}", self._floor + stat.czxid, session)
        if not await self._still_first(grant, session):
            return None
        if epoch != self._bridge.epoch or epoch != self._verified:
            return None
        self._grants.add(grant)
        return grant

    async def _place(self, folder: str, mark: str, session: int) -> tuple[str | None, Any, str | None]:
        """Our candidate with its stat, and the one before it. Takes out what we left there in an older session."""
        try:
            nodes = _in_order(await self._bridge.call("get_children", folder))
        except NoNodeError:
            return None, None, None
        mine: tuple[str, Any] | None = None
        for node in [node for node in nodes if node.startswith(mark)]:
            stat = await self._bridge.call("exists", f"{folder}/{node}")
            if stat is not None and stat.ephemeralOwner == session and mine is None:
                mine = node, stat
            else:
                await self._delete(f"{folder}/{node}")
                nodes.remove(node)
        if mine is None:
            return None, None, None
        index = nodes.index(mine[0])
        return mine[0], mine[1], nodes[index - 1] if index else None

    async def _wait_for(self, path: str) -> None:
        gone = asyncio.Event()
        if await self._bridge.call("exists", path, watch=self._bridge.watcher(gone.set)) is None:
            return
        try:
            async with asyncio.timeout(RECHECK_SECONDS):
                await gone.wait()
        except TimeoutError:
            return

    async def _delete(self, path: str) -> None:
        try:
            await self._bridge.call("delete", path)
        except NoNodeError:
            return

    async def release(self, grant: ZookeeperGrant) -> None:
        """Take our node out now, or as soon as ZooKeeper answers again."""
        self._grants.discard(grant)
        try:
            if self._up.is_set():
                await self._delete(grant.path)
                return
        except TRANSIENT:
            pass
        self._spawn(self._sweep(*grant.path.rsplit("/", 1)))

    async def _sweep(self, folder: str, mark: str) -> None:
        while not self._closed:
            await self._up.wait()
            try:
                for node in await self._bridge.call("get_children", folder):
                    if node.startswith(mark):
                        await self._delete(f"{folder}/{node}")
                return
            except NoNodeError:
                return
            except (KazooException, TimeoutError):
                await asyncio.sleep(0.2)

    # -- membership and quorum

    async def join(self, info: ServerInfo) -> None:
        """Be a member from now on, through any number of lost and won sessions."""
        self._server = info.server_id
        await self._membership.join(info)

    def follow(self, hosts: str) -> None:
        """Connect to these from now on; the connection that stands is kept."""
        self._hosts = hosts
        self._bridge.follow(hosts)

    def members(self) -> dict[str, ServerInfo]:
        """The servers that live; the last known ones while there is no quorum."""
        return dict(self._membership.members)

    def on_members(self, hook: Callable[[dict[str, ServerInfo]], None]) -> None:
        """Call ``hook`` in the event loop at every change of membership."""
        self._member_hooks.append(hook)

    @property
    def quorum(self) -> bool:
        """True while ZooKeeper answers: verified since the connection last changed."""
        return self._verified == self._bridge.epoch and not self._closed

    @property
    def reason(self) -> str:
        """Why there is no quorum."""
        if self.quorum:
            return ""
        count = self._hosts.count(",") + 1
        what = "has stopped answering" if self._ever else "does not answer"
        needed = (
            f"at least {count // 2 + 1} of its {count} nodes have to run and reach each other"
            if count > 1
            else "is it running?"
        )
        last = f" (last: {self._bridge.complaint})" if self._bridge.complaint else ""
        return f"ZooKeeper at {self._hosts} {what} this server: {needed}; look at the nodes' status pages{last}"

    async def wait_quorum(self, timeout: float) -> bool:
        """True as soon as there is quorum, False after ``timeout`` seconds without."""
        try:
            async with asyncio.timeout(timeout):
                await self._up.wait()
        except TimeoutError:
            return False
        return True

    def on_quorum(self, hook: Callable[[bool], None]) -> None:
        """Call ``hook`` when quorum is lost or won."""
        self._quorum_hooks.append(hook)

    def _tell_quorum(self, quorum: bool) -> None:
        _call_all(self._quorum_hooks, quorum)

    def _tell_members(self, members: dict[str, ServerInfo]) -> None:
        _call_all(self._member_hooks, members)

    async def close(self) -> None:
        """Leave and resign everything: ending the session removes all our nodes at once."""
        self._closed = True
        self._up.clear()
        for grant in self._grants:
            grant.lost.set()
        tasks = [*self._tasks, self._membership.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._bridge.close()

    def _spawn(self, work: Any) -> None:
        if self._closed:
            work.close()
            return
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("zookeeper: a background step failed", exc_info=task.exception())


def _in_order(nodes: list[str]) -> list[str]:
    return sorted(nodes, key=lambda node: node[-10:])


def _call_all(hooks: list[Callable[[Any], None]], value: Any) -> None:
    for hook in hooks:
        try:
            hook(value)
        except Exception:
            log.exception("zookeeper: a listener failed")
