"""DNS messages as bytes (RFC 1035, EDNS of RFC 6891), as far as a server of addresses needs them. Pure.

Packed by hand because this is the one hot path of a host: a library takes a hundred times as long for each question. What is not
understood is refused or passed on untouched, never guessed at.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

A, NS, CNAME, SOA, PTR, MX, AAAA, OPT, ANY = 1, 2, 5, 6, 12, 15, 28, 41, 255
TRANSFERS = frozenset({251, 252, 253, 254})
"""Whole zones and mailboxes: nobody here hands them out."""
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
BADVERS = 16
INTERNET = 1
CLASSIC, LARGEST, LARGEST_NAME = 512, 1232, 255
"""Bytes of an answer over UDP without and with EDNS (what passes every link whole), and of a name."""
QR, AA, TC, RD, RA, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0010
DO = 0x8000
HEADER = 12
_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
POINTER = b"\xc0\x0c"
"""To the question's name, which always stands at byte 12."""
_NAMES = {NS: (0, 1), CNAME: (0, 1), PTR: (0, 1), MX: (2, 1), SOA: (0, 2)}
"""Where records may hold compressed names: so many bytes into the data, so many names."""


class Malformed(ValueError):  # noqa: N818 - a state of the input
    """Not a message that one could answer, but perhaps with ``code``."""

    def __init__(self, reason: str, code: int = FORMERR) -> None:
        super().__init__(reason)
        self.code = code


class Query(NamedTuple):
    """A question. ``room`` = bytes that an answer over UDP may have; ``name`` in lower case without its last dot."""

    id: int
    flags: int
    name: str
    kind: int
    group: int
    question: bytes
    room: int = CLASSIC
    edns: bool = False
    edns_version: int = 0
    wants_signatures: bool = False

    @property
    def opcode(self) -> int:
        """0 = a plain question."""
        return self.flags >> 11 & 15


class Record(NamedTuple):
    """A resource record. ``name`` is written already: a pointer or spelled out, as are the names within ``data``."""

    name: bytes
    kind: int
    ttl: int
    data: bytes

    def write(self) -> bytes:
        """As bytes."""
        return self.name + _RECORD.pack(self.kind, INTERNET, self.ttl, len(self.data)) + self.data


def read_query(data: bytes) -> Query:
    """A client's message. Raises :class:`Malformed`."""
    if len(data) < HEADER:
        raise Malformed("shorter than a header")
    number, flags, questions, answers, authorities, more = _HEADER.unpack_from(data)
    if questions != 1:
        raise Malformed(f"{questions} questions instead of one", REFUSED if questions else FORMERR)
    name, end = read_name(data, HEADER, pointers=False)
    if end + 4 > len(data):
        raise Malformed("ends within its question")
    kind, group = struct.unpack_from("!HH", data, end)
    query = Query(number, flags, name, kind, group, data[HEADER : end + 4])
    return _with_edns(query, data, end + 4, answers + authorities + more) if more else query


def _with_edns(query: Query, data: bytes, at: int, count: int) -> Query:
    for _ in range(min(count, 8)):
        _, at = read_name(data, at)
        if at + _RECORD.size > len(data):
            raise Malformed("ends within a record")
        kind, size, flags, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size + length
        if at > len(data):
            raise Malformed("ends within a record")
        if kind == OPT:
            room = max(CLASSIC, min(size, LARGEST))
            return query._replace(
                room=room, edns=True, edns_version=flags >> 16 & 255, wants_signatures=bool(flags & DO)
            )
    return query


def read_name(data: bytes, at: int, *, pointers: bool = True) -> tuple[str, int]:
    """A name in lower case without its last dot, and where what follows it begins. Raises :class:`Malformed`."""
    labels: list[str] = []
    end, jumps, length = -1, 0, 0
    try:
        while size := data[at]:
            if size & 0xC0 == 0xC0 and pointers:
                end = at + 2 if end < 0 else end
                at = (size & 0x3F) << 8 | data[at + 1]
                jumps += 1
                if jumps > 16:
                    raise Malformed("pointers in a circle")
                continue
            if size & 0xC0:
                raise Malformed("a label of an unknown kind")
            label = data[at + 1 : at + 1 + size]
            length += size + 1
            if len(label) < size or length >= LARGEST_NAME:
                raise Malformed("a name that is too long")
            # a dot within a label is no boundary: escaped, it is part of no name of ours
            labels.append(label.lower().decode("latin-1").replace(".", "\\."))
            at += size + 1
    except IndexError:
        raise Malformed("ends within a name") from None
    return ".".join(labels), at + 1 if end < 0 else end


def write_name(name: str) -> bytes:
    """A name, spelled out. Raises :class:`Malformed` for one that DNS cannot carry."""
    out = bytearray()
    for label in name.split(".") if name else ():
        data = label.encode("latin-1", "replace")
        if not 0 < len(data) < 64:
            raise Malformed(f"{name!r} has a label of {len(data)} bytes")
        out += bytes((len(data),)) + data
    if len(out) >= LARGEST_NAME:
        raise Malformed(f"{name!r} is too long")
    return bytes(out) + b"\0"


def address(text: str, ttl: int) -> Record:
    """An A or AAAA record that answers the question. Raises :class:`Malformed` for what is no address."""
    for kind, family in ((A, socket.AF_INET), (AAAA, socket.AF_INET6)):
        try:
            return Record(POINTER, kind, ttl, socket.inet_pton(family, text))
        except (OSError, ValueError):
            continue
    raise Malformed(f"{text!r} is no address")


def authority(domain: str, ttl: int) -> Record:
    """The SOA record that goes with "there is nothing": how long that may be remembered."""
    data = write_name(f"ns.{domain}") + write_name(f"hostmaster.{domain}")
    return Record(write_name(domain), SOA, ttl, data + struct.pack("!IIIII", 1, 3600, 600, 86400, ttl))


def head(query: Query, code: int, answers: int = 0, authorities: int = 0, *, truncated: bool = False) -> bytes:
    """Everything of an answer of ours before its records, but for the two bytes of its number."""
    flags = QR | query.flags & (0x7800 | RD | CD) | RA | code & 15
    flags |= AA if code in (NOERROR, NXDOMAIN) else 0
    flags |= TC if truncated else 0
    return _HEADER.pack(0, flags, 1, answers, authorities, int(query.edns))[2:] + query.question


def tail(query: Query, code: int = NOERROR) -> bytes:
    """Everything of an answer of ours behind its records."""
    if not query.edns:
        return b""
    return b"\0" + _RECORD.pack(OPT, LARGEST, (code >> 4) << 24 | (DO if query.wants_signatures else 0), 0)


def response(query: Query, code: int, answers: Sequence[Record] = (), authorities: Sequence[Record] = ()) -> bytes:
    """A whole answer of ours, with the question's number."""
    records = b"".join(record.write() for record in (*answers, *authorities))
    return number(query) + head(query, code, len(answers), len(authorities)) + records + tail(query, code)


def truncated(query: Query, code: int = NOERROR) -> bytes:
    """The answer that says: ask again over TCP."""
    return number(query) + head(query, code, truncated=True) + tail(query)


def number(query: Query) -> bytes:
    """The two bytes that an answer begins with."""
    return query.id.to_bytes(2, "big")


def refusal(data: bytes, code: int) -> bytes:
    """An error for a message that could not be read: its header alone. Empty when that would be an answer to an answer."""
    if len(data) < HEADER or data[2] & 0x80:
        return b""
    found, flags = struct.unpack_from("!HH", data)
    return _HEADER.pack(found, QR | flags & (0x7800 | RD) | RA | code, 0, 0, 0, 0)


def request(query: Query, number_of_ours: bytes, *, edns: bool) -> bytes:
    """A question as it is passed on: the client's, under a number of ours, without what it told us alone (EDNS options)."""
    more = b""
    if edns:
        more = b"\0" + _RECORD.pack(OPT, LARGEST, DO if query.wants_signatures else 0, 0)
    header = _HEADER.pack(0, RD | query.flags & CD, 1, 0, 0, int(bool(more)))
    return number_of_ours + header[2:] + query.question + more


def code_of(message: bytes) -> int:
    """The response code of a message's header."""
    return message[3] & 15


def is_truncated(message: bytes) -> bool:
    """Does a message say that it is not whole?"""
    return bool(message[2] & 2)


def answers_to(message: bytes, query: Query, number_of_ours: bytes) -> bool:
    """Is this the answer to a question of ours? Some errors come without the question."""
    if len(message) < HEADER or message[:2] != number_of_ours or not message[2] & 0x80:
        return False
    questions = int.from_bytes(message[4:6], "big")
    if questions == 0:
        return code_of(message) in (FORMERR, SERVFAIL, NOTIMP, REFUSED)
    end = HEADER + len(query.question)
    return questions == 1 and message[HEADER:end].lower() == query.question.lower()


def records(message: bytes) -> Iterator[Record]:
    """The answer records of somebody's response, names spelled out. Raises :class:`Malformed`."""
    if len(message) < HEADER:
        raise Malformed("shorter than a header")
    _, _, questions, answers, _, _ = _HEADER.unpack_from(message)
    at = HEADER
    for _ in range(questions):
        _, at = read_name(message, at)
        at += 4
    for _ in range(answers):
        name, at = read_name(message, at)
        if at + _RECORD.size > len(message):
            raise Malformed("ends within a record")
        kind, _, ttl, length = _RECORD.unpack_from(message, at)
        at += _RECORD.size
        if at + length > len(message):
            raise Malformed("ends within a record")
        yield Record(_rewritten(name), kind, ttl, _data(message, kind, at, length))
        at += length


def _data(message: bytes, kind: int, at: int, length: int) -> bytes:
    if kind not in _NAMES:
        return message[at : at + length]
    skip, count = _NAMES[kind]
    out, place = message[at : at + skip], at + skip
    for _ in range(count):
        name, place = read_name(message, place)
        out += _rewritten(name)
    return out + message[place : max(place, at + length)]


def _rewritten(name: str) -> bytes:
    if "\\." in name:
        raise Malformed("a dot within a label")
    return write_name(name)
