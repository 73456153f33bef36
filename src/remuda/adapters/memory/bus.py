"""A broadcaster within the process. Several servers of a simulation share one :class:`MemoryHub` and can be cut off it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from remuda.adapters.mailbox import Mailbox


class MemoryHub:
    """What connects the buses of several servers in one process."""

    def __init__(self) -> None:
        self._buses: list[MemoryBus] = []
        self._cut: set[MemoryBus] = set()

    def bus(self) -> MemoryBus:
        """A server's end of it."""
        return MemoryBus(self)

    def add(self, bus: MemoryBus) -> None:
        """Connect a bus."""
        self._buses.append(bus)

    def drop(self, bus: MemoryBus) -> None:
        """Disconnect a bus for good."""
        if bus in self._buses:
            self._buses.remove(bus)
        self._cut.discard(bus)

    def cut(self, bus: MemoryBus) -> None:
        """Let nothing through between this bus and the others."""
        self._cut.add(bus)

    def heal(self, bus: MemoryBus) -> None:
        """Undo :meth:`cut`; what was published meanwhile is lost."""
        self._cut.discard(bus)

    def healthy(self, bus: MemoryBus) -> bool:
        """Can this bus reach all others?"""
        return not self._cut or (len(self._buses) == 1 and bus in self._buses)

    def spread(self, sender: MemoryBus, channel: str, payload: bytes) -> None:
        """Deliver to the sender's own listeners, and to the others' unless one of the two is cut off."""
        for bus in list(self._buses):
            if bus is sender or not (sender in self._cut or bus in self._cut):
                bus.deliver(channel, payload)


class MemoryBus:
    """Implements :class:`remuda.ports.bus.Bus`. Without a hub it is the whole bus of a single node."""

    def __init__(self, hub: MemoryHub | None = None) -> None:
        self._boxes: list[Mailbox] = []
        self._hub = hub or MemoryHub()
        self._hub.add(self)

    async def publish(self, channel: str, payload: bytes) -> None:
        """Send to whoever listens on ``channel``."""
        self._hub.spread(self, channel, payload)

    def deliver(self, channel: str, payload: bytes) -> None:
        """Hand a message to this server's listeners."""
        for box in self._boxes:
            box.put(channel, payload)

    @asynccontextmanager
    async def subscribe(self, *channels: str) -> AsyncIterator[AsyncIterator[tuple[str, bytes]]]:
        """Within the block, iterate over (channel, payload) of what is published from now on."""
        box = Mailbox(channels)
        self._boxes.append(box)
        try:
            yield box
        finally:
            self._boxes.remove(box)
            box.close()

    @property
    def healthy(self) -> bool:
        """False while this server or another one is cut off."""
        return self._hub.healthy(self)

    async def close(self) -> None:
        """End all subscriptions."""
        self._hub.drop(self)
        for box in self._boxes:
            box.close()
