"""A TCP proxy that breaks things: cuts, freezes (half-open), delays, or strikes at a chosen piece of data.

``strike`` is asked about every piece that a client sends, and answers with a :class:`Blow`, or None to let it pass.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable


class Blow(enum.Enum):
    """What happens to the connection that sent the piece."""

    LOSE = "the piece never arrives, both sides are closed"
    ANSWER_LOST = "the piece arrives, the client is closed before the answer"
    LATE = "the client is closed at once, the piece arrives one second later"
    STUCK = "the client is closed at once, the server's side stays open and silent"


Strike = Callable[[bytes], Blow | None]


class FaultProxy:
    """Listens on ``port`` and forwards to the target. Use as an async context manager."""

    def __init__(self, target_port: int, target_host: str = "127.0.0.1") -> None:
        self.port = 0
        self.strike: Strike | None = None
        self.delay = 0.0
        self.connections = 0
        self._target = (target_host, target_port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False

    async def __aenter__(self) -> FaultProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Close every connection and refuse new ones."""
        self._refusing = True
        for writer in list(self._writers):
            writer.transport.abort()

    def freeze(self) -> None:
        """Half-open: everything stays connected, nothing gets through, new connections get no answer."""
        self._flowing.clear()

    def heal(self) -> None:
        """Undo :meth:`cut` and :meth:`freeze`."""
        self._refusing = False
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._refusing:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            there_reader, there = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            self._tasks.discard(task)
            return
        self._writers |= {writer, there}
        try:
            back = asyncio.create_task(self._pump(there_reader, writer))
            await self._forward(reader, there, writer, back)
            back.cancel()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._writers -= {writer, there}
            writer.transport.abort()
            there.transport.abort()
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        there: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        back: asyncio.Task[None],
    ) -> None:
        while data := await reader.read(65536):
            await self._flowing.wait()
            if self.delay:
                await asyncio.sleep(self.delay)
            blow = self.strike(data) if self.strike else None
            if blow is None:
                there.write(data)
                await there.drain()
                continue
            if blow is not Blow.LOSE:
                back.cancel()
                await asyncio.gather(back, return_exceptions=True)
            if blow is Blow.ANSWER_LOST:
                there.write(data)
                await there.drain()
                await asyncio.sleep(0.3)  # let the server act before it sees the end of the connection
            elif blow is Blow.LATE:
                client.transport.abort()
                await asyncio.sleep(1)
                there.write(data)
                await there.drain()
                await asyncio.sleep(0.3)
            elif blow is Blow.STUCK:
                client.transport.abort()
                await asyncio.sleep(30)
            return


class Once:
    """Strikes at the first piece that contains ``text``, and never again."""

    def __init__(self, text: bytes, blow: Blow) -> None:
        self.struck = 0
        self._text = text
        self._blow = blow

    def __call__(self, data: bytes) -> Blow | None:
        if self.struck or self._text not in data:
            return None
        self.struck += 1
        return self._blow
