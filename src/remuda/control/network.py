"""The managed network of an environment: one row, made when it is first needed."""

from __future__ import annotations

import msgspec

from remuda.core.model import Network, Setting
from remuda.ports.store import Conflict, Duplicate, Tx, eq

MANAGED = "managed"


def network_of(tx: Tx, account_id: int) -> Network:
    """The network of an environment. A new one takes the installation's settings (``network.*``) over the record's defaults.

    Raises :class:`Conflict` when another unit makes it at the same moment: run the unit again.
    """
    found = tx.first(Network, eq("account_id", account_id), eq("name", MANAGED))
    if found is not None:
        return found
    try:
        fresh = Network(account_id=account_id, name=MANAGED, kind=MANAGED)
        return tx.insert(msgspec.structs.replace(fresh, **_chosen(tx)))
    except Duplicate as error:
        raise Conflict("The environment's network was made by another unit meanwhile") from error


def distrust(tx: Tx, account_id: int) -> None:
    """A machine that knows the environment's key is not one of its hosts any more: ask for a new key."""
    network = tx.first(Network, eq("account_id", account_id), eq("name", MANAGED))
    if network is not None and network.key_generation:
        tx.update(network, rotate=network.rotate + 1)


def _chosen(tx: Tx) -> dict[str, str]:
    """What an operator chose for new environments."""
    names = {"network.subnet": "subnet", "network.encryption": "encryption"}
    rows = (tx.first(Setting, eq("name", name)) for name in names)
    return {names[row.name]: row.value for row in rows if row is not None and row.removed is None and row.value}
