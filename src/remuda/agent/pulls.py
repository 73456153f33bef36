"""Images that a user wants on this host, without a container. They outlive the connection over which they were asked for.

What came of an order is remembered, so that one that is repeated after a break is answered at once; an agent that starts anew
pulls again, which is quick for what is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from remuda.agent.worker import Puller
from remuda.core.pulls import DONE, FAILED, PULLING, SKIPPED, Pull
from remuda.core.wire import PullOrder
from remuda.ports.engine import Engine, EngineError

log = logging.getLogger("remuda.agent.pulls")

REMEMBERED = 100


class Orders:
    """``on_news(task, pull)`` tells how far an order is."""

    def __init__(self, engine: Engine, puller: Puller) -> None:
        self._engine, self._puller = engine, puller
        self.on_news: Callable[[str, Pull], None] = lambda task, pull: None
        self._known: dict[str, Pull] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    def take(self, order: PullOrder) -> None:
        """Begin, or say again how far it is. One that failed is tried again."""
        known = self._known.get(order.task)
        if order.task in self._running or (known is not None and known.over and known.state != FAILED):
            self.on_news(order.task, known or Pull(state=PULLING))
            return
        self._running[order.task] = asyncio.create_task(self._carry_out(order))

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry_out(self, order: PullOrder) -> None:
        def told(percent: int, sentence: str) -> None:
            self._say(order.task, Pull(state=PULLING, percent=percent, message=sentence))

        try:
            if order.cached and not await self._engine.has_image(order.image):
                self._say(order.task, Pull(state=SKIPPED, percent=100))
                return
            await self._puller.pull(order.image, order.registry_auth, told)
            self._say(order.task, Pull(state=DONE, percent=100))
        except EngineError as error:
            self._say(order.task, Pull(state=FAILED, message=str(error)))
        except Exception as error:  # whoever asked must not wait for ever
            log.exception("Pulling %s failed", order.image)
            self._say(order.task, Pull(state=FAILED, message=f"The agent failed: {error!r}"))
        finally:
            self._running.pop(order.task, None)

    def _say(self, task: str, pull: Pull) -> None:
        self._known.pop(task, None)
        self._known[task] = pull
        for oldest in list(self._known)[:-REMEMBERED]:
            del self._known[oldest]
        self.on_news(task, pull)
