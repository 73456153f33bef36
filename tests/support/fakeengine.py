"""A Docker engine in memory: it keeps containers, refuses what Docker refuses, tells events, and can be made to fail.

It implements ``remuda.ports.engine.Engine`` and counts the calls, so that a test can say "nothing was touched".
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from remuda.ports.engine import Document, EngineDown, EngineError, ExecStream

_BOOT = datetime(2024, 5, 1, 12, 0, 0, tzinfo=UTC)
NEVER = "0001-01-01T00:00:00Z"


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


class FakeEngine:
    """``down`` set = nothing answers. ``images`` = what is here; ``registry`` = what can be pulled."""

    def __init__(self, images: set[str] | None = None) -> None:
        self.images = set(images or {"busybox"})
        self.registry: set[str] = set()
        self.boxes: dict[str, Document] = {}
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
        self._listeners: set[asyncio.Queue[Document | None]] = set()

    # ---- what a test does to the engine ---------------------------------------------------------------------------------

    def stop_daemon(self, why: str = "connection refused") -> None:
        """The daemon dies: streams end, calls fail, containers stay as they are."""
        self.down = why
        for listener in self._listeners:
            listener.put_nowait(None)

    def start_daemon(self) -> None:
        """The daemon is back."""
        self.down = ""

    def end(self, container: str, code: int = 1) -> None:
        """The container's process ends by itself."""
        state = self._find(container)["State"]
        state.update(Status="exited", Running=False, ExitCode=code, FinishedAt=self._stamp())
        self._tell("die", container)

    def by_hand(self, name: str, image: str = "busybox") -> str:
        """Somebody runs ``docker run`` on the host."""
        container = self._add(name, {"Image": image, "Labels": {}})
        self._run(container)
        return container

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

    # ---- Engine ----------------------------------------------------------------------------------------------------------

    async def ping(self) -> None:
        await self._answer("ping")

    async def info(self) -> Document:
        await self._answer("info")
        return {
            "ServerVersion": "20.10.24",
            "Name": "fake",
            "Driver": "overlay2",
            "OperatingSystem": "Fake",
            "_version": {},
        }

    async def containers(self) -> list[Document]:
        await self._answer("containers")
        return [{"Id": box["Id"], "State": box["State"]["Status"]} for box in self.boxes.values()]

    async def inspect(self, container: str) -> Document:
        await self._answer("inspect")
        box = self._find(container)
        return {**box, "State": dict(box["State"])}

    async def create(self, name: str, config: Document) -> str:
        await self._answer("create")
        if any(box["Name"] == f"/{name}" for box in self.boxes.values()):
            raise EngineError(409, f'Conflict. The container name "/{name}" is already in use')
        if config["Image"] not in self.images:
            raise EngineError(404, f"No such image: {config['Image']}")
        container = self._add(name, config)
        self._tell("create", container)
        return container

    async def start(self, container: str) -> None:
        await self._answer("start")
        box = self._find(container)
        image = box["Config"]["Image"]
        if image in self.refuse_start:
            raise EngineError(500, self.refuse_start[image])
        if box["State"]["Status"] != "running":
            self._run(container)
            if image in self.ends_at_once:
                self.end(container, 0)

    async def stop(self, container: str, timeout: int) -> None:
        await self._answer("stop")
        if self._find(container)["State"]["Status"] == "running":
            self.end(container, 143)

    async def kill(self, container: str, signal: str = "SIGKILL") -> None:
        await self._answer("kill")
        self.end(container, 137)

    async def remove(self, container: str, *, force: bool = False, volumes: bool = True) -> None:
        await self._answer("remove")
        box = self.boxes.get(container)
        if box is None:
            return
        if box["State"]["Status"] == "running" and not force:
            raise EngineError(409, "You cannot remove a running container")
        self._tell("destroy", container)
        del self.boxes[container]

    async def has_image(self, image: str) -> bool:
        await self._answer("has_image")
        return image in self.images

    async def pull(self, image: str, auth: str, progress: Callable[[int, str], None]) -> None:
        await self._answer("pull")
        if image not in self.registry:
            raise EngineError(404, f"pull access denied for {image}")
        progress(50, f"Pulling {image}: 1 of 2 layers")
        await self.pulls_end.wait()
        self.images.add(image)

    async def logs(
        self, container: str, *, follow: bool, lines: int, timestamps: bool, since: int = 0
    ) -> AsyncIterator[tuple[str, bytes]]:
        await self._answer("logs")
        self._find(container)
        yield "out", self.log_bytes
        if follow:
            await asyncio.Event().wait()

    async def exec(self, container: str, command: list[str], *, tty: bool, stdin: bool) -> ExecStream:
        await self._answer("exec")
        self._find(container)
        running = FakeExec()
        self.execs.append(running)
        return running

    async def stats(self, container: str) -> AsyncIterator[Document]:
        await self._answer("stats")
        self._find(container)
        for _ in range(3):
            yield {"read": self._stamp(), "cpu_stats": {"cpu_usage": {"total_usage": 5}}, "memory_stats": {"usage": 9}}
            await asyncio.sleep(0.01)

    async def events(self) -> AsyncIterator[Document]:
        await self._answer("events")
        queue: asyncio.Queue[Document | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield {}
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._listeners.discard(queue)

    async def close(self) -> None:
        self.stop_daemon("closed")

    # ---- inside ----------------------------------------------------------------------------------------------------------

    async def _answer(self, call: str) -> None:
        self.calls[call] += 1
        await asyncio.sleep(0)
        if self.down:
            raise EngineDown(f"Docker cannot be reached ({self.down})")

    def _find(self, container: str) -> Document:
        box = self.boxes.get(container)
        if box is None:
            raise EngineError(404, f"No such container: {container}")
        return box

    def _add(self, name: str, config: Document) -> str:
        container = f"{next(self._numbers):064x}"
        self.boxes[container] = {
            "Id": container,
            "Name": f"/{name}",
            "Created": self._stamp(),
            "Config": {"Labels": {}, **config},
            "HostConfig": config.get("HostConfig", {}),
            "NetworkSettings": {"IPAddress": "", "Ports": {}},
            "State": {"Status": "created", "Running": False, "ExitCode": 0, "StartedAt": NEVER, "FinishedAt": NEVER},
        }
        return container

    def _run(self, container: str) -> None:
        box = self._find(container)
        box["State"].update(Status="running", Running=True, StartedAt=self._stamp())
        box["NetworkSettings"]["IPAddress"] = "172.17.0.2"
        self._tell("start", container)

    def _tell(self, action: str, container: str) -> None:
        attributes: dict[str, Any] = dict(self._find(container)["Config"]["Labels"])
        event = {"Type": "container", "Action": action, "Actor": {"ID": container, "Attributes": attributes}}
        for listener in self._listeners:
            listener.put_nowait(event)

    def _stamp(self) -> str:
        moment = _BOOT + timedelta(seconds=next(self._ticks))
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
