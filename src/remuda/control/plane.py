"""The control plane of one server, put together: feed, controllers, agents, streams.

Knows only ports; ``run`` decides which adapters stand behind them.
"""

from __future__ import annotations

import asyncio

from remuda.control.agents.hub import Hub
from remuda.control.reconcile.feed import Feed
from remuda.control.reconcile.handovers import HandoverController
from remuda.control.reconcile.health import HealthController
from remuda.control.reconcile.hosts import HostController
from remuda.control.reconcile.instances import InstanceController
from remuda.control.reconcile.loop import Factory, Loop
from remuda.control.reconcile.networks import NetworkController
from remuda.control.reconcile.pulls import PullController
from remuda.control.reconcile.purge import PurgeController
from remuda.control.reconcile.services import ServiceController
from remuda.control.reconcile.stacks import StackController
from remuda.control.reconcile.volumes import VolumeController
from remuda.control.streams import Streams
from remuda.ports.bus import Bus
from remuda.ports.clock import Clock
from remuda.ports.keyring import Keyring
from remuda.ports.leases import Leases, ServerInfo
from remuda.ports.store import Store


class ControlPlane:
    """``hub`` serves agents, ``feed`` gives changes to subscribers, ``streams`` opens logs, exec and stats on any host."""

    def __init__(
        self, store: Store, leases: Leases, bus: Bus, clock: Clock, info: ServerInfo, keyring: Keyring | None = None
    ) -> None:
        self.store = store
        self.leases = leases
        self.bus = bus
        self.clock = clock
        self.info = info
        self.feed = Feed(store, bus, leases)
        self.hub = Hub(store, self.feed, leases, info.server_id, clock, keyring)
        self.streams = Streams(self.hub, store, bus, leases, info.server_id, clock)
        controllers: list[Factory] = [
            HostController, ServiceController, InstanceController, StackController, PurgeController, HealthController,
            PullController, VolumeController, HandoverController,
        ]  # fmt: skip
        if keyring is not None:
            controllers.append(lambda term: NetworkController(term, keyring))
        self.loop = Loop(store, leases, self.feed, clock, controllers, info.server_id)

    async def run(self) -> None:
        """Serve until cancelled."""
        await self.leases.join(self.info)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.feed.run())
            group.create_task(self.hub.run())
            group.create_task(self.streams.run())
            group.create_task(self.loop.run())

    def status(self) -> dict[str, str]:
        """One sentence for each part."""
        return {"feed": self.feed.status, "agents": self.hub.status, **self.loop.status}
