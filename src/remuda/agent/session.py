"""The agent's end of the conversation with whichever server answers.

One outgoing WebSocket, opened again for ever: at once after a server was restarted, with growing jittered pauses otherwise.
Nothing that happens here touches a container: assignments go to the runtime, which goes on without us when the
connection is gone. What the server has not acknowledged is said again, as it is by then.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
import websockets
from websockets.asyncio.client import ClientConnection, connect

from remuda import __version__
from remuda.agent.conversation import Conversation, Ended, Final, Outbox
from remuda.agent.health.prober import Prober
from remuda.agent.identity import Identity, IdentityFile
from remuda.agent.register import Unregistered, base_of, basic, fetch_ca, has_fingerprint, register, trust
from remuda.agent.runtime import Runtime
from remuda.agent.surroundings import Surroundings
from remuda.core import wire
from remuda.ports.engine import Engine

log = logging.getLogger("remuda.agent.session")

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
_OPEN_SECONDS = 6.0
_BIGGEST_FRAME = 64 * 1024 * 1024
SERVICE_RESTART = 1012
MOST_REFUSALS = 3
"""So often in a row new keys are asked for before giving up."""


class Session:
    """``run()`` talks for ever, or raises :class:`Final`."""

    def __init__(
        self,
        runtime: Runtime,
        engine: Engine,
        keep: IdentityFile,
        identity: Identity,
        *,
        machine: str,
        boot: str,
        collect: Callable[[str], wire.HostFacts],
        address: Callable[[str, str], str],
        registration_url: str = "",
        ca_fingerprint: str = "",
        surroundings: Surroundings | None = None,
        prober: Prober | None = None,
    ) -> None:
        self._prober = prober
        self._surroundings = surroundings or Surroundings()
        self._runtime, self._engine = runtime, engine
        self._keep, self.identity = keep, identity
        self._machine, self._boot = machine, boot
        self._collect, self._address = collect, address
        self._registration_url, self._ca_fingerprint = registration_url, ca_fingerprint
        self._outbox = Outbox()
        self._stale = False
        """The server did not accept our keys: ask for new ones."""
        self._refusals = 0
        self.connected = False
        runtime.on_report = self._outbox.report
        runtime.on_docker = self._outbox.docker_changed
        runtime.orders.on_news = self._outbox.pull
        runtime.volumes.on_change = self._outbox.volumes_changed
        if prober is not None:
            prober.on_result = self._outbox.sighting

    async def run(self) -> None:
        """For ever."""
        pause, told = FIRST_PAUSE, ""
        while True:
            soon = False
            try:
                identity = await self._registered()
                await self._converse(identity)
                why = "the server closed the connection"
            except Unregistered as error:
                why = str(error)
                if error.final and (self._stale or not self.identity.registered):
                    raise Final(why) from error
            except Ended as error:
                why, soon = str(error), error.soon
            except (OSError, TimeoutError, ssl.SSLError, websockets.WebSocketException) as error:
                why = _sentence(self.identity.url, error)
            if self.connected or soon:
                pause, told = FIRST_PAUSE, ""
            self.connected = False
            if why != told:
                log.warning("Not connected: %s; trying again. Containers are looked after meanwhile", why)
                told = why
            await asyncio.sleep(pause * (0.25 if soon else 1.0) * (0.5 + random.random() / 2))  # noqa: S311 - spreads load
            pause = min(LONGEST_PAUSE, pause * 1.7)

    # ---- identity ----------------------------------------------------------------------------------------------------

    async def _registered(self) -> Identity:
        """The identity, registered if it is not yet, or if the operator gave another registration URL."""
        wanted = self._registration_url
        if wanted:
            await self._trusted(wanted)
        current = self.identity
        moved = bool(wanted) and wanted != current.registration_url
        if current.registered and not moved and not self._stale:
            return current
        if not wanted:
            raise Unregistered("This machine is not registered: run the command from Hosts, Add Host", final=True)
        try:
            keys = await register(wanted, current.uuid, current.ca)
        except Unregistered as error:
            if moved and current.registered and not self._stale and error.final:
                log.warning("%s. Going on with the registration this machine already has", error)
                self._registration_url = current.registration_url
                return current
            raise
        await self._remember(
            registration_url=wanted,
            url=keys.url,
            access_key=keys.access_key,
            secret_key=keys.secret_key,
            detected_ip=keys.detected_ip,
            machine=self._machine,
        )
        self._stale = False
        self._runtime.book.belongs_to(f"{keys.url} {keys.access_key}")
        log.info("Registered with %s as %s", base_of(wanted), current.uuid)
        return self.identity

    async def _trusted(self, url: str) -> None:
        """Whom to trust follows what the operator gave last: this fingerprint, or none."""
        if self._ca_fingerprint and not has_fingerprint(self.identity.ca, self._ca_fingerprint):
            await self._remember(ca=await fetch_ca(base_of(url), self._ca_fingerprint))
        elif self.identity.ca and not self._ca_fingerprint:
            await self._remember(ca="")

    async def _remember(self, **changes: str) -> None:
        self.identity = msgspec.structs.replace(self.identity, **changes)
        await asyncio.to_thread(self._keep.keep, self.identity)

    # ---- one connection ----------------------------------------------------------------------------------------------

    async def _converse(self, identity: Identity) -> None:
        url = identity.url
        address = "ws" + url.removeprefix("http") + "/agentsession"
        options: dict[str, Any] = {"ssl": trust(identity.ca)} if address.startswith("wss") else {}
        try:
            async with connect(
                address,
                additional_headers={"Authorization": basic(identity.access_key, identity.secret_key)},
                user_agent_header=f"remuda-agent/{__version__}",
                open_timeout=_OPEN_SECONDS,
                close_timeout=0.5,
                ping_interval=None,
                compression=None,
                max_size=_BIGGEST_FRAME,
                **options,
            ) as socket:
                await self._talk(socket, identity)
        except websockets.InvalidStatus as error:
            raise self._not_let_in(url, error.response.status_code, bytes(error.response.body or b"")) from error
        except websockets.ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd else None
            reason = (error.rcvd.reason if error.rcvd else "") or "without a word"
            if code == SERVICE_RESTART:
                raise Ended(f"the server at {base_of(url)} restarts", soon=True) from error
            raise Ended(f"{base_of(url)} closed the connection ({code or 'lost'}, {reason})") from error

    def _not_let_in(self, url: str, status: int, body: bytes) -> Exception:
        if status == 401:
            if self._refusals >= MOST_REFUSALS or not self._registration_url:
                return Final(
                    f"{base_of(url)} does not know this agent any more (its host was deleted?). To register this machine"
                    " again, run the command from Hosts, Add Host"
                )
            self._stale = True
            self._refusals += 1
            return Ended(f"{base_of(url)} does not know the keys of this agent; registering again", soon=True)
        return Ended(f"{base_of(url)} does not open a session (status {status}: {body[:200].decode(errors='replace')})")

    async def _talk(self, socket: ClientConnection, identity: Identity) -> None:
        source = str(socket.local_address[0]) if socket.local_address else ""
        address = self._address(source, identity.detected_ip)
        facts = self._collect(address)
        hello = wire.Hello(
            agent_version=__version__,
            machine=self._machine,
            boot=self._boot,
            applied_seq=self._runtime.book.applied_seq,
            scene_through=self._surroundings.scene.through,
            facts=facts,
        )
        await socket.send(wire.encode(hello).decode())
        async with asyncio.timeout(_OPEN_SECONDS):
            first = wire.decode_from_server(await socket.recv())
        if isinstance(first, wire.Refused):
            if first.final:
                raise Final(first.reason)
            raise Ended(first.reason)
        if not isinstance(first, wire.Welcome):
            raise Ended(f"the server began with {type(first).__name__} instead of a welcome")
        self.connected, self._refusals = True, 0
        self._surroundings.welcome(first.host)
        log.info("Connected to %s as host %s", first.server or base_of(identity.url), first.host)
        await Conversation(
            socket,
            first,
            self._runtime,
            self._engine,
            self._outbox,
            lambda: self._collect(address),
            facts,
            self._surroundings,
            self._prober,
        ).run()


def _sentence(url: str, error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {base_of(url)} is not trusted ({error.verify_message}): was it replaced?"
    if isinstance(error, TimeoutError):
        return f"{urlsplit(url).netloc} did not answer in time"
    return f"{urlsplit(url).netloc} cannot be reached ({error or type(error).__name__})"
