"""Leases and membership within one process.

For a single node this is the product: there is always quorum. For the simulation several servers share one
:class:`MemoryCluster`, which plays the coordination service: ``cut`` a server off it (it loses quorum at once, the others
still wait for its session), ``expire`` its session (its leases pass on), ``heal`` it.

Fences must grow across restarts, because the store remembers the highest. A process keeps nothing, so it starts from the
time (in microseconds since 1970: more than it could ever have granted since the last start); and because a clock can be
set back, :meth:`MemoryCluster.raise_floor` takes the highest fence that the store has seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from remuda.adapters.memory.clock import SystemClock
from remuda.ports.clock import Clock
from remuda.ports.leases import ServerInfo

CUT = "This server cannot reach the coordination service; check the network between the management nodes"


class MemoryGrant:
    """A won lease."""

    def __init__(self, candidate: _Candidate, fence: int) -> None:
        self.name = candidate.name
        self.fence = fence
        self.lost = asyncio.Event()
        self._candidate = candidate

    @property
    def held(self) -> bool:
        """False as soon as there is any doubt."""
        return not self.lost.is_set()

    async def resign(self) -> None:
        """Give it back."""
        self.lost.set()
        self._candidate.leases.withdraw(self._candidate)


class _Candidate:
    def __init__(self, leases: MemoryLeases, name: str) -> None:
        self.leases = leases
        self.name = name
        self.won: asyncio.Future[MemoryGrant] = asyncio.get_running_loop().create_future()
        self.grant: MemoryGrant | None = None


class MemoryCluster:
    """The coordination service that the servers of one process share."""

    def __init__(self, clock: Clock | None = None, *, floor: int = 0) -> None:
        self._fence = max((clock or SystemClock()).now() * 1000, floor)
        self._queues: dict[str, list[_Candidate]] = {}
        self._servers: dict[str, MemoryLeases] = {}
        self._members: dict[str, ServerInfo] = {}

    def leases(self, server: str = "") -> MemoryLeases:
        """A server's end of it."""
        return MemoryLeases(self, server)

    def raise_floor(self, fence: int) -> None:
        """Grant only fences above ``fence`` from now on."""
        self._fence = max(self._fence, fence)

    # -- what the simulation does to a server

    def cut(self, server: str, *, expire_after: float | None = None) -> None:
        """Cut a server off. It knows at once; the others wait until its session expires (``expire_after`` seconds)."""
        leases = self._servers[server]
        leases.set_linked(False)
        if expire_after is not None:
            asyncio.get_running_loop().call_later(expire_after, self._expire_if_cut, server)

    def _expire_if_cut(self, server: str) -> None:
        leases = self._servers.get(server)
        if leases is not None and not leases.quorum:
            self.expire(server)

    def expire(self, server: str) -> None:
        """End a server's session: its leases pass on and it is no member until it is healed."""
        leases = self._servers[server]
        for queue in self._queues.values():
            for candidate in [c for c in queue if c.leases is leases]:
                queue.remove(candidate)
                if candidate.grant is not None:
                    candidate.grant.lost.set()
                    leases.forget(candidate)  # so that healing does not bring it back
        if leases.info is not None:
            self._members.pop(leases.info.server_id, None)
        if leases.quorum:
            leases.rejoin()
        self._tell()

    def heal(self, server: str) -> None:
        """Connect a server again: leases whose session lasted are held again, the rest is applied for anew."""
        self._servers[server].set_linked(True)
        self._tell()

    def remove(self, server: str) -> None:
        """Forget a server that crashed or closed."""
        leases = self._servers.get(server)
        if leases is not None:
            leases.set_linked(False)
            self.expire(server)
            del self._servers[server]

    # -- for its ends

    def attach(self, leases: MemoryLeases) -> None:
        """A server comes; one of the same name that crashed before is forgotten."""
        self.remove(leases.server)
        self._servers[leases.server] = leases

    def enqueue(self, candidate: _Candidate) -> None:
        """Put a candidate at the end of its lease's queue."""
        queue = self._queues.setdefault(candidate.name, [])
        if candidate not in queue:
            queue.append(candidate)
        self._tell()

    def withdraw(self, candidate: _Candidate) -> None:
        """Take a candidate (or holder) out."""
        queue = self._queues.get(candidate.name, [])
        if candidate in queue:
            queue.remove(candidate)
        self._tell()

    def holder(self, name: str) -> str:
        """Who holds a lease now."""
        queue = self._queues.get(name)
        info = queue[0].leases.info if queue and queue[0].grant is not None else None
        return info.server_id if info else ""

    def prune(self, leases: MemoryLeases, keep: list[_Candidate]) -> None:
        """Take out those candidates of a server that it gave up while it was cut off."""
        for queue in self._queues.values():
            queue[:] = [c for c in queue if c.leases is not leases or c in keep]

    def enter(self, info: ServerInfo) -> None:
        """A server becomes a member."""
        self._members[info.server_id] = info
        self._tell()

    def leave(self, info: ServerInfo) -> None:
        """A server is no member any more."""
        self._members.pop(info.server_id, None)
        self._tell()

    def _tell(self) -> None:
        for queue in list(self._queues.values()):
            head = queue[0] if queue else None
            if head is not None and head.grant is None and head.leases.quorum:
                self._fence += 1
                head.grant = MemoryGrant(head, self._fence)
                if head.won.done():  # cancelled meanwhile; its owner withdraws it
                    head.grant.lost.set()
                else:
                    head.won.set_result(head.grant)
        for leases in list(self._servers.values()):
            leases.see(self._members)


class MemoryLeases:
    """Implements :class:`remuda.ports.leases.Leases`. Without a cluster it is the whole service of a single node."""

    def __init__(self, cluster: MemoryCluster | None = None, server: str = "") -> None:
        self.server = server
        self.info: ServerInfo | None = None
        self._cluster = cluster or MemoryCluster()
        self._linked = asyncio.Event()
        self._linked.set()
        self._candidates: list[_Candidate] = []
        self._members: dict[str, ServerInfo] = {}
        self._member_hooks: list[Callable[[dict[str, ServerInfo]], None]] = []
        self._quorum_hooks: list[Callable[[bool], None]] = []
        self._cluster.attach(self)

    async def acquire(self, name: str) -> MemoryGrant:
        """Wait until this process holds the lease ``name``. A doubtful grant of the same name is given up first."""
        for old in [c for c in self._candidates if c.name == name and c.grant is not None and not c.grant.held]:
            self.withdraw(old)
        candidate = _Candidate(self, name)
        self._candidates.append(candidate)
        if self.quorum:
            self._cluster.enqueue(candidate)
        try:
            return await candidate.won
        except asyncio.CancelledError:
            if candidate.grant is not None:
                candidate.grant.lost.set()
            self.withdraw(candidate)
            raise

    async def join(self, info: ServerInfo) -> None:
        """Be a member from now on."""
        self.info = info
        if self.quorum:
            self._cluster.enter(info)

    def members(self) -> dict[str, ServerInfo]:
        """The servers that live; the last known ones while cut off."""
        return dict(self._members)

    async def holder(self, name: str) -> str:
        """The ``server_id`` of who holds a lease."""
        return self._cluster.holder(name)

    def on_members(self, hook: Callable[[dict[str, ServerInfo]], None]) -> None:
        """Call ``hook`` in the event loop at every change of membership."""
        self._member_hooks.append(hook)

    @property
    def quorum(self) -> bool:
        """False while cut off."""
        return self._linked.is_set()

    @property
    def reason(self) -> str:
        """Why there is no quorum."""
        return "" if self.quorum else CUT

    async def wait_quorum(self, timeout: float) -> bool:
        """True as soon as there is quorum, False after ``timeout`` seconds without."""
        try:
            async with asyncio.timeout(timeout):
                await self._linked.wait()
        except TimeoutError:
            return False
        return True

    def on_quorum(self, hook: Callable[[bool], None]) -> None:
        """Call ``hook`` when quorum is lost or won."""
        self._quorum_hooks.append(hook)

    async def close(self) -> None:
        """Leave, resign everything."""
        for candidate in list(self._candidates):
            if candidate.grant is not None:
                candidate.grant.lost.set()
            self.withdraw(candidate)
        if self.info is not None:
            self._cluster.leave(self.info)
        self._cluster.remove(self.server)

    # -- for the cluster

    def withdraw(self, candidate: _Candidate) -> None:
        """Take one of our candidates out; the cluster hears of it now, or by the end of our session."""
        self.forget(candidate)
        if self.quorum:
            self._cluster.withdraw(candidate)

    def forget(self, candidate: _Candidate) -> None:
        """A candidate of ours is gone."""
        if candidate in self._candidates:
            self._candidates.remove(candidate)

    def set_linked(self, linked: bool) -> None:
        """Lose or regain the cluster."""
        if linked == self.quorum:
            return
        if linked:
            self._linked.set()
            self._cluster.prune(self, self._candidates)  # withdrawn while cut off
            self.rejoin()
        else:
            self._linked.clear()
        for candidate in self._candidates:
            if candidate.grant is not None:
                (candidate.grant.lost.clear if linked else candidate.grant.lost.set)()
        loop = asyncio.get_running_loop()
        for hook in self._quorum_hooks:
            loop.call_soon(hook, linked)

    def rejoin(self) -> None:
        """After a lost session: be a member and a candidate again."""
        if self.info is not None:
            self._cluster.enter(self.info)
        for candidate in self._candidates:
            self._cluster.enqueue(candidate)

    def see(self, members: dict[str, ServerInfo]) -> None:
        """The cluster's view of the members."""
        if not self.quorum or members == self._members:
            return
        self._members = dict(members)
        loop = asyncio.get_running_loop()
        for hook in self._member_hooks:
            loop.call_soon(hook, dict(members))
