"""IPsec by strongSwan's charon, which the network service starts and speaks to over its control socket."""

from remuda.adapters.strongswan.charon import Charon

__all__ = ["Charon"]
