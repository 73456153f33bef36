"""A host in a process of its own: the real agent around an engine in memory. Logs are made up; exec runs on this machine.

``python -m tests.support.fakehost REGISTRATION_URL FOLDER NAME``. For tests of what talks through a server to a host.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import pty
import struct
import sys
import termios
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from tests.support.fakeengine import FakeEngine

from remuda.agent.book import Book
from remuda.agent.facts import Machine, agent_address
from remuda.agent.identity import IdentityFile
from remuda.agent.runtime import Runtime
from remuda.agent.session import Session
from remuda.core.wire import HostFacts
from remuda.ports.engine import ExecStream

START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


class Command:
    """A command on this machine, with pipes or with a terminal."""

    def __init__(self, process: asyncio.subprocess.Process, terminal: int | None) -> None:
        self.process, self.terminal = process, terminal
        self.queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.tasks: list[asyncio.Task[None]] = []
        if terminal is not None:
            asyncio.get_running_loop().add_reader(terminal, self._readable)
        else:
            self.tasks.append(asyncio.create_task(self._drain()))

    def _readable(self) -> None:
        try:
            data = os.read(self.terminal or 0, 4096)
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self.terminal or 0)
        self.queue.put_nowait(("out", data) if data else ("", b""))

    async def _drain(self) -> None:
        async def one(reader: asyncio.StreamReader | None, channel: str) -> None:
            while reader is not None and (data := await reader.read(4096)):
                self.queue.put_nowait((channel, data))

        await asyncio.gather(one(self.process.stdout, "out"), one(self.process.stderr, "err"))
        self.queue.put_nowait(("", b""))

    async def read(self) -> tuple[str, bytes]:
        return await self.queue.get()

    async def write(self, data: bytes) -> None:
        if self.terminal is not None:
            os.write(self.terminal, data)
        elif self.process.stdin is not None:
            if data:
                self.process.stdin.write(data)
            else:
                self.process.stdin.close()

    async def resize(self, width: int, height: int) -> None:
        if self.terminal is not None:
            fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    async def exit_code(self) -> int:
        return await self.process.wait()

    async def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        for task in self.tasks:
            task.cancel()


class Engine(FakeEngine):
    """Has every image, and logs that tell the container's name."""

    async def has_image(self, image: str) -> bool:
        return not image.startswith("missing")

    async def create(self, name: str, config: dict[str, object]) -> str:
        self.images.add(str(config["Image"]))
        return await super().create(name, config)

    async def info(self) -> dict[str, object]:
        return {**await super().info(), "Name": sys.argv[3]}

    async def logs(
        self, container: str, *, follow: bool, lines: int, timestamps: bool, since: int = 0
    ) -> AsyncIterator[tuple[str, bytes]]:
        name = self.find(container)["Name"].lstrip("/")
        told = [(START + timedelta(seconds=n), f"{name} line {n}") for n in range(1, 6)]
        told = [(when, text) for when, text in told if int(when.timestamp()) >= since]
        for when, text in told if lines < 0 else told[-lines:]:
            stamp = f"{when.strftime('%Y-%m-%dT%H:%M:%S')}.000000001Z " if timestamps else ""
            yield ("err" if text.endswith("3") else "out"), f"{stamp}{text}\n".encode()
        n = 100
        while follow:
            when = datetime.now(UTC)
            yield "out", f"{when.strftime('%Y-%m-%dT%H:%M:%S.%f')}000Z {name} live {n}\n".encode()
            n += 1
            await asyncio.sleep(0.1)

    async def exec(self, container: str, command: list[str], *, tty: bool, stdin: bool) -> ExecStream:
        self.find(container)
        if not tty:
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(
                *command, stdin=pipe if stdin else asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
            )
            return Command(process, None)
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        return Command(process, ours)


async def main(url: str, folder: Path, name: str) -> None:
    """Run until killed."""
    engine = Engine()
    keep = IdentityFile(folder / "agent")
    identity = keep.load()
    runtime = Runtime(engine, Book(folder / "agent"), agent=identity.uuid)
    source, watch = Machine({}, {}), runtime.watch

    def collect(address: str) -> HostFacts:
        facts = source.facts(address, watch.info, up=watch.up, message=watch.message)
        return msgspec.structs.replace(facts, hostname=name)

    session = Session(
        runtime,
        engine,
        keep,
        identity,
        machine=name,
        boot="b",
        collect=collect,
        address=lambda seen, detected: agent_address({}, seen, detected),
        registration_url=url,
        ca_fingerprint="",
    )
    await asyncio.gather(runtime.run(), session.run())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
