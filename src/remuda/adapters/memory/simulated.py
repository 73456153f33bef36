"""The engine of a simulated host: one in memory whose containers may order it to fail, to forget them, or to fall silent.

The orders are in what it is told of a container (:func:`remuda.core.simulated.orders`), as in 1.x. It carries them out as a
broken machine would: nobody above it is told that this is a play.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from remuda.adapters.memory.engine import MemoryEngine
from remuda.core import labels
from remuda.core.simulated import ACTIVATE, DEACTIVATE, PULL, REMOVE, Orders, orders
from remuda.ports.engine import Document, EngineError


class SimulatedEngine(MemoryEngine):
    """``unplug`` is called when a container orders its host to fall silent."""

    def __init__(self, name: str, unplug: Callable[[], None]) -> None:
        super().__init__(name)
        self._unplug = unplug
        self._orders: dict[str, Orders] = {}
        self._once: set[str] = set()
        """Instances whose orders that cannot be repeated were carried out: they would never come to rest."""

    async def create(self, name: str, config: Document) -> str:
        """Make a container, having read its orders."""
        told = orders(msgspec.json.encode(config).decode())  # its name is among its labels
        _refuse(told, PULL)
        container = await super().create(name, config)
        if told != Orders():
            self._orders[container] = told
        return container

    async def start(self, container: str) -> None:
        """Start it, and let it have its will."""
        told = self._orders.get(container, Orders())
        _refuse(told, ACTIVATE)
        await super().start(container)
        if told.shutdown_after is not None:
            asyncio.get_running_loop().call_later(told.shutdown_after, self._shut_down, container)
        uuid = self.find(container)["Config"]["Labels"].get(labels.CONTAINER_UUID, container)
        if uuid in self._once:
            return
        self._once.add(uuid)
        if told.another and told.another not in self.boxes:
            self.by_hand(f"another-{told.another}", container=told.another)
        if told.forget:
            self.vanish(container)
        if told.disconnect:
            self._unplug()

    async def stop(self, container: str, timeout: int) -> None:
        """Stop it, if it lets us."""
        _refuse(self._orders.get(container, Orders()), DEACTIVATE)
        await super().stop(container, timeout)

    async def remove(self, container: str, *, force: bool = False, volumes: bool = True) -> None:
        """Remove it, if it lets us."""
        _refuse(self._orders.get(container, Orders()), REMOVE)
        await super().remove(container, force=force, volumes=volumes)

    def vanish(self, container: str) -> None:
        """Its orders go with it."""
        self._orders.pop(container, None)
        super().vanish(container)

    def _shut_down(self, container: str) -> None:
        if container in self.boxes:
            self.end(container, 0)


def _refuse(told: Orders, what: str) -> None:
    if what in told.failing:
        raise EngineError(500, f"Failing [{what}]")
