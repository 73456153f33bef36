"""Images that a user asked for: pulled once, told as far as they are, and told again to a server that did not hear it."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.fakeengine import FakeEngine
from tests.support.fakeserver import until

from remuda.agent.pulls import Orders
from remuda.agent.worker import Puller
from remuda.core.pulls import Pull
from remuda.core.wire import PullOrder


class Desk:
    """Orders on an engine in memory, and what they told."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.engine.registry.add("private/app")
        self.orders = Orders(self.engine, Puller(self.engine))
        self.told: list[Pull] = []
        self.orders.on_news = lambda task, pull: self.told.append(pull)

    @property
    def last(self) -> str:
        return self.told[-1].state if self.told else ""


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_an_image_is_pulled_and_its_progress_told(desk: Desk) -> None:
    desk.engine.pulls_end.clear()
    desk.orders.take(PullOrder(task="t", image="private/app"))
    await until(lambda: bool(desk.told) and desk.told[-1].percent == 50)
    assert "private/app" in desk.told[-1].message
    desk.orders.take(PullOrder(task="t", image="private/app"))  # a server asks again meanwhile
    desk.engine.pulls_end.set()
    await until(lambda: desk.last == "done")
    assert desk.engine.calls["pull"] == 1
    assert "private/app" in desk.engine.images


async def test_what_is_done_is_told_again_without_pulling_again(desk: Desk) -> None:
    desk.orders.take(PullOrder(task="t", image="private/app"))
    await until(lambda: desk.last == "done")
    desk.told.clear()
    desk.orders.take(PullOrder(task="t", image="private/app"))
    assert desk.last == "done"
    await asyncio.sleep(0)
    assert desk.engine.calls["pull"] == 1


async def test_only_what_is_cached_is_pulled_when_that_was_asked(desk: Desk) -> None:
    desk.orders.take(PullOrder(task="t", image="private/app", cached=True))
    await until(lambda: desk.last == "skipped")
    assert not desk.engine.calls["pull"]
    desk.engine.images.add("private/app")
    desk.orders.take(PullOrder(task="t2", image="private/app", cached=True))
    await until(lambda: desk.last == "done")
    assert desk.engine.calls["pull"] == 1


async def test_dockers_reason_is_told(desk: Desk) -> None:
    desk.orders.take(PullOrder(task="t", image="unknown/app"))
    await until(lambda: desk.last == "failed")
    assert "pull access denied" in desk.told[-1].message
