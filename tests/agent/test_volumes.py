"""Volumes on a host: made before their container, ordered once, told when they change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from tests.support.fakeserver import until

from remuda.agent.plan import Backoff
from remuda.agent.volumes import due
from remuda.core.spec import LaunchConfig
from remuda.core.wire import Assign, VolumeOrder, VolumeReport, VolumeWish

from .test_runtime import Rig, wish

USING = LaunchConfig(image_uuid="docker:busybox", data_volumes=["data:/x"])
DATA = VolumeWish(name="data", options={"type": "tmpfs"})


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    running = Rig()
    await until(lambda: running.runtime.ready)
    yield running
    running.task.cancel()
    await asyncio.gather(running.task, return_exceptions=True)


def order(seq: int, desired: str, name: str = "data") -> VolumeOrder:
    return VolumeOrder(seq=seq, uuid=f"v-{name}", desired=desired, wish=VolumeWish(name=name))


def told(rig: Rig, name: str = "data") -> VolumeReport | None:
    return next((r for r in rig.runtime.volumes.reports() or () if r.name == name), None)


async def test_a_volume_with_options_is_there_before_its_container(rig: Rig) -> None:
    rig.assign(wish(spec=USING, volumes=[DATA]))
    await until(lambda: rig.engine.running("u1"))
    assert rig.engine.disks["data"]["Options"] == {"type": "tmpfs"}
    await until(lambda: told(rig) is not None)
    assert told(rig) == VolumeReport(name="data", mountpoint="/disks/data")


async def test_a_volume_that_cannot_be_made_is_what_the_container_says(rig: Rig) -> None:
    rig.engine.refuse_volume = "error looking up volume plugin nfs"
    rig.assign(wish(spec=USING, volumes=[VolumeWish(name="data", driver="nfs")]))
    await until(lambda: rig.report().observed == "error")
    assert rig.report().message == "The volume data cannot be made: error looking up volume plugin nfs"
    assert not rig.engine.boxes


async def test_an_order_is_carried_out_once(rig: Rig) -> None:
    rig.runtime.assign(Assign(volumes=[order(3, "active")]))
    await until(lambda: (found := told(rig)) is not None and found.applied_seq == 3)
    assert told(rig) == VolumeReport(name="data", uuid="v-data", mountpoint="/disks/data", applied_seq=3)
    rig.runtime.assign(Assign(volumes=[order(4, "removed")]))
    await until(lambda: (found := told(rig)) is not None and found.seen == "absent")
    assert rig.engine.disks == {}
    await rig.engine.create_volume("data", "local", {})  # somebody makes it again, by hand
    rig.runtime.assign(Assign(volumes=[order(4, "removed")]))
    await until(lambda: (found := told(rig)) is not None and found.seen == "present")
    assert "data" in rig.engine.disks


async def test_a_volume_in_use_stays_until_its_container_goes(rig: Rig) -> None:
    rig.assign(wish(spec=USING))
    await until(lambda: rig.engine.running("u1"))
    rig.runtime.assign(Assign(volumes=[order(3, "removed")]))
    await until(lambda: (found := told(rig)) is not None and "in use" in found.message)
    assert "data" in rig.engine.disks
    rig.assign(wish(seq=4, desired="removed", spec=USING))
    await until(lambda: "data" not in rig.engine.disks, 8)
    await until(lambda: (found := told(rig)) is not None and found.seen == "absent")


async def test_nameless_volumes_stay_when_the_container_asks_for_it(rig: Rig) -> None:
    kept: list[bool] = []
    remove = rig.engine.remove

    async def spy(container: str, *, force: bool = False, volumes: bool = True) -> None:
        kept.append(not volumes)
        await remove(container, force=force, volumes=volumes)

    rig.engine.remove = spy  # type: ignore[method-assign]
    labels = {"io.rancher.container.volume_cleanup_strategy": "none"}
    for uuid, spec in (("u1", LaunchConfig(image_uuid="docker:busybox", labels=labels)), ("u2", USING)):
        rig.assign(wish(uuid, spec=spec))
        await until(lambda uuid=uuid: rig.engine.running(uuid))  # type: ignore[misc]
        rig.assign(wish(uuid, seq=2, desired="removed", spec=spec))
        await until(lambda uuid=uuid: not rig.engine.of(uuid))  # type: ignore[misc]
    assert kept == [True, False]


def test_orders_wait_for_their_turn() -> None:
    orders = [order(2, "removed", "b"), order(1, "active", "a"), order(3, "removed", "c"), order(4, "removed", "d")]
    backoffs = {"v-b": Backoff(1, 12.0), "v-c": Backoff(1, 9.0)}
    todo, again = due(orders, {"v-d": 4}, backoffs, 10.0)
    assert [o.wish.name for o in todo] == ["a", "c"]
    assert again == 12.0
