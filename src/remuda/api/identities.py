"""Whom one may name as a member: oneself and one's groups, people who log in here, people and groups at the provider.

Names are looked up as a whole: this is no directory to leaf through.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from remuda.api import logins, render
from remuda.api.context import Context
from remuda.api.errors import not_found
from remuda.api.resources.accounts import PASSWORD_KIND
from remuda.core import ids
from remuda.core.logins import split
from remuda.core.model import Account, Credential
from remuda.ports.store import ALIVE, Tx, Where, eq
from remuda.schema.fields import OWNER


async def serve(ctx: Context, rest: list[str]) -> Response:
    """``/identities``, ``?name=`` and ``/identities/<kind>:<id>``."""
    name = ctx.param("name") or ctx.param("all")
    if rest:
        return ctx.api.json(ctx, await _one(ctx, rest[0]))
    if not name:
        account = await ctx.api.read(lambda tx: tx.get(Account, ctx.caller.account_id))
        data = logins.of(account, ctx.api.logins.configured) if account else []
    elif _may_choose(ctx):
        data = await _named(ctx, name)
    else:
        data = []
    return ctx.api.json(ctx, render.collection(ctx, "identity", "identities", data))


def _may_choose(ctx: Context) -> bool:
    """Only those who choose members need to know who there is."""
    return ctx.is_admin or OWNER in {ctx.caller.role, *ctx.caller.roles.values()}


async def _named(ctx: Context, name: str) -> list[dict[str, Any]]:
    def unit(tx: Tx) -> list[dict[str, Any]]:
        row = tx.first(Credential, eq("public_value", f"user:{name}"), eq("kind", PASSWORD_KIND), ALIVE)
        account = tx.get(Account, row.account_id) if row else None
        return [logins.ours(account)] if account else []

    found = await ctx.api.read(unit)
    kind = ctx.api.logins.configured
    if kind == logins.LOCAL:
        return found
    row = await ctx.api.logins.usable(ctx, kind)
    there = [msgspec.to_builtins(i) for i in await ctx.api.logins.opened(row).search(name)]
    if kind == "oidcconfig":  # an issuer cannot be searched: those who have logged in are known
        there = await ctx.api.read(lambda tx: _seen(tx, name)) + there
    return [*(logins.document(one) for one in there), *found]


def _seen(tx: Tx, name: str) -> list[dict[str, Any]]:
    rows = tx.find(Account, eq("external_id_type", "oidc_user"), Where("kind", "ne", "project"), ALIVE)
    known = [row.data["login"]["user"] for row in rows if row.data.get("login")]
    return [user for user in known if name in (user.get("login"), user.get("name"))]


async def _one(ctx: Context, key: str) -> dict[str, Any]:
    account = await ctx.api.read(lambda tx: tx.get(Account, ctx.caller.account_id))
    mine = [logins.ours(account), *logins.of(account, ctx.api.logins.configured)] if account else []
    known = next((one for one in mine if one["id"] == key), None)
    if known is None and _may_choose(ctx):
        known = await _looked_up(ctx, key)
    if known is None:
        raise not_found(f"identity '{key[:255]}'")
    return known


async def _looked_up(ctx: Context, key: str) -> dict[str, Any] | None:
    if key.startswith("rancher_id:"):
        number = ids.number(key.removeprefix("rancher_id:")) or 0
        account = await ctx.api.read(lambda tx: tx.get(Account, number))
        usable = account is not None and account.kind != "project" and account.removed is None
        return logins.ours(account) if account is not None and usable else None
    pair, kind = split(key), ctx.api.logins.configured
    if pair is None or kind == logins.LOCAL:
        return None
    row = await ctx.api.logins.usable(ctx, kind)
    found = await ctx.api.logins.opened(row).find(*pair)
    return logins.document(msgspec.to_builtins(found)) if found else None
