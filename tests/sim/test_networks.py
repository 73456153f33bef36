"""The keys of an environment's tunnels: made once, told to hosts, replaced step by step, also when servers crash meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.sim.test_cluster import all_connected
from tests.sim.world import World

from remuda.adapters.crypto.keyring import FileKeyring
from remuda.control.reconcile.networks import opened
from remuda.core.model import REMOVED, Event, Host, Network
from remuda.core.network.mtu import container_mtu
from remuda.core.network.rotation import PATIENCE_SECONDS
from remuda.ports.store import eq

pytestmark = pytest.mark.looptime(start=1000)
KEYRING = FileKeyring(bytes(range(32)))


def world(seed: int, *, hosts: int = 3) -> World:
    return World(seed, hosts=hosts, keyring=KEYRING)


async def network(place: World) -> Network:
    found = await place.store.read(lambda tx: tx.first(Network, eq("account_id", place.environment)))
    assert found is not None
    return found


async def keyed(place: World, *, tunnels: bool = True) -> None:
    """All hosts are connected and have the first key."""
    for agent in place.agents.values():
        agent.machine.tunnels = tunnels
    await place.until(lambda: all_connected(place))
    await place.until(lambda: told(place, [1], 1), 10, "every host has the first key")


def told(place: World, generations: list[int], use: int, only: Callable[[str], bool] = lambda _: True) -> bool:
    machines = [agent.machine for name, agent in place.agents.items() if only(name)]
    return all((sorted(m.surroundings.keys), m.surroundings.use) == (generations, use) for m in machines)


async def rotate(place: World) -> None:
    await place.change(Network, (await network(place)).id, rotate=(await network(place)).rotate + 1)


async def test_all_hosts_get_the_same_key_and_the_database_holds_none_of_it() -> None:
    async with world(61).running() as place:
        await keyed(place)
        keys = {agent.machine.surroundings.keys[1] for agent in place.agents.values()}
        assert len(keys) == 1
        key = keys.pop()
        assert len(bytes.fromhex(key)) == 32
        row = await network(place)
        assert key not in repr(row)
        assert opened(KEYRING, row) == {1: key}
        history = await place.store.read(lambda tx: tx.find(Event))
        assert key not in repr(history)


async def test_a_key_is_accepted_everywhere_before_it_is_used_and_used_before_the_old_one_goes() -> None:
    async with world(62).running() as place:
        await keyed(place)
        await rotate(place)
        await place.until(lambda: told(place, [2], 2), 30, "only the new key counts")
        for agent in place.agents.values():
            steps = list(dict.fromkeys((tuple(keys), use) for keys, use in agent.machine.told_keys))
            assert steps == [((1,), 1), ((1, 2), 1), ((1, 2), 2), ((2,), 2)]
        row = await network(place)
        assert (row.rotate, row.rotated, row.key_generation) == (1, 1, 2)


async def test_a_host_that_confirms_nothing_delays_a_rotation_but_does_not_stop_it() -> None:
    async with world(63).running() as place:
        await keyed(place)
        place.agents["h2"].machine.tunnels = False
        silent = (await place.hosts())["h2"]
        await place.change(Host, silent.id, data={**silent.data, "network_keys": [1], "network_use": 1})
        await rotate(place)
        await place.until(lambda: told(place, [1, 2], 1), 5)
        await asyncio.sleep(PATIENCE_SECONDS / 2)
        assert told(place, [1, 2], 1)
        await place.until(lambda: told(place, [2], 2), 2.5 * PATIENCE_SECONDS, "it ends all the same")


async def test_a_host_that_was_away_learns_the_new_key_when_it_is_back() -> None:
    async with world(64).running() as place:
        await keyed(place)
        await place.power_off("h3")
        await place.until(lambda: lost(place, "h3"), 30)
        await rotate(place)
        await place.until(lambda: told(place, [2], 2, lambda name: name != "h3"), 30, "the others do not wait for it")
        assert sorted(place.agents["h3"].machine.surroundings.keys) == [1]
        await place.power_on("h3")
        await place.until(lambda: told(place, [2], 2), 20)


async def lost(place: World, name: str) -> bool:
    return (await place.hosts())[name].connection == "lost"


async def test_a_rotation_survives_the_crash_of_every_server_in_turn() -> None:
    async with world(65).running() as place:
        await keyed(place)
        await rotate(place)
        for name in list(place.names):
            await asyncio.sleep(1.5)
            await place.crash(name)
            await asyncio.sleep(4)
            place.start(name)
        await place.until(lambda: told(place, [2], 2), 4 * PATIENCE_SECONDS)
        for agent in place.agents.values():
            uses = [use for _, use in agent.machine.told_keys]
            assert uses == sorted(uses)
            assert all(use in keys for keys, use in agent.machine.told_keys)


async def test_two_wishes_at_once_are_one_rotation_and_a_later_one_is_another() -> None:
    async with world(66).running() as place:
        await keyed(place)
        row = await network(place)
        await place.change(Network, row.id, rotate=row.rotate + 2)
        await place.until(lambda: told(place, [2], 2), 30)
        await rotate(place)
        await place.until(lambda: told(place, [3], 3), 30)
        await asyncio.sleep(5)
        assert told(place, [3], 3)


async def test_a_host_that_is_removed_knows_a_key_that_soon_opens_nothing() -> None:
    async with world(67).running() as place:
        await keyed(place)
        old = place.agents["h1"].machine.surroundings.keys[1]
        await place.change(Host, (await place.hosts())["h1"].id, desired=REMOVED)
        await place.until(lambda: told(place, [2], 2, lambda name: name != "h1"), 60, "the others have another key")
        assert sorted(place.agents["h1"].machine.surroundings.keys) == [1]
        assert old not in opened(KEYRING, await network(place)).values()


async def test_without_encryption_a_rotation_waits_for_nobody() -> None:
    async with world(68).running() as place:
        await keyed(place, tunnels=False)
        await place.change(Network, (await network(place)).id, encryption="plain")
        await rotate(place)
        assert await place.until(lambda: told(place, [2], 2), 10) < 5


async def test_the_mtu_fits_every_link_and_stays_while_containers_use_it() -> None:
    async with world(69).running() as place:
        for name, mtu in (("h1", 9000), ("h2", 1500), ("h3", 9000)):
            place.agents[name].machine.link_mtu = mtu
        await place.until(lambda: all_connected(place))

        async def uses(mtu: int) -> bool:
            return (await network(place)).mtu_in_use == mtu

        await place.until(lambda: uses(container_mtu(1500, "ipsec")), 10, "the smallest link decides")
        number = await place.service("web", 2, config={"network_mode": "managed"})
        await place.until(lambda: place.settled(number))
        await place.change(Host, (await place.hosts())["h2"].id, link_mtu=9000)
        await place.change(Network, (await network(place)).id, mtu=1400)
        await asyncio.sleep(5)
        assert await uses(container_mtu(1500, "ipsec"))
        await place.remove(number)
        await place.change(Network, (await network(place)).id, description="looked at again")
        await place.until(lambda: uses(1400), 10, "what was chosen counts once nobody needs the old one")
