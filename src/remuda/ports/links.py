"""The kernel's network devices, as the overlay of one host needs them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from remuda.core.network.overlay import Changes, Tables


class LinkError(Exception):
    """The kernel (or the tool that speaks to it) refused; the message is for an operator."""


class Overlay(NamedTuple):
    """The overlay's devices as they are to be. ``bridge`` exists already (the engine makes it)."""

    bridge: str
    device: str
    vxlan_id: int
    port: int
    local: str
    """Own address of the tunnel packets; empty = whatever the route says."""
    mac: str
    """The bridge's hardware address."""
    mtu: int
    service_address: str
    """One more address of the bridge, where names and metadata are served."""
    tunnel: str
    """This host's own address within IPsec; empty in plain mode."""


class Links(Protocol):
    """Raises :class:`LinkError`. Every call has a deadline."""

    def index(self, name: str) -> int:
        """The kernel's number of the device of this name, 0 when there is none; another number means another device."""

    async def link_mtu(self, own: str, peer: str) -> int:
        """The MTU of the device that has the address ``own``, else of the one that leads to ``peer``; 0 when not known."""

    def local_address(self, address: str) -> bool:
        """Does this machine have this address?"""

    async def ensure(self, overlay: Overlay) -> bool:
        """Make or mend the devices; True when something had to be done. The engine makes the bridge, nobody else."""

    async def tables(self, overlay: Overlay) -> Tables:
        """The entries that the overlay's devices have."""

    async def apply(self, overlay: Overlay, changes: Changes) -> str:
        """Carry out changes of entries; the first line that the kernel refused, empty when it took all."""
