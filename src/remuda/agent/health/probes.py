"""One look at one container: does it serve? Each returns an answer within its deadline and never raises.

A hundred of them a second are nothing special, so TCP and HTTP work on bare sockets; only TLS takes the loop's streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from remuda.core.spec import HealthCheck
from remuda.ports.engine import Engine, EngineError

KEPT_BYTES = 200
_LARGEST = 4096
Read = Callable[[], Awaitable[bytes]]


class Answer(NamedTuple):
    """``latency`` in milliseconds; ``message`` is what it said, or why it is no answer."""

    passing: bool
    message: str
    latency: int


def _anybody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # a probe asks whether somebody serves, not who
    return context


TLS = _anybody()


async def probe(check: HealthCheck, address: str, container: str, engine: Engine, now: Callable[[], float]) -> Answer:
    """The probe that a check asks for."""
    began = now()
    try:
        async with asyncio.timeout(check.response_timeout / 1000):
            if check.command:
                passing, message = await _command(engine, container, check.command)
            elif check.protocol == "https":
                passing, message = await _https(check, address)
            else:
                passing, message = await _plainly(check, address)
    except TimeoutError:
        passing, message = False, f"no answer within {check.response_timeout} ms"
    except (OSError, EngineError, EOFError) as error:
        passing, message = False, _plain(error)
    return Answer(passing, message[:KEPT_BYTES], round((now() - began) * 1000))


async def _plainly(check: HealthCheck, address: str) -> tuple[bool, str]:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (address, check.port))
        if not check.request_line and check.protocol != "http":
            return True, "connected"
        await loop.sock_sendall(sock, _request(check.request_line, address).encode())
        return await _answered(lambda: loop.sock_recv(sock, _LARGEST))


async def _https(check: HealthCheck, address: str) -> tuple[bool, str]:
    reader, writer = await asyncio.open_connection(address, check.port, ssl=TLS)
    try:
        writer.write(_request(check.request_line, address).encode())
        await writer.drain()
        return await _answered(lambda: reader.read(_LARGEST))
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(0.2):
                await writer.wait_closed()


async def _answered(read: Read) -> tuple[bool, str]:
    """Judge by the first line; of an answer that is a failure the beginning of the body is kept, it often says why."""
    said = b""
    while b"\n" not in said and len(said) < _LARGEST and (piece := await read()):
        said += piece
    line = said.partition(b"\n")[0].decode("latin-1").strip()
    words = line.split()
    status = words[1] if len(words) > 1 and words[0].startswith("HTTP/") else ""
    if not (status.isascii() and status.isdecimal()):
        return False, f"no HTTP answer but {line[:60]!r}" if said else "no answer: the connection was closed"
    if 200 <= int(status) < 400:
        return True, line
    while len(_body(said)) < KEPT_BYTES and len(said) < _LARGEST and (piece := await _more(read)):
        said += piece
    body = " ".join(_body(said)[:KEPT_BYTES].decode("utf-8", "replace").split())
    return False, f"{line}: {body}" if body else line


async def _more(read: Read) -> bytes:
    try:
        async with asyncio.timeout(0.1):
            return await read()
    except (OSError, TimeoutError):
        return b""


def _body(said: bytes) -> bytes:
    return said.replace(b"\r\n", b"\n").partition(b"\n\n")[2]


def _request(line: str, address: str) -> str:
    words = line.split() or ["GET", "/"]
    method, path = (words[0], words[1]) if len(words) > 1 else ("GET", words[0])
    version = words[2] if len(words) > 2 and words[2].startswith("HTTP/1.") else "HTTP/1.0"
    # users write header lines behind the request line, with the line breaks as \r\n
    more = line.partition("\\r\\n")[2].replace("\\r\\n", "\r\n").replace("\\ ", " ").strip()
    lines = [f"{method} {path} {version.partition(chr(92))[0]}", "User-Agent: remuda-health", "Connection: close"]
    if "host:" not in more.lower():
        lines.append(f"Host: {address}")
    return "\r\n".join([*lines, *([more] if more else []), "", ""])


async def _command(engine: Engine, container: str, command: list[str]) -> tuple[bool, str]:
    stream = await engine.exec(container, command, tty=False, stdin=False)
    said = b""
    try:
        while (piece := await stream.read()) != ("", b""):
            said = (said + piece[1])[:_LARGEST]
        code = await stream.exit_code()
    finally:
        await stream.close()
    words = " ".join(said.decode(errors="replace").split())
    return code == 0, words if code == 0 and words else f"exit code {code}" + (f": {words}" if words else "")


def _plain(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    known = (
        isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and isinstance(number, int) and number > 0
    )
    text = os.strerror(number) if known and number is not None else str(error) or type(error).__name__
    return text.lower() if text[:1].isupper() and not text[:2].isupper() else text
