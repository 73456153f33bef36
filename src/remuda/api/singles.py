"""What is not a plain row: the root, schemas, first run, login, registration, plans, the cluster, settings, identities."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
from starlette.responses import PlainTextResponse, Response

from remuda.api import entry, handlers, identities, render
from remuda.api.audit import audit
from remuda.api.context import Context
from remuda.api.errors import ApiError, not_found
from remuda.api.lookup import lookup
from remuda.api.resources import agents, cluster, containers, events, providers, stackfiles, views, volumes
from remuda.api.resources.settings import Settings
from remuda.ports.store import Tx
from remuda.schema import openapi
from remuda.schema.fields import ANONYMOUS, ResourceType
from remuda.schema.registry import TYPES, describe, described, find, visible
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
        if "GET" in kind.methods and "l" in kind.rights.get(ctx.caller.role, ""):
            plural = ctx.dialect.plural(kind)
            links[plural] = ctx.url(plural.lower())
    return ctx.api.json(ctx, {"id": ctx.dialect.version, "type": "apiVersion", "links": links, "actions": {}})


async def _schemas(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    role = ctx.caller.role
    if rest and rest[0].lower() != "schemas":
        kind = described(rest[0]) or handlers.type_of(ctx, rest[0])
        if not kind.rights.get(role):
            raise not_found(f"type '{rest[0]}'")
        return ctx.api.json(ctx, render.schema(ctx, describe(kind.id, role, ctx.dialect.version)))
    data = [render.schema(ctx, describe(k.id, role, ctx.dialect.version)) for k in visible(role)]
    return ctx.api.json(ctx, render.collection(ctx, "schema", "schemas", data))


async def _openapi(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    if ctx.caller.role == ANONYMOUS:
        raise ApiError(401, "Unauthorized", _LOGIN)
    return ctx.api.json(ctx, openapi.document(ctx.caller.role, ctx.dialect.version, ctx.root + ctx.prefix))


async def _scripts(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    if not rest:
        raise not_found("script")
    if rest[0].lower() == "transform":
        if method != "POST":
            raise ApiError(405, "", "POST a container as docker inspect shows it.")
        return ctx.api.json(ctx, containers.transformed(ctx, body))
    if method != "GET":
        raise ApiError(405, "", f"{method} is not offered here.")
    if rest[0].lower() == "api.crt":
        return PlainTextResponse(await ctx.api.tickets.certificate())
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
    return await entry.token_state(ctx)


async def _register(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    _demand(ctx, "register", "c" if method == "POST" else "r", "Registering needs a registration token.")
    if method == "POST":
        key = body.get("key") or ctx.param("key") or (rest[0] if rest else None)
        return ctx.api.json(ctx, await entry.register(ctx, {**body, "key": key}), 201)
    # keys are shown once, in the answer to the POST; an agent that lost them posts again
    return ctx.api.json(ctx, render.collection(ctx, "register", "register", []))


async def _plan(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    _demand(ctx, "composePlan", "c")

    def unit(tx: Tx) -> dict[str, Any]:
        return stackfiles.plan(tx, ctx, for_create(TYPES["composePlan"], body, lookup(tx, ctx)))

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
    if not rest and method == "POST":
        _demand(ctx, "setting", "c", "Only administrators make settings.")
        name = str(for_create(kind, body, lambda _type, _number: False)["name"])
        await _set(ctx, "PUT", name, body)
        return ctx.api.json(ctx, await ctx.api.read(lambda tx: _setting_document(tx, ctx, name)), 201)
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
        await _set(ctx, method, name, body)
    return ctx.api.json(ctx, await ctx.api.read(lambda tx: _setting_document(tx, ctx, name)))


async def _set(ctx: Context, method: str, name: str, body: dict[str, Any]) -> None:
    """Change a setting (``PUT``), or have its default again (``DELETE``)."""

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
        audit(tx, ctx, f"api.setting.{'update' if method == 'PUT' else 'remove'}", TYPES["setting"], row, body, 200)

    await ctx.api.write(unit)
    await ctx.api.settings.load(ctx.api.store)


async def _active_setting(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    """A setting with the value that holds; one at a time, by name."""
    if not rest:
        raise ApiError(405, "", "Name one: /activesettings/<name>. All of them are listed as settings.")
    answer = await _setting(ctx, method, rest, body)
    told = {**msgspec.json.decode(answer.body), "type": "activeSetting", "baseType": "activeSetting"}
    told["links"] = {"self": ctx.url("activesettings", told["id"])}
    return ctx.api.json(ctx, told)


async def _documentation(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    """What each type and field is for."""
    _demand(ctx, "typeDocumentation", "r")

    def document(kind: ResourceType) -> dict[str, Any]:
        told = describe(kind.id, ctx.caller.role, ctx.dialect.version)
        fields = told["resourceFields"].items()
        return {
            "id": told["id"],
            "type": "typeDocumentation",
            "links": {"self": ctx.url("typedocumentations", told["id"]), "schema": ctx.url("schemas", told["id"])},
            "actions": {},
            "description": kind.description,
            "resourceFields": {name: {"description": f["description"]} for name, f in fields if f["description"]},
        }

    if rest:
        return ctx.api.json(ctx, document(handlers.type_of(ctx, rest[0])))
    data = [document(kind) for kind in visible(ctx.caller.role)]
    return ctx.api.json(ctx, render.collection(ctx, "typeDocumentation", "typedocumentations", data))


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
    _demand(ctx, "identity", "r")
    return await identities.serve(ctx, rest)


async def _provider(type_id: str, ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    kind = TYPES[type_id]
    _demand(ctx, kind.id, {"GET": "r", "POST": "c"}.get(method, "u"), "Only administrators choose how people log in.")
    return await providers.serve(ctx, method, kind, rest, body)


async def _consume_maps(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    _demand(ctx, "serviceConsumeMap", "r")
    return _among(ctx, "serviceConsumeMap", await ctx.api.read(lambda tx: views.consume_maps(tx, ctx)), rest)


async def _storage_drivers(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    _demand(ctx, "storageDriver", "r")
    return _among(ctx, "storageDriver", await ctx.api.read(lambda tx: volumes.drivers(tx, ctx)), rest)


def _among(ctx: Context, type_id: str, found: list[dict[str, Any]], rest: list[str]) -> Response:
    """All of these, or the one that the path names."""
    if not rest:
        return ctx.api.json(ctx, render.collection(ctx, type_id, TYPES[type_id].plural_name.lower(), found))
    one = next((row for row in found if row["id"] == rest[0]), None)
    if one is None:
        raise not_found(f"{type_id} '{rest[0]}'")
    return ctx.api.json(ctx, one)


async def _subscribe(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    if method == "POST":
        return ctx.api.broadcaster.answer(ctx, body.get("eventNames") or [])
    _demand(ctx, "subscribe", "r")  # there are no rows; a WebSocket is what is asked for here
    return ctx.api.json(ctx, render.collection(ctx, "subscribe", "subscribe", []))


async def _publish(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    return await ctx.api.broadcaster.events.publish(ctx, body)


_SERVED: dict[str, tuple[tuple[str, ...], Serve]] = {
    "": (("GET",), _root),
    "schema": (("GET",), _schemas),
    "openapi.json": (("GET",), _openapi),
    "serviceConsumeMap": (("GET",), _consume_maps),
    "task": (("GET", "POST"), agents.task),
    "scripts": (("GET", "POST"), _scripts),
    "setup": (("GET", "POST"), _setup),
    "token": (("GET", "POST", "DELETE"), _token),
    "register": (("GET", "POST"), _register),
    "composePlan": (("POST",), _plan),
    "haConfig": (("GET", "PUT", "POST"), _haconfig),
    "setting": (("GET", "POST", "PUT", "DELETE"), _setting),
    "activeSetting": (("GET", "PUT", "DELETE"), _active_setting),
    "typeDocumentation": (("GET",), _documentation),
    "identity": (("GET",), _identities),
    "storageDriver": (("GET",), _storage_drivers),
    "subscribe": (("GET", "POST"), _subscribe),
    "publish": (("POST",), _publish),
    "hostApiProxyToken": (("GET", "POST"), events.proxy_token),
    **{kind: (("GET", "POST", "PUT"), partial(_provider, kind)) for kind in providers.SERVED},
}
"""Type id (or path) -> methods, and who serves it."""
