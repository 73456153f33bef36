"""Is a part of this node well? One question each, with a deadline; the answer is a state and a sentence, never an exception."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import Literal

import msgspec

from remuda.ha import zookeeper

State = Literal["up", "starting", "waiting", "down"]


class Health(msgspec.Struct, frozen=True):
    """What a part answered. ``role`` is ZooKeeper's."""

    state: State
    message: str
    role: str = ""


async def check_zookeeper(port: int, tls: ssl.SSLContext) -> Health:
    """Does it serve, and as what?"""
    said = await zookeeper.probe("127.0.0.1", port, tls)
    if said.role:
        return Health("up", f"serves as {said.role}", said.role)
    return Health("waiting" if said.answers else "down", said.message)


async def check_redis(port: int, tls: ssl.SSLContext, password: str) -> Health:
    """PING over TLS with the password."""
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
            try:
                writer.write(f"AUTH {password}\r\nPING\r\nQUIT\r\n".encode())
                answer = await reader.read(200)
            finally:
                writer.transport.abort()
    except TimeoutError:
        return Health("down", f"does not answer on port {port} within 2 s")
    except OSError as error:
        return Health("down", zookeeper.connect_problem(port, error))
    if b"+OK" in answer and (b"+PONG" in answer or answer.strip() == b"+OK"):
        return Health("up", "answers")
    return Health("down", "refuses the cluster's password: it was started with another generation")


async def check_server(port: int) -> Health:
    """``/ping`` must say ``pong``."""
    status, body = await _get("127.0.0.1", port, None)
    if status == 200 and body.strip() == "pong":
        return Health("up", "answers")
    return Health("down", body if status == 0 else f"/ping answers {status}")


async def check_ingress(port: int) -> Health:
    """``/ping`` through the front door, TLS included."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # our own door, on this machine: the question is only whether it opens
    status, body = await _get("127.0.0.1", port, context)
    if status == 200:
        return Health("up", "answers")
    if status == 503:
        return Health("waiting", "is open, but there is no server behind it yet")
    return Health("down", body if status == 0 else f"/ping answers {status}")


async def _get(host: str, port: int, tls: ssl.SSLContext | None) -> tuple[int, str]:
    try:
        async with asyncio.timeout(3):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls)
            try:
                writer.write(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                raw = await reader.read(65536)
                while not reader.at_eof() and len(raw) < 65536:
                    raw += await reader.read(65536)
            finally:
                writer.transport.abort()
    except TimeoutError:
        return 0, f"does not answer on port {port} within 3 s"
    except OSError as error:
        return 0, zookeeper.connect_problem(port, error)
    head, _, body = raw.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[1].isdigit():
        return 0, f"port {port}: something else answers there"
    text = body.decode(errors="replace")
    if b"chunked" in head.lower():
        text = "".join(line for line in text.split("\r\n")[1::2])
    return int(words[1]), text


def port_problem(address: str, port: int) -> str:
    """Empty when this machine could listen there now, else why not."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"port {port} is taken by another program on this machine; find it with: ss -ltnp 'sport = :{port}'"
        return f"cannot listen on port {port}: {error.strerror}"
    return ""


async def reachable(address: str, port: int) -> str:
    """Empty when a peer's port opens or is refused quickly; a sentence when packets vanish, as behind a firewall."""
    try:
        async with asyncio.timeout(1.5):
            _, writer = await asyncio.open_connection(address, port)
        writer.transport.abort()
    except TimeoutError:
        return f"no answer from {address}:{port} (a firewall between the nodes?)"
    except OSError as error:
        if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
            return f"no route to {address}"
    return ""
