"""The runtime on an engine in memory: what it does on its own, without any session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest_asyncio
from tests.support.fakeengine import FakeEngine
from tests.support.fakeserver import until

from remuda.agent.book import Book
from remuda.agent.runtime import Runtime
from remuda.core.spec import LaunchConfig
from remuda.core.wire import Assign, Assignment, ContainerReport

SPEC = LaunchConfig(image_uuid="docker:busybox")


class Rig:
    """A runtime, its engine, and how often each container was to be reported."""

    def __init__(self, folder: Path | None = None) -> None:
        self.engine = FakeEngine()
        self.told: list[str] = []
        self.runtime = Runtime(self.engine, Book(folder), agent="a1", on_report=self._report)
        self.task = asyncio.create_task(self.runtime.run())

    def _report(self, keys: Iterable[str]) -> None:
        self.told += keys

    def assign(self, *wishes: Assignment, complete: bool = False) -> None:
        self.runtime.assign(
            Assign(items=list(wishes), complete=complete, through=max((w.seq for w in wishes), default=0))
        )

    def report(self, uuid: str = "u1") -> ContainerReport:
        return self.runtime.reports([uuid])[0]


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    running = Rig()
    await until(lambda: running.runtime.ready)
    yield running
    running.task.cancel()
    await asyncio.gather(running.task, return_exceptions=True)


def wish(
    uuid: str = "u1", seq: int = 1, desired: str = "running", spec: LaunchConfig = SPEC, **rest: object
) -> Assignment:
    return Assignment(uuid=uuid, seq=seq, desired=desired, name=uuid, spec=spec, **rest)  # type: ignore[arg-type]


async def test_one_inspect_per_started_container(rig: Rig) -> None:
    rig.assign(*(wish(f"u{number}", number) for number in range(1, 31)), complete=True)
    await until(lambda: rig.runtime.book.applied_seq == 30)
    assert rig.engine.calls["create"] == rig.engine.calls["start"] == 30
    assert rig.engine.calls["inspect"] == 30
    assert rig.engine.calls["has_image"] == 0


async def test_a_crashed_container_waits_longer_each_time(rig: Rig) -> None:
    rig.assign(wish())
    await until(lambda: rig.engine.running("u1"))
    container = rig.engine.of("u1")[0]["Id"]
    loop = asyncio.get_running_loop()
    pauses = []
    for _ in range(2):
        rig.engine.end(container, 9)
        ended = loop.time()
        await until(lambda: "starts again after a pause" in rig.report().message)
        assert rig.report().message.startswith("Exited with code 9")
        await until(lambda: rig.engine.running("u1"))
        pauses.append(loop.time() - ended)
    assert pauses[0] >= 0.9
    assert pauses[1] >= 1.9
    await until(lambda: rig.report().restarts == 2)


async def test_a_container_that_ends_at_once_loops_slowly(rig: Rig) -> None:
    rig.engine.ends_at_once.add("busybox")
    rig.assign(wish())
    await until(lambda: rig.engine.calls["start"] == 2)
    assert rig.engine.calls["create"] == 1
    assert rig.report().observed == "exited"


async def test_a_pull_is_shared_and_told(rig: Rig) -> None:
    rig.engine.registry.add("app")
    rig.engine.pulls_end.clear()
    spec = LaunchConfig(image_uuid="docker:app")
    rig.assign(wish("u1", 1, spec=spec), wish("u2", 2, spec=spec))
    await until(lambda: rig.report("u1").progress == 50)
    assert rig.report("u1").observed == "pulling"
    assert "1 of 2 layers" in rig.report("u1").message
    rig.engine.pulls_end.set()
    await until(lambda: rig.engine.running("u1") and rig.engine.running("u2"))
    assert rig.engine.calls["pull"] == 1
    await until(lambda: rig.report("u1").progress is None)


async def test_a_pull_that_nobody_waits_for_is_given_up(rig: Rig) -> None:
    rig.engine.registry.add("app")
    rig.engine.pulls_end.clear()
    rig.assign(wish(spec=LaunchConfig(image_uuid="docker:app")))
    await until(lambda: rig.report().observed == "pulling")
    rig.assign(wish(seq=2, desired="removed"))
    await until(lambda: rig.runtime.book.applied_seq == 2)
    assert rig.report().observed == "absent"
    assert "app" not in rig.engine.images


async def test_a_refused_start_is_an_error_until_it_works(rig: Rig) -> None:
    rig.engine.refuse_start["busybox"] = "port is already allocated"
    rig.assign(wish())
    await until(lambda: rig.report().observed == "error")
    assert rig.report().message == "port is already allocated"
    assert rig.runtime.book.applied_seq == 0
    rig.engine.refuse_start.clear()
    await until(lambda: rig.engine.running("u1"))
    assert rig.engine.calls["create"] == 1
    await until(lambda: rig.report().observed == "running" and not rig.report().message)


async def test_a_newer_assignment_does_not_wait_for_a_backoff(rig: Rig) -> None:
    rig.assign(wish(spec=LaunchConfig(image_uuid="docker:nosuch")))
    await until(lambda: rig.engine.calls["pull"] >= 2)
    rig.assign(wish(seq=2, spec=SPEC))
    await until(lambda: rig.engine.running("u1"), seconds=1.5)


async def test_an_untranslatable_wish_says_what_is_wrong(rig: Rig) -> None:
    rig.assign(wish(spec=LaunchConfig(image_uuid="docker:busybox", ports=["1-9:1-9"])))
    await until(lambda: rig.report().observed == "error")
    assert "is a range" in rig.report().message
    assert rig.engine.calls["create"] == 0


async def test_a_sidekick_shares_the_network_of_its_primary(rig: Rig) -> None:
    follower = LaunchConfig(image_uuid="docker:busybox", network_mode="container:u1")
    rig.engine.refuse_start["busybox"] = "not yet"
    rig.assign(wish("u2", 1, spec=follower), wish("u1", 2))
    await until(lambda: "Waits until u1 runs" in rig.report("u2").message)
    rig.engine.refuse_start.clear()
    await until(lambda: rig.engine.running("u2"))
    owner, guest = rig.engine.of("u1")[0]["Id"], rig.engine.of("u2")[0]
    assert guest["HostConfig"]["NetworkMode"] == f"container:{owner}"


async def test_what_another_agent_made_is_none_of_ours(rig: Rig) -> None:
    rig.assign(wish(), complete=True)
    await until(lambda: rig.engine.running("u1"))
    rig.engine.of("u1")[0]["Config"]["Labels"]["io.remuda.agent.uuid"] = "a2"
    container = rig.engine.of("u1")[0]["Id"]
    other = Runtime(rig.engine, Book(None), agent="a1")
    task = asyncio.create_task(other.run())
    await until(lambda: other.ready)
    other.assign(Assign(complete=True, through=9))
    await until(lambda: any(report.uuid == f"docker:{container}" for report in other.reports()))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert rig.engine.calls["remove"] == 0


async def test_a_lost_answer_to_create_makes_no_twin(rig: Rig) -> None:
    create = rig.engine.create

    async def answer_lost(name: str, config: dict[str, object]) -> str:
        await create(name, config)
        rig.engine.create = create  # type: ignore[method-assign]
        raise_it = rig.engine.down
        rig.engine.down = "timeout"
        try:
            await rig.engine.ping()
        finally:
            rig.engine.down = raise_it
        return ""

    rig.engine.create = answer_lost  # type: ignore[method-assign]
    rig.assign(wish())
    await until(lambda: rig.engine.running("u1"))
    assert len(rig.engine.of("u1")) == 1


async def test_the_book_survives_damage(tmp_path: Path) -> None:
    (tmp_path / "assignments.json").write_bytes(b"{half")
    book = Book(tmp_path)
    assert "cannot be read" in book.trouble
    assert book.applied_seq == 0


async def test_a_restored_server_with_lower_numbers_is_believed() -> None:
    book = Book(None)
    book.take(Assign(items=[wish(seq=500)], complete=True, through=500))
    book.carried_out("u1", 500, 0)
    book.take(Assign(items=[wish(seq=7, desired="stopped")], complete=True, through=7))
    assert book.assignments["u1"].desired == "stopped"
    assert book.applied_seq == 7


async def test_another_servers_assignments_are_forgotten() -> None:
    book = Book(None)
    book.belongs_to("one")
    book.take(Assign(items=[wish(seq=5)], complete=True, through=5))
    book.belongs_to("one")
    assert book.assignments
    book.belongs_to("two")
    assert not book.assignments
    assert book.applied_seq == 0
