"""Passes questions on to the resolvers of the host, or to those that a container was given.

A question goes out under a random number from a socket, and so a port, of its own; an answer is believed only if it comes from
the one who was asked, with that number and that question. Whoever does not answer within a second is overtaken, not given up:
the next one is asked too, and the first good answer counts. The same question from many clients is asked once, and there are
never more than :data:`MOST` under way: a flood is answered "not now" instead of eating the host.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import struct
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from remuda.agent.network.dns import packets
from remuda.agent.network.dns.packets import Query

OVERTAKE_SECONDS, TRY_SECONDS, WHOLE_SECONDS, AVOID_SECONDS = 1.0, 3.0, 5.0, 10.0
ROUNDS, MOST, MOST_SERVERS = 2, 512, 3
RESOLV = Path("/etc/resolv.conf")
_BAD = frozenset({packets.FORMERR, packets.SERVFAIL, packets.NOTIMP, packets.REFUSED})


class Unanswered(Exception):  # noqa: N818 - a state
    """Nobody answered in time, or nobody is there to be asked."""


class Upstream:
    """``own`` are addresses that must not be asked: they are ours. ``servers`` instead of those in ``resolv``."""

    def __init__(self, own: Sequence[str], servers: Sequence[str] = (), resolv: Path = RESOLV, port: int = 53) -> None:
        self._own, self._given, self._resolv, self._port = frozenset(own), tuple(servers), resolv, port
        self._seen: tuple[tuple[int, int], tuple[str, ...]] = ((0, 0), ())
        self._avoid: dict[str, float] = {}
        self._asked: dict[Hashable, asyncio.Task[bytes]] = {}

    @property
    def full(self) -> bool:
        """Are as many questions under way as may be?"""
        return len(self._asked) >= MOST

    def servers(self) -> tuple[str, ...]:
        """Whom to ask: those given, else those of the host, read again when they change."""
        if self._given:
            return self._given
        try:
            found = self._resolv.stat()
            stamp = (found.st_ino, found.st_mtime_ns)
            if stamp != self._seen[0]:
                self._seen = (stamp, tuple(_nameservers(self._resolv.read_text(errors="replace"), self._own)))
        except OSError:
            return ()
        return self._seen[1]

    async def ask(self, query: Query, *, stream: bool = False, servers: Sequence[str] = ()) -> bytes:
        """The answer to a client's question, with the client's number. ``servers``: those of the client, if it has its own.

        ``stream``: the client takes an answer of any length. Raises :class:`Unanswered`.
        """
        # a loopback address that a container was given is that container's own
        usable = [s for s in servers if s not in self._own and not s.startswith("127.") and s != "::1"]
        wanted = tuple(usable[:MOST_SERVERS]) or self.servers()
        if not wanted:
            raise Unanswered("no resolver is known")
        key = (query.question, query.flags & packets.CD, query.edns, query.wants_signatures, wanted)
        task = self._asked.get(key)
        if task is None:
            if self.full:
                raise Unanswered("too many questions are under way")
            task = self._asked[key] = asyncio.create_task(self._ask(query, wanted))
            task.add_done_callback(lambda _: self._asked.pop(key, None))
        reply = packets.number(query) + (await asyncio.shield(task))[2:]
        return reply if stream or len(reply) <= query.room else packets.truncated(query, packets.code_of(reply))

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- several ----------------------------------------------------------------------------------------------------------

    async def _ask(self, query: Query, servers: Sequence[str]) -> bytes:
        """The first good answer; if there is none, the last bad one. Raises :class:`Unanswered`."""
        now = asyncio.get_running_loop().time()
        order = sorted(servers, key=lambda server: self._avoid.get(server, 0.0) > now)
        waiting: set[asyncio.Task[bytes]] = set()
        bad = b""
        try:
            async with asyncio.timeout(WHOLE_SECONDS):
                for server in order * ROUNDS:
                    latest = asyncio.create_task(self._exchange(server, query))
                    waiting.add(latest)
                    good, bad = await self._first(waiting, OVERTAKE_SECONDS, bad)
                    if good:
                        return good
                    if latest in waiting:
                        self._slow(server)
                while waiting:
                    good, bad = await self._first(waiting, WHOLE_SECONDS, bad)
                    if good:
                        return good
        except TimeoutError:
            pass
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        if bad:
            return bad
        raise Unanswered("no resolver answered")

    def _slow(self, server: str) -> None:
        """Ask this one last for a while."""
        if len(self._avoid) > MOST:
            self._avoid.clear()
        self._avoid[server] = asyncio.get_running_loop().time() + AVOID_SECONDS

    @staticmethod
    async def _first(waiting: set[asyncio.Task[bytes]], seconds: float, bad: bytes) -> tuple[bytes, bytes]:
        """(a good answer, the last bad one) of those that are waited for; returns early when nobody is left."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while waiting and loop.time() < end:
            done, _ = await asyncio.wait(waiting, timeout=end - loop.time(), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                waiting.discard(task)
                reply = task.result() if task.exception() is None else b""
                if reply and packets.code_of(reply) not in _BAD:
                    return reply, bad
                bad = reply or bad
        return b"", bad

    # ---- one --------------------------------------------------------------------------------------------------------------

    async def _exchange(self, server: str, query: Query) -> bytes:
        """What one resolver says. Raises OSError or TimeoutError when it says nothing."""
        try:
            async with asyncio.timeout(TRY_SECONDS):
                reply = await self._datagram(server, query, edns=query.edns)
                if query.edns and packets.code_of(reply) in (packets.FORMERR, packets.NOTIMP):
                    reply = await self._datagram(server, query, edns=False)
                if packets.is_truncated(reply):
                    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                        reply = await self._stream(server, query)
        except (OSError, TimeoutError):
            self._slow(server)
            raise
        self._avoid.pop(server, None)
        return reply

    async def _datagram(self, server: str, query: Query, *, edns: bool) -> bytes:
        loop = asyncio.get_running_loop()
        family, address = self._address(server)
        ours = secrets.token_bytes(2)
        with socket.socket(family, socket.SOCK_DGRAM) as own:
            own.setblocking(False)
            own.connect(address)
            own.send(packets.request(query, ours, edns=edns))
            while True:
                reply = await loop.sock_recv(own, 65535)
                if packets.answers_to(reply, query, ours):
                    return reply

    async def _stream(self, server: str, query: Query) -> bytes:
        family, address = self._address(server)
        ours = secrets.token_bytes(2)
        message = packets.request(query, ours, edns=query.edns)
        reader, writer = await asyncio.open_connection(*address[:2], family=family)
        try:
            writer.write(struct.pack("!H", len(message)) + message)
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            reply = await reader.readexactly(length)
        finally:
            writer.close()
        if not packets.answers_to(reply, query, ours):
            raise OSError("the answer is to another question")
        return reply

    def _address(self, server: str) -> tuple[int, Any]:
        found = socket.getaddrinfo(server, self._port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
        return found[0][0], found[0][4]


def _nameservers(text: str, own: frozenset[str]) -> list[str]:
    words = [line.split() for line in text.splitlines()]
    found = [w[1] for w in words if len(w) > 1 and w[0] == "nameserver" and w[1] not in own]
    return found[:MOST_SERVERS]
