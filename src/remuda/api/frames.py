"""What subscribers are sent: the events of 1.x with all their members, and ``seq``, the change to resume from.

Rows are rendered here once per view, whoever shares it. A frame never says more than its reader may read.
"""

from __future__ import annotations

import itertools
import uuid
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec

from remuda.api.context import Context
from remuda.api.handlers import documents, embed
from remuda.core.events import ROW_CHANGED
from remuda.core.model import RECORDS, Change, Record
from remuda.ports.store import Tx, Where
from remuda.schema.fields import ResourceType
from remuda.schema.registry import TYPES

PING, LOGOUT = "ping", "logout"
RESYNC = '{"name":"resync"}'
"""Ours: too much happened to be told; read everything anew."""


class Event(msgspec.Struct, kw_only=True, rename="camel"):
    """One event. ``previousIds`` stays null: clients in strict languages read text there, and 1.x sent lists."""

    id: str
    name: str
    reply_to: str | None = None
    resource_id: str | None = None
    resource_type: str | None = None
    previous_ids: None = None
    previous_names: None = None
    publisher: str | None = None
    transitioning: str | None = None
    transitioning_message: str | None = None
    transitioning_internal_message: str | None = None
    transitioning_progress: int | None = None
    data: Any = None
    time: int = 0
    timeout_millis: int | None = None
    listener_key: str | None = None
    context: dict[str, Any] | None = None
    seq: int | msgspec.UnsetType = msgspec.UNSET


class Look(msgspec.Struct, frozen=True):
    """How a subscriber wants rows: links that are to be embedded, and the actions once more apart."""

    include: tuple[str, ...] = ()
    action_links: bool = False


_CLASSES: dict[str, type[Record]] = {r.TABLE: r for r in RECORDS}
_TYPES: dict[str, list[ResourceType]] = defaultdict(list)
for _kind in TYPES.values():
    if _kind.record is not None and not _kind.view and _kind.id not in ("auditLog", "haConfig", "setting"):
        _TYPES[_kind.record.TABLE].append(_kind)
PERSONAL = "account"
"""The table whose rows look different to each person."""
_encode = msgspec.json.Encoder().encode
_ids, _own = itertools.count(), str(uuid.uuid4())[:24]


def text(event: Event) -> str:
    """A frame."""
    return _encode(event).decode()


def told_of(table: str) -> bool:
    """Does anybody hear of changes in this table?"""
    return table in _TYPES


def event_id() -> str:
    """A new event's id: random for each process, then counted, because there are thousands a second."""
    return f"{_own}{next(_ids):012x}"


def ping(seq: int, now: int) -> str:
    """A sign of life."""
    return text(Event(id=event_id(), name=PING, time=now, seq=seq))


def logout(now: int) -> str:
    """The last frame of somebody who may not listen any more."""
    return text(Event(id=event_id(), name=LOGOUT, time=now))


def rows(
    tx: Tx, ctx: Context, changes: Sequence[Change], look: Look, floor: int | None, now: int
) -> list[tuple[int, str]]:
    """(number, frame) for each row behind ``changes`` that the caller sees. Nobody may resume beyond ``floor``."""
    by_table: dict[str, dict[int, int]] = defaultdict(dict)
    for change in changes:
        by_table[change.kind][change.record_id] = change.seq
    found = []
    for table, seqs in by_table.items():
        kinds = [k for k in _TYPES[table] if ctx.can(k, "r")]
        known: list[Any] = list(tx.find(_CLASSES[table], Where("id", "in", list(seqs)))) if kinds else []
        for kind in kinds:
            seen = [r for r in known if _concerns(tx, ctx, kind, r)]
            shown = documents(tx, ctx, kind, seen)
            for link in look.include:
                embed(tx, ctx, kind, seen, shown, link)
            for row, document in zip(seen, shown, strict=True):
                seq = seqs[row.id] if floor is None else min(seqs[row.id], floor)
                found.append((seqs[row.id], _changed(ctx.dialect.type_id(kind.id), document, look, seq, now)))
    return found


def _concerns(tx: Tx, ctx: Context, kind: ResourceType, row: Any) -> bool:
    if row.kind not in kind.kinds if kind.kinds else row.kind in _special(kind):
        return False
    if row.removed is not None and row.state != "removed":
        return False
    if kind.scope == "project" and ctx.caller.project_id is not None and row.account_id != ctx.caller.project_id:
        return False
    return bool(ctx.api.behaviour(kind).sees(tx, ctx, row))


def _special(kind: ResourceType) -> set[str]:
    """The kinds of rows of this table that have a type of their own."""
    assert kind.record is not None
    return {name for other in _TYPES[kind.record.TABLE] for name in other.kinds}


def _changed(type_id: str, document: dict[str, Any], look: Look, seq: int, now: int) -> str:
    data = {"resource": document}
    if look.action_links:
        data["actionLinks"] = document["actions"]
    told = document.get("type") or type_id
    return text(
        Event(id=event_id(), name=ROW_CHANGED, resource_type=told, resource_id=document["id"], data=data, time=now, seq=seq)
    )  # fmt: skip
