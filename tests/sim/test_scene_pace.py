"""What telling an environment to its hosts costs as they become many: the same bytes for all, and changes wait for each other."""

from __future__ import annotations

import asyncio

import pytest
from tests.sim.world import World

from remuda.core import wire
from remuda.core.model import Host

pytestmark = pytest.mark.looptime(start=1000)
MANY = 400


class Ear:
    """A session that remembers what it was sent."""

    def __init__(self, world: World, number: int) -> None:
        self.account_id, self.token = world.environment, f"ear-{number}"
        self.frames: list[bytes] = []

    def send(self, frame: bytes) -> None:
        self.frames.append(frame)


async def listening(world: World, known: int = 0) -> list[Ear]:
    ears = [Ear(world, number) for number in range(MANY)]
    server = world.servers["s1"]
    assert server is not None
    for ear in ears:
        server.plane.hub._scenes.join(ear, known)  # type: ignore[arg-type]
    await world.until(lambda: all(ear.frames for ear in ears), 2, "all are told")
    return ears


async def host(world: World) -> int:
    await asyncio.sleep(0.1)
    return (await world.api.write(lambda tx: tx.insert(Host(account_id=world.environment, agent_id=1, name="one")))).id


@pytest.mark.parametrize("back", [False, True], ids=["new", "coming back"])
async def test_hosts_that_join_together_get_the_same_bytes(back: bool) -> None:
    async with World(71, servers=1, hosts=0).running() as world:
        await host(world)
        known = await world.store.read(lambda tx: tx.last_change()) if back else 0
        await host(world)
        ears = await listening(world, known)
        assert len({id(ear.frames[0]) for ear in ears}) == 1
        told = wire.decode_from_server(ears[0].frames[0])
        assert isinstance(told, wire.SceneUpdate)
        assert (told.complete, len(told.scene.hosts)) == ((False, 1) if back else (True, 2))


async def test_many_changes_reach_many_hosts_in_few_frames_and_the_last_within_a_second() -> None:
    async with World(72, servers=1, hosts=0).running() as world:
        number = await host(world)
        ears = await listening(world)
        for turn in range(100):
            await world.change(Host, number, name=f"name-{turn}")
            await asyncio.sleep(0.03)
        assert {len(ear.frames) for ear in ears} <= set(range(20, 36)), "ten a second, not each change"

        def newest() -> bool:
            told = wire.decode_from_server(ears[-1].frames[-1])
            return isinstance(told, wire.SceneUpdate) and told.scene.hosts[number].name == "name-99"

        await world.until(newest, 0.5, "the last change is told")
