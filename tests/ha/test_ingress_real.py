"""Two real front doors: the local server first, a peer's when it is down, the client's address kept all the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from remuda.ha import ingress
from remuda.ha.certificates import issue, new_ca
from remuda.ha.config import Ports
from remuda.ha.ingress import HOP, Peer, configuration, hop_mark

pytestmark = [pytest.mark.real, pytest.mark.skipif(not shutil.which("haproxy"), reason="no haproxy")]
NOW = datetime.now(UTC)
MARK = hop_mark("the key of the test")
HERE, THERE = "127.0.0.1", "127.0.0.2"


class Backend:
    """A server that tells what reached it."""

    def __init__(self, name: str) -> None:
        self.name, self.port = name, 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in self._open:
                writer.transport.abort()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while line := (await reader.readline()).decode():
                headers = {}
                while (row := (await reader.readline()).decode().strip()) != "":
                    key, _, value = row.partition(":")
                    headers.setdefault(key.lower(), []).append(value.strip())
                if "upgrade" in headers:
                    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
                    while data := await reader.read(1000):
                        writer.write(data)
                    return
                body = b"pong" if line.startswith("GET /ping") else json.dumps([self.name, headers]).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        self._open.discard(writer)
        writer.close()


class Doors:
    """Both doors with a server behind each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.backends = {HERE: Backend("here"), THERE: Backend("there")}
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(4)]
            for item in sockets:
                item.bind(("", 0))
            numbers = [item.getsockname()[1] for item in sockets]
        self.ports = Ports(
            http_port=numbers[0], https_port=numbers[1], pp_http_port=numbers[2], pp_https_port=numbers[3]
        )
        self.processes: list[subprocess.Popen[bytes]] = []

    async def open(self) -> None:
        cluster, front = new_ca("cluster", NOW), new_ca("front", NOW)
        for backend in self.backends.values():
            await backend.start()
        for address, other in ((HERE, THERE), (THERE, HERE)):
            directory = self.root / address
            directory.mkdir()
            pair = issue(front, "lb.example.com", ["lb.example.com"], NOW)
            node = issue(cluster, "node", [ingress.NODE_NAME, address], NOW)
            (directory / "front.pem").write_text(pair.cert + pair.key)
            (directory / "node.pem").write_text(node.cert + node.key)
            (directory / "cluster-ca.pem").write_text(cluster.cert)
            (directory / "503.http").write_text(ingress.UNAVAILABLE.replace("\n", "\r\n"))
            text = configuration(
                self.ports, [Peer("other", other)], directory=str(directory), mark=MARK, bind=address,
                server_port=self.backends[address].port,
            )  # fmt: skip
            path = directory / "haproxy.cfg"
            path.write_text(text)
            check = subprocess.run(["haproxy", "-c", "-f", str(path)], capture_output=True, text=True, timeout=20)
            assert check.returncode == 0, check.stderr
            assert "WARNING" not in check.stderr, check.stderr
            log = (directory / "log").open("wb")
            self.processes.append(subprocess.Popen(["haproxy", "-W", "-db", "-f", str(path)], stdout=log, stderr=log))
            log.close()

    async def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(10)
        for backend in self.backends.values():
            await backend.stop()

    async def ask(self, at: str, port: int, *, tls: bool = False, first: str = "", **headers: str) -> tuple[int, Any]:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(at, port)
        try:
            if first:
                writer.write(first.encode())
            if tls:
                await writer.start_tls(context)
            more = "".join(f"{key.replace('_', '-')}: {value}\r\n" for key, value in headers.items())
            writer.write(f"GET /x HTTP/1.1\r\nHost: lb.example.com\r\nConnection: close\r\n{more}\r\n".encode())
            raw = await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.transport.abort()
        head, _, body = raw.partition(b"\r\n\r\n")
        status = int(head.split()[1]) if head else 0  # cut off: its server has just been found to be gone
        return status, json.loads(body) if status == 200 else body.decode()

    async def served_by(self, name: str, at: str = HERE) -> bool:
        with contextlib.suppress(OSError, IndexError, ValueError):
            status, answer = await self.ask(at, self.ports.http_port)
            return status == 200 and answer[0] == name
        return False


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    made = Doors(tmp_path)
    try:
        await made.open()
        await until(lambda: made.served_by("here"))
        await until(lambda: made.served_by("there", THERE))
        yield made
    finally:
        await made.close()


async def until(what: Callable[[], Awaitable[bool]], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not await what():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.05)


PROXY = "PROXY TCP4 203.0.113.7 10.0.0.1 51000 443\r\n"


async def test_the_local_server_is_preferred_and_a_peer_helps_out(doors: Doors) -> None:
    for _ in range(5):
        assert await doors.served_by("here")
    await doors.backends[HERE].stop()
    await until(lambda: doors.served_by("there"))
    _, (_, headers) = await doors.ask(HERE, doors.ports.http_port)
    assert headers["x-forwarded-for"] == ["127.0.0.1"]
    await doors.backends[HERE].start()
    await until(lambda: doors.served_by("here"))


async def test_without_any_server_it_says_so_in_words(doors: Doors) -> None:
    for backend in doors.backends.values():
        await backend.stop()

    async def refused() -> bool:
        doors_of = ((doors.ports.https_port, True), (doors.ports.http_port, False))
        return [(await doors.ask(HERE, port, tls=tls))[0] for port, tls in doors_of] == [503, 503]

    await until(refused)
    _, words = await doors.ask(HERE, doors.ports.http_port)
    assert "no server answers here" in words
    assert "18080" in words


async def test_the_client_is_who_proxy_protocol_says(doors: Doors) -> None:
    ports = doors.ports
    _, (_, plain) = await doors.ask(
        HERE, ports.pp_http_port, first=PROXY, X_Forwarded_For="6.6.6.6", X_Forwarded_Proto="http"
    )
    assert plain["x-forwarded-for"] == ["203.0.113.7"]
    assert plain["x-forwarded-proto"] == ["https"], "the balancer ended TLS and came to the plain port"
    assert plain["x-forwarded-port"] == ["443"]
    _, (_, tls) = await doors.ask(HERE, ports.pp_https_port, first=PROXY, tls=True)
    assert (tls["x-forwarded-for"], tls["x-forwarded-proto"]) == (["203.0.113.7"], ["https"])


async def test_the_client_stays_known_when_a_peer_serves(doors: Doors) -> None:
    await doors.backends[HERE].stop()
    await until(lambda: doors.served_by("there"))
    _, (name, headers) = await doors.ask(HERE, doors.ports.pp_http_port, first=PROXY)
    assert name == "there"
    assert headers["x-forwarded-for"] == ["203.0.113.7"]
    assert headers["x-forwarded-proto"] == ["https"]
    assert headers["x-forwarded-port"] == ["443"]


async def test_a_balancer_nearby_that_speaks_http_is_believed_for_the_last_address_only(doors: Doors) -> None:
    ports = doors.ports
    said = {"X_Forwarded_For": "6.6.6.6, 198.51.100.4", "X_Forwarded_Proto": "https", "X_Forwarded_Port": "443"}
    _, (_, headers) = await doors.ask(HERE, ports.http_port, **said)
    assert headers["x-forwarded-for"] == ["198.51.100.4"]
    assert headers["x-forwarded-proto"] == ["https"]
    _, (_, bare) = await doors.ask(HERE, ports.http_port)
    assert (bare["x-forwarded-proto"], bare["x-forwarded-port"]) == (["http"], [str(ports.http_port)])


async def test_a_request_is_passed_on_once_and_the_mark_cannot_be_guessed(doors: Doors) -> None:
    await doors.backends[HERE].stop()
    await until(lambda: doors.served_by("there"))
    status, _ = await doors.ask(HERE, doors.ports.http_port, **{HOP: MARK})
    assert status == 503, "a marked request must not go to another peer"
    _, (_, headers) = await doors.ask(HERE, doors.ports.http_port, **{HOP: "guess", "X-Forwarded-For": "6.6.6.6"})
    assert headers["x-forwarded-for"] == ["6.6.6.6"], "unmarked: judged like any request from nearby"


async def test_a_long_connection_survives_a_reload_and_ends_with_its_server(doors: Doors) -> None:
    reader, writer = await asyncio.open_connection(HERE, doors.ports.http_port)
    writer.write(b"GET /s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
    assert b"101" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    doors.processes[0].send_signal(12)  # SIGUSR2: what the supervisor sends
    await until(lambda: doors.served_by("here"))
    writer.write(b"still here")
    assert await asyncio.wait_for(reader.readexactly(10), 10) == b"still here"
    writer.transport.abort()
