"""``remuda agent`` as a program: how it is called and how it ends. Docker is not needed."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.fakeserver import FakeServer, until


@asynccontextmanager
async def program(*arguments: str, **environment: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, bytearray]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "remuda.run.agent", "--docker", "unix:///nowhere/docker.sock", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={"PATH": "/usr/bin:/bin", **environment},
    )  # fmt: skip
    said = bytearray()

    async def listen() -> None:
        assert process.stdout is not None
        while chunk := await process.stdout.read(4096):
            said.extend(chunk)

    listening = asyncio.create_task(listen())
    try:
        yield process, said
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await listening


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["http://server/"], b"is no registration URL"),
        (["--label", "x", "http://server/v1/scripts/t"], b"write --label key=value"),
        ([], b"is not registered"),
    ],
)
async def test_wrong_usage_ends_with_2_and_says_what_to_do(
    tmp_path: Path, arguments: list[str], sentence: bytes
) -> None:
    async with program("--state", str(tmp_path), *arguments) as (process, said):
        async with asyncio.timeout(20):
            assert await process.wait() == 2
        await until(lambda: sentence in said)


async def test_a_signal_ends_it_quickly_with_0(tmp_path: Path, server: FakeServer) -> None:
    async with program("--state", str(tmp_path), server.url, "--label", "rack=7") as (process, said):
        await until(lambda: server.connected, 20)
        assert server.hellos[0].facts.docker == "down"
        assert "There is no Docker socket" in server.hellos[0].facts.docker_message
        assert server.hellos[0].facts.labels["rack"] == "7"
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(3):
            assert await process.wait() == 0
        await until(lambda: b"containers are left as they are" in said)


async def test_a_final_refusal_ends_it_with_3_and_the_reason(tmp_path: Path, server: FakeServer) -> None:
    async with program("--state", str(tmp_path), server.url.replace("token-1", "revoked")) as (process, said):
        async with asyncio.timeout(20):
            assert await process.wait() == 3
        await until(lambda: b"copy a fresh command" in said)


async def test_given_keys_stand_in_for_registration(tmp_path: Path, server: FakeServer) -> None:
    server.keys["ak"] = "sk"
    given = {"CATTLE_URL": f"http://localhost:{server.port}/v1", "CATTLE_ACCESS_KEY": "ak", "CATTLE_SECRET_KEY": "sk"}
    async with program("--state", str(tmp_path), **given):
        await until(lambda: server.connected, 20)
        assert not server.registrations


async def test_a_second_agent_with_the_same_state_refuses_to_run(tmp_path: Path, server: FakeServer) -> None:
    async with program("--state", str(tmp_path), server.url):
        await until(lambda: server.connected, 20)
        async with program("--state", str(tmp_path), server.url) as (second, said):
            async with asyncio.timeout(20):
                assert await second.wait() == 1
            await until(lambda: b"Another agent already runs" in said)
