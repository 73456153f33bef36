"""The wire of charon's control socket (VICI): packets in frames, messages as trees of sections, values and lists.

Without threads: one line asks, one line listens to what charon says by itself. The published Python client blocks a thread for
each, and has no way to leave one that listens.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Message = dict[str, Any]
"""Values are str, lists of str, or a Message. What is sent may also hold bytes."""

REQUEST, RESPONSE, UNKNOWN, REGISTER, _UNREGISTER, CONFIRM, _EVENT_UNKNOWN, EVENT = range(8)
SECTION, SECTION_END, VALUE, LIST, ITEM, LIST_END = range(1, 7)
LONGEST = 512 * 1024


class ViciError(Exception):
    """charon refused, or what it said cannot be understood."""


def encode(message: Mapping[str, Any]) -> bytes:
    """A message as bytes. Raises ValueError for what cannot be said."""
    out = bytearray()
    for name, value in message.items():
        if isinstance(value, Mapping):
            out += bytes((SECTION,)) + _name(name) + encode(value) + bytes((SECTION_END,))
        elif isinstance(value, (str, bytes)):
            out += bytes((VALUE,)) + _name(name) + _value(value)
        elif isinstance(value, Sequence):
            out += bytes((LIST,)) + _name(name)
            for item in value:
                out += bytes((ITEM,)) + _value(item)
            out += bytes((LIST_END,))
        else:
            raise ValueError(f"{name}: {type(value).__name__} cannot be sent")
    return bytes(out)


def _name(text: str) -> bytes:
    raw = text.encode("ascii")
    return len(raw).to_bytes(1, "big") + raw


def _value(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return len(raw).to_bytes(2, "big") + raw


def decode(data: bytes) -> Message:
    """Bytes as a message. Raises :class:`ViciError`."""
    root: Message = {}
    stack: list[Message] = [root]
    items: list[str] | None = None
    at = 0
    try:
        while at < len(data):
            kind, at = data[at], at + 1
            if kind in (SECTION, VALUE, LIST):
                end = at + 1 + data[at]
                name, at = data[at + 1 : end].decode(), end
            if kind in (VALUE, ITEM):
                end = at + 2 + int.from_bytes(data[at : at + 2], "big")
                value, at = data[at + 2 : end].decode(errors="replace"), end
            if kind == VALUE:
                stack[-1][name] = value
            elif kind == ITEM:
                assert items is not None
                items.append(value)
            elif kind == SECTION:
                stack[-1][name] = {}
                stack.append(stack[-1][name])
            elif kind == SECTION_END:
                stack.pop()
            elif kind == LIST:
                items = stack[-1][name] = []
            elif kind == LIST_END:
                items = None
            else:
                raise ViciError(f"an element of unknown kind {kind}")
    except (IndexError, AssertionError, UnicodeDecodeError) as error:
        raise ViciError(f"a message that cannot be understood: {error!r}") from None
    if at != len(data) or len(stack) != 1 or items is not None:
        raise ViciError("a message that ends in its middle")
    return root


class Line:
    """One connection; one question at a time. Raises OSError, EOFError and :class:`ViciError`; callers set deadlines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, path: Path) -> Line:
        """Connect."""
        return cls(*await asyncio.open_unix_connection(path))

    async def ask(self, command: str, message: Mapping[str, Any] | None = None, stream: str = "") -> list[Message]:
        """The answer to a command as the last message, after the events of kind ``stream`` that came with it."""
        found: list[Message] = []
        if stream:
            await self.register(stream)
        self._send(REQUEST, command, message)
        while True:
            kind, name, answer = await self._receive()
            if kind == EVENT and name == stream:
                found.append(answer)
            elif kind == RESPONSE:
                found.append(answer)
                break
            elif kind == UNKNOWN:
                raise ViciError(f"this strongSwan does not know {command}")
        if answer.get("success") == "no":
            raise ViciError(f"{command}: {answer.get('errmsg') or 'refused without a reason'}")
        return found

    async def register(self, event: str) -> None:
        """Hear of events of this kind from now on."""
        self._send(REGISTER, event)
        while True:
            kind, _, _ = await self._receive()
            if kind == CONFIRM:
                return
            if kind != EVENT:
                raise ViciError(f"this strongSwan does not tell {event}")

    async def events(self) -> AsyncIterator[tuple[str, Message]]:
        """What charon says, until it ends (which raises)."""
        while True:
            kind, name, message = await self._receive()
            if kind == EVENT:
                yield name, message

    def _send(self, kind: int, name: str, message: Mapping[str, Any] | None = None) -> None:
        packet = bytes((kind,)) + _name(name) + (encode(message) if message else b"")
        self._writer.write(len(packet).to_bytes(4, "big") + packet)

    async def _receive(self) -> tuple[int, str, Message]:
        length = int.from_bytes(await self._reader.readexactly(4), "big")
        if not 0 < length <= LONGEST:
            raise ViciError(f"a packet of {length} bytes")
        packet = await self._reader.readexactly(length)
        if packet[0] != EVENT:
            return packet[0], "", decode(packet[1:])
        end = 2 + packet[1]
        return EVENT, packet[2:end].decode(errors="replace"), decode(packet[end:])

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
