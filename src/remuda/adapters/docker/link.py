"""The wire to one Docker engine: where it listens, which API version is spoken, deadlines, and Docker's own error words.

Calls go through aiohttp on a Unix socket (or TCP), answers through msgspec: a list of containers costs a third of what a
general client takes. Nothing here knows what a container is; :mod:`remuda.adapters.docker.engine` does.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from remuda.ports.engine import EngineDown, EngineError

DEFAULT_HOST = "unix:///var/run/docker.sock"
OLDEST, NEWEST = (1, 24), (1, 44)
"""The window of API versions that this adapter was written for."""

_OUT_OF_REACH = (aiohttp.ClientConnectionError, ConnectionError, OSError)


def parse_version(text: str) -> tuple[int, int]:
    """``1.41`` as a pair that compares."""
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)


def negotiate(engine: str, oldest_of_engine: str = "") -> str:
    """The API version to speak with an engine that offers ``engine`` and refuses less than ``oldest_of_engine``."""
    offered = parse_version(engine)
    if offered < OLDEST:
        raise EngineError(
            0, f"Docker speaks API {engine}, which is too old: upgrade Docker to 1.12 (API 1.24) or newer"
        )
    chosen = min(offered, NEWEST)
    if oldest_of_engine and parse_version(oldest_of_engine) > chosen:
        raise EngineError(
            0,
            f"Docker speaks only API {oldest_of_engine} and newer, this agent up to {NEWEST[0]}.{NEWEST[1]}: upgrade it",
        )
    return f"{chosen[0]}.{chosen[1]}"


def message_of(body: bytes, fallback: str) -> str:
    """Docker's own sentence out of an error body."""
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError:
        document = None
    if isinstance(document, dict) and isinstance(document.get("message"), str):
        return str(document["message"]).strip()
    return body.decode("utf-8", "replace").strip()[:500] or fallback


class Link:
    """One engine's address and the pooled connections to it."""

    def __init__(self, url: str = "") -> None:
        self.url = url or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
        split = urlsplit(self.url)
        self._tls: ssl.SSLContext | None = None
        self.path = ""
        if split.scheme == "unix":
            self.path = split.path
            self.base = "http://docker"
        elif split.scheme in ("tcp", "http", "https"):
            secure = split.scheme == "https" or bool(os.environ.get("DOCKER_TLS_VERIFY"))
            self._tls = _client_tls() if secure else None
            self.host, self.port = split.hostname or "127.0.0.1", split.port or (2376 if secure else 2375)
            self.base = f"{'https' if secure else 'http'}://{self.host}:{self.port}"
        else:
            raise ValueError(f"{self.url!r} is no address of a Docker engine: use unix:///path or tcp://host:port")
        self._session: aiohttp.ClientSession | None = None
        self._version = ""

    async def version(self) -> str:
        """The negotiated API version; asked for once per connection to an engine."""
        if not self._version:
            document = await self.call("GET", "/version", versioned=False, timeout=5)
            self._version = negotiate(str(document["ApiVersion"]), str(document.get("MinAPIVersion", "")))
        return self._version

    def forget_version(self) -> None:
        """The engine went away; another one may come back."""
        self._version = ""

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        versioned: bool = True,
    ) -> Any:
        """One request, its JSON answer (None when empty)."""
        async with self.open(
            method, path, params=params, body=body, headers=headers, timeout=timeout, versioned=versioned
        ) as response:
            data = await response.read()
        if not data:
            return None
        if not response.headers.get("Content-Type", "").startswith("application/json"):
            return data
        return msgspec.json.decode(data)

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = 10.0,
        idle: float | None = None,
        versioned: bool = True,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request whose answer is read by the caller. ``timeout`` None: only silence (``idle``) ends it."""
        prefix = f"/v{await self.version()}" if versioned else ""
        sent = dict(headers or {})
        data: bytes | None = None
        if body is not None:
            data = msgspec.json.encode(body)
            sent["Content-Type"] = "application/json"
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=5, sock_read=idle)
        try:
            async with self._pool().request(
                method, self.base + prefix + path, params=params, data=data, headers=sent, timeout=limits
            ) as response:
                if response.status >= 400:
                    reason = message_of(await response.read(), response.reason or str(response.status))
                    raise EngineError(response.status, reason)
                yield response
        except TimeoutError as error:
            what = f"{timeout:g} s" if timeout is not None else f"{idle or 0:g} s of silence"
            raise EngineDown(f"Docker at {self.url} did not answer {method} {path} within {what}") from error
        except _OUT_OF_REACH as error:
            self.forget_version()
            raise EngineDown(self.why(error)) from error
        except aiohttp.ClientPayloadError as error:
            raise EngineDown(
                f"Docker at {self.url} broke off in the middle of an answer: it was stopped or killed"
            ) from error
        except aiohttp.ClientError as error:
            raise EngineDown(f"Docker at {self.url} broke off the answer to {method} {path}: {error}") from error

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare connection, for the calls that Docker turns into raw streams."""
        try:
            async with asyncio.timeout(5):
                if self.path:
                    return await asyncio.open_unix_connection(self.path)
                return await asyncio.open_connection(self.host, self.port, ssl=self._tls)
        except (OSError, TimeoutError) as error:
            raise EngineDown(self.why(error)) from error

    def why(self, error: BaseException) -> str:
        """One sentence on why the engine cannot be reached, with the next step."""
        if self.path and not Path(self.path).exists():
            return f"There is no Docker socket at {self.path}: is Docker installed and running, is the socket mounted?"
        if isinstance(error, PermissionError) or isinstance(error.__cause__, PermissionError):
            return f"No permission to open the Docker socket {self.path}: run as root or as a member of group docker"
        return f"Docker at {self.url} cannot be reached ({error or type(error).__name__}): is the engine running?"

    async def close(self) -> None:
        """Drop all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            connector: aiohttp.BaseConnector
            if self.path:
                connector = aiohttp.UnixConnector(self.path, limit=0, keepalive_timeout=30)
            else:
                connector = aiohttp.TCPConnector(ssl=self._tls or True, limit=0, keepalive_timeout=30)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self._session


def _client_tls() -> ssl.SSLContext:
    folder = Path(os.environ.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(str(folder / "cert.pem"), str(folder / "key.pem"))
    return context
