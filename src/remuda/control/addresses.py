"""Who has which address of an environment's managed network. Gives them out within the unit of work that needs them.

An address has one owner, under a unique constraint. The network's row is held while addresses are given, so that two units that
do so at the same time wait for each other instead of colliding.
"""

from __future__ import annotations

from typing import Any

from remuda.control.network import network_of
from remuda.core.model import REMOVED, Address, HealthObservation, Host, Instance, Network, Service
from remuda.core.network.addressing import (
    TUNNELS,
    Pool,
    mac_of,
    next_free,
    number,
    pool_of,
    requested,
    text,
    wants_address,
    within,
)
from remuda.ports.store import ALIVE, Conflict, Duplicate, Tx, Where, eq

WINDOW = 256
NET, TUNNEL = "net", "tunnel"


class Exhausted(Conflict):
    """No address is left in the pool. The message says what to do."""


class Addresses:
    """The addresses of one environment, within one transaction."""

    def __init__(self, tx: Tx, account_id: int) -> None:
        self._tx = tx
        self._network = network_of(tx, account_id)
        self._held = False

    def of_instance(self, instance: Instance, service: Service | None = None) -> dict[str, Any]:
        """The changes that give a container its address; none when it needs none.

        It gets, in this order: the one that its place in the service keeps (``retain_ip``), the one that it asks for, the next.
        """
        if not wants_address(instance):
            return {}
        owner = owner_of(instance)
        if service is not None and service.retain_ip:
            owner = retained(service.id, instance.launch_config, instance.ordinal)
            kept = self._tx.first(Address, eq("owner", owner))
            if kept is not None:
                return _placed(text(kept.number))
        return _placed(self._take(NET, owner, requested(instance)))

    def of_host(self, host: Host) -> dict[str, Any]:
        """The changes that give a host its addresses on the network and within tunnels."""
        changes: dict[str, Any] = {}
        if not host.network_ip:
            changes["network_ip"] = self._take(NET, f"host/{host.id}")
        if not host.tunnel_ip:
            changes["tunnel_ip"] = self._take(TUNNEL, f"host/{host.id}")
        return changes

    def _take(self, kind: str, owner: str, wanted: str = "") -> str:
        network = self._hold()
        pool = pool_of(network.subnet if kind == NET else TUNNELS)
        name = f"{kind}/{network.id}"
        if wanted and within(wanted, pool) and self._free(name, number(wanted)):
            return self._give(name, number(wanted), owner)
        cursor = network.cursor if kind == NET else network.tunnel_cursor
        found = self._after(name, pool, cursor)
        if found is None:
            found = self._after(name, pool, pool.first - 1)
        if found is None:
            raise Exhausted(
                f"All {pool.size} addresses of {network.subnet if kind == NET else TUNNELS} are taken; remove containers or "
                f"give the environment a larger subnet"
            )
        column = "cursor" if kind == NET else "tunnel_cursor"
        self._network = self._tx.update(network, **{column: found})
        return self._give(name, found, owner)

    def _hold(self) -> Network:
        if not self._held:
            held = self._tx.hold(Network, self._network.id)
            if held is None:
                raise Conflict("The environment's network was removed meanwhile")
            self._network, self._held = held, True
        return self._network

    def _free(self, pool: str, address: int) -> bool:
        return self._tx.first(Address, eq("pool", pool), eq("number", address)) is None

    def _after(self, name: str, pool: Pool, cursor: int) -> int | None:
        while True:
            taken = self._tx.find(
                Address, eq("pool", name), Where("number", "gt", cursor), order=("number",), limit=WINDOW
            )
            found = next_free(pool, cursor, [row.number for row in taken])
            last = taken[-1].number if taken else None
            if found is None or last is None or len(taken) < WINDOW or found <= last:
                return found
            cursor = last

    def _give(self, pool: str, address: int, owner: str) -> str:
        try:
            self._tx.insert(Address(account_id=self._network.account_id, pool=pool, number=address, owner=owner))
        except Duplicate as error:
            raise Conflict(f"The address {text(address)} was given to another meanwhile") from error
        return text(address)


def owner_of(instance: Instance) -> str:
    """The owner of an address that belongs to one container only."""
    return f"instance/{instance.uuid}"


def retained(service_id: int, launch_config: str, ordinal: int) -> str:
    """The owner of an address that a place in a service keeps, whichever container is there."""
    return f"retain/{service_id}/{launch_config}/{ordinal}"


def give_back(tx: Tx, owner: str) -> None:
    """The owner is no more: its addresses may be given again, late."""
    for row in tx.find(Address, eq("owner", owner)):
        tx.delete(row)


def give_back_of(tx: Tx, instance: Instance) -> None:
    """A container is no more. What its place in a service keeps goes with it only if the place is no more either."""
    give_back(tx, owner_of(instance))
    for row in tx.find(HealthObservation, eq("instance_id", instance.id)):
        tx.delete(row)
    service = None if instance.service_id is None else tx.get(Service, instance.service_id)
    if service is None:
        return
    stays = service.removed is None and service.desired != REMOVED and service.retain_ip
    if stays and instance.ordinal <= service.scale:
        return
    place = (eq("service_id", service.id), eq("ordinal", instance.ordinal), eq("launch_config", instance.launch_config))
    if tx.first(Instance, *place, eq("managed_ip", instance.managed_ip), ALIVE) is None:
        give_back(tx, retained(service.id, instance.launch_config, instance.ordinal))


def _placed(address: str) -> dict[str, Any]:
    return {"managed_ip": address, "mac": mac_of(address)}
