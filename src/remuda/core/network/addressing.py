"""Which address comes next. Pure: the caller knows what is taken, and keeps it from being given twice.

Addresses are given in turn from a cursor that only moves forward, so that one that was given back is used again as late as
possible: whoever still remembers it (a cache, a neighbour table) has long forgotten by then.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

from remuda.core import labels
from remuda.core.model import Instance
from remuda.core.network.scene import MANAGED, is_managed, network_of
from remuda.core.spec import LaunchConfig

TUNNELS = "169.254.64.0/18"
"""The addresses of hosts within IPsec: never routed, and never an environment's subnet."""
RESERVED_FIRST, RESERVED_LAST = 2, 8
"""Addresses that are never given: the network's own and the one that habit calls the gateway; and the end of the subnet, which
is left to Docker for containers that somebody attaches by hand without an address."""


class Pool(NamedTuple):
    """The addresses that may be given: from ``first`` to ``last``, as numbers."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """How many there are."""
        return max(0, self.last - self.first + 1)


def pool_of(subnet: str) -> Pool:
    """The addresses of a subnet that may be given. Raises ValueError for what is no IPv4 network."""
    network = ipaddress.IPv4Network(subnet)
    first = int(network.network_address)
    return Pool(first + RESERVED_FIRST, first + network.num_addresses - 1 - RESERVED_LAST)


def number(address: str) -> int:
    """An address as a number. Raises ValueError."""
    return int(ipaddress.IPv4Address(address))


def text(address: int) -> str:
    """A number as an address."""
    return str(ipaddress.IPv4Address(address))


def mac_of(address: str) -> str:
    """The hardware address that goes with an address: ``02:42`` and its four bytes, so everybody can work it out."""
    return "02:42:" + ":".join(f"{byte:02x}" for byte in ipaddress.IPv4Address(address).packed)


def next_free(pool: Pool, cursor: int, taken: Iterable[int]) -> int | None:
    """The first free address after ``cursor`` up to the pool's end. ``taken``: what is taken after the cursor, ascending."""
    candidate = max(cursor + 1, pool.first)
    for used in taken:
        if used > candidate:
            break
        if used == candidate:
            candidate += 1
    return candidate if candidate <= pool.last else None


def wants_address(instance: Instance) -> bool:
    """Is this a container that has a place and needs an address of the managed network?"""
    return instance.host_id is not None and network_of(instance)[0] == MANAGED and not instance.managed_ip


def requested(instance: Instance) -> str:
    """The address that a container asks for; of a comma-separated list the one for its ordinal. Empty when it asks for none."""
    choices = choices_of(instance.spec)
    if not choices:
        return ""
    index = max(instance.ordinal - 1, 0)
    return choices[index] if index < len(choices) else ""


def choices_of(config: LaunchConfig) -> list[str]:
    """The addresses that containers of a launch configuration ask for, in the order of their ordinals."""
    asked = config.requested_ip_address or config.labels.get(labels.REQUESTED_IP, "")
    return [part.strip() for part in asked.split(",") if part.strip()]


def never(config: LaunchConfig, subnet: str) -> str:
    """Why an address that is asked for can never be given, in a sentence; empty when it can be, unless another has it by then."""
    if not is_managed(config):
        return ""
    pool = pool_of(subnet)
    for asked in choices_of(config):
        try:
            ipaddress.IPv4Address(asked)
        except ValueError:
            return f"{asked!r} is no IPv4 address"
        if not within(asked, pool):
            return (
                f"{asked} cannot be given to a container; choose one from {text(pool.first)} to {text(pool.last)} "
                f"(the environment's subnet is {subnet})"
            )
    return ""


def within(address: str, pool: Pool) -> bool:
    """May this address be given?"""
    try:
        return pool.first <= number(address) <= pool.last
    except ValueError:
        return False
