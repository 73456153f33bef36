"""Hand out tickets for streams: where to dial, and the token that says what for and for whom.

A ticket ends with the rights of whoever asked for it, also while its stream is open.
"""

from __future__ import annotations

from typing import Any

from remuda.api.context import Caller, Context
from remuda.api.errors import ApiError
from remuda.core import tickets
from remuda.core.model import Host
from remuda.core.simulated import CONSOLE, KIND

DOCKER_SETTING = "host.dockersocket.enabled"


async def access(
    ctx: Context, path: str, host: int, claims: tickets.Claims, *, kind: str = "hostAccess"
) -> dict[str, Any]:
    """The way to one stream."""
    url, token = await _ticket(ctx, path, host, claims)
    return {"type": kind, "links": {}, "actions": {}, "url": url, "token": token}


async def console(ctx: Context, host: int, container: str) -> dict[str, Any]:
    """The way to a container's own terminal: here 1.x puts the token into the URL. What runs nothing has none to show."""
    row = await ctx.api.read(lambda tx: tx.get(Host, host))
    if row is not None and row.kind == KIND:
        return {"type": "instanceConsole", "links": {}, "actions": {}, "password": None, **CONSOLE}
    url, token = await _ticket(ctx, tickets.CONSOLE, host, tickets.console(container))
    return {
        "type": "instanceConsole",
        "links": {},
        "actions": {},
        "kind": "docker",
        "url": f"{url}?token={token}",
        "password": None,
    }


async def _ticket(ctx: Context, path: str, host: int, claims: tickets.Claims) -> tuple[str, str]:
    row = await ctx.api.read(lambda tx: tx.get(Host, host))
    caller = ctx.caller
    by = {"key": caller.key, "project": caller.project_id, "role": caller.role}
    told = {**claims, "hostUuid": row.uuid if row else "", "host": host, "by": by}
    return tickets.url(ctx.root, path), await ctx.api.tickets.issue(path, told)


def allow_docker(ctx: Context) -> None:
    """An engine's socket is root on its host: an installation may do without."""
    if ctx.api.settings.get(DOCKER_SETTING) != "true":
        raise ApiError(
            501, "HostApiProxyDisabled", f"Docker sockets of hosts are not handed out here: '{DOCKER_SETTING}' is off."
        )  # fmt: skip


def bearer_of(claims: dict[str, Any]) -> Caller:
    """Whoever a ticket was made for, as they were then."""
    by = claims.get("by") or {}
    return Caller(key=by.get("key", ""), role=by.get("role", ""), project_id=by.get("project"))
