"""What the agent opens on a real Docker: a container's console, its ports, and the engine itself."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from testbed.bed import Bed
from tests.agent.real import IMAGE, agent_process, one_host
from tests.support.fakeserver import FakeServer, until

from remuda.core.spec import LaunchConfig
from remuda.core.wire import Assignment, StreamData

pytestmark = [pytest.mark.bed, pytest.mark.timeout(180)]

DIAL = """\
import asyncio, sys
from remuda.adapters.docker.engine import DockerEngine
from remuda.agent import ports

async def main(container, port):
    engine = DockerEngine("unix:///run/docker.sock")
    try:
        connection = await ports.dial(engine, container, int(port), tls=False)
        await connection.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
        while (piece := (await connection.read())[1]):
            print(piece.decode(), end="")
        await connection.close()
    except ports.NotReached as error:
        print("not reached:", error)
    finally:
        await engine.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with one_host() as running:
        yield running


@pytest_asyncio.fixture
async def server(bed: Bed) -> AsyncIterator[FakeServer]:
    running = FakeServer(heartbeat=2.0, silence=5.0, host=f"{bed.net}.254")
    await running.start()
    yield running
    await running.stop()


async def test_a_console_and_the_engine_are_reached_through_the_agent(
    bed: Bed, server: FakeServer, tmp_path: Path
) -> None:
    spec = LaunchConfig(image_uuid=f"docker:{IMAGE}", command=["cat"], tty=True, stdin_open=True, stop_signal="SIGKILL")
    wish = Assignment(uuid="00000001-u", seq=1, desired="running", name="app_web_1", spec=spec)
    async with agent_process(bed, tmp_path, server.url):
        await until(lambda: server.connected, 20)
        await server.assign(wish)
        await until(lambda: (r := server.reports.get(wish.uuid)) and r.observed == "running", 30)
        container = server.reports[wish.uuid].external_id
        console = await server.open("console", container=container)
        await server.send(StreamData(stream=console, channel="resize", payload=b"100x30"))
        await server.send(StreamData(stream=console, channel="in", payload=b"is it you?\n"))
        await until(lambda: server.received(console).count(b"is it you?") == 2, 20)  # its echo, and cat's answer
        engine = await server.open("docker")
        ask = b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n"
        await server.send(StreamData(stream=engine, channel="in", payload=ask))
        end = await until(lambda: server.end_of(engine), 20)
        assert end.error == ""
        assert server.received(engine).startswith(b"HTTP/1.1 200 OK")
        bed.docker(1, "rm", "-f", container)
        assert (await until(lambda: server.end_of(console), 20)).stream == console


@pytest.mark.parametrize("network", ["bridge", "host", "own", "shared"])
async def test_a_port_is_reached_in_every_kind_of_network(bed: Bed, network: str) -> None:
    bed.docker(1, "network", "create", "own", check=False)
    options = {"own": ["--network", "own"], "host": ["--network", "host", "-e", "PORT=8099"]}.get(network, [])
    container = bed.docker(1, "run", "-d", *options, IMAGE).strip()
    asked = container
    if network == "shared":
        asked = bed.docker(1, "run", "-d", "--network", f"container:{container}", IMAGE, "sleep", "1000").strip()
    try:
        port = "8099" if network == "host" else "80"

        async def answered() -> str:
            return await asyncio.to_thread(bed.exec, 1, sys.executable, "-c", DIAL, asked, port)

        async with asyncio.timeout(30):
            while "hello from" not in (told := await answered()):
                assert "not reached" in told
        assert "200 OK" in told
        refused = await asyncio.to_thread(bed.exec, 1, sys.executable, "-c", DIAL, asked, "9")
        assert "Port 9 of the container" in refused
        bed.docker(1, "stop", "-t", "0", asked)
        assert "does not run" in await answered()
    finally:
        bed.docker(1, "rm", "-f", container, asked, check=False)
