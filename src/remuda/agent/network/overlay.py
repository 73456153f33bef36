"""The overlay of this host: one bridge, one VXLAN device, and an entry for each container of other hosts.

It looks at what the kernel has before it changes anything, so a restarted service changes nothing that is right, and what
somebody else deleted comes back within seconds.
"""

from __future__ import annotations

import asyncio
import logging

from remuda.agent.network.state import (
    BRIDGE,
    SERVICE_ADDRESS,
    VXLAN_DEVICE,
    VXLAN_ID,
    VXLAN_PORT,
    NetState,
)
from remuda.core.network import overlay as planner
from remuda.core.network.addressing import mac_of
from remuda.core.network.mtu import container_mtu
from remuda.core.network.overlay import Tables
from remuda.ports.links import LinkError, Links, Overlay

log = logging.getLogger("remuda.network.overlay")

LOOK_SECONDS, ENTRIES_A_SECOND = 9.5, 500
"""The kernel's own tables are read again this soon while they are known, later by a second for so many entries."""


class OverlayPart:
    """A part of the network service. ``link_mtu``: of the device that the overlay's packets leave by, 0 while not known.

    ``unsettled`` = a device was made or mended just now. Docker may not be done with its bridge yet, and a bridge whose address
    changes, or that goes down, forgets its neighbours: it is looked at again soon.
    """

    name = "overlay"

    def __init__(self, links: Links) -> None:
        self._links = links
        self._known: tuple[tuple[Overlay, int, int], Tables] | None = None
        self._looked = float("-inf")
        self.link_mtu = 0
        self.unsettled = False

    async def apply(self, state: NetState) -> str:
        """Bring devices and entries to what the scene says."""
        host, scene = state.host, state.scene
        if host is None or not host.ip or scene.network is None:
            return "waits until a server has told which host this is"
        overlay = self._overlay(state)
        if overlay.tunnel == "" and overlay.local == "" and scene.network.encryption == planner.IPSEC:
            return "waits until a server has told which address this host has within the encryption"
        try:
            if not self.link_mtu:
                await self._look_at_link(state)
            if not self._links.index(BRIDGE):
                self._known = None
                return "waits for Docker's network, which the agent makes"
            now = await self._actual(overlay, state)
            wanted = planner.wanted(scene, state.host_id)
            changes = planner.difference(now, wanted)
            self._known = None
            refused = "" if changes.empty else await self._links.apply(overlay, changes)
            if refused:
                return f"the kernel did not take all of {changes.count} entries: {refused}"
            self._known = (self._marks(overlay), wanted)
        except LinkError as error:
            self._known = None
            return f"{error}"
        return ""

    async def _actual(self, overlay: Overlay, state: NetState) -> Tables:
        """The tables as they are: as we left them, or read anew where somebody may have touched them."""
        now = asyncio.get_running_loop().time()
        if self._known is not None and self._known[0] == self._marks(overlay):
            tables = self._known[1]
            pause = LOOK_SECONDS + (len(tables.forwarding) + len(tables.neighbours)) / ENTRIES_A_SECOND
            if now - self._looked < pause and not self.unsettled:
                return tables
        self._looked = now
        self.unsettled = await self._links.ensure(overlay)
        if self.unsettled:
            log.info("%s and %s are brought to what they are to be", overlay.bridge, overlay.device)
        await self._look_at_link(state)
        return await self._links.tables(overlay)

    async def _look_at_link(self, state: NetState) -> None:
        assert state.host is not None
        peer = next((h.agent_ip for h in state.peers), "")
        self.link_mtu = await self._links.link_mtu(state.host.agent_ip, peer) or self.link_mtu

    def _marks(self, overlay: Overlay) -> tuple[Overlay, int, int]:
        """What must be the same for the tables to be the same: a device that was made anew starts empty."""
        return overlay, self._links.index(overlay.bridge), self._links.index(overlay.device)

    def _overlay(self, state: NetState) -> Overlay:
        host, network = state.host, state.scene.network
        assert host is not None
        assert network is not None
        encrypted = network.encryption == planner.IPSEC
        local = host.tunnel if encrypted else host.agent_ip
        if not encrypted and not self._links.local_address(local):
            local = ""  # a public address that a router in front of us translates
        return Overlay(
            bridge=BRIDGE,
            device=VXLAN_DEVICE,
            vxlan_id=VXLAN_ID,
            port=VXLAN_PORT,
            local=local,
            mac=mac_of(host.ip),
            mtu=network.mtu or container_mtu(0, network.encryption),
            service_address=SERVICE_ADDRESS,
            tunnel=host.tunnel if encrypted else "",
        )

    async def close(self) -> None:
        """The kernel goes on by itself."""
