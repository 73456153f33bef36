"""The kernel's packet filter, through ``nft``, ``iptables`` (for the engine's chains) and ``conntrack``."""

from remuda.adapters.nft.packets import NftPackets

__all__ = ["NftPackets"]
