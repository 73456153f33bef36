"""Open a stream on any host from any server.

If this server holds the host's session the frames go straight to it. Otherwise they travel over the bus to the server
that does, each server listening on one channel of its own; frames are numbered, and a gap (the bus may lose messages)
ends the stream with a reason instead of giving wrong bytes. Credits are end to end, so nobody in between buffers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from remuda.control.agents.hub import Hub
from remuda.control.streams.endpoint import Stream, StreamFailed
from remuda.core import wire
from remuda.core.model import Host
from remuda.core.wire import Message
from remuda.ports.bus import Bus
from remuda.ports.clock import Clock
from remuda.ports.leases import Leases
from remuda.ports.store import Store

log = logging.getLogger(__name__)

OPEN_SECONDS = 5.0
RETRY_SECONDS = 1.0
Frame = wire.StreamData | wire.StreamCredit | wire.StreamEnd | wire.StreamOpen


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message between servers. ``to_owner``: towards the server that holds the session; ``n`` counts from 0."""

    relay: str
    sender: str
    to_owner: bool
    n: int
    host_id: int = 0
    opened: bool = False
    frame: Frame | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Envelope).decode


def channel_of(server_id: str) -> str:
    """The channel on which a server hears what others want of it."""
    return f"streams/{server_id}"


class _Link:
    """One relayed stream, on either server: sends in order, notices gaps."""

    def __init__(
        self, relay: str, peer: str, to_owner: bool, post: Callable[[str, Envelope], None], sender: str
    ) -> None:
        self.relay, self.peer = relay, peer
        self.heard = 0
        self.receive: Callable[[Envelope], None] = lambda _: None
        self.broke: Callable[[str], None] = lambda _: None
        self._to_owner = to_owner
        self._post = post
        self._sender = sender
        self._sent = 0

    def send(self, frame: Message | None, *, host_id: int = 0, opened: bool = False) -> None:
        """Post the next frame."""
        envelope = Envelope(relay=self.relay, sender=self._sender, to_owner=self._to_owner, n=self._sent, host_id=host_id,
                            opened=opened, frame=frame)  # type: ignore[arg-type]  # fmt: skip
        self._sent += 1
        self._post(self.peer, envelope)


class Streams:
    """``open`` is all that the API needs."""

    def __init__(self, hub: Hub, store: Store, bus: Bus, leases: Leases, server_id: str, clock: Clock) -> None:
        self._hub = hub
        self._store = store
        self._bus = bus
        self._leases = leases
        self._server_id = server_id
        self._clock = clock
        self._links: dict[tuple[str, bool], _Link] = {}
        self._outbox: asyncio.Queue[tuple[str, Envelope]] = asyncio.Queue()
        leases.on_members(self._members_changed)

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen())
                group.create_task(self._publish())
        finally:
            for link in list(self._links.values()):
                link.broke("The server is stopping")

    async def open(self, kind: str, host_id: int, args: dict[str, Any]) -> Stream:
        """Open ``logs``, ``exec`` or ``stats`` on a host. Raises :class:`StreamFailed` with the reason."""
        session = self._hub.session(host_id)
        if session is not None:
            stream = Stream(0, session.send)
            number = session.open_stream(stream.deliver)
            stream.number = number
            stream._closed = lambda: _drop(session.streams, number)
            session.send(wire.StreamOpen(stream=number, kind=kind, args=args))
            return stream
        host = await self._store.read(lambda tx: tx.get(Host, host_id))
        if host is None or host.removed is not None:
            raise StreamFailed("The host does not exist any more")
        if not host.session_server or host.session_server not in self._leases.members():
            raise StreamFailed(f"Host {host.name} is not connected to any server; try again when it is")
        if host.session_server == self._server_id:
            raise StreamFailed(f"Host {host.name} is just reconnecting; try again")
        return await self._open_relayed(kind, host, args)

    async def _open_relayed(self, kind: str, host: Host, args: dict[str, Any]) -> Stream:
        relay = self._clock.token()
        link = self._link(relay, host.session_server, to_owner=True)
        stream = Stream(0, link.send, lambda: self._forget(relay, True))
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def receive(envelope: Envelope) -> None:
            if envelope.opened and not opened.done():
                opened.set_result(None)
            if envelope.frame is not None:
                stream.deliver(envelope.frame)
                if isinstance(envelope.frame, wire.StreamEnd):
                    self._forget(relay, True)
                    if not opened.done():
                        opened.set_exception(StreamFailed(envelope.frame.error or "The stream ended at once"))

        def broke(reason: str) -> None:
            self._forget(relay, True)
            stream.finish(reason)
            if not opened.done():
                opened.set_exception(StreamFailed(reason))

        link.receive, link.broke = receive, broke
        link.send(wire.StreamOpen(stream=0, kind=kind, args=args), host_id=host.id)
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await opened
        except TimeoutError:
            await stream.close()
            raise StreamFailed(
                f"The server that holds the connection to {host.name} did not answer within 5 seconds; try again"
            ) from None
        except asyncio.CancelledError:
            await stream.close()
            raise
        return stream

    # ---- between servers ----------------------------------------------------------------------------------------------------

    def _link(self, relay: str, peer: str, *, to_owner: bool) -> _Link:
        link = _Link(
            relay, peer, to_owner, lambda to, envelope: self._outbox.put_nowait((to, envelope)), self._server_id
        )
        # Keyed by the direction of what we send: both ends may be this very process in a test.
        self._links[relay, to_owner] = link
        return link

    def _forget(self, relay: str, to_owner: bool) -> None:
        self._links.pop((relay, to_owner), None)

    def _members_changed(self, members: dict[str, Any]) -> None:
        for link in list(self._links.values()):
            if link.peer not in members:
                link.broke("The server at the other end of this stream is gone; open it again")

    async def _publish(self) -> None:
        while True:
            peer, envelope = await self._outbox.get()
            try:
                await self._bus.publish(channel_of(peer), _encode(envelope))
            except Exception as error:
                log.warning("a stream's frame could not be sent: %s", error)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._bus.subscribe(channel_of(self._server_id)) as messages:
                    async for _, payload in messages:
                        try:
                            self._take(_decode(payload))
                        except Exception as error:
                            log.warning("a stream's frame could not be used: %s", error)
            except Exception:
                log.exception("listening for streams failed; it is tried again")
            await asyncio.sleep(RETRY_SECONDS)

    def _take(self, envelope: Envelope) -> None:
        if isinstance(envelope.frame, wire.StreamOpen):
            self._serve(envelope, envelope.frame)
            return
        link = self._links.get((envelope.relay, not envelope.to_owner))
        if link is None:
            return
        if envelope.n != link.heard:
            link.broke("Data was lost between the servers; open the stream again")
            return
        link.heard += 1
        link.receive(envelope)

    def _serve(self, envelope: Envelope, opening: wire.StreamOpen) -> None:
        """We hold the session: carry frames between the agent and the bus."""
        link = self._link(envelope.relay, envelope.sender, to_owner=False)
        link.heard = 1
        session = self._hub.session(envelope.host_id)
        if session is None:
            link.send(wire.StreamEnd(stream=0, error="The host has just left this server; try again"))
            self._forget(envelope.relay, False)
            return

        def from_agent(frame: Message) -> None:
            link.send(frame)
            if isinstance(frame, wire.StreamEnd):
                self._forget(envelope.relay, False)

        number = session.open_stream(from_agent)

        def receive(inner: Envelope) -> None:
            if inner.frame is None:
                return
            session.send(msgspec.structs.replace(inner.frame, stream=number))
            if isinstance(inner.frame, wire.StreamEnd):
                _drop(session.streams, number)
                self._forget(envelope.relay, False)

        def broke(reason: str) -> None:
            self._forget(envelope.relay, False)
            if session.streams.pop(number, None) is not None:
                session.send(wire.StreamEnd(stream=number, error=reason))
                link.send(wire.StreamEnd(stream=0, error=reason))

        link.receive, link.broke = receive, broke
        session.send(wire.StreamOpen(stream=number, kind=opening.kind, args=opening.args))
        link.send(None, opened=True)


def _drop(streams: dict[int, Any], number: int) -> None:
    streams.pop(number, None)
