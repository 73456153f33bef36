"""The agent's end of the host's network: Docker's network, what the network service is to do, and how it says it goes.

Level-triggered like everything on a host: it looks each second, and at once when something changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import msgspec

from remuda.agent.network import attach
from remuda.agent.network.attach import Join
from remuda.agent.network.launch import Launcher
from remuda.agent.network.state import DOCKER_NETWORK, FOLDER, STATE, STATUS, Local, NetState, NetStatus, read, write
from remuda.agent.observe import Container
from remuda.agent.surroundings import Surroundings
from remuda.ports.engine import Engine, EngineDown, EngineError

log = logging.getLogger("remuda.agent.network")

MERGE_SECONDS, LOOK_SECONDS, ENSURE_SECONDS = 0.1, 1.0, 10.0
JOIN_SECONDS = 15.0
"""A container that could not be attached is tried again after that long."""
MTU_SECONDS = 15.0
"""How long containers wait for the environment's MTU, which servers work out once this host told that of its link."""
BEHIND_SECONDS = 90.0
"""How long the network service may take to follow before it counts as stuck."""
NO_RIGHT = (
    "This agent may not change the machine's network (it is neither root nor in a privileged container), so there are no names, "
    "no published ports and no way to containers of other hosts; run it as root or as the container that Add Host shows"
)
UP, LIMITED, ERROR = "up", "limited", "error"


class NetworkKeeper:
    """``containers`` gives what the engine shows, ``refresh`` looks at one of them anew.

    ``on_change`` is called when :meth:`status` or :meth:`missing` changed.
    """

    def __init__(
        self,
        folder: Path,
        engine: Engine,
        surroundings: Surroundings,
        launcher: Launcher | None,
        containers: Callable[[], Iterable[Container]],
        refresh: Callable[[str], Awaitable[object]],
    ) -> None:
        self._folder = folder / FOLDER
        self._engine, self._around, self._launcher = engine, surroundings, launcher
        self._containers, self._refresh = containers, refresh
        self.on_change: Callable[[], None] = lambda: None
        self._wake = asyncio.Event()
        self._written: NetState | None = None
        self._version = 0
        self._written_at = 0.0
        self._docker_for: tuple[str, str, int] | None = None
        self._docker_looked = float("-inf")
        self._since = float("inf")
        self._refused: dict[Join, float] = {}
        self._problem = "Waits for a server to tell which host this is"
        self._launch_problem = ""
        self._service: NetStatus | None = None
        self._ensured = float("-inf")
        self._told: tuple[object, ...] | None = None
        surroundings.on_change(self._wake.set)

    @staticmethod
    def remembered(folder: Path) -> NetState | None:
        """What was written last, by this agent or the one before."""
        return read(folder / FOLDER / STATE, NetState)

    @property
    def served(self) -> bool:
        """May a network service run here, for names, ports and other hosts?"""
        return self._launcher is not None

    def missing(self) -> str:
        """Why no container can be attached to the managed network now; empty when it can."""
        return self._problem

    def status(self) -> tuple[str, str]:
        """(up, limited or error; a sentence) for the server."""
        alone = len(self._around.scene.hosts) <= 1
        if self._problem:
            return ERROR, self._problem
        if self._launcher is None:
            return (LIMITED if alone else ERROR), NO_RIGHT
        if self._launch_problem:
            return ERROR, self._launch_problem
        service = self._service
        if service is None or not service.state:
            return ERROR, "The network service has not said anything yet"
        behind = asyncio.get_running_loop().time() - self._written_at
        if service.version != self._version and behind > BEHIND_SECONDS:
            return (
                ERROR,
                f"The network service (process {service.pid}) does not follow any more; end it, then it is started anew",
            )
        return service.state, service.message

    @property
    def link_mtu(self) -> int:
        """MTU of the host's own link, 0 while unknown."""
        return self._service.link_mtu if self._service else 0

    @property
    def keys(self) -> tuple[list[int], int]:
        """Generations of the keys that this host's tunnels accept, and the one that they use."""
        return (list(self._service.keys), self._service.use) if self._service else ([], 0)

    def changed(self) -> None:
        """Something about the host's containers changed."""
        self._wake.set()

    async def run(self) -> None:
        """For ever. What happens after a quiet moment is written down at once, what follows on its heels together."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            self._wake.clear()
            try:
                await self._step()
            except Exception:  # a bug must not stop the network from being looked after
                log.exception("Looking after the network failed; trying again")
            self._tell()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            await asyncio.sleep(began + MERGE_SECONDS - loop.time())

    async def _step(self) -> None:
        scene, host = self._around.scene, self._around.scene.hosts.get(self._around.host_id)
        if host is None or not host.ip or scene.network is None:
            self._problem = "Waits for a server to tell which host this is and what its network is"
            return
        await self._docker_network()
        local = self._local()
        await self._write(local)
        await self._join(local)
        now = asyncio.get_running_loop().time()
        if self._launcher is not None and now - self._ensured >= ENSURE_SECONDS:
            self._ensured = now
            self._launch_problem = await self._launcher.ensure()
        self._service = read(self._folder / STATUS, NetStatus)

    async def _docker_network(self) -> None:
        scene = self._around.scene
        host, network = scene.hosts[self._around.host_id], scene.network
        assert network is not None
        wanted = (network.subnet, host.ip, network.mtu)
        now = asyncio.get_running_loop().time()
        self._since = min(self._since, now)
        if self.served and not network.mtu and self._docker_for is None and now - self._since < MTU_SECONDS:
            self._problem = "Waits until servers have worked out how large packets may be here"
            return
        if self._docker_for == wanted and now - self._docker_looked < ENSURE_SECONDS:
            return
        self._docker_looked = now
        try:
            self._problem = await attach.ensure(self._engine, scene, host)
        except EngineDown as error:
            if self._docker_for == wanted:
                return  # what was there is there; an engine that is away does not change that
            self._problem = f"Docker cannot be asked for its networks: {error}"
        self._docker_for = None if self._problem else wanted

    def docker_changed(self) -> None:
        """The engine came back: look at its network again."""
        self._docker_looked = float("-inf")
        self._wake.set()

    def _local(self) -> dict[str, Local]:
        found: dict[str, Local] = {}
        for container in self._containers():
            key = container.uuid or f"docker:{container.id}"
            if key not in found or container.running:
                found[key] = Local(
                    external_id=container.id, running=container.running, ip=container.addresses.get(DOCKER_NETWORK, "")
                )
        return found

    async def _write(self, local: dict[str, Local]) -> None:
        around = self._around
        state = NetState(
            version=self._version,
            host_id=around.host_id,
            scene=around.scene,
            local=local,
            keys=around.keys,
            use=around.use,
        )
        if state == self._written:
            return
        self._version += 1
        state = msgspec.structs.replace(state, version=self._version)
        await asyncio.to_thread(write, self._folder / STATE, state)
        self._written, self._written_at = state, asyncio.get_running_loop().time()

    async def _join(self, local: dict[str, Local]) -> None:
        if self._problem:
            return
        now = asyncio.get_running_loop().time()
        wishes = list(attach.to_join(self._around.scene, self._around.host_id, local))
        self._refused = {wish: until for wish, until in self._refused.items() if wish in wishes and until > now}
        for wish in wishes:
            if wish in self._refused:
                continue
            try:
                await attach.join(self._engine, wish)
            except EngineError as error:
                self._refused[wish] = now + JOIN_SECONDS
                log.warning("%s cannot join the managed network: %s", wish.external_id[:12], error)
            await self._refresh(wish.external_id)

    def _tell(self) -> None:
        state = (*self.status(), self._problem, self.link_mtu, *self.keys)
        if state != self._told:
            self._told = state
            self.on_change()
