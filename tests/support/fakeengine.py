"""The engine in memory, made to count, to fail and to be slow, so that a test can say "nothing was touched"."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

from remuda.adapters.memory.engine import MemoryEngine
from remuda.ports.engine import Document, EngineDown, EngineError, ExecStream

_BOOT = datetime(2024, 5, 1, 12, 0, 0, tzinfo=UTC)


class FakeExec:
    """An echo: what is written comes out again; ends with code 7 when its input is closed."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.sizes: list[tuple[int, int]] = []
        self.closed = False

    async def read(self) -> tuple[str, bytes]:
        return await self._queue.get()

    async def write(self, data: bytes) -> None:
        self._queue.put_nowait(("out", data) if data else ("", b""))

    async def resize(self, width: int, height: int) -> None:
        self.sizes.append((width, height))

    async def exit_code(self) -> int:
        return 7

    async def close(self) -> None:
        self.closed = True


class FakeEngine(MemoryEngine):
    """``down`` set = nothing answers. ``images`` = what is here; ``registry`` = what can be pulled."""

    def __init__(self, images: set[str] | None = None) -> None:
        super().__init__("fake")
        self.images = set(images or {"busybox"})
        self.registry: set[str] = set()
        self.refuse_volume = ""
        self.calls: Counter[str] = Counter()
        self.refuse_start: dict[str, str] = {}
        self.ends_at_once: set[str] = set()
        self.down = ""
        self.execs: list[FakeExec] = []
        self.log_bytes = b"hello\n"
        self.pulls_end = asyncio.Event()
        self.pulls_end.set()
        self._numbers = itertools.count(1)
        self._ticks = itertools.count(1)

    # ---- what a test does to the engine ---------------------------------------------------------------------------------

    def stop_daemon(self, why: str = "connection refused") -> None:
        """The daemon dies: streams end, calls fail, containers stay as they are."""
        self.down = why
        self.hang_up()

    def start_daemon(self) -> None:
        """The daemon is back."""
        self.down = ""

    def of(self, uuid: str) -> list[Document]:
        """The containers made for an instance."""
        return [box for box in self.boxes.values() if box["Config"]["Labels"].get("io.rancher.container.uuid") == uuid]

    def running(self, uuid: str) -> bool:
        """Does the instance's container run?"""
        return any(box["State"]["Status"] == "running" for box in self.of(uuid))

    @property
    def changes(self) -> int:
        """How many calls changed something."""
        return sum(self.calls[name] for name in ("create", "start", "stop", "kill", "remove", "pull"))

    # ---- what differs from an engine that always works ------------------------------------------------------------------

    async def answer(self, call: str) -> None:
        self.calls[call] += 1
        await asyncio.sleep(0)
        if self.down:
            raise EngineDown(f"Docker cannot be reached ({self.down})")

    def has(self, image: str) -> bool:
        return image in self.images

    def new_id(self) -> str:
        return f"{next(self._numbers):064x}"

    def stamp(self) -> str:
        moment = _BOOT + timedelta(seconds=next(self._ticks))
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"

    async def start(self, container: str) -> None:
        image = self.find(container)["Config"]["Image"]
        if image in self.refuse_start:
            await self.answer("start")
            raise EngineError(500, self.refuse_start[image])
        await super().start(container)
        if image in self.ends_at_once:
            self.end(container, 0)

    async def pull(self, image: str, auth: str, progress: Callable[[int, str], None]) -> None:
        await self.answer("pull")
        if image not in self.registry:
            raise EngineError(404, f"pull access denied for {image}")
        progress(50, f"Pulling {image}: 1 of 2 layers")
        await self.pulls_end.wait()
        self.images.add(image)

    async def create_volume(self, name: str, driver: str, options: dict[str, str]) -> None:
        if self.refuse_volume:
            await self.answer("create_volume")
            raise EngineError(500, self.refuse_volume)
        await super().create_volume(name, driver, options)

    async def logs(
        self, container: str, *, follow: bool, lines: int, timestamps: bool, since: int = 0
    ) -> AsyncIterator[tuple[str, bytes]]:
        await self.answer("logs")
        self.find(container)
        yield "out", self.log_bytes
        if follow:
            await asyncio.Event().wait()

    async def exec(self, container: str, command: list[str], *, tty: bool, stdin: bool) -> ExecStream:
        await self.answer("exec")
        self.find(container)
        running = FakeExec()
        self.execs.append(running)
        return running

    async def attach(self, container: str) -> ExecStream:
        await self.answer("attach")
        self.find(container)
        running = FakeExec()
        self.execs.append(running)
        return running

    async def dial(self) -> ExecStream:
        await self.answer("dial")
        running = FakeExec()
        self.execs.append(running)
        return running

    async def stats(self, container: str) -> AsyncIterator[Document]:
        await self.answer("stats")
        self.find(container)
        for _ in range(3):
            yield {"read": self.stamp(), "cpu_stats": {"cpu_usage": {"total_usage": 5}}, "memory_stats": {"usage": 9}}
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        self.stop_daemon("closed")
