"""Answers to list requests that are kept as long as nothing that they were made of has changed, and their ETags.

Everything that such an answer shows lies in rows whose every change is numbered by the store. The newest number is read from
the store with each request; when it has moved, the log of changes says whether any of them could show here: whether it is of
a table that was read for the answer, and of the environment that was asked. So an answer still holds or it does not,
whichever server made the change. Types that show anything else (a host's connection, a certificate's days, rows that are
deleted rather than marked) are not among them.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from typing import NamedTuple

from remuda import __version__
from remuda.api.context import Context
from remuda.core.model import Change
from remuda.ports.store import Tx
from remuda.schema.fields import ResourceType

KEPT = frozenset({"environment", "service", "loadBalancerService", "dnsService", "externalService", "container"})
MOST_BYTES = 16_000_000
MANY_CHANGES = 200
"""An answer that is more changes behind is made anew: reading them would cost as much."""


class Answer(NamedTuple):
    """An encoded answer. It was made after change ``made``, and nothing up to change ``seq`` could show in it."""

    made: int
    seq: int
    tables: frozenset[str]
    account_id: int | None
    body: bytes


def keeps(ctx: Context, kind: ResourceType) -> bool:
    """Is this a list whose answers are kept? Embedded rows may be of any type, and removed ones go without a number."""
    return kind.id in KEPT and not any(name == "include" or name.startswith(("removed", "_removed", "removeTime"))
                                       for name, _ in ctx.query)  # fmt: skip


def key_of(ctx: Context, kind: ResourceType, path: str) -> tuple[object, ...]:
    """All that an answer depends on besides the rows: who asks, what, and under which URL."""
    caller = ctx.caller
    return (
        kind.id,
        path,
        ctx.query,
        ctx.root,
        ctx.prefix,
        caller.role,
        caller.project_id,
        caller.account_id,
        ctx.action_links,
    )


def etag(key: tuple[object, ...], seq: int) -> str:
    """Another one for every change, caller, URL and release."""
    return f'"{seq}.{_crc(key)}"'


def has(sent: str, key: tuple[object, ...], seq: int, answer: Answer | None) -> bool:
    """Does one of these ETags stand for what would be answered now? Each from the one of ``made`` on does, whoever gave it."""
    first = seq if answer is None else answer.made
    for one in sent.split(",") if sent else ():
        number, _, crc = one.strip().removeprefix("W/").strip('"').partition(".")
        if crc == _crc(key) and number.isdecimal() and first <= int(number[:18]) <= seq:
            return True
    return False


def _crc(key: tuple[object, ...]) -> str:
    return f"{zlib.crc32(repr((__version__, key)).encode()):08x}"


class Lists:
    """The least recently asked for go first."""

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[object, ...], Answer] = OrderedDict()
        self._bytes = 0

    def look(self, tx: Tx, key: tuple[object, ...]) -> tuple[int, Answer | None]:
        """The store's newest number, and the answer if it holds by then. (Changes nothing: it runs in any thread.)"""
        seq, found = tx.last_change(), self._answers.get(key)
        if found is None or found.seq == seq:
            return seq, found
        behind = seq - found.seq
        if not 0 < behind <= MANY_CHANGES:
            return seq, None
        changes = tx.changes(found.seq, behind)
        if len(changes) != behind or any(_concerns(change, found) for change in changes):
            return seq, None
        return seq, found._replace(seq=seq)

    def put(self, key: tuple[object, ...], answer: Answer) -> None:
        """Keep an answer, or what was found out about it."""
        before = self._answers.get(key)
        if before is not None and before.seq > answer.seq:
            return  # another request was faster, and saw more
        self._answers.pop(key, None)
        self._bytes += len(answer.body) - (len(before.body) if before else 0)
        self._answers[key] = answer
        while self._bytes > MOST_BYTES and self._answers:
            _, gone = self._answers.popitem(last=False)
            self._bytes -= len(gone.body)


def _concerns(change: Change, answer: Answer) -> bool:
    """Rows stay in their environment for life."""
    elsewhere = answer.account_id is not None and change.account_id not in (0, answer.account_id)
    return change.kind in answer.tables and not elsewhere
