"""What every bus must do: in memory, and on real Redis servers (one per node, killed and restarted)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from tests.contracts.conftest import eventually
from tests.support.services import Redis, free_port, redis

from remuda.adapters.memory import MemoryHub
from remuda.adapters.redis import RedisBus
from remuda.ports.bus import Bus

Opener = Callable[[], Awaitable[Bus]]


@pytest.fixture(scope="session")
def redis_servers() -> Iterator[list[Redis]]:
    with redis() as one, redis("other password") as two:
        yield [one, two]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.real)])
async def open_bus(request: pytest.FixtureRequest) -> AsyncIterator[Opener]:
    """Opens any number of ends of one bus, as several servers would."""
    opened: list[Bus] = []
    hub = MemoryHub()
    servers: list[Redis] = request.getfixturevalue("redis_servers") if request.param == "redis" else []

    async def opener() -> Bus:
        own = len(opened) % 2
        bus: Bus = RedisBus([servers[own].url, servers[1 - own].url]) if servers else hub.bus()
        opened.append(bus)
        await eventually(lambda: bus.healthy)
        return bus

    yield opener
    for bus in opened:
        await bus.close()


async def take(messages: AsyncIterator[tuple[str, bytes]], count: int) -> list[tuple[str, bytes]]:
    async with asyncio.timeout(10):
        return [await anext(messages) for _ in range(count)]


async def test_all_servers_hear_what_one_publishes_also_itself(open_bus: Opener) -> None:
    one, two = await open_bus(), await open_bus()
    async with one.subscribe("changes") as at_one, two.subscribe("changes") as at_two:
        await one.publish("changes", b"1")
        assert await take(at_one, 1) == [("changes", b"1")]
        assert await take(at_two, 1) == [("changes", b"1")]
        await two.publish("changes", b"\x00\xff")
        assert await take(at_one, 1) == [("changes", b"\x00\xff")] == await take(at_two, 1)


async def test_a_listener_hears_its_own_channels_only(open_bus: Opener) -> None:
    one, two = await open_bus(), await open_bus()
    async with two.subscribe("a", "b") as messages:
        await one.publish("c", b"no")
        await one.publish("a", b"1")
        await one.publish("b", b"2")
        assert await take(messages, 2) == [("a", b"1"), ("b", b"2")]


async def test_messages_of_one_publisher_come_in_order(open_bus: Opener) -> None:
    one, two = await open_bus(), await open_bus()
    async with two.subscribe("n") as messages:
        for n in range(300):
            await one.publish("n", b"%d" % n)
        assert [int(payload) for _, payload in await take(messages, 300)] == list(range(300))


async def test_a_new_subscription_works_at_once_and_ends_with_its_block(open_bus: Opener) -> None:
    one, two = await open_bus(), await open_bus()
    async with two.subscribe("base") as base:
        for n in range(5):
            async with two.subscribe(f"stream-{n}") as stream:
                await one.publish(f"stream-{n}", b"x")
                assert await take(stream, 1) == [(f"stream-{n}", b"x")]
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        await one.publish("base", b"still here")
        assert await take(base, 1) == [("base", b"still here")]


async def test_two_listeners_of_one_channel_both_hear_it(open_bus: Opener) -> None:
    one = await open_bus()
    async with one.subscribe("x") as first:
        async with one.subscribe("x") as second:
            await one.publish("x", b"1")
            assert await take(first, 1) == await take(second, 1)
        await one.publish("x", b"2")
        assert await take(first, 1) == [("x", b"2")]


async def test_a_listener_that_falls_behind_loses_the_oldest(open_bus: Opener) -> None:
    one = await open_bus()
    async with one.subscribe("x", "end") as slow, one.subscribe("end") as end:
        for start in range(0, 10_500, 500):
            await asyncio.gather(*[one.publish("x", b"%d" % n) for n in range(start, start + 500)])
        await one.publish("end", b"")
        await take(end, 1)
        messages = await take(slow, 10_000)
    assert messages[-1] == ("end", b"")
    assert len({payload for _, payload in messages}) == 10_000


async def test_closing_ends_all_subscriptions(open_bus: Opener) -> None:
    one = await open_bus()
    async with one.subscribe("x") as messages:
        waiting = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        await one.close()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(one.publish("x", b""), 2)


async def test_a_bus_that_is_cut_off_hears_nothing_until_it_is_healed() -> None:
    hub = MemoryHub()
    one, two = hub.bus(), hub.bus()
    async with two.subscribe("x") as messages:
        hub.cut(two)
        assert not one.healthy
        assert not two.healthy
        await one.publish("x", b"lost")
        hub.heal(two)
        assert one.healthy
        await one.publish("x", b"heard")
        assert await take(messages, 1) == [("x", b"heard")]


@pytest.mark.real
async def test_a_killed_redis_makes_the_bus_unhealthy_and_comes_back_by_itself() -> None:
    with redis() as own, redis() as peers:
        one, two = RedisBus([own.url, peers.url]), RedisBus([peers.url, own.url])
        try:
            await eventually(lambda: one.healthy and two.healthy)
            async with one.subscribe("x") as messages:
                peers.kill()
                await eventually(lambda: not one.healthy)
                start = time.monotonic()
                await two.publish("x", b"lost")
                assert time.monotonic() - start < 2.5
                await one.publish("x", b"own redis")
                assert await take(messages, 1) == [("x", b"own redis")]
                await asyncio.to_thread(peers.restart)
                await eventually(lambda: one.healthy)
                await two.publish("x", b"back")
                assert await take(messages, 1) == [("x", b"back")]
                await eventually(lambda: two.healthy)
        finally:
            await one.close()
            await two.close()


@pytest.mark.real
async def test_a_frozen_redis_is_noticed_and_publishing_never_takes_longer_than_a_second() -> None:
    with redis() as server:
        bus = RedisBus([server.url])
        try:
            await eventually(lambda: bus.healthy)
            server.program.pause()
            start = time.monotonic()
            await bus.publish("x", b"1")
            assert time.monotonic() - start < 2.5
            assert not bus.healthy
            server.program.resume()
            await bus.publish("x", b"2")
            await eventually(lambda: bus.healthy)
            server.program.pause()
            await eventually(lambda: not bus.healthy, 8, "a silent link was taken for a healthy one")
            server.program.resume()
            await eventually(lambda: bus.healthy)
        finally:
            await bus.close()


async def test_a_bus_without_any_redis_publishes_into_the_void() -> None:
    bus = RedisBus([f"redis://:secret@127.0.0.1:{free_port()}"])
    try:
        await asyncio.wait_for(bus.publish("x", b"1"), 4)
        async with asyncio.timeout(10), bus.subscribe("x"):
            assert not bus.healthy
    finally:
        await asyncio.wait_for(bus.close(), 5)


@pytest.mark.real
async def test_a_wrong_password_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    with redis() as server:
        bus = RedisBus([server.url.replace(server.password, "wrong-password")])
        await bus.publish("x", b"1")
        await asyncio.sleep(0.3)
        assert not bus.healthy
        await bus.close()
    assert caplog.records
    assert "wrong-password" not in caplog.text
