"""Encryption between hosts as a part of the network service: a tunnel to each other host, under the environment's key.

In an encrypted environment the overlay's packets pass through tunnels or not at all, from the first moment on: the barrier is up
before there is a key, and stays up whatever becomes of the tunnels.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Any

from remuda.agent.network.state import VXLAN_ID, VXLAN_PORT, NetState
from remuda.core.network import tunnels as planner
from remuda.core.network.mtu import USER_SPACE_LINK
from remuda.core.network.overlay import IPSEC
from remuda.core.network.tunnels import Connection, Standing, Times
from remuda.ports.tunnels import Barrier, TunnelError, Tunnels

log = logging.getLogger("remuda.network.tunnels")

MERGE_SECONDS, SHARE, QUIET_SECONDS, PATIENCE_SECONDS = 0.05, 20.0, 10.0, 30.0
"""How long news wait for company: at least so long, and so many times what the last look took (a second at most); how long
without news until tunnels are looked at all the same. charon that fails is tried again after half a second, then ever later, up
to the last."""


class TunnelsPart:
    """``peers`` is told in the status; ``generations`` are the keys that are accepted, ``use`` the oldest that is needed."""

    name = "tunnels"

    def __init__(self, tunnels: Tunnels) -> None:
        self._tunnels = tunnels
        self._tunnels.on_change = self._changed
        self._undecided = True
        self._state: NetState | None = None
        self._wanted: dict[str, Connection] = {}
        self._lacking: dict[int, float] = {}
        self._begun: dict[str, float] = {}
        self._doubled: dict[int, float] = {}
        self._tries: dict[str, int] = {}
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self.peers: dict[int, dict[str, Any]] = {}
        self.generations: list[int] = []
        self.use = 0

    @property
    def encryption(self) -> str:
        """What encrypts here: ``kernel``, ``user space``, or nothing."""
        return self._tunnels.mode if self._keeper is not None else ""

    @property
    def link_limit(self) -> int:
        """What this host's link counts as at most: user space takes smaller packets. 0 = no limit; -1 = not known yet."""
        if self._undecided:
            return -1
        return USER_SPACE_LINK if self._tunnels.mode == "user space" else 0

    async def apply(self, state: NetState) -> str:
        """Follow the scene; between its changes a task of our own keeps the tunnels up."""
        network, host = state.scene.network, state.host
        if network is None or host is None:
            return ""
        try:
            if network.encryption != IPSEC:
                return await self._off()
            if not host.tunnel:
                return "waits for an address within tunnels, which a server gives"
            await self._tunnels.barrier(Barrier(host.tunnel, VXLAN_PORT, VXLAN_ID))
            self._undecided = False
            if not state.keys or not state.use:
                return "waits for the environment's key, which a server makes"
            self._state = state
            await self._bring_up()
        except TunnelError as error:
            return f"{error}"
        finally:
            if self._state is not None and self._keeper is None:
                self._keeper = asyncio.create_task(self._keep())
            self._news.set()
        return ""

    async def _off(self) -> str:
        self._undecided = False
        await self._let_go()
        self._state, self._wanted, self._begun, self._tries = None, {}, {}, {}
        self.peers, self.generations, self.use = {}, [], 0
        await self._tunnels.stop()
        await self._tunnels.barrier(None)
        return ""

    async def close(self) -> None:
        """charon and its tunnels go on; whoever comes next takes them over."""
        await self._let_go()
        await self._tunnels.leave()

    async def _let_go(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    def _changed(self) -> None:
        self._news.set()

    # ---- keeping tunnels up ---------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        failures, pause = 0, QUIET_SECONDS
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            began = loop.time()
            try:
                pause, failures = await self._bring_up(), 0
            except TunnelError as error:
                log.warning("%s; it is tried again", error)
                pause = min(PATIENCE_SECONDS, 0.5 * 2**failures)
                failures = min(failures + 1, 10)
            except Exception:  # a bug must not leave the host without tunnels for ever
                log.exception("Keeping tunnels up failed; it is tried again")
                pause = QUIET_SECONDS
            await asyncio.sleep(min(1.0, max(MERGE_SECONDS, SHARE * (loop.time() - began))))

    async def _bring_up(self) -> float:
        """One round; after how many seconds the next is due at the latest."""
        async with self._turn:
            state = self._state
            if state is None or state.host is None:
                return QUIET_SECONDS
            await self._tunnels.start()
            wanted = planner.connections(state.host, state.peers, state.keys)
            await self._tunnels.load(wanted, planner.secrets(state.keys))
            for name in [name for name in self._begun if self._wanted.get(name) != wanted.get(name)]:
                del self._begun[name], self._tries[name]  # another address or key: it has not been tried
            self._wanted = wanted
            standing = await self._tunnels.standing()
            steps = planner.steps(state.host_id, wanted, standing, state.use, self._times(standing, state.use))
            for number in steps.terminate:
                await self._tunnels.terminate(number)
            for name in steps.initiate:
                self._begun[name] = asyncio.get_running_loop().time()
                self._tries[name] = self._tries.get(name, 0) + 1
                await self._tunnels.initiate(name)
            self._tell(state, standing)
            return QUIET_SECONDS if steps.wake is None else min(QUIET_SECONDS, steps.wake)

    def _times(self, standing: Collection[Standing], use: int) -> Times:
        now = asyncio.get_running_loop().time()
        up = planner.generations_up(self._wanted, standing)
        peers = {connection.peer for connection in self._wanted.values()}
        self._lacking = {p: self._lacking.get(p, now) for p in peers if max(up.get(p, ()), default=0) < use}
        self._doubled = {p: self._doubled.get(p, now) for p in up if len(up[p]) > 1}
        for name in [name for name in self._begun if self._wanted[name].peer not in self._lacking]:
            del self._begun[name], self._tries[name]
        return Times(
            {peer: now - at for peer, at in self._lacking.items()},
            {name: now - at for name, at in self._begun.items()},
            {peer: now - at for peer, at in self._doubled.items()},
            self._tries,
        )

    def _tell(self, state: NetState, standing: Collection[Standing]) -> None:
        why = {self._wanted[n].peer: text for n, text in self._tunnels.reasons.items() if n in self._wanted}
        said = planner.condition(state.host_id, self._wanted, standing, why)
        self.generations = sorted(state.keys)
        self.peers = {peer: {"tunnel": words} for peer, words in said.items()}
        if planner.settled(self._wanted, standing, state.use):
            self.use = state.use
