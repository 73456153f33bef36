"""Agents as administrators see them, simulated hosts as whoever may ask for them, and the task that pings them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from remuda.api import render
from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.errors import ApiError, not_found
from remuda.api.render import Extra
from remuda.core import ids
from remuda.core.model import ACTIVE, INACTIVE, REMOVED, Account, Agent, Host, Record
from remuda.core.simulated import DISCONNECTED, SCHEME, is_simulated, knobs
from remuda.ports.store import ALIVE, Tx, Where, eq
from remuda.schema.catalogue.agents import PING
from remuda.schema.registry import TYPES

OFF = "Simulated hosts are off here: start all servers with --simulated-hosts (or REMUDA_SIMULATED_HOSTS=1). They are for tests."
_RESOURCES = "agentResourcesAccountId"
"""Key of an agent's ``data`` under which clients of 1.x name the environment of its host."""
_TASK = "1ta1"


def demand_simulated(ctx: Context, field: str) -> None:
    """Refuse what needs simulated hosts where there are none."""
    if not ctx.api.simulated_hosts:
        raise ApiError(422, "InvalidState", OFF, field=field)


def uri_of(ctx: Context, form: Any, key: str) -> str:
    """The ``uri`` that registering with this ``agentUriFormat`` gives; empty for an agent on a machine."""
    if not form or form == "event://%s":
        return ""
    if form != f"{SCHEME}%s":
        raise ApiError(
            422, "InvalidFormat", f"'agentUriFormat' is {SCHEME}%s, or left out for an agent on a machine.",
            field="agentUriFormat",
        )  # fmt: skip
    demand_simulated(ctx, "agentUriFormat")
    return SCHEME + key


class Agents(Behaviour):
    """Those of simulated hosts can be made, silenced and reached again; all can be removed with their hosts."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self.actions |= {"reconnect": self.activate, "disconnect": self.disconnect}

    def ownership(self, ctx: Context) -> list[Where]:
        return [] if ctx.is_admin else [eq("key_account_id", ctx.caller.account_id)]

    def sees(self, tx: Tx, ctx: Context, record: Any) -> bool:
        return ctx.is_admin or record.key_account_id == ctx.caller.account_id

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        if not ctx.is_admin:
            raise ApiError(403, "Forbidden", "Agents register themselves.")
        uri, data = str(values.get("uri") or ""), values.get("data") or {}
        if not is_simulated(uri) or len(uri) == len(SCHEME):
            raise ApiError(
                422, "InvalidFormat", f"'uri' is {SCHEME} and a name. Agents of machines register themselves: use the command of"
                " Hosts -> Add host.", field="uri",
            )  # fmt: skip
        demand_simulated(ctx, "uri")
        try:
            knobs(data)
        except ValueError as problem:
            raise ApiError(422, "InvalidFormat", f"'data': {problem}.", field="data") from None
        project = _environment(tx, ctx, values)
        if tx.first(Agent, eq("uri", uri), ALIVE) is not None:
            raise ApiError(422, "NotUnique", f"There already is an agent '{uri}'.", field="uri")
        name = str(values.get("name") or "")
        uuid = str(values.get("uuid") or uri.removeprefix(SCHEME))
        if tx.first(Agent, eq("uuid", uuid)) is not None:
            raise ApiError(422, "NotUnique", f"There is, or was, an agent '{uuid}': choose another name.", field="uri")
        account = tx.insert(Account(kind="agent", name=f"agent {uri}"[:255]))
        return tx.insert(
            Agent(
                uuid=uuid,
                account_id=project,
                kind="agent",
                name=name,
                description=str(values.get("description") or ""),
                uri=uri,
                key_account_id=account.id,
                data=data,
            )
        )

    def activate(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Its machine can be reached."""
        _only_simulated(record)
        data = {k: v for k, v in record.data.items() if k != DISCONNECTED}
        return tx.update(record, desired=ACTIVE, data=data)  # type: ignore[no-any-return]

    def deactivate(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Its machine falls silent."""
        _only_simulated(record)
        return tx.update(record, desired=INACTIVE)  # type: ignore[no-any-return]

    def disconnect(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Its machine falls silent, and stays active."""
        _only_simulated(record)
        return tx.update(record, data={**record.data, DISCONNECTED: True})  # type: ignore[no-any-return]

    def remove(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """With its host, which is taken apart first."""
        host = tx.get(Host, record.host_id) if record.host_id else None
        if host is None or host.removed is not None:
            return super().remove(tx, ctx, record, values)
        tx.update(host, desired=REMOVED)
        return record  # type: ignore[no-any-return]

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        wanted = sorted({r.host_id for r in records if r.host_id})
        hosts = {h.id: h for h in tx.find(Host, Where("id", "in", wanted))} if wanted else {}
        return {r.id: _shown(r, hosts.get(r.host_id)) for r in records}


def _shown(agent: Agent, host: Host | None) -> dict[str, Any]:
    """The state as 1.x has it: of an agent that is wanted, that of its connection."""
    if agent.removed is not None or agent.desired != ACTIVE:
        return {}
    if host is None:
        return {"state": "activating", "transitioning": "yes", "transitioningMessage": "Waiting for its first session"}
    if host.connection == "connected":
        return {"state": "active"}
    return {"state": "disconnected" if host.connection == "lost" else "reconnecting"}


def _only_simulated(agent: Agent) -> None:
    if not is_simulated(agent.uri):
        raise ApiError(
            422, "InvalidState", "This agent runs on a machine of its own: stop it there, or deactivate its host."
        )  # fmt: skip


def _environment(tx: Tx, ctx: Context, values: Values) -> int:
    """Where the host goes."""
    named = (values.get("data") or {}).get(_RESOURCES)
    number = (
        values.get("accountId") or (named if isinstance(named, int) else ids.number(named)) or ctx.caller.project_id
    )
    account = tx.get(Account, number) if number else None
    if account is None or account.kind != "project" or account.removed is not None:
        raise ApiError(422, "MissingRequired", "Say in which environment: 'accountId' is one.", field="accountId")
    return account.id


async def task(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    """The list of tasks, one of them, and its execution."""
    kind = TYPES["task"]
    if not ctx.can(kind, "r"):
        raise not_found("type 'task'")
    known = not rest or rest[0] in (_TASK, PING)
    if not known:
        raise not_found(f"task '{rest[0]}'")
    url = ctx.url("tasks", _TASK)
    acts = ctx.can(kind, "a")
    shown = {
        "id": _TASK,
        "type": "task",
        "baseType": "task",
        "name": PING,
        "links": {"self": url},
        "actions": {"execute": f"{url}/?action=execute"} if acts else {},
    }
    if method == "POST":
        if not rest or ctx.param("action") != "execute":
            raise ApiError(405, "", "POST is offered on a task with ?action=execute only.")
        if not acts:
            raise ApiError(403, "Forbidden", "Your role may not do that.")
        ctx.api.plane.hub.ping()
        return ctx.api.json(ctx, shown, 202)
    if rest:
        return ctx.api.json(ctx, shown)
    wanted = ctx.param("name") in (None, PING)
    return ctx.api.json(ctx, render.collection(ctx, "task", "tasks", [shown] if wanted else []))
