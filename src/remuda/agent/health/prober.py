"""Probes what this host is to observe, each check at its own pace, and says what changed.

Who is observed follows from the scene, by the same function as on the servers (:func:`remuda.core.health.observers`), so nobody
has to assign it, and it goes on without a server. What is said is the outcome after the thresholds, not each probe.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable, Iterable

from remuda.agent.health.probes import Answer, probe
from remuda.agent.surroundings import Surroundings
from remuda.core.health import Watchers, observers
from remuda.core.network.relations import Relations
from remuda.core.network.scene import SceneContainer
from remuda.core.spec import HealthCheck
from remuda.core.wire import HealthResult
from remuda.ports.engine import Engine

log = logging.getLogger("remuda.agent.health")

AT_ONCE, COMMANDS_AT_ONCE = 256, 8
"""Those of a dead host hang until their deadline; they must not keep the others waiting."""
TICK_SECONDS = 0.1
"""Nothing is probed more often, whatever its check says."""
TELL_AGAIN_SECONDS = 30.0
"""A message that moved (another error, another latency) is told again at most so often while the outcome is the same."""


class _Watch:
    """One observed container."""

    def __init__(self, key: tuple[object, ...], check: HealthCheck, address: str, container: SceneContainer) -> None:
        self.key, self.check, self.address, self.container = key, check, address, container
        self.passes = self.fails = 0
        self.outcome: bool | None = None
        self.answer = Answer(False, "", 0)
        self.told: Answer | None = None
        self.told_at = float("-inf")
        self.task: asyncio.Task[None] | None = None


class Prober:
    """``on_result(uuids)`` names containers with news; :meth:`results` gives them."""

    def __init__(self, engine: Engine, surroundings: Surroundings) -> None:
        self._engine, self._around = engine, surroundings
        self._watches: dict[str, _Watch] = {}
        self._gate, self._commands = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(COMMANDS_AT_ONCE)
        self._watchers = Watchers(())
        self._wake = asyncio.Event()
        self.on_result: Callable[[Iterable[str]], None] = lambda uuids: None
        surroundings.on_change(self._wake.set)

    async def run(self) -> None:
        """For ever."""
        try:
            while True:
                self._wake.clear()
                try:
                    self._follow()
                except Exception:
                    log.exception("Working out what is to be observed failed; trying again")
                await self._wake.wait()
                await asyncio.sleep(0.1)
        finally:
            for watch in self._watches.values():
                if watch.task is not None:
                    watch.task.cancel()

    def results(self, uuids: Iterable[str] | None = None) -> list[HealthResult]:
        """What came of these, or of all that are observed; those without an outcome yet are left out."""
        wanted = self._watches if uuids is None else [uuid for uuid in uuids if uuid in self._watches]
        return [
            HealthResult(
                uuid=uuid,
                start=watch.container.started or 0,
                passing=watch.outcome,
                message=watch.answer.message,
                latency=watch.answer.latency,
            )
            for uuid in wanted
            if (watch := self._watches[uuid]).outcome is not None
        ]

    def _follow(self) -> None:
        """Watch what the scene says, and nothing else."""
        scene, own = self._around.scene, self._around.host_id
        if not self._watchers.fits(scene.hosts.values()):
            self._watchers = Watchers(scene.hosts.values())
        relations: Relations | None = None
        wanted: dict[str, tuple[tuple[object, ...], SceneContainer, str]] = {}
        for container in scene.containers.values():
            check = container.health_check
            if check is None or not container.live or not container.started:
                continue
            if own not in observers(scene, container, self._watchers):
                continue
            address = container.ip
            if not address and not check.command:
                relations = relations or Relations(scene)
                address = relations.address_of(container)
            if address or check.command:
                wanted[container.uuid] = (
                    (check, address, container.started, container.external_id),
                    container,
                    address,
                )
        for uuid in self._watches.keys() - wanted.keys():
            self._drop(uuid)
        for uuid, (key, container, address) in wanted.items():
            known = self._watches.get(uuid)
            if known is not None and known.key == key:
                continue
            self._drop(uuid)
            assert container.health_check is not None
            watch = self._watches[uuid] = _Watch(key, container.health_check, address, container)
            watch.task = asyncio.create_task(self._keep(uuid, watch))

    def _drop(self, uuid: str) -> None:
        watch = self._watches.pop(uuid, None)
        if watch is not None and watch.task is not None:
            watch.task.cancel()

    async def _keep(self, uuid: str, watch: _Watch) -> None:
        loop = asyncio.get_running_loop()
        interval = max(watch.check.interval / 1000, TICK_SECONDS)
        due = loop.time() + interval * random.random() * 0.5  # noqa: S311 - spreads load
        while True:
            # Those that are due at nearly the same time wake the process together: that halves what they cost.
            await asyncio.sleep(max(0.0, math.ceil(due / TICK_SECONDS) * TICK_SECONDS - loop.time()))
            due = max(due + interval, loop.time() + interval / 2)
            try:
                async with self._commands if watch.check.command else self._gate:
                    answer = await probe(
                        watch.check, watch.address, watch.container.external_id, self._engine, loop.time
                    )
                self._count(uuid, watch, answer)
            except Exception:  # a bug in a probe must not end the watching
                log.exception("Probing %s failed", watch.container.name)

    def _count(self, uuid: str, watch: _Watch, answer: Answer) -> None:
        now = asyncio.get_running_loop().time()
        watch.answer = answer
        if answer.passing:
            watch.passes, watch.fails = watch.passes + 1, 0
        else:
            watch.passes, watch.fails = 0, watch.fails + 1
        before = watch.outcome
        if watch.passes >= (watch.check.healthy_threshold if before is not None else 1):
            watch.outcome = True
        elif watch.fails >= watch.check.unhealthy_threshold:
            watch.outcome = False
        if watch.outcome is None:
            return
        moved = watch.told is None or watch.told.message != answer.message
        if watch.outcome != before or (moved and now - watch.told_at >= TELL_AGAIN_SECONDS):
            watch.told, watch.told_at = answer, now
            self.on_result([uuid])
