"""Which ports of which peers swallow packets? A firewall between two nodes otherwise shows as "waits for a majority"."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from remuda.ha import probes
from remuda.ha.cluster import Member
from remuda.ha.config import Ports

EVERY = 10.0


class Reach:
    """Looks now and then, beside everything else, and remembers what it found."""

    def __init__(self, ports: Ports) -> None:
        self.trouble: dict[str, list[str]] = {}
        self._named = {
            ports.zookeeper_client_port: "ZooKeeper",
            ports.zookeeper_quorum_port: "ZooKeeper quorum",
            ports.zookeeper_leader_port: "ZooKeeper election",
            ports.redis_port: "Redis",
            ports.pp_https_port: "front door",
        }
        self._last = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def summary(self) -> str:
        """One line on what is wrong, empty when nothing is."""
        found = [line for lines in self.trouble.values() for line in lines]
        return "; ".join(found[:4]) + (f"; and {len(found) - 4} more" if len(found) > 4 else "")

    def soon(self, peers: Sequence[Member]) -> None:
        """Start a look if the last one is long enough ago."""
        now = time.monotonic()
        if now - self._last < EVERY or (self._task is not None and not self._task.done()):
            return
        self._last = now
        self._task = asyncio.create_task(self.look([peer for peer in peers if peer.slot is not None]))

    async def look(self, peers: Sequence[Member]) -> None:
        """Try every port of every peer."""
        seen: dict[str, list[str]] = {}
        for peer in peers:
            found = await asyncio.gather(*(probes.reachable(peer.address, port) for port in self._named))
            lines = [f"{what}: {why}" for what, why in zip(self._named.values(), found, strict=True) if why]
            if lines:
                seen[peer.uuid] = lines
        self.trouble = seen
