"""How large a packet of a container may be, so that nothing on its way between hosts is ever cut in pieces. Pure.

What is added on the way, from the inside: VXLAN 50 bytes (IP 20, UDP 8, VXLAN 8, Ethernet 14); then ESP in UDP: IP 20, UDP 8,
ESP header 8, IV 8, checksum 16, and 2 bytes of trailer, padded to a multiple of four. 1.x set aside 98 bytes because its packets
went into ESP without VXLAN.
"""

from __future__ import annotations

VXLAN = 50
ESP, ESP_TRAILER, ESP_BLOCK = 60, 2, 4
USUAL_LINK, SMALLEST = 1500, 576
USER_SPACE_LINK = 1460
"""IPsec in user space takes packets of at most 1400 bytes, whatever the link: such a host counts as one with this link."""


def tunnel_mtu(link_mtu: int) -> int:
    """The largest packet that fits into one ESP packet on this link."""
    return (link_mtu - ESP) // ESP_BLOCK * ESP_BLOCK - ESP_TRAILER


def container_mtu(link_mtu: int, encryption: str) -> int:
    """The MTU of containers over a link of this MTU (0: not known).

    The same with and without encryption, so that switching between them needs no container to be made anew.
    """
    del encryption
    return max(SMALLEST, tunnel_mtu(link_mtu or USUAL_LINK) - VXLAN)


def too_small(link_mtu: int, encryption: str, in_use: int) -> str:
    """Why a host with this link cannot take part in a network whose containers use ``in_use``; empty when it can."""
    if not link_mtu or not in_use or container_mtu(link_mtu, encryption) >= in_use:
        return ""
    own = container_mtu(link_mtu, encryption)
    needed = in_use + VXLAN + ESP_TRAILER
    needed = -(-needed // ESP_BLOCK) * ESP_BLOCK + ESP
    return (
        f"The host's link takes packets of {link_mtu} bytes, but the environment's containers use an MTU of {in_use}, which "
        f"needs {needed}; raise the MTU of the host's interface, or set the network's MTU to {own} and "
        f"make its containers anew"
    )
