"""Events that programs publish: handed to the subscribers of the same account, on all servers, once, if they listen now.

They are news, not facts: none is stored, and nothing of the platform acts upon one. The bus may lose them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from starlette.responses import Response

from remuda.api import frames
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.lookup import lookup
from remuda.api.subscription import RAW, Subscriber
from remuda.core import ids
from remuda.core.events import LONGEST_NAME, bare, may_publish
from remuda.core.model import Agent
from remuda.ports.store import eq
from remuda.schema.fields import AGENT, ANONYMOUS
from remuda.schema.registry import TYPES
from remuda.schema.validate import for_create

if TYPE_CHECKING:
    from remuda.api.server import Api

log = structlog.get_logger()

CHANNEL = "events"
LONGEST_FRAME = 64 * 1024
RETRY_SECONDS = 1.0


class Notice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event between servers. ``account``: whose subscribers hear it; 0: only those who hear everything."""

    sender: str
    name: str
    account: int = 0
    frame: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Notice).decode


class Events:
    """What was published, on its way to subscribers."""

    def __init__(self, api: Api, subscribers: Set[Subscriber]) -> None:
        self._api, self._subscribers = api, subscribers

    async def run(self) -> None:
        """Hear what other servers were told, until cancelled."""
        while True:
            try:
                async with self._api.plane.bus.subscribe(CHANNEL) as messages:
                    async for _, payload in messages:
                        self._take(payload)
            except Exception:
                log.exception("listening for events failed; it is tried again")
            await asyncio.sleep(RETRY_SECONDS)

    def _take(self, payload: bytes) -> None:
        try:
            notice = _decode(payload)
        except msgspec.DecodeError as problem:
            log.warning("an event of another server could not be used", problem=str(problem))
            return
        if notice.sender != self._api.plane.info.server_id:
            self._deliver(notice)

    def _deliver(self, notice: Notice) -> None:
        for subscriber in self._subscribers:
            meant = subscriber.raw or (notice.account != 0 and subscriber.account == notice.account)
            if meant and subscriber.wish.events.match(notice.name):
                subscriber.put(notice.frame)

    async def publish(self, ctx: Context, body: dict[str, Any]) -> Response:
        """``POST /publish``."""
        kind, raw = TYPES["publish"], ctx.caller.kind in RAW
        if not ctx.can(kind, "c"):
            anonymous = ctx.caller.role == ANONYMOUS
            raise ApiError(401 if anonymous else 403, "", "Only agents and administrators publish events.")
        values = await self._api.read(lambda tx: for_create(kind, ctx.dialect.inward(body), lookup(tx, ctx)))
        asked = str(values["name"])
        if len(asked) > LONGEST_NAME:
            raise ApiError(422, "MaxLengthExceeded", f"'name' has at most {LONGEST_NAME} characters.", field="name")
        if not isinstance(values.get("data"), dict | None):
            raise ApiError(422, "InvalidFormat", "'data' is an object.", field="data")
        if not raw and not may_publish(asked):
            raise ApiError(403, "Forbidden", "Only events called reply.* or service.* may be published.", field="name")
        event = self._event(values)
        frame = frames.text(event)
        if len(frame) > LONGEST_FRAME:
            raise ApiError(422, "MaxLengthExceeded", "An event has at most 64 KiB.", field="data")
        notice = Notice(
            sender=self._api.plane.info.server_id, name=event.name, account=await self._account(ctx, asked, raw), frame=frame
        )  # fmt: skip
        self._deliver(notice)
        await self._api.plane.bus.publish(CHANNEL, _encode(notice))
        told = {**msgspec.to_builtins(event), "type": "publish", "links": {}, "actions": {}}
        return self._api.json(ctx, told, 201)

    def _event(self, values: dict[str, Any]) -> frames.Event:
        told = {name: values.get(name) for name in ("resourceId", "resourceType", "publisher", "transitioning",
                "transitioningMessage", "transitioningInternalMessage", "transitioningProgress", "data")}  # fmt: skip
        return msgspec.convert(
            {
                **told,
                "id": values.get("id") or frames.event_id(),
                "name": bare(str(values["name"])),
                "time": values.get("time") or self._api.plane.clock.now(),
            },
            frames.Event,
        )

    async def _account(self, ctx: Context, asked: str, raw: bool) -> int:
        """Whose event it is: an agent's is its environment's. Only who speaks for the installation may name another."""
        if raw:
            told = next((q[8:] for q in asked.split(";")[1:] if q.startswith("account=")), "")
            return ids.number(told) or (int(told) if told.isdecimal() else 0)
        if ctx.caller.role == AGENT:
            agent = await self._api.read(lambda tx: tx.first(Agent, eq("key_account_id", ctx.caller.account_id)))
            return agent.account_id if agent else 0
        return ctx.caller.account_id if ctx.caller.project_id is None else ctx.caller.project_id
