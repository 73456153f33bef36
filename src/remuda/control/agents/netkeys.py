"""The keys of an environment's tunnels, told to its hosts at the start of a session and whenever they change."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from remuda.control.agents.session import Session
from remuda.control.reconcile.networks import opened
from remuda.control.reconcile.snapshot import by_ids
from remuda.core.model import REMOVED, Host, Network
from remuda.core.wire import NetworkKeys
from remuda.ports.keyring import Keyring
from remuda.ports.store import ALIVE, Store, Tx, Where

log = logging.getLogger(__name__)


async def tell_keys(store: Store, keyring: Keyring, sessions: Iterable[Session]) -> None:
    """Send each session the keys of its environment. What cannot be opened is said in the log, without the key."""
    by_account: dict[int, list[Session]] = {}
    for session in sessions:
        by_account.setdefault(session.account_id, []).append(session)
    if not by_account:
        return
    networks, trusted = await store.read(lambda tx: _look(tx, by_account))
    for network in networks:
        try:
            message = NetworkKeys(keys=opened(keyring, network), use=network.key_generation)
        except ValueError as error:
            log.error("the keys of the network of 1a%d cannot be opened: %s", network.account_id, error)
            continue
        if not message.keys:
            continue
        for session in by_account[network.account_id]:
            if session.host_id in trusted:
                session.send(message)


def key_mark(network: Network) -> tuple[object, ...]:
    """What must differ for a network's keys to be told again: the rest of its row moves with every address."""
    return network.sealed_keys, network.key_generation


async def rekeyed(store: Store, accounts: Iterable[int], told: dict[int, tuple[object, ...]]) -> set[int]:
    """Those of the environments whose keys are not those that were ``told`` last, which is brought up to date."""
    networks = await store.read(lambda tx: tx.find(Network, Where("account_id", "in", sorted(accounts)), ALIVE))
    found = {n.account_id for n in networks if told.get(n.account_id) != key_mark(n)}
    told.update({n.account_id: key_mark(n) for n in networks})
    return found


def _look(tx: Tx, by_account: Mapping[int, Sequence[Session]]) -> tuple[list[Network], set[int]]:
    """The networks, and the hosts that may know their keys: one that is being removed may still be connected."""
    networks = tx.find(Network, Where("account_id", "in", list(by_account)), ALIVE)
    hosts = by_ids(tx, Host, (session.host_id for sessions in by_account.values() for session in sessions))
    return networks, {host.id for host in hosts if host.removed is None and host.desired != REMOVED}
