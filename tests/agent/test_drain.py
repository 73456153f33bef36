"""A target of load balancers is stopped when it has answered, not before, and not too late."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from remuda.agent.balancer.drain import LEAST_SECONDS, drain, served


async def connected() -> tuple[socket.socket, socket.socket, socket.socket]:
    """A server's socket, its end of a connection, the client's end."""
    door = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(door.getsockname())
    return door, door.accept()[0], client


async def test_only_connections_that_were_accepted_count() -> None:
    before = served(os.getpid())
    door, ours, client = await connected()
    try:
        assert served(os.getpid()) >= before + 1
    finally:
        for one in (door, ours, client):
            one.close()


@pytest.mark.looptime
async def test_it_is_waited_for_the_last_answer(tmp_path: Path) -> None:
    table(tmp_path, established=1)
    loop = asyncio.get_running_loop()
    began = loop.time()
    loop.call_later(3, table, tmp_path, 0)
    await drain(7, 60_000, tmp_path)
    assert loop.time() - began == pytest.approx(3, abs=0.2)


@pytest.mark.looptime
@pytest.mark.parametrize(("timeout_ms", "seconds"), [(None, 5), (2_500, 2.5), (0, LEAST_SECONDS)])
async def test_a_connection_that_never_ends_is_given_its_time(
    tmp_path: Path, timeout_ms: int | None, seconds: float
) -> None:
    table(tmp_path, established=1)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await drain(7, timeout_ms, tmp_path)
    assert loop.time() - began == pytest.approx(seconds, abs=0.2)


@pytest.mark.looptime
async def test_one_without_connections_goes_as_soon_as_balancers_know(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await drain(7, 60_000, tmp_path)
    assert loop.time() - began == pytest.approx(LEAST_SECONDS, abs=0.2)


def table(folder: Path, established: int) -> None:
    """The kernel's list: a listening port 80, accepted connections to it, and one that was made to somebody else's port 80."""
    rows = ["  0: 00000000:0050 00000000:0000 0A", "  1: 0B002A0A:9C40 0C002A0A:0050 01"]
    rows += ["  2: 0B002A0A:0050 0C002A0A:8235 01"] * established
    place = folder / "7" / "net"
    place.mkdir(parents=True, exist_ok=True)
    (place / "tcp").write_text("\n".join(["  sl  local_address rem_address   st", *rows]) + "\n")
