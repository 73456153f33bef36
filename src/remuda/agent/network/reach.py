"""Asks other hosts, over the managed network itself, whether they are there and whether packets of full size get through.

A small responder on the host's own address of that network, and a few questions a second. Answers go only to hosts of the
environment and are never larger than the question, so nobody can use them against a third.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from typing import Any

from remuda.agent.network.state import REACH_PORT, NetState
from remuda.core.network import reach
from remuda.core.network.mtu import container_mtu
from remuda.core.network.overlay import PLAIN
from remuda.core.network.reach import Finding, Turns
from remuda.core.network.scene import SceneHost

log = logging.getLogger("remuda.network.reach")

TICK_SECONDS, AT_A_TIME, ANSWER_SECONDS = 1.0, 4, 1.0
HEADERS = 28
"""IP and UDP."""
_QUESTION, _ANSWER = b"rmdq", b"rmda"
_PACKET = struct.Struct("!4s8s")
_IP_MTU_DISCOVER, _NEVER_CUT = 10, 3
"""IP_PMTUDISC_PROBE: never cut a packet in pieces, and never believe what was learned about the way before."""


class ReachPart:
    """``peers``: what is known of each other host, as fields of :class:`PeerStatus`."""

    name = "reach"

    def __init__(self) -> None:
        self.peers: dict[int, dict[str, Any]] = {}
        self._hosts: dict[int, SceneHost] = {}
        self._addresses: frozenset[str] = frozenset()
        self._findings: dict[int, Finding] = {}
        self._turns = Turns()
        self._own, self._mtu, self._encryption = "", 0, PLAIN
        self._transport: asyncio.DatagramTransport | None = None
        self._bound = ""
        self._waiting: dict[bytes, asyncio.Future[None]] = {}
        self._work: asyncio.Task[None] | None = None
        self._checks: set[asyncio.Task[None]] = set()

    async def apply(self, state: NetState) -> str:
        """Take in who is there; says which hosts cannot be reached although the server hears of them."""
        host, network = state.host, state.scene.network
        if host is None or not host.ip or network is None:
            return ""
        self._own, self._encryption = host.ip, network.encryption
        self._mtu = network.mtu or container_mtu(0, network.encryption)
        self._hosts = {peer.id: peer for peer in state.peers}
        self._addresses = frozenset(peer.ip for peer in self._hosts.values())
        self._turns.members(self._hosts, asyncio.get_running_loop().time())
        for gone in self._findings.keys() - self._hosts.keys():
            del self._findings[gone]
            self.peers.pop(gone, None)
        if self._work is None:
            self._work = asyncio.create_task(self._run())
        return reach.complaint(self._findings, self._hosts, self._mtu, self._encryption)

    async def close(self) -> None:
        """Stop asking and answering."""
        tasks = [*self._checks, *([self._work] if self._work else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._transport is not None:
            self._transport.abort()

    # ---- asking ------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            try:
                if await self._open():
                    now = asyncio.get_running_loop().time()
                    for number in self._turns.next(now, AT_A_TIME):
                        check = asyncio.create_task(self._check(number))
                        self._checks.add(check)
                        check.add_done_callback(self._checks.discard)
            except Exception:
                log.exception("Asking other hosts failed; trying again")
            await asyncio.sleep(TICK_SECONDS)

    async def _check(self, number: int) -> None:
        before = after = self._findings.get(number, Finding())
        try:
            host = self._hosts.get(number)
            if host is None:
                return
            small, full = await asyncio.gather(self._ask(host.ip, 0), self._ask(host.ip, self._mtu - HEADERS))
            after = reach.judge(before, small, full is not None)
            if number not in self._hosts:
                return
            self._findings[number] = after
            if after.state != before.state:
                log.info("%s is %s", host.name or host.hostname, after.state)
            self.peers[number] = {
                "state": after.state,
                "latency_ms": after.latency_ms,
                "message": reach.sentence(after, host, self._mtu, self._encryption),
            }
        finally:
            self._turns.again(number, after, asyncio.get_running_loop().time())

    async def _ask(self, address: str, size: int) -> float | None:
        """The round trip of a packet of this many bytes (small ones as small as possible); None when nothing came back."""
        if self._transport is None:
            return None
        loop = asyncio.get_running_loop()
        token, began = os.urandom(8), loop.time()
        answer = self._waiting[token] = loop.create_future()
        try:
            packet = _PACKET.pack(_QUESTION, token)
            self._transport.sendto(packet.ljust(size, b"\0"), (address, REACH_PORT))
            async with asyncio.timeout(ANSWER_SECONDS):
                await answer
            return loop.time() - began
        except (TimeoutError, OSError):
            return None
        finally:
            del self._waiting[token]

    # ---- answering ---------------------------------------------------------------------------------------------------

    async def _open(self) -> bool:
        """Listen on the host's own address; False while the bridge does not have it yet."""
        transport = self._transport
        if transport is not None and self._bound == self._own and not transport.is_closing():
            return True
        if transport is not None:
            transport.abort()
            self._transport = None
        bound = self._own
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            listener.setblocking(False)
            listener.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _NEVER_CUT)
            listener.bind((bound, REACH_PORT))
        except OSError:
            listener.close()
            return False
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: _Ear(self), sock=listener)
        self._bound = bound
        return True

    def heard(self, packet: bytes, sender: str, port: int) -> None:
        """A packet came."""
        if len(packet) < _PACKET.size or sender not in self._addresses or self._transport is None:
            return
        word, token = _PACKET.unpack_from(packet)
        if word == _QUESTION:
            self._transport.sendto(_PACKET.pack(_ANSWER, token), (sender, port))
        elif word == _ANSWER and (answer := self._waiting.get(token)) is not None and not answer.done():
            answer.set_result(None)


class _Ear(asyncio.DatagramProtocol):
    def __init__(self, part: ReachPart) -> None:
        self._part = part

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._part.heard(data, addr[0], addr[1])

    def error_received(self, exc: Exception) -> None:
        """A packet was too large for the bridge, or nobody listens there: the question counts as lost."""
