"""The kernel's links, forwarding and neighbour tables, through iproute2's ``ip`` and ``bridge`` in batches."""

from remuda.adapters.iproute.links import IpLinks

__all__ = ["IpLinks"]
