"""Probing real servers on loopback: what passes, what does not, what is said of it, and who probes whom."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from tests.support.fakeengine import FakeEngine

from remuda.agent.health.prober import Prober
from remuda.agent.health.probes import Answer, probe
from remuda.agent.surroundings import Surroundings
from remuda.core.network.scene import Scene, SceneContainer, SceneHost
from remuda.core.spec import HealthCheck
from remuda.core.wire import SceneUpdate

HOST = "127.0.0.1"


class Web:
    """An HTTP server whose answer can be changed while it runs."""

    def __init__(self) -> None:
        self.answer = b"HTTP/1.0 200 OK\r\n\r\nfine"
        self.asked: list[str] = []
        self.connections = 0
        self.silent = False
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if self.silent:
                await asyncio.sleep(60)
            writer.write(self.answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def web(context: ssl.SSLContext | None = None) -> AsyncIterator[Web]:
    here = Web()
    server = await asyncio.start_server(here.serve, HOST, 0, ssl=context)
    here.port = server.sockets[0].getsockname()[1]
    try:
        yield here
    finally:
        server.close()


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        return int(taken.getsockname()[1])


async def ask(check: HealthCheck, engine: FakeEngine | None = None) -> Answer:
    return await probe(check, HOST, "box", engine or FakeEngine(), asyncio.get_running_loop().time)


def http(port: int, line: str = "GET /up HTTP/1.0", **more: object) -> HealthCheck:
    return msgspec.structs.replace(HealthCheck(port=port, request_line=line, response_timeout=500), **more)


async def test_a_port_that_is_open_passes_and_a_closed_one_says_so() -> None:
    async with web() as here:
        answer = await ask(HealthCheck(port=here.port))
        assert answer.passing
        assert answer.latency < 500
    refused = await ask(HealthCheck(port=closed_port()))
    assert not refused.passing
    assert refused.message == "connection refused"


@pytest.mark.parametrize(
    ("answer", "passing", "message"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nfine", True, "HTTP/1.0 200 OK"),
        (b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n", True, "HTTP/1.1 204 No Content"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", True, "HTTP/1.1 302 Found"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", False, "HTTP/1.1 404 Not Found"),
        (
            b"HTTP/1.0 503 Busy\r\nA: b\r\n\r\nthe  database\r\nis away",
            False,
            "HTTP/1.0 503 Busy: the database is away",
        ),
        (b"SSH-2.0-x\r\n", False, "no HTTP answer but 'SSH-2.0-x'"),
        (b"x" * 100_000, False, f"no HTTP answer but '{'x' * 60}'"),
        (b"", False, "no answer: the connection was closed"),
        (b"HTTP/1.0 \xb2\xb2\xb2\r\n", False, "no HTTP answer but 'HTTP/1.0 ²²²'"),
    ],
)
async def test_an_answer_from_200_to_399_passes_and_a_failure_is_kept_with_its_words(
    answer: bytes, passing: bool, message: str
) -> None:
    async with web() as here:
        here.answer = answer
        found = await ask(http(here.port))
        assert (found.passing, found.message) == (passing, message)


async def test_the_request_line_is_sent_as_it_is_written() -> None:
    async with web() as here:
        await ask(http(here.port, r"HEAD /up?x=1 HTTP/1.1\r\nHost:\ shop.example.test"))
        assert here.asked[-1].startswith("HEAD /up?x=1 HTTP/1.1\r\n")
        assert "\r\nHost: shop.example.test\r\n\r\n" in here.asked[-1]
        await ask(http(here.port, "/plain"))
        assert here.asked[-1].startswith("GET /plain HTTP/1.0\r\n")
        assert f"Host: {HOST}" in here.asked[-1]
        await ask(http(here.port, "", protocol="http"))
        assert here.asked[-1].startswith("GET / HTTP/1.0\r\n")


async def test_who_does_not_answer_in_time_does_not_pass() -> None:
    async with web() as here:
        here.silent = True
        found = await ask(http(here.port, response_timeout=100))
        assert found.message == "no answer within 100 ms"
        assert 90 <= found.latency < 400


async def test_inside_tls_nobody_asks_for_a_name(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-subj", "/CN=else"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    async with web(context) as here, web() as plain:
        assert (await ask(http(here.port, protocol="https"))).passing
        here.answer = b"HTTP/1.0 500 Oh\r\n\r\n"
        assert (await ask(http(here.port, protocol="https"))).message == "HTTP/1.0 500 Oh"
        assert not (await ask(http(plain.port, protocol="https"))).passing


class Runs(FakeEngine):
    """An engine whose commands end at once with what the test says."""

    def __init__(self, code: int, said: bytes) -> None:
        super().__init__()
        self.code, self.said = code, said
        self.closed = 0

    async def exec(self, container: str, command: list[str], *, tty: bool, stdin: bool):  # type: ignore[no-untyped-def]
        engine = self

        class Stream:
            def __init__(self) -> None:
                self.left = [("out", engine.said), ("", b"")]

            async def read(self) -> tuple[str, bytes]:
                return self.left.pop(0)

            async def exit_code(self) -> int:
                return engine.code

            async def close(self) -> None:
                engine.closed += 1

        return Stream()


@pytest.mark.parametrize(
    ("code", "said", "message"),
    [(0, b"ready\n", "ready"), (0, b"", "exit code 0"), (1, b"no\n db", "exit code 1: no db")],
)
async def test_a_command_passes_when_it_ends_with_zero(code: int, said: bytes, message: str) -> None:
    engine = Runs(code, said)
    found = await ask(HealthCheck(command=["check"]), engine)
    assert (found.passing, found.message) == (code == 0, message)
    assert engine.closed == 1


async def test_a_command_that_hangs_is_given_up() -> None:
    engine = FakeEngine()
    engine.boxes["box"] = {"Name": "/box", "Id": "box", "State": {"Running": True}}
    found = await ask(HealthCheck(command=["hang"], response_timeout=50), engine)
    assert found.message == "no answer within 50 ms"
    assert all(stream.closed for stream in engine.execs)


# ---- who probes whom, and what is told -----------------------------------------------------------------------------------


def scene(*containers: SceneContainer, hosts: int = 2) -> SceneUpdate:
    machines = {n: SceneHost(id=n, uuid=f"h{n}", ip=f"10.42.0.{n}", connected=True) for n in range(1, hosts + 1)}
    return SceneUpdate(scene=Scene(hosts=machines, containers={c.id: c for c in containers}), complete=True)


def container(port: int, number: int = 1, **more: object) -> SceneContainer:
    check = HealthCheck(port=port, request_line="GET /", interval=100, response_timeout=200, unhealthy_threshold=3)
    values = {"id": number, "uuid": f"c{number}", "host_id": 2, "ip": HOST, "state": "running", "started": 7, **more}
    return SceneContainer(**{"health_check": check, **values})  # type: ignore[arg-type]


@asynccontextmanager
async def prober(update: SceneUpdate, own: int = 1) -> AsyncIterator[tuple[Prober, Surroundings, list[str]]]:
    around = Surroundings(host_id=own)
    around.take(update)
    one, told = Prober(FakeEngine(), around), []
    one.on_result = told.extend
    task = asyncio.create_task(one.run())
    try:
        yield one, around, told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object | Awaitable[object]], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_news_is_told_once_and_what_was_seen_last_is_kept() -> None:
    async with web() as here, prober(scene(container(here.port))) as (one, _, told):
        await until(lambda: told)
        assert told == ["c1"]
        first = one.results()[0]
        assert (first.uuid, first.start, first.passing, first.message) == ("c1", 7, True, "HTTP/1.0 200 OK")
        here.answer = b"HTTP/1.0 500 Broken\r\n\r\nno disk"
        before = len(here.asked)
        await until(lambda: len(told) == 2)
        assert len(here.asked) - before >= 3
        assert not one.results(["c1"])[0].passing
        assert one.results()[0].message == "HTTP/1.0 500 Broken: no disk"
        here.answer = b"HTTP/1.0 200 OK\r\n\r\n"
        before = len(here.asked)
        await until(lambda: len(told) == 3)
        assert len(here.asked) - before >= 2
        assert told == ["c1"] * 3


async def test_one_slip_is_not_told() -> None:
    async with web() as here, prober(scene(container(here.port))) as (one, _, told):
        await until(lambda: told)
        here.answer = b"HTTP/1.0 500 Oh\r\n\r\n"
        count = len(here.asked)
        await until(lambda: len(here.asked) > count)
        here.answer = b"HTTP/1.0 200 OK\r\n\r\n"
        count = len(here.asked)
        await until(lambda: len(here.asked) > count + 3)
        assert one.results()[0].passing
        assert told == ["c1"]


async def test_only_what_this_host_observes_is_probed() -> None:
    async with web() as here, web() as own:
        watched, unwatched = container(here.port), container(own.port, 2, host_id=1)
        async with prober(scene(watched, unwatched)) as (one, around, told):
            await until(lambda: told)
            assert [r.uuid for r in one.results()] == ["c1"]
            assert not own.connections
            around.take(scene(watched, unwatched, hosts=1))  # alone now: it observes its own as well
            await until(lambda: len(one.results()) == 2)
            around.take(scene())
            await until(lambda: not one.results())
            count = here.connections
            await asyncio.sleep(0.3)
            assert here.connections <= count + 1


async def test_a_new_run_of_a_container_is_looked_at_anew() -> None:
    async with web() as here, prober(scene(container(here.port))) as (one, around, told):
        await until(lambda: told)
        here.silent = True
        around.take(scene(container(here.port, started=8)))
        await until(lambda: not one.results())
        here.silent = False
        await until(lambda: one.results() and one.results()[0].start == 8)


async def test_many_that_hang_do_not_keep_the_others_waiting() -> None:
    async with web() as here, web() as mute:
        mute.silent = True
        hanging = [container(mute.port, n) for n in range(2, 101)]
        async with prober(scene(container(here.port), *hanging)) as (one, _, told):
            await until(lambda: "c1" in told, 3.0)
            assert one.results(["c1"])[0].passing


# ---- what the engine itself says ------------------------------------------------------------------------------------------


async def test_the_engines_own_check_is_noticed_at_once_and_also_when_its_event_was_lost() -> None:
    """A container that turns healthy changes no state, only Docker's word for its health."""
    from remuda.agent.watch import _CHANGES, _health_in

    assert "health_status" in _CHANGES
    assert _health_in("Up 5 minutes (healthy)") == "healthy"
    assert _health_in("Up 5 minutes (unhealthy)") == "unhealthy"
    assert _health_in("Up 2 seconds (health: starting)") == _health_in("Up 3 days") == ""
