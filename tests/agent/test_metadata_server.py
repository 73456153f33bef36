"""The metadata server on real sockets: forms, views by address, waiting for news, and callers that misbehave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import yaml
from tests.core.scenes import container, host, scene, service, stack

from remuda.agent.network.metadata import http
from remuda.agent.network.metadata.part import MetadataPart
from remuda.agent.network.metadata.server import EACH
from remuda.agent.network.state import NetState
from remuda.core.network.scene import Scene

HERE, CLIENT, OTHER = "127.0.0.50", "127.0.0.51", "127.0.0.52"


def world(through: int = 7, **changes: Any) -> Scene:
    return scene(
        host(1),
        stack(1, "shop"),
        service(1, "web"),
        container(1, "shop_web_1", service_id=1, stack_id=1, ip=CLIENT, **changes),
        container(2, "bücher", ip=OTHER),
        through=through,
    )


def state(known: Scene) -> NetState:
    return NetState(version=1, host_id=1, scene=known)


class Caller:
    """A container that reads metadata."""

    def __init__(self, part: MetadataPart, address: str) -> None:
        self._base = f"http://{HERE}:{part.port}"
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(address, 0), limit=0))

    async def get(self, path: str, accept: str = "", **headers: str) -> tuple[int, str, str]:
        wanted = {"Accept": accept, **headers} if accept else headers
        async with self.session.get(self._base + path, headers=wanted, skip_auto_headers=("Accept",)) as reply:
            return reply.status, reply.headers["Content-Type"], await reply.text()

    async def json(self, path: str) -> Any:
        async with self.session.get(self._base + path, headers={"Accept": "application/json"}) as reply:
            assert reply.status == 200
            return await reply.json()


@pytest.fixture
async def part() -> AsyncIterator[MetadataPart]:
    part = MetadataPart(HERE, 0)
    assert await part.apply(state(world())) == ""
    yield part
    await part.close()


@pytest.fixture
async def caller(part: MetadataPart) -> AsyncIterator[Caller]:
    caller = Caller(part, CLIENT)
    yield caller
    await caller.session.close()


async def test_the_versions_there_are(caller: Caller) -> None:
    assert await caller.get("/") == (200, "text/plain; charset=utf-8", "2015-07-25/\n2015-12-19/\n2016-07-29/\nlatest/")
    assert await caller.json("/") == ["2015-07-25", "2015-12-19", "2016-07-29", "latest"]


@pytest.mark.parametrize(
    "path", ["/latest/self/container/name", "/latest/self/container/name/", "//latest//self/container/name"]
)
async def test_a_value(caller: Caller, path: str) -> None:
    assert await caller.get(path) == (200, "text/plain; charset=utf-8", "shop_web_1")


async def test_json_and_yaml_when_they_are_asked_for(caller: Caller) -> None:
    assert (await caller.json("/latest/self/container"))["primary_ip"] == CLIENT
    assert (await caller.json("/2015-12-19"))["services"][0]["containers"][0]["name"] == "shop_web_1"
    status, kind, body = await caller.get("/latest/containers/1", "application/x-yaml")
    assert (status, kind) == (200, "application/yaml")
    assert yaml.safe_load(body)["name"] == "bücher"
    assert (await caller.get("/latest/version", "text/html, application/json;q=0.9"))[2] == '"7"'
    assert (await caller.get("/latest/version", "*/*"))[2] == "7"


async def test_each_caller_sees_itself_and_nobody_can_claim_to_be_another(part: MetadataPart, caller: Caller) -> None:
    other = Caller(part, OTHER)
    assert (await other.get("/latest/self/container/uuid"))[2] == "container-2"
    claimed = await caller.get("/latest/self/container/uuid", **{"X-Forwarded-For": OTHER})
    assert claimed[2] == "container-1"
    await other.session.close()


async def test_a_proxy_is_believed_when_it_was_asked_for() -> None:
    part = MetadataPart(HERE, 0, forwarded=True)
    await part.apply(state(world()))
    caller = Caller(part, CLIENT)
    assert (await caller.get("/latest/self/container/uuid", **{"X-Forwarded-For": f"{OTHER}, x"}))[2] == "container-2"
    await caller.session.close()
    await part.close()


async def test_what_is_not_there_is_said_in_words(caller: Caller) -> None:
    assert await caller.get("/latest/nothing", "application/json") == (404, "text/plain; charset=utf-8", "Not found")
    status, _, body = await caller.get("/2001-01-01/version")
    assert status == 404
    assert "there are 2015-07-25" in body
    assert (await caller.get("/latest/containers/b%C3%BCcher/name"))[2] == "bücher"


async def test_only_reading_is_possible(part: MetadataPart, caller: Caller) -> None:
    url = f"http://{HERE}:{part.port}/latest/version"
    async with caller.session.head(url) as head:
        assert (head.status, head.headers["Content-Length"], await head.read()) == (200, "1", b"")
    async with caller.session.post(url, data=b"x" * 1000) as post:
        assert (post.status, post.headers["Allow"]) == (405, "GET, HEAD")


async def test_waiting_ends_with_news(part: MetadataPart, caller: Caller) -> None:
    waiting = asyncio.create_task(caller.get("/latest/version?wait=true&value=7&maxWait=30"))
    elsewhere = asyncio.create_task(caller.get("/latest/self/container/state?wait=true&value=running&maxWait=30"))
    gone = asyncio.create_task(caller.get("/latest/containers/nobody?wait=true&value=x&maxWait=30"))
    assert (await gone)[0] == 404
    async with asyncio.timeout(5):
        while part._server is None or len(part._server._connections) < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
    assert not waiting.done()
    await part.apply(state(world(8)))
    async with asyncio.timeout(5):
        assert (await waiting)[2] == "8"
    assert not elsewhere.done()
    await part.apply(state(world(9, state="stopping")))
    async with asyncio.timeout(5):
        assert (await elsewhere)[2] == "stopping"


async def test_waiting_ends_with_time_and_does_not_begin_when_the_value_is_another(caller: Caller) -> None:
    began = time.monotonic()
    assert (await caller.get("/latest/version?wait=true&value=7&maxWait=0.3"))[2] == "7"
    assert 0.25 < time.monotonic() - began < 5
    began = time.monotonic()
    assert (await caller.get("/latest/version?wait=true&value=6&maxWait=60"))[2] == "7"
    assert (await caller.get("/latest/version?wait=false&value=7&maxWait=60"))[2] == "7"
    for odd in ("-5", "nan"):
        assert (await caller.get(f"/latest/version?wait=true&value=7&maxWait={odd}"))[2] == "7"
    assert time.monotonic() - began < 5


async def exchange(part: MetadataPart, data: bytes, *, end: bool = False) -> bytes:
    reader, writer = await asyncio.open_connection(HERE, part.port, local_addr=(CLIENT, 0))
    writer.write(data)
    if end:
        writer.write_eof()
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()


GET = b"GET /latest/version HTTP/1.1\r\nHost: rancher-metadata\r\n"


async def test_requests_that_come_together_are_answered_in_their_order(part: MetadataPart) -> None:
    names = b"".join(b"GET /latest/containers/%d/uuid HTTP/1.1\r\nHost: m\r\n\r\n" % (n % 2) for n in range(50))
    reply = await exchange(part, names + GET + b"Connection: close\r\n\r\n")
    assert [reply.count(b"container-%d" % n) for n in (1, 2)] == [25, 25]
    assert reply.index(b"container-1") < reply.index(b"container-2")
    assert reply.endswith(b"\r\n\r\n7")


async def test_the_offer_of_another_protocol_is_declined(part: MetadataPart) -> None:
    reply = await exchange(part, GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0")
    assert reply.startswith(b"HTTP/1.1 200 OK")
    assert reply.endswith(b"\r\n\r\n7")


async def test_old_clients_are_answered_and_let_go(part: MetadataPart) -> None:
    assert (await exchange(part, b"GET /latest/version HTTP/1.0\r\n\r\n")).endswith(b"\r\n\r\n7")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"rubbish\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", b"400"),
        (GET + b"X: " + b"y" * 100_000 + b"\r\n\r\n", b"431"),
        (b"POST / HTTP/1.1\r\nContent-Length: 70000\r\n\r\n" + b"z" * 70_000, b"413"),
    ],
)
async def test_what_cannot_be_answered_is_refused_and_others_do_not_notice(
    part: MetadataPart, caller: Caller, data: bytes, status: bytes
) -> None:
    assert (await exchange(part, data))[9:12] == status
    assert (await caller.get("/latest/version"))[2] == "7"


async def test_half_a_request_is_cut_off(part: MetadataPart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "IDLE_SECONDS", 0.2)
    assert await exchange(part, GET) == b""


async def test_one_address_cannot_have_all_connections(part: MetadataPart) -> None:
    held = [await asyncio.open_connection(HERE, part.port, local_addr=(CLIENT, 0)) for _ in range(EACH)]
    assert (await exchange(part, GET + b"\r\n"))[9:12] == b"503"
    other = Caller(part, OTHER)
    assert (await other.get("/latest/version"))[0] == 200
    await other.session.close()
    for _, writer in held:
        writer.close()


async def test_a_caller_that_leaves_while_it_waits_is_forgotten(part: MetadataPart) -> None:
    _, writer = await asyncio.open_connection(HERE, part.port)
    writer.write(b"GET /latest/version?wait=true&value=7&maxWait=500 HTTP/1.1\r\nHost: m\r\n\r\n")
    server = part._server
    assert server is not None
    async with asyncio.timeout(5):
        while not any(c._work for c in server._connections):
            await asyncio.sleep(0.01)
        work = next(c._work for c in server._connections)
        assert work is not None
        writer.transport.abort()
        while server._connections or not work.done():
            await asyncio.sleep(0.01)


async def test_a_large_environment_is_written_whole(caller: Caller, part: MetadataPart) -> None:
    many = [container(n, f"c{n}") for n in range(10, 700)]
    await part.apply(state(scene(host(1), *many)))
    assert len(await caller.json("/latest/containers")) == len(many)
    assert len((await caller.json("/latest"))["containers"]) == len(many)


async def test_an_address_that_is_taken_or_not_there_is_said_and_tried_again(part: MetadataPart) -> None:
    taken = MetadataPart(HERE, part.port)
    assert "another program listens" in await taken.apply(state(world()))
    assert "does not have the address" in await MetadataPart("192.0.2.99", 0).apply(state(world()))
    await part.close()
    assert await taken.apply(state(world())) == ""
    await taken.close()
