"""The managed networks: their keys, made and rotated without a gap (``core/network/rotation.py``), and their packets' size."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from remuda.control.agents.assignments import note
from remuda.control.network import network_of
from remuda.control.reconcile.loop import Key, Term
from remuda.control.reconcile.snapshot import News, hosts_of
from remuda.core.model import Host, Instance, Network
from remuda.core.network import rotation
from remuda.core.network.mtu import container_mtu
from remuda.core.network.overlay import IPSEC
from remuda.core.network.rotation import DROP, MAKE, USE, Confirmed
from remuda.ports.keyring import Keyring
from remuda.ports.store import ALIVE, Tx, Where, eq

NAME = "networks"
PURPOSE = "network-keys"
KEY_BYTES = 32


class Keys(msgspec.Struct, frozen=True):
    """All keys that are accepted, by generation. Kept sealed."""

    keys: dict[int, str] = {}


def opened(keyring: Keyring, network: Network) -> dict[int, str]:
    """The keys of a network in plain. They go to its hosts and nowhere else."""
    if not network.sealed_keys:
        return {}
    return msgspec.json.decode(keyring.unseal(network.sealed_keys, PURPOSE), type=Keys).keys


def sealed(keyring: Keyring, keys: dict[int, str]) -> str:
    """The same for the database."""
    return keyring.seal(msgspec.json.encode(Keys(keys)).decode(), PURPOSE)


class NetworkController:
    """One network per environment that has hosts."""

    name = NAME

    def __init__(self, term: Term, keyring: Keyring) -> None:
        self._term, self._keyring = term, keyring
        self._marks: dict[int, tuple[object, ...]] = {}
        self._wishes: dict[int, Network] = {}

    def all_keys(self, tx: Tx, term: Term) -> list[Key]:
        """The environments with hosts."""
        accounts = {h.account_id for h in tx.find(Host, ALIVE)} | {n.account_id for n in tx.find(Network, ALIVE)}
        return [Key(NAME, account, account) for account in accounts if term.mine(account)]

    def touched(self, news: News) -> list[Key]:
        """Environments whose network changed, or a host of which did or said something new of its network."""
        accounts = set()
        for network in news.records(Network):
            wish = msgspec.structs.replace(network, version=0, cursor=0, tunnel_cursor=0)
            if self._wishes.get(network.id) != wish:  # its cursors move with every address that is given
                self._wishes[network.id] = wish
                accounts.add(network.account_id)
        for host in news.records(Host):
            marks = (host.connection, host.removed, host.link_mtu, confirmed(host))
            if self._marks.get(host.id) != marks:  # the rest of a host's row moves all the time
                self._marks[host.id] = marks
                accounts.add(host.account_id)
        return [Key(NAME, account, account) for account in accounts]

    async def reconcile(self, key: Key) -> tuple[str, float | None]:
        """One step."""
        term = self._term
        found = await term.store.read(lambda tx: self._look(tx, key.account_id))
        if found is None:
            return "", None
        network, hosts, used = found
        changes, again, story = self._decide(network, hosts, used)
        if not changes:
            return "", again
        await term.store.write(lambda tx: _write(tx, network, changes, story), grant=term.grant)
        return f"Network of 1a{key.account_id}: {story or 'brought up to date'}", 0.0

    @staticmethod
    def _look(tx: Tx, account_id: int) -> tuple[Network, list[Host], bool] | None:
        hosts = hosts_of(tx, account_id)
        if not hosts:
            return None
        used = tx.first(Instance, eq("account_id", account_id), Where("managed_ip", "ne", ""), ALIVE) is not None
        return network_of(tx, account_id), hosts, used

    def _decide(self, network: Network, hosts: list[Host], used: bool) -> tuple[dict[str, Any], float | None, str]:
        mtu = mtu_for(network, hosts, used)
        changes: dict[str, Any] = {} if mtu == network.mtu_in_use else {"mtu_in_use": mtu}
        more, again, story = self._rotate(network, [h for h in hosts if h.connection == "connected"])
        return {**changes, **more}, again, story

    def _rotate(self, network: Network, hosts: list[Host]) -> tuple[dict[str, Any], float | None, str]:
        keys = opened(self._keyring, network)
        step = rotation.next_step(
            keys,
            network.key_generation,
            network.rotate > network.rotated,
            network.encryption == IPSEC,
            [confirmed(host) for host in hosts],
            lambda mark: self._term.since(f"keys/{network.id}", network.id, mark),
        )
        newest = max(keys, default=0)
        if step.do == MAKE:
            self._term.keep(f"keys/{network.id}", {})
            every = {**keys, newest + 1: secrets.token_hex(KEY_BYTES)}
            changes: dict[str, Any] = {"sealed_keys": sealed(self._keyring, every), "rotated": network.rotate}
            if not newest:
                changes["key_generation"] = 1
            return changes, 0.0, f"Key {newest + 1} for tunnels between hosts was made"
        if step.do == USE:
            return {"key_generation": newest}, 0.0, f"Hosts use key {newest} for tunnels from now on"
        if step.do == DROP:
            left = sealed(self._keyring, {newest: keys[newest]})
            return {"sealed_keys": left}, None, f"Key {newest} for tunnels is the only one that counts"
        return {}, step.wait, ""


def confirmed(host: Host) -> Confirmed:
    """What a host says of the keys of its tunnels."""
    found = host.data.get("network_keys")
    accepts = frozenset(int(number) for number in found) if isinstance(found, list) else frozenset()
    return Confirmed(accepts, int(host.data.get("network_use") or 0))


def mtu_for(network: Network, hosts: list[Host], used: bool) -> int:
    """The MTU of containers: as chosen, else what fits on every host's link. While there are containers it stays as it is."""
    if used and network.mtu_in_use:
        return network.mtu_in_use
    fitting = [container_mtu(h.link_mtu, network.encryption) for h in hosts if h.link_mtu]
    return network.mtu or min(fitting, default=network.mtu_in_use)


def _write(tx: Tx, network: Network, changes: dict[str, Any], story: str) -> None:
    changed = tx.update(network, **changes)
    if story:
        note(tx, changed, story)
