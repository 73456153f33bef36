"""Carries out one action on one engine. It decides nothing: what to do was planned, what came of it is observed afterwards.

Starting costs a third of a second of CPU per container, so only a few start at once; stopping is mostly waiting and has
its own, wider gate. An image that several containers need is pulled once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from remuda.agent import plan
from remuda.agent.secrets import Unkept, Vault
from remuda.agent.translate import translate
from remuda.core import labels
from remuda.core.wire import Assignment
from remuda.ports.engine import Engine, EngineDown, EngineError

STARTS, STOPS, PULLS = 6, 16, 3

Progress = Callable[[int, str], None]
Tell = Callable[[str, str, int | None], None]
"""Status of the work: (observed word, sentence, percent)."""


class Puller:
    """At most three pulls at once, one per image."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._gate = asyncio.Semaphore(PULLS)
        self._running: dict[tuple[str, str], tuple[asyncio.Task[None], list[Progress]]] = {}

    async def pull(self, image: str, auth: str, progress: Progress) -> None:
        """Pull ``image`` or join the pull that is under way. Who leaves early does not stop it for others; the last one does."""
        key = (image, auth)
        if key not in self._running:
            listeners: list[Progress] = []
            task = asyncio.create_task(self._pull(key, listeners))
            self._running[key] = (task, listeners)
        task, listeners = self._running[key]
        listeners.append(progress)
        progress(0, f"Pulling {image}")
        try:
            await asyncio.shield(task)
        finally:
            listeners.remove(progress)
            if not listeners:
                task.cancel()

    async def _pull(self, key: tuple[str, str], listeners: list[Progress]) -> None:
        def spread(percent: int, sentence: str) -> None:
            for listener in list(listeners):
                listener(percent, sentence)

        try:
            async with self._gate:
                await self._engine.pull(key[0], key[1], spread)
        finally:
            self._running.pop(key, None)

    async def close(self) -> None:
        """Give up the pulls under way."""
        tasks = [task for task, _ in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Worker:
    """``run(action, ...)`` returns Docker's id of the container it worked on, or None when there is none any more."""

    def __init__(self, engine: Engine, agent: str, folder: str = "", vault: Vault | None = None) -> None:
        self._engine, self._agent, self._folder, self._vault = engine, agent, folder, vault
        self._starts, self._stops = asyncio.Semaphore(STARTS), asyncio.Semaphore(STOPS)
        self.puller = Puller(engine)
        self.served = True
        """Does a network service run on this host?"""

    async def run(self, action: plan.Action, wish: Assignment | None, tell: Tell) -> str | None:
        """Do it. Raises what Docker refused."""
        if wish is not None and isinstance(action, plan.Create | plan.Start | plan.Restart):
            await self._provide(wish)
        match action:
            case plan.Create(start=start, companions=companions) if wish is not None:
                return await self._create(wish, start, companions, tell)
            case plan.Start(container=container):
                async with self._starts:
                    await self._engine.start(container)
                return container
            case plan.Stop(container=container, timeout=grace):
                async with self._stops:
                    await self._engine.stop(container, grace)
                return container
            case plan.Restart(container=container, timeout=grace):
                async with self._stops:
                    await self._engine.stop(container, grace)
                async with self._starts:
                    await self._engine.start(container)
                return container
            case plan.Remove(container=container, timeout=grace):
                async with self._stops:
                    await self._remove(container, grace, _takes_volumes(wish))
                return container
        raise TypeError(f"Nobody knows how to do {action!r}")

    async def _provide(self, wish: Assignment) -> None:
        """A container never starts without its secrets."""
        if self._vault is None or not wish.spec.secrets:
            return
        try:
            await self._vault.provide(wish)
        except Unkept as error:
            raise EngineError(500, str(error)) from error

    async def _create(self, wish: Assignment, start: bool, companions: Mapping[str, str], tell: Tell) -> str:
        kept = self._vault.folder(wish.uuid) if self._vault is not None else ""
        name, document = translate(wish, companions, self._agent, self._folder, served=self.served, secrets=kept)
        await self._volumes(wish)
        image = wish.spec.image
        if wish.spec.labels.get(labels.PULL_IMAGE) == "always":
            await self._pull(image, wish.registry_auth, tell)
        container = await self._make(name, document, start)
        if container is None:
            await self._pull(image, wish.registry_auth, tell)
            container = await self._make(name, document, start)
        if container is None:
            raise EngineError(404, f"Docker pulled {image} and yet does not have it: is the name right?")
        return container

    async def _volumes(self, wish: Assignment) -> None:
        """What a container needs must be there before it: Docker would make it by the name alone."""
        for volume in wish.volumes:
            try:
                await self._engine.create_volume(volume.name, volume.driver, volume.options)
            except EngineDown:
                raise
            except EngineError as error:
                raise EngineError(error.status, f"The volume {volume.name} cannot be made: {error}") from error

    async def _make(self, name: str, document: dict[str, object], start: bool) -> str | None:
        """Create, and start within the same turn; None when the image is missing."""
        async with self._starts:
            try:
                container = await self._engine.create(name, document)
            except EngineError as error:
                if error.status == 404 and "no such image" in str(error).lower():
                    return None
                raise
            if start:
                await self._engine.start(container)
            return container

    async def _pull(self, image: str, auth: str, tell: Tell) -> None:
        try:
            await self.puller.pull(image, auth, lambda percent, sentence: tell("pulling", sentence, percent))
        except EngineDown:
            raise
        except EngineError as error:
            raise EngineError(error.status, f"The image {image} cannot be pulled to this host: {error}") from error

    async def _remove(self, container: str, grace: int, volumes: bool) -> None:
        if grace > 0:
            try:
                await self._engine.stop(container, grace)
            except EngineDown:
                raise
            except EngineError as error:
                if error.status == 404:
                    return
                # a container that will not stop is removed by force
        await self._engine.remove(container, force=True, volumes=volumes)


def _takes_volumes(wish: Assignment | None) -> bool:
    """Do a container's nameless volumes go with it?"""
    return wish is None or wish.spec.labels.get(labels.VOLUME_CLEANUP, "").strip().lower() != "none"
