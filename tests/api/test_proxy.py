"""Pages of containers, seen through a server: passed on as they are, and kept from being taken for ours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import websockets

from .conftest import Installation, eventually
from .people import members, person
from .streaming import Page, host_of, page, running


class Way:
    """A container's page, and a ticket for it."""

    def __init__(self, shown: Page, url: str, token: str) -> None:
        self.page, self.url, self.token = shown, url, token

    def client(self, **more: str) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.token}", **more},
            timeout=10,
            follow_redirects=False,
        )


async def way_to(server: Installation, shown: Page, port: int = 0) -> Way:
    await host_of(server)
    container = await running(server)
    async with server.admin() as http:
        wish = {"port": port or shown.port}
        access = (await http.post(f"{container['links']['self']}?action=proxy", json=wish)).json()
    return Way(shown, access["url"], access["token"])


@pytest.fixture
async def way(server: Installation) -> AsyncIterator[Way]:
    async with page() as shown:
        yield await way_to(server, shown)


async def test_a_page_comes_as_the_container_gives_it(server: Installation, way: Way) -> None:
    assert way.url == f"{server.base}/v1/container-proxy/"
    async with way.client(**{"X-Mine": "1", "Accept": "text/x"}) as http:
        answer = await http.get("a/b%20c?x=1&token=theirs&y=%2F")
        assert (answer.status_code, answer.text, answer.headers["x-mine"]) == (200, "hello", "1")
        [head] = way.page.heads
        assert head.startswith("GET /a/b%20c?x=1&token=theirs&y=%2F HTTP/1.1\r\n")
        assert "x-mine: 1\r\n" in head.lower()
        assert (await http.post("form", content=b"a" * 100_000)).text == "hello"
        assert way.page.bodies == [b"a" * 100_000]
        for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
            assert (await http.request(method, "x")).status_code == 200
            assert way.page.heads[-1].startswith(f"{method} /x ")
        head_only = await http.head("x")
        assert (head_only.status_code, head_only.headers["content-length"], head_only.content) == (200, "5", b"")


async def test_the_ticket_may_be_in_the_address_and_goes_no_further(way: Way) -> None:
    async with httpx2.AsyncClient(timeout=10) as http:
        answer = await http.get(
            f"{way.url}x?a=1&token={way.token}&b=2", headers={"Cookie": "token=ours; CSRF=1", "Referer": way.url}
        )
        assert answer.status_code == 200
    [head] = way.page.heads
    assert head.startswith("GET /x?a=1&b=2 ")
    assert way.token not in head
    for kept in ("cookie", "authorization", "referer"):
        assert f"{kept}:" not in head.lower()


@pytest.mark.parametrize(("path", "body"), [("chunked", b"abcde"), ("early", b"ok"), ("large", b"x" * 3_000_000)])
async def test_bodies_of_all_kinds_arrive_whole(way: Way, path: str, body: bytes) -> None:
    async with way.client() as http:
        answer = await http.get(path)
        assert (answer.status_code, answer.content) == (200, body)


async def test_a_body_that_has_no_length_beforehand_is_passed_on(way: Way) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"cd"

    async with way.client() as http:
        assert (await http.post("x", content=pieces())).status_code == 200
    assert "transfer-encoding: chunked" in way.page.heads[0].lower()


async def test_a_page_leaves_nothing_in_the_browser_and_counts_as_a_strangers(way: Way) -> None:
    async with way.client() as http:
        answer = await http.get("cookies")
        for left in ("set-cookie", "service-worker-allowed"):
            assert left not in answer.headers
        policies = answer.headers.get_list("content-security-policy")
        assert "default-src 'self'" in policies
        assert any(p.startswith("sandbox ") and "allow-same-origin" not in p for p in policies)
        assert answer.headers["referrer-policy"] == "no-referrer"
        moved = await http.get("moved")
        assert (moved.status_code, moved.headers["location"]) == (302, "/v1/container-proxy/there")


@pytest.mark.parametrize("path", ["garbage", "nothing", "upgrade"])
async def test_what_is_no_answer_is_told_as_the_containers_fault(way: Way, path: str) -> None:
    async with way.client() as http:
        answer = await http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (502, "BadGateway")


async def test_an_answer_that_breaks_off_does_not_look_whole(way: Way) -> None:
    async with way.client() as http:
        with pytest.raises(httpx2.HTTPError):
            await http.get("short")


async def test_a_port_where_nobody_listens_is_named(server: Installation) -> None:
    async with page() as shown:
        way = await way_to(server, shown, port=1)
        async with way.client() as http:
            answer = await http.get("x")
            assert answer.status_code == 502
            assert "Port 1 of the container" in answer.json()["message"]


async def test_without_a_ticket_for_it_nothing_is_shown(server: Installation, way: Way) -> None:
    async with httpx2.AsyncClient(timeout=10) as http:
        for headers in (
            {},
            {"Authorization": f"Bearer {server.jwt}"},
            {"Authorization": f"Bearer {way.token[:-4]}AAAA"},
        ):
            assert (await http.get(f"{way.url}x", headers=headers)).status_code == 401
        # and it is good for nothing else
        answer = await http.get(f"{server.base}/v1/hosts", headers={"Authorization": f"Bearer {way.token}"})
        assert answer.status_code == 401
    assert way.page.heads == []


async def test_a_page_ends_with_the_rights_of_who_looks(server: Installation) -> None:
    account, headers = await person(server, "ann")
    await members(server, "1a5", {account: "member"})
    async with page() as shown:
        await host_of(server)
        container = await running(server)
        async with server.client(headers=headers) as http:
            path = container["links"]["self"].partition("/v1")[2]
            access = (await http.post(f"{path}?action=proxy", json={"port": shown.port})).json()
        way = Way(shown, access["url"], access["token"])
        async with way.client() as http, asyncio.timeout(10):
            with contextlib.suppress(httpx2.HTTPError):
                async with http.stream("GET", "endless") as answer:
                    async for _ in answer.aiter_bytes():
                        if account:
                            await members(server, "1a5", {})
                            account = ""

            async def refused() -> bool:
                return (await http.get("x")).status_code == 401

            await eventually(refused)
            await shown.closed.wait()


async def test_who_hangs_up_ends_the_connection_to_the_container(way: Way) -> None:
    async with way.client() as http, http.stream("GET", "endless") as answer:
        await anext(answer.aiter_bytes())
    async with asyncio.timeout(5):
        await way.page.closed.wait()


class Echo:
    """A container that answers WebSockets: says what it is told, and what it was asked with."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[Any] = []
        self.closed = asyncio.Event()

    async def serve(self, socket: Any) -> None:
        self.asked.append(socket.request)
        try:
            async for message in socket:
                if message == "bye":
                    await socket.close(4001, "as you wish")
                else:
                    await socket.send(message)
        finally:
            self.closed.set()


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[Echo]:
    echo = Echo()

    def chosen(_socket: Any, offered: list[Any]) -> Any:
        return "chat" if "chat" in offered else None

    async with websockets.serve(
        echo.serve, "127.0.0.1", 0, subprotocols=["chat"], select_subprotocol=chosen, max_size=2**24
    ) as serving:
        echo.port = next(iter(serving.sockets)).getsockname()[1]
        yield echo


async def test_a_websocket_of_a_container_is_passed_on_both_ways(server: Installation) -> None:
    async with echoing() as echo:
        way = await way_to(server, echo)  # type: ignore[arg-type]
        url = way.url.replace("http", "ws", 1) + f"talk/to%20me?x=1&token={way.token}"
        headers = {"Cookie": "token=ours", "X-Mine": "1"}
        async with websockets.connect(
            url, additional_headers=headers, subprotocols=["other", "chat"], max_size=2**24
        ) as socket:
            assert socket.subprotocol == "chat"
            for message in ("hello", b"\x00\xff", "ü" * 70_000, b"x" * 3_000_000):
                await socket.send(message)
                assert await socket.recv() == message
            await socket.send("bye")
            with pytest.raises(websockets.ConnectionClosed) as end:
                await socket.recv()
        assert (end.value.rcvd.code, end.value.rcvd.reason) == (4001, "as you wish")  # type: ignore[union-attr]
    (request,) = echo.asked
    assert request.path == "/talk/to%20me?x=1"
    assert request.headers["X-Mine"] == "1"
    assert "Cookie" not in request.headers
    assert way.token not in str(request.headers)


async def test_who_hangs_up_a_websocket_ends_the_containers(server: Installation) -> None:
    async with echoing() as echo:
        way = await way_to(server, echo)  # type: ignore[arg-type]
        url = way.url.replace("http", "ws", 1)
        async with websockets.connect(url, additional_headers={"Authorization": f"Bearer {way.token}"}) as socket:
            await socket.send("a")
            await socket.recv()
        async with asyncio.timeout(10):
            await echo.closed.wait()


async def test_a_websocket_ends_with_the_rights_of_who_listens(server: Installation) -> None:
    account, headers = await person(server, "ann")
    await members(server, "1a5", {account: "member"})
    async with echoing() as echo:
        await host_of(server)
        container = await running(server)
        async with server.client(headers=headers) as http:
            path = container["links"]["self"].partition("/v1")[2]
            access = (await http.post(f"{path}?action=proxy", json={"port": echo.port})).json()
        url = access["url"].replace("http", "ws", 1) + f"?token={access['token']}"
        async with websockets.connect(url) as socket, asyncio.timeout(10):
            await members(server, "1a5", {})
            with pytest.raises(websockets.ConnectionClosed):
                await socket.recv()


async def test_a_websocket_that_cannot_be_is_refused_with_the_reason(server: Installation, way: Way) -> None:
    url = way.url.replace("http", "ws", 1)
    with pytest.raises(websockets.InvalidStatus) as stranger:
        await websockets.connect(f"{url}?token=nonsense").__aenter__()
    assert stranger.value.response.status_code == 401
    with pytest.raises(websockets.InvalidStatus) as page_only:
        await websockets.connect(f"{url}?token={way.token}").__aenter__()
    assert page_only.value.response.status_code == 502
    assert b"opened no WebSocket" in page_only.value.response.body
