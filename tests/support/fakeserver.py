"""A server for agents, in this process: registration over HTTP and the session's WebSocket, speaking ``core.wire``.

It keeps what agents say and does what the test tells it; it decides nothing.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Callable
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from remuda.core import wire
from remuda.core.wire import Assign, Assignment, ContainerReport

TOKEN = "token-1"


class FakeServer:
    """``start()`` gives the registration URL. ``assignments`` is the truth; ``assign()`` changes and sends it."""

    def __init__(self, *, heartbeat: float = 0.2, silence: float = 1.0, host: str = "localhost") -> None:
        self.heartbeat, self.silence, self.host = heartbeat, silence, host
        self.assignments: dict[str, Assignment] = {}
        self.seq = 0
        self.keys: dict[str, str] = {}
        self.hellos: list[wire.Hello] = []
        self.facts: list[wire.HostFacts] = []
        self.reports: dict[str, ContainerReport] = {}
        self.observed: list[wire.Observed] = []
        self.streams: dict[int, list[wire.Message]] = {}
        self.registrations: list[str] = []
        self.machines: dict[str, str] = {}
        self.note = True
        self.mute = False
        self.refuse: wire.Refused | None = None
        self.ca = ""
        self.give_useless_keys = False
        self._runner: web.AppRunner | None = None
        self._sockets: set[web.WebSocketResponse] = set()
        self._streams_opened = 0
        self.port = 0
        self.scheme = "http"

    async def start(self, tls: ssl.SSLContext | None = None) -> str:
        """Listen; the registration URL."""
        app = web.Application()
        app.router.add_get("/v1/scripts/ca.crt", self._ca)
        app.router.add_get("/v1/scripts/{token}", self._script)
        app.router.add_route("*", "/v1/register", self._register)
        app.router.add_get("/v1/agentsession", self._session)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner,
            "127.0.0.1" if self.host == "localhost" else self.host,
            self.port,
            ssl_context=tls,
            reuse_address=True,
        )
        await site.start()
        self.scheme = "https" if tls else "http"
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        return self.url

    @property
    def url(self) -> str:
        """The registration URL."""
        return f"{self.scheme}://{self.host}:{self.port}/v1/scripts/{TOKEN}"

    async def stop(self) -> None:
        """Gone; sockets are cut."""
        if self._runner is not None:
            await self.kick()
            await self._runner.cleanup()
            self._runner = None

    async def kick(self, code: int = WSCloseCode.GOING_AWAY) -> None:
        """Close all sessions."""
        for socket in list(self._sockets):
            await socket.close(code=code, message=b"test")

    @property
    def connected(self) -> bool:
        """Is an agent there?"""
        return bool(self._sockets)

    @property
    def applied(self) -> int:
        """How far the agent says it got."""
        return self.observed[-1].applied_seq if self.observed else 0

    async def assign(self, *wishes: Assignment, complete: bool = False) -> None:
        """Change the truth and tell the agent."""
        for wish in wishes:
            self.assignments[wish.uuid] = wish
            self.seq = max(self.seq, wish.seq)
        items = list(self.assignments.values()) if complete else list(wishes)
        await self.send(Assign(items=items, complete=complete, through=self.seq))

    async def send(self, message: wire.Message) -> None:
        """To every agent."""
        for socket in list(self._sockets):
            await socket.send_str(wire.encode(message).decode())

    async def open(self, kind: str, **args: Any) -> int:
        """Open a stream; its frames gather in ``streams``."""
        self._streams_opened += 1
        self.streams[self._streams_opened] = []
        await self.send(wire.StreamOpen(stream=self._streams_opened, kind=kind, args=args))
        return self._streams_opened

    def received(self, stream: int) -> bytes:
        """What came on ``out`` so far."""
        frames = self.streams[stream]
        return b"".join(
            frame.payload for frame in frames if isinstance(frame, wire.StreamData) and frame.channel == "out"
        )

    def end_of(self, stream: int) -> wire.StreamEnd | None:
        """Its end, if it came."""
        return next((frame for frame in self.streams[stream] if isinstance(frame, wire.StreamEnd)), None)

    # ---- HTTP ------------------------------------------------------------------------------------------------------------

    async def _ca(self, request: web.Request) -> web.Response:
        return web.Response(text=self.ca)

    async def _script(self, request: web.Request) -> web.Response:
        if request.match_info["token"] != TOKEN:
            return web.json_response({"type": "error", "message": "The token was revoked"}, status=404)
        lines = {
            "CATTLE_REGISTRATION_ACCESS_KEY": "registrationToken",
            "CATTLE_REGISTRATION_SECRET_KEY": TOKEN,
            "CATTLE_URL": f"{self.scheme}://{self.host}:{self.port}/v1",
            "DETECTED_CATTLE_AGENT_IP": "10.1.2.3",
        }
        return web.Response(text="#!/bin/sh\n" + "".join(f'export {key}="{value}"\n' for key, value in lines.items()))

    async def _register(self, request: web.Request) -> web.Response:
        if _basic(request) != ("registrationToken", TOKEN):
            return web.json_response({"type": "error", "message": "bad token"}, status=401)
        key = (await request.json())["key"]
        self.registrations.append(key)
        self.keys[key] = secret = f"secret-{len(self.registrations)}"
        if self.give_useless_keys:
            self.keys.clear()
        return web.json_response({"type": "register", "key": key, "accessKey": key, "secretKey": secret}, status=201)

    async def _session(self, request: web.Request) -> web.StreamResponse:
        user, password = _basic(request)
        if self.keys.get(user) != password:
            return web.json_response({"type": "error", "message": "unknown"}, status=401)
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        hello = wire.decode_from_agent((await socket.receive()).data)
        assert isinstance(hello, wire.Hello)
        self.hellos.append(hello)
        refusal = self.refuse
        if self.machines.setdefault(user, hello.machine) != hello.machine:
            refusal = wire.Refused(reason="Another machine has this identity: this disk is a clone", final=True)
        if refusal is not None:
            await socket.send_str(wire.encode(refusal).decode())
            await socket.close()
            return socket
        welcome = wire.Welcome(host="1h1", session="s", heartbeat_seconds=self.heartbeat, silence_seconds=self.silence)
        await socket.send_str(wire.encode(welcome).decode())
        await socket.send_str(
            wire.encode(Assign(items=list(self.assignments.values()), complete=True, through=self.seq)).decode()
        )
        self._sockets.add(socket)
        beating = asyncio.create_task(self._beat(socket))
        try:
            while not socket.closed:
                frame = await socket.receive(timeout=self.silence)
                if frame.type == WSMsgType.TEXT:
                    await self._heard(socket, wire.decode_from_agent(frame.data))
        except TimeoutError:
            request.transport.abort()  # type: ignore[union-attr]
        finally:
            beating.cancel()
            self._sockets.discard(socket)
        return socket

    async def _beat(self, socket: web.WebSocketResponse) -> None:
        while True:
            await asyncio.sleep(self.heartbeat)
            if not self.mute:
                await socket.send_str(wire.encode(wire.Ping()).decode())

    async def _heard(self, socket: web.WebSocketResponse, message: wire.Message) -> None:
        match message:
            case wire.Observed(number=number, containers=containers, complete=complete):
                self.observed.append(message)
                if complete:
                    self.reports = {}
                self.reports.update({report.uuid: report for report in containers})
                if self.note:
                    await socket.send_str(wire.encode(wire.Noted(number=number)).decode())
            case wire.Facts(facts=facts):
                self.facts.append(facts)
            case wire.StreamData(stream=stream) | wire.StreamEnd(stream=stream) | wire.StreamCredit(stream=stream):
                self.streams[stream].append(message)


def _basic(request: web.Request) -> tuple[str, str]:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    user, _, password = base64.b64decode(value).decode().partition(":") if scheme == "Basic" else ("", "", "")
    return user, password


async def until(condition: Callable[[], Any], seconds: float = 10.0, what: str = "") -> Any:
    """Poll with a deadline; the condition's value."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not (value := condition()):
        if loop.time() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what or condition}")
        await asyncio.sleep(0.01)
    return value
