"""What is not a plain row: the root, schemas, first run, login, registration, plans, the cluster, settings, identities."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response

from remuda.api import entry, handlers, render
from remuda.api.audit import audit
from remuda.api.context import Context
from remuda.api.errors import ApiError, not_found
from remuda.api.resources import cluster, stacks
from remuda.api.resources.accounts import PASSWORD_KIND
from remuda.api.resources.settings import Settings
from remuda.core.model import Account, Credential
from remuda.ports.store import ALIVE, Tx, eq
from remuda.schema.fields import ANONYMOUS, OWNER
from remuda.schema.registry import TYPES, describe, find, visible
from remuda.schema.settings import SETTINGS
from remuda.schema.validate import for_create

Serve = Callable[[Context, str, list[str], dict[str, Any]], Awaitable[Response]]
_LOGIN = "Log in, or send an API key."


async def serve(ctx: Context, method: str, head: str, rest: list[str], body: dict[str, Any]) -> Response | None:
    """The answer to a request for one of these. None: it is about plain rows."""
    kind = find(head)
    known = _SERVED.get(kind.id if kind else head)
    if known is None:
        return None
    methods, server = known
    if method not in methods:
        raise ApiError(405, "", f"{method} is not offered here.")
    return await server(ctx, method, rest, body)


def _demand(ctx: Context, type_id: str, letter: str, sentence: str = "Your role may not do that.") -> None:
    if ctx.can(TYPES[type_id], letter):
        return
    if ctx.caller.role == ANONYMOUS:
        raise ApiError(401, "Unauthorized", _LOGIN)
    raise ApiError(403, "Forbidden", sentence)


async def _root(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    links = {"self": ctx.root + ctx.prefix, "schemas": ctx.url("schemas")}
    for kind in visible(ctx.caller.role):
        if "GET" in kind.methods and "r" in kind.rights.get(ctx.caller.role, ""):
            links[kind.plural_name] = ctx.url(kind.plural_name.lower())
    return ctx.api.json(ctx, {"id": "v1", "type": "apiVersion", "links": links, "actions": {}})


async def _schemas(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    role = ctx.caller.role
    if rest and rest[0].lower() != "schemas":
        kind = handlers.type_of(ctx, rest[0])
        return ctx.api.json(ctx, render.schema(ctx, describe(kind.id, role)))
    data = [render.schema(ctx, describe(k.id, role)) for k in visible(role)]
    return ctx.api.json(ctx, render.collection(ctx, "schema", "schemas", data))


async def _scripts(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    if not rest:
        raise not_found("script")
    return await entry.script(ctx, rest[0])


async def _setup(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    if method == "POST":
        return await entry.setup(ctx, body)
    return ctx.api.json(ctx, await entry.setup_state(ctx))


async def _token(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    if method == "POST":
        return await entry.login(ctx, body)
    if method == "DELETE":
        return await entry.logout(ctx)
    return ctx.api.json(ctx, await entry.token_state(ctx))


async def _register(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    _demand(ctx, "register", "c" if method == "POST" else "r", "Registering needs a registration token.")
    if method == "POST":
        key = body.get("key") or ctx.param("key") or (rest[0] if rest else None)
        return ctx.api.json(ctx, await entry.register(ctx, {"key": key}), 201)
    # keys are shown once, in the answer to the POST; an agent that lost them posts again
    return ctx.api.json(ctx, render.collection(ctx, "register", "register", []))


async def _plan(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    _demand(ctx, "composePlan", "c")

    def unit(tx: Tx) -> dict[str, Any]:
        return stacks.plan(tx, ctx, for_create(TYPES["composePlan"], body, handlers.lookup(tx, ctx)))

    return ctx.api.json(ctx, await ctx.api.read(unit))


async def _haconfig(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    _demand(ctx, "haConfig", "r", "Only administrators see this.")
    action = ctx.param("action")
    if method == "POST":
        if not action:
            raise ApiError(405, "", "POST is offered with ?action=generate, createscript or rotate only.")
        told = await cluster.act(ctx, action, body)
        return told if isinstance(told, Response) else ctx.api.json(ctx, told)
    if method == "PUT":
        raise ApiError(
            422, "InvalidState", "High availability is enabled by generating the script, and ended by starting a single"
            " server.", field="enabled",
        )  # fmt: skip
    if rest and rest[0].lower() != cluster.SINGLETON:
        raise not_found(f"haConfig '{rest[0]}'")
    document = await cluster.show(ctx)
    return ctx.api.json(ctx, document if rest else render.collection(ctx, "haConfig", "haconfigs", [document]))


async def _setting(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    kind = TYPES["setting"]
    _demand(ctx, "setting", "r")
    if not rest:
        if method != "GET":
            raise ApiError(405, "", f"{method} is not offered here.")
        names = [n for n in ctx.api.settings.names() if ctx.is_admin or _public(n)]
        data = await ctx.api.read(lambda tx: [_setting_document(tx, ctx, n) for n in names])
        return ctx.api.json(ctx, render.collection(ctx, "setting", "settings", data))
    name = rest[0].removeprefix("1as!")
    if not ctx.is_admin and not _public(name):
        raise not_found(f"setting '{name}'")
    if method != "GET":
        _demand(ctx, "setting", "u" if method == "PUT" else "d", "Only administrators change settings.")

        def unit(tx: Tx) -> None:
            behaviour = _settings(ctx)
            if method == "PUT":
                value = str(body.get("value") if body.get("value") is not None else "")
                row = behaviour.change(tx, ctx, name, value)
            else:
                found = behaviour.by_name(tx, name)
                if found is None:
                    raise not_found(f"setting '{name}'")
                row = behaviour.remove(tx, ctx, found, {})
            audit(tx, ctx, f"api.setting.{'update' if method == 'PUT' else 'remove'}", kind, row, body, 200)

        await ctx.api.write(unit)
        await ctx.api.settings.load(ctx.api.store)
    return ctx.api.json(ctx, await ctx.api.read(lambda tx: _setting_document(tx, ctx, name)))


def _settings(ctx: Context) -> Settings:
    behaviour = ctx.api.behaviour(TYPES["setting"])
    assert isinstance(behaviour, Settings)
    return behaviour


def _public(name: str) -> bool:
    declared = SETTINGS.get(name)
    return bool(declared and declared.public)


def _setting_document(tx: Tx, ctx: Context, name: str) -> dict[str, Any]:
    row = _settings(ctx).by_name(tx, name)
    if row is None:
        raise not_found(f"setting '{name}'")
    return handlers.documents(tx, ctx, TYPES["setting"], [row])[0]


async def _identities(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    """The caller's own; with ``?name=`` whoever logs in by exactly that name, for those who choose members."""
    _demand(ctx, "identity", "r")
    name = ctx.param("name")

    def unit(tx: Tx) -> list[dict[str, Any]]:
        number = ctx.caller.account_id
        if name:
            if not ctx.is_admin and OWNER not in {ctx.caller.role, *ctx.caller.roles.values()}:
                return []
            row = tx.first(Credential, eq("public_value", f"user:{name}"), eq("kind", PASSWORD_KIND), ALIVE)
            number = row.account_id if row else 0
        account = tx.get(Account, number)
        return [entry.identity(account.id, account.name)] if account else []

    data = await ctx.api.read(unit)
    if not rest:
        return ctx.api.json(ctx, render.collection(ctx, "identity", "identities", data))
    if not data or data[0]["id"] != rest[0]:
        raise not_found(f"identity '{rest[0]}'")
    return ctx.api.json(ctx, data[0])


_SERVED: dict[str, tuple[tuple[str, ...], Serve]] = {
    "": (("GET",), _root),
    "schema": (("GET",), _schemas),
    "scripts": (("GET",), _scripts),
    "setup": (("GET", "POST"), _setup),
    "token": (("GET", "POST", "DELETE"), _token),
    "register": (("GET", "POST"), _register),
    "composePlan": (("POST",), _plan),
    "haConfig": (("GET", "PUT", "POST"), _haconfig),
    "setting": (("GET", "PUT", "DELETE"), _setting),
    "identity": (("GET",), _identities),
}
"""Type id (or path) -> methods, and who serves it."""
