"""Logs, exec and stats on any host through any server: credits, ends with reasons, and servers that vanish."""

from __future__ import annotations

import asyncio

import pytest
from tests.sim.test_cluster import all_connected
from tests.sim.world import Server, World

from remuda.control.streams import Stream, StreamFailed
from remuda.core import wire

pytestmark = pytest.mark.looptime(start=1000)


async def _host(world: World) -> tuple[int, Server, Server]:
    """A host, the server that holds its session, and another server."""
    await world.until(lambda: all_connected(world))
    host = (await world.hosts())["h1"]
    servers = [s for s in world.servers.values() if s is not None]
    owner = next(s for s in servers if s.server_id == host.session_server)
    return host.id, owner, next(s for s in servers if s is not owner)


async def _all(stream: Stream) -> bytes:
    found = b""
    while True:
        channel, data = await stream.read()
        if not channel:
            return found
        found += data


@pytest.mark.parametrize("near", [True, False])
async def test_a_stream_opens_from_any_server(near: bool) -> None:
    async with World(41).running() as world:
        number, owner, other = await _host(world)
        stream = await (owner if near else other).plane.streams.open("logs", number, {"container": "x"})
        assert await _all(stream) == b"logs of h1"
        assert (stream.error, stream.exit_code) == ("", 0)
        await stream.close()


@pytest.mark.parametrize("near", [True, False])
async def test_a_command_gets_its_input_and_gives_its_exit_code(near: bool) -> None:
    async with World(42).running() as world:
        number, owner, other = await _host(world)
        stream = await (owner if near else other).plane.streams.open("exec", number, {"command": ["cat"]})
        assert await stream.read() == ("out", b"exec of h1")
        sent = bytes(range(256)) * 4096  # four times the window: only credits let it through
        writer = asyncio.create_task(stream.write(sent))
        got = b""
        while len(got) < len(sent):
            got += (await stream.read())[1]
        await writer
        assert got == sent
        await stream.write(b"")
        assert await stream.read() == ("", b"")
        assert stream.exit_code == 7


async def test_who_does_not_read_is_sent_no_more_than_the_window() -> None:
    sent: list[wire.Message] = []
    stream = Stream(1, sent.append)
    stream.deliver(wire.StreamData(stream=1, payload=b"x" * 1000))
    await stream.read()
    assert sent == []
    stream.deliver(wire.StreamData(stream=1, payload=b"x" * wire.STREAM_WINDOW))
    await stream.read()
    assert sent == [wire.StreamCredit(stream=1, amount=wire.STREAM_WINDOW + 1000)]


async def test_a_writer_without_credit_waits_and_then_gives_up() -> None:
    stream = Stream(1, lambda _: None)
    await stream.write(b"x" * wire.STREAM_WINDOW)
    with pytest.raises(StreamFailed, match="does not read"):
        await stream.write(b"y")


@pytest.mark.parametrize("near", [True, False])
async def test_a_host_that_goes_ends_its_streams_with_the_reason(near: bool) -> None:
    async with World(43).running() as world:
        number, owner, other = await _host(world)
        stream = await (owner if near else other).plane.streams.open("exec", number, {})
        await stream.read()
        await world.disconnect("h1")
        assert await stream.read() == ("", b"")
        assert "The connection to the host ended" in stream.error


async def test_a_server_that_vanishes_ends_the_streams_it_carried() -> None:
    async with World(44).running() as world:
        number, owner, other = await _host(world)
        stream = await other.plane.streams.open("exec", number, {})
        await stream.read()
        await world.crash(owner.name)
        async with asyncio.timeout(10):
            assert await stream.read() == ("", b"")
        assert "server at the other end" in stream.error
        assert not other.plane.streams._links


async def test_the_owner_forgets_streams_whose_reader_vanished() -> None:
    async with World(45).running() as world:
        number, owner, other = await _host(world)
        stream = await other.plane.streams.open("exec", number, {})
        await stream.read()
        session = owner.plane.hub.session(number)
        assert session is not None
        assert len(session.streams) == 1
        await world.crash(other.name)
        await world.until(lambda: not session.streams, 10)
        assert not owner.plane.streams._links


async def test_data_that_was_lost_on_the_way_ends_the_stream() -> None:
    async with World(46).running() as world:
        number, owner, other = await _host(world)
        stream = await other.plane.streams.open("exec", number, {})
        await stream.read()
        world.hub.cut(owner.bus)
        await stream.write(b"lost")
        await asyncio.sleep(1)
        world.hub.heal(owner.bus)
        await stream.write(b"seen")
        async with asyncio.timeout(5):
            assert await stream.read() == ("", b"")
        assert "lost between the servers" in stream.error


async def test_an_open_that_nobody_answers_ends_after_its_deadline() -> None:
    async with World(47).running() as world:
        number, owner, other = await _host(world)
        world.hub.cut(owner.bus)
        loop = asyncio.get_running_loop()
        start = loop.time()
        with pytest.raises(StreamFailed, match="did not answer within 5 seconds"):
            await other.plane.streams.open("logs", number, {})
        assert loop.time() - start == pytest.approx(5, abs=0.1)


async def test_a_host_without_a_session_is_refused_with_the_reason() -> None:
    async with World(48).running() as world:
        number, _, other = await _host(world)
        await world.power_off("h1")
        await asyncio.sleep(10)
        with pytest.raises(StreamFailed, match="not connected to any server"):
            await other.plane.streams.open("logs", number, {})
        with pytest.raises(StreamFailed, match="does not exist"):
            await other.plane.streams.open("logs", 999, {})
