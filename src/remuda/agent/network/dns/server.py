"""The sockets of the name server: UDP and TCP on one address.

A question that was asked before, by anybody who is told the same, is answered from prepared bytes: two look-ups, one copy, one
send. All prepared answers are dropped when the names change.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import struct
from collections import Counter
from collections.abc import Hashable, Iterator

from remuda.agent.network.dns import answers, packets
from remuda.agent.network.dns.answers import Follow, Turning
from remuda.agent.network.dns.packets import Malformed, Query
from remuda.agent.network.dns.upstream import Unanswered, Upstream
from remuda.core.network.names import Names
from remuda.core.network.scene import SceneContainer

log = logging.getLogger("remuda.network.names")

BATCH, ROOM = 64, 4096
MOST_PREPARED, MOST_BYTES, MOST_VIEWS = 20_000, 4 << 20, 20_000
IDLE_SECONDS, MOST_STREAMS, MOST_EACH = 10.0, 128, 64
"""``MOST_EACH``: questions for others, and streams, of one client at once; nobody takes it all."""
BUFFER_BYTES = 1 << 20

View = dict[bytes, bytes | Turning]


class Server:
    """Serves the names until closed."""

    def __init__(self, names: Names, upstream: Upstream) -> None:
        self._names, self._upstream = names, upstream
        self._views: dict[str, View] = {}
        self._shared: dict[Hashable, View] = {}
        self._prepared = self._bytes = 0
        self._socket: socket.socket | None = None
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._passed: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        chance = random.Random()  # noqa: S311 - spreads load, guards nothing
        self._shuffle, self._chance = chance.shuffle, chance.random

    def use(self, names: Names) -> None:
        """Answer from these names from now on."""
        self._names = names
        self._forget()

    def _forget(self) -> None:
        self._views.clear()
        self._shared.clear()
        self._prepared = self._bytes = 0

    async def open(self, address: str, port: int) -> int:
        """Bind; returns the port (0 = any). Raises OSError."""
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            datagrams.setblocking(False)
            datagrams.bind((address, port))
            bound = int(datagrams.getsockname()[1])
            self._listener = await asyncio.start_server(self._stream, address, bound, reuse_address=True)
        except BaseException:
            datagrams.close()
            raise
        self._socket = datagrams
        asyncio.get_running_loop().add_reader(datagrams, self._readable)
        return bound

    async def close(self) -> None:
        """Let go of the sockets."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._upstream.close()

    # ---- UDP ------------------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        """The hot path: at most a batch, so that everything else gets its turn."""
        datagrams = self._socket
        if datagrams is None:
            return
        views, chance, turned = self._views, self._chance, answers.turned
        receive, send = datagrams.recvfrom, datagrams.sendto
        for _ in range(BATCH):
            try:
                data, peer = receive(ROOM)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                log.debug("a datagram could not be received: %s", error)
                return
            view = views.get(peer[0])
            ready = view.get(data[2:]) if view is not None else None
            if ready is None:
                reply = self._first(data, peer)
            elif isinstance(ready, bytes):
                reply = data[:2] + ready
            else:
                reply = data[:2] + turned(ready, chance())
            if reply:
                with contextlib.suppress(OSError):  # a full buffer, a peer that is gone: the client asks again
                    send(reply, peer)

    def _first(self, data: bytes, peer: tuple[str, int]) -> bytes:
        """Answer a question that is not prepared; empty when the answer comes later, or never."""
        try:
            return self._unprepared(data, peer)
        except Malformed as error:
            return packets.refusal(data, error.code)
        except Exception:
            log.exception("a question could not be answered")
            return packets.refusal(data, packets.SERVFAIL)

    def _unprepared(self, data: bytes, peer: tuple[str, int]) -> bytes:
        if len(data) < packets.HEADER or data[2] & 0x80:
            return b""  # noise, or an answer: answering that could go on for ever
        query = packets.read_query(data)
        client = self._names.client(peer[0])
        said = answers.answer(self._names, client, query)
        if said is None or isinstance(said, Follow):
            if self._upstream.full or self._passed[peer[0]] >= MOST_EACH:
                return packets.response(query, packets.SERVFAIL)
            task = asyncio.create_task(self._later(query, said, client, peer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return b""
        ready = answers.prepared(query, said, self._shuffle)
        self._keep(self._view(peer[0], client), data[2:], ready)
        return data[:2] + (ready if isinstance(ready, bytes) else answers.turned(ready, self._chance()))

    def _view(self, address: str, client: SceneContainer | None) -> View:
        if len(self._views) >= MOST_VIEWS:
            self._forget()
        view = self._shared.setdefault(self._names.viewpoint(client), {})
        return self._views.setdefault(address, view)

    def _keep(self, view: View, key: bytes, ready: bytes | Turning) -> None:
        self._prepared += 1
        self._bytes += len(key) + (len(ready) if isinstance(ready, bytes) else sum(map(len, ready.orders)))
        if self._prepared > MOST_PREPARED or self._bytes > MOST_BYTES:
            self._forget()  # somebody asks for everything there is, or plays; what matters is soon prepared again
        else:
            view[key] = ready

    async def _later(
        self, query: Query, said: Follow | None, client: SceneContainer | None, peer: tuple[str, int]
    ) -> None:
        with self._counted(self._passed, peer[0]):
            reply = answers.fit(query, await self._elsewhere(query, said, client, stream=False))
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(reply, peer)

    @staticmethod
    @contextlib.contextmanager
    def _counted(counter: Counter[str], address: str) -> Iterator[None]:
        counter[address] += 1
        try:
            yield
        finally:
            counter[address] -= 1
            if not counter[address]:
                del counter[address]

    # ---- elsewhere ------------------------------------------------------------------------------------------------------

    async def _elsewhere(
        self, query: Query, said: Follow | None, client: SceneContainer | None, *, stream: bool
    ) -> bytes:
        """The answer of others, with ours before it when a name of ours stands for one of theirs."""
        servers = client.dns if client is not None else ()
        try:
            if said is None:
                return await self._upstream.ask(query, stream=stream, servers=servers)
            kind = struct.pack("!HH", query.kind, packets.INTERNET)
            question = query._replace(name=said.target, question=packets.write_name(said.target) + kind)
            found = await self._upstream.ask(question, stream=True, servers=servers)
            return answers.followed(query, said.chain, found)
        except (Unanswered, Malformed) as error:
            log.debug("%s could not be looked up: %s", query.name, error)
        except Exception:
            log.exception("a question could not be passed on")
        return packets.response(query, packets.SERVFAIL)

    # ---- TCP ------------------------------------------------------------------------------------------------------------

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = str(writer.get_extra_info("peername", ("",))[0])
        try:
            if self._streams.total() < MOST_STREAMS and self._streams[address] < MOST_EACH:
                with self._counted(self._streams, address):
                    await self._talk(reader, writer, address)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> None:
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                data = await reader.readexactly(length)
            reply = await self._over_stream(data, address)
            if not reply:
                return
            writer.write(struct.pack("!H", len(reply)) + reply)
            async with asyncio.timeout(IDLE_SECONDS):
                await writer.drain()

    async def _over_stream(self, data: bytes, address: str) -> bytes:
        if len(data) < packets.HEADER or data[2] & 0x80:
            return b""
        try:
            query = packets.read_query(data)
            client = self._names.client(address)
            said = answers.answer(self._names, client, query)
        except Malformed as error:
            return packets.refusal(data, error.code)
        if said is None or isinstance(said, Follow):
            return await self._elsewhere(query, said, client, stream=True)
        return answers.whole(query, said, self._shuffle)
