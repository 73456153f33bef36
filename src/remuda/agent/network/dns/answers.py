"""Turns a question into an answer of ours, or says that it is somebody else's. Pure but for the shuffling, which is given.

Answers live one second: a container that goes is forgotten at once, and asking again costs a few microseconds on the same host.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from remuda.agent.network.dns import packets
from remuda.agent.network.dns.packets import Query, Record
from remuda.core.network.names import DOMAIN, REVERSE, Answer, Names, ours
from remuda.core.network.scene import SceneContainer

TTL = 1
ORDERS, MANY = 4, 64
"""So many orders of the same addresses are prepared, one of more than ``MANY``; each is given beginning with any of them."""
MOST_RECORDS = 4000
"""No more fit into the largest message."""
MOST_ALIASES = 8

Shuffle = Callable[[list[bytes]], None]


class Fixed(NamedTuple):
    """An answer that is the same each time."""

    code: int
    answers: tuple[Record, ...] = ()
    authorities: tuple[Record, ...] = ()


class Choice(NamedTuple):
    """Addresses, all of one kind, that are given in another order each time."""

    records: tuple[bytes, ...]


class Follow(NamedTuple):
    """The name is an alias of one outside (``target``): ask for that, and put it behind ``chain``."""

    chain: tuple[Record, ...]
    target: str


class Turning(NamedTuple):
    """A :class:`Choice` prepared for one form of a question: head, orders written twice in a row, bytes to take, bytes of one
    record, number of records, tail."""

    head: bytes
    orders: tuple[bytes, ...]
    width: int
    step: int
    total: int
    tail: bytes


Said = Fixed | Choice | Follow


def answer(names: Names, client: SceneContainer | None, query: Query) -> Said | None:
    """What we say; None when the question is not about a name of ours."""
    if query.edns_version:
        return Fixed(packets.BADVERS)
    if query.opcode:
        return Fixed(packets.NOTIMP)
    if query.kind == packets.ANY or query.kind in packets.TRANSFERS or query.group != packets.INTERNET:
        return Fixed(packets.REFUSED)
    if query.name.endswith("." + REVERSE):
        return _reverse(names, query)
    found = names.find(query.name, client)
    if found is not None and found.alias:
        return _alias(names, client, query, found)
    if found is not None:
        return _found(query, found)
    if ours(query.name):
        return _nothing(packets.NXDOMAIN)
    return None if query.flags & packets.RD else Fixed(packets.REFUSED)


def _found(query: Query, found: Answer) -> Said:
    if query.name == DOMAIN and query.kind == packets.SOA:
        return Fixed(packets.NOERROR, (packets.authority(DOMAIN, TTL),))
    wanted = tuple(record.write() for record in _addresses(found, query.kind))
    return Choice(wanted[:MOST_RECORDS]) if wanted else _nothing(packets.NOERROR)


def _nothing(code: int, domain: str = DOMAIN) -> Fixed:
    return Fixed(code, (), (packets.authority(domain, TTL),))


def _alias(names: Names, client: SceneContainer | None, query: Query, found: Answer) -> Said:
    """A name that stands for another one; if that is ours too, its addresses come along."""
    owner = packets.POINTER
    chain: list[Record] = []
    while found.alias:
        target = packets.write_name(found.alias)
        chain.append(Record(owner, packets.CNAME, TTL, target))
        if query.kind == packets.CNAME:
            return Fixed(packets.NOERROR, tuple(chain))
        if not ours(found.alias):
            return Follow(tuple(chain), found.alias)
        if len(chain) >= MOST_ALIASES:
            return Fixed(packets.SERVFAIL)
        further = names.find(found.alias, client)
        if further is None:
            return Fixed(packets.NXDOMAIN, tuple(chain), (packets.authority(DOMAIN, TTL),))
        owner, found = target, further
    records = (record._replace(name=owner) for record in _addresses(found, query.kind))
    return Fixed(packets.NOERROR, (*chain, *records))


def _addresses(found: Answer, kind: int) -> Iterator[Record]:
    for text in found.addresses:
        with contextlib.suppress(packets.Malformed):  # a user's external service may have been given anything
            record = packets.address(text, TTL)
            if record.kind == kind:
                yield record


def _reverse(names: Names, query: Query) -> Said | None:
    if not names.covers(query.name):
        return None if query.flags & packets.RD else Fixed(packets.REFUSED)
    name = names.reverse(query.name)
    if not name:
        return _nothing(packets.NXDOMAIN, REVERSE)
    if query.kind != packets.PTR:
        return _nothing(packets.NOERROR, REVERSE)
    return Fixed(packets.NOERROR, (Record(packets.POINTER, packets.PTR, TTL, packets.write_name(name)),))


def followed(query: Query, chain: tuple[Record, ...], message: bytes) -> bytes:
    """An alias with what somebody else's ``message`` says is behind it. Raises :class:`packets.Malformed`."""
    return packets.response(query, packets.code_of(message), (*chain, *packets.records(message)))


# ---- as bytes -----------------------------------------------------------------------------------------------------------------


def prepared(query: Query, said: Fixed | Choice, shuffle: Shuffle) -> bytes | Turning:
    """An answer over UDP for every question that has the same bytes, but for its number."""
    if isinstance(said, Fixed):
        return fit(query, packets.response(query, said.code, said.answers, said.authorities))[2:]
    step, count = len(said.records[0]), len(said.records)
    tail = packets.tail(query)
    space = query.room - packets.HEADER - len(query.question) - len(tail)
    fits = min(count, space // step)
    head = packets.head(query, packets.NOERROR, fits, truncated=fits < count)
    if count == 1:
        return head + said.records[0] + tail
    orders = []
    for _ in range(ORDERS if count <= MANY else 1):
        order = list(said.records)
        shuffle(order)
        orders.append(b"".join(order + order[:fits]))
    return Turning(head, tuple(orders), fits * step, step, count, tail)


def turned(turning: Turning, chance: float) -> bytes:
    """One of the orders that were prepared, without its number. ``chance``: from 0 up to but not including 1."""
    head, orders, width, step, total, tail = turning
    order, first = divmod(int(chance * total * len(orders)), total)
    return head + orders[order][first * step : first * step + width] + tail


def whole(query: Query, said: Fixed | Choice, shuffle: Shuffle) -> bytes:
    """The answer over TCP."""
    if isinstance(said, Fixed):
        return packets.response(query, said.code, said.answers, said.authorities)
    order = list(said.records)
    shuffle(order)
    head = packets.head(query, packets.NOERROR, len(order))
    return packets.number(query) + head + b"".join(order) + packets.tail(query)


def fit(query: Query, message: bytes) -> bytes:
    """A message for UDP: whole if the client takes so much, else empty and marked, so that it asks again over TCP."""
    return message if len(message) <= query.room else packets.truncated(query, packets.code_of(message))
