"""What is new for hosts since what their agents were told: one read for many hosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from remuda.control.volumes import orders, wishes
from remuda.core.model import Host, Instance
from remuda.core.wire import VolumeOrder, VolumeWish
from remuda.ports.store import ALIVE, Tx, Where, eq


class HostNews(NamedTuple):
    """A host, its containers with newer assignments, the volumes that those need, and the orders about volumes."""

    host: Host
    instances: Sequence[Instance] = ()
    wishes: Mapping[int, list[VolumeWish]] = {}
    orders: Sequence[VolumeOrder] = ()


def news_of(known: Mapping[int, tuple[int, bool]]) -> Callable[[Tx], dict[int, HostNews]]:
    """The unit that reads it. ``known``: host -> the number up to which its agent was told, and whether it got all once."""

    def unit(tx: Tx) -> dict[int, HostNews]:
        return {h.id: _one(tx, h, *known[h.id]) for h in tx.find(Host, Where("id", "in", list(known)))}

    return unit


def _one(tx: Tx, host: Host, told: int, complete: bool) -> HostNews:
    if complete and host.assign_seq <= told:
        return HostNews(host)
    newer = [Where("assign_seq", "gt", told)] if complete else []
    found = tx.find(Instance, eq("host_id", host.id), ALIVE, *newer)
    # A container that we only watch is none of our assignments, unless somebody asked for something.
    instances = [i for i in found if not i.native or i.assign_seq > i.applied_seq]
    return HostNews(host, instances, wishes(tx, instances), orders(tx, host.id, told if complete else 0))
