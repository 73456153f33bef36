"""The status page answers when nothing else does, and says one sentence for everything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from remuda.ha.state import STAGES, NodeState
from remuda.ha.status import StatusPage, as_html


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def state(clock: Seconds) -> NodeState:
    return NodeState(clock, lambda: 1_000_000.0 + clock.now)


@pytest.fixture
async def port(state: NodeState) -> AsyncIterator[int]:
    page = StatusPage(state, 0, "127.0.0.1")
    yield await page.open()
    await page.close()


async def ask(port: int, request: str) -> tuple[str, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    raw = (await asyncio.wait_for(reader.read(), 10)).decode()
    writer.close()
    head, _, body = raw.partition("\r\n\r\n")
    return head, body


async def get(port: int, path: str) -> str:
    return (await ask(port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))[1]


async def test_it_answers_before_anything_is_known(port: int) -> None:
    assert await get(port, "/ping") == "pong"
    assert (await get(port, "/status.txt")).splitlines()[0] == "starting"
    assert "Remuda management node" in await get(port, "/")
    assert json.loads(await get(port, "/status.json"))["parts"] == {}


async def test_it_is_read_only_and_small(port: int) -> None:
    assert "405" in (await ask(port, "POST / HTTP/1.1\r\n\r\n"))[0]
    assert "404" in (await ask(port, "GET /etc/passwd HTTP/1.1\r\n\r\n"))[0]
    head, body = await ask(port, "HEAD /ping HTTP/1.1\r\n\r\n")
    assert "200" in head
    assert body == ""
    await ask(port, "rubbish\r\n\r\n")
    assert await get(port, "/ping") == "pong"


def all_done(state: NodeState) -> None:
    for key in STAGES:
        state.stage(key, True, "fine")


def test_the_first_stage_that_is_not_done_gives_the_reason(state: NodeState) -> None:
    state.stage("configuration", True, "")
    state.stage("engine", True, "")
    state.stage("database", False, "connection refused by 10.0.0.5:3306")
    assert state.overall == ("starting", "Reach the database: connection refused by 10.0.0.5:3306")
    all_done(state)
    assert state.overall[0] == "up"


def test_waiting_for_others_is_told_from_starting(state: NodeState) -> None:
    for key in ("configuration", "engine", "database", "place"):
        state.stage(key, True, "")
    state.stage("peers", False, "waiting for 2 more nodes of 3")
    assert state.overall[0] == "waiting"
    all_done(state)
    state.part("zookeeper", "waiting", "waits for a majority")
    assert state.overall == ("starting", "Start ZooKeeper and agree with the others: waits for a majority")


def test_stages_know_how_long_they_took(state: NodeState, clock: Seconds) -> None:
    state.stage("database", False, "connecting")
    clock.now += 7
    state.stage("database", True, "connected")
    clock.now += 100
    stage = next(s for s in state.document()["stages"] if s["id"] == "database")
    assert stage["seconds"] == 7.0


def test_a_part_is_reported_with_the_time_of_its_last_change(state: NodeState, clock: Seconds) -> None:
    assert state.part("redis", "up", "answers")
    clock.now += 50
    assert not state.part("redis", "up", "answers")
    assert state.reported()["redis"]["since"] == 1_000_100_000
    assert state.document()["parts"]["redis"]["seconds"] == 50.0


def test_nothing_from_outside_becomes_markup(state: NodeState) -> None:
    state.facts["address"] = "<script>alert(1)</script>"
    state.peers = [{"uuid": "x", "hostname": "<b>", "address": "&", "slot": 1, "alive": False, "silent": 3.0}]
    state.notice("x", "<i>")
    page = as_html(state.document())
    assert "<script>" not in page
    assert "<b>" not in page
    assert "<i>" not in page
