"""Paths to handlers. The grammar of 1.x: ``/v1[/projects/<id>]/<type>[/<id>[/<link>]]``, actions as ``?action=``."""

from __future__ import annotations

import secrets
import time
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import structlog
from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from remuda.api import agents, entry, handlers, render, streams
from remuda.api.audit import audit
from remuda.api.context import Context, client_of, root_of
from remuda.api.errors import ApiError, not_found, translate
from remuda.api.resources import cluster, stacks
from remuda.api.resources.settings import Settings
from remuda.api.server import Api, request_id
from remuda.api.static import static_routes
from remuda.core import ids
from remuda.schema.fields import ANONYMOUS, ResourceType
from remuda.schema.registry import TYPES, describe, visible
from remuda.schema.settings import SETTINGS
from remuda.schema.validate import for_create

log = structlog.get_logger()

MAX_BODY = 10 * 1024 * 1024
CSRF = "CSRF"
_SINGLE = {"setup", "token", "register", "scripts", "composeplans", "schemas", "haconfigs", "settings", ""}


def application(api: Api) -> Starlette:
    """The ASGI application of one server."""
    edge = Edge(api)
    return Starlette(
        routes=[
            Route("/ping", _ping),
            Route("/metrics", edge.metrics),
            Route("/v1{rest:path}", edge.http, methods=["GET", "HEAD", "POST", "PUT", "DELETE"]),
            WebSocketRoute("/v1/{rest:path}", edge.socket),
            *static_routes(api.static),
        ]
    )


async def _ping(_request: Request) -> Response:
    return PlainTextResponse("pong")


class Edge:
    """Between Starlette and the handlers."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def metrics(self, _request: Request) -> Response:
        """Prometheus."""
        return Response(generate_latest(self._api.metrics), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def http(self, request: Request) -> Response:
        """One API request: never anything but a documented answer."""
        started = time.perf_counter()
        ctx: Context | None = None
        name = request_id()
        try:
            ctx, parts = await self._context(request, name)
            response = await self._dispatch(request, ctx, parts)
        except Exception as problem:
            response = self._failed(request, ctx, problem, name)
        if (
            "text/html" in request.headers.get("accept", "")
            or "mozilla" in request.headers.get("user-agent", "").lower()
        ):
            self._csrf_cookie(request, response)
        self._api.observed(request.method, response.status_code, started)
        return response

    def _failed(self, request: Request, ctx: Context | None, problem: Exception, name: str) -> Response:
        if isinstance(problem, HTTPException):
            error: ApiError | None = ApiError(problem.status_code, "", str(problem.detail))
        else:
            error = translate(problem)
        if error is None:
            log.exception("request failed", method=request.method, path=request.url.path, request=name)
            error = ApiError(500, "", f"The server made a mistake; its log knows more under {name}.")
        response = self._api.json(ctx, error.document(name), error.status)
        if error.status == 401 and "x-api-no-challenge" not in request.headers:
            response.headers["WWW-Authenticate"] = (
                'Basic realm="Enter API access key and secret key as username and password"'
            )
        if error.status == 503:
            response.headers["Retry-After"] = "1"
        return response

    async def _context(self, request: Request | WebSocket, name: str) -> tuple[Context, list[str]]:
        parts = [p for p in request.path_params["rest"].split("/") if p]
        project, prefix = _project_of(parts)
        if project is not None:
            parts = parts[2:]
        else:
            told = request.headers.get("x-api-project-id") or request.query_params.get("projectId")
            project = _project_id(told) if told else None
        caller = await self._api.auth.caller(request, project)
        ctx = Context(
            api=self._api,
            caller=caller,
            root=root_of(request),
            prefix="/v1" + prefix,
            client_ip=client_of(request),
            query=tuple(parse_qsl(request.url.query, keep_blank_values=True)),
            request_id=name,
        )
        return ctx, parts

    async def _dispatch(self, request: Request, ctx: Context, parts: list[str]) -> Response:
        method = (request.query_params.get("_method") or request.method).upper()
        method = "GET" if method == "HEAD" else method
        head = parts[0].lower() if parts else ""
        if method != "GET":
            self._check_csrf(request, ctx)
        body = await _body(request) if method in ("POST", "PUT") else {}
        if head in _SINGLE or (head in ("setting", "haconfig", "composeplan")):
            answer = await self._single(ctx, method, head, parts[1:], body)
            if answer is not None:
                return answer
        if ctx.caller.role == ANONYMOUS:
            raise ApiError(401, "Unauthorized", "Log in, or send an API key.")
        kind = handlers.type_of(ctx, head)
        if kind.id == "account" and body.get("password"):
            ctx = await self._hashed(ctx, str(body["password"]))
        if kind.id == "clusterNode":
            ctx = msgspec.structs.replace(ctx, leading=await self._api.leading_node())
        return await self._rows(ctx, method, kind, parts, body)

    async def _rows(
        self, ctx: Context, method: str, kind: ResourceType, parts: list[str], body: dict[str, Any]
    ) -> Response:
        action = ctx.param("action")
        match (method, len(parts)):
            case ("GET", 1):
                return self._api.json(ctx, await handlers.listing(ctx, kind, parts[0].lower()))
            case ("POST", 1) if not action:
                return self._api.json(ctx, await handlers.creating(ctx, kind, body), 201)
            case ("GET", 2):
                return self._api.json(ctx, await handlers.reading(ctx, kind, parts[1]))
            case ("PUT", 2):
                return self._api.json(ctx, await handlers.updating(ctx, kind, parts[1], body))
            case ("DELETE", 2):
                return self._api.json(ctx, await handlers.removing(ctx, kind, parts[1]))
            case ("POST", 2) if action:
                status, told = await handlers.acting(ctx, kind, parts[1], action, body)
                return told if isinstance(told, Response) else self._api.json(ctx, told, status)
            case ("GET", 3):
                linked = await handlers.following(ctx, kind, parts[1], parts[2])
                return linked if isinstance(linked, Response) else self._api.json(ctx, linked)
            case ("POST", 3):
                return await self._child(ctx, kind, parts, body)
        raise ApiError(405, "", f"{method} is not offered here.")

    async def _child(self, ctx: Context, kind: Any, parts: list[str], body: dict[str, Any]) -> Response:
        """POST to a link creates below it: ``/environments/1e1/services``."""
        link = next((x for x in kind.links if x.name.lower() == parts[2].lower()), None)
        if link is None:
            raise not_found(parts[2])
        target = TYPES[link.type]
        field = "requestedHostId" if (target.id, link.field) == ("container", "hostId") else link.field
        return self._api.json(ctx, await handlers.creating(ctx, target, {**body, field: parts[1]}), 201)

    async def _hashed(self, ctx: Context, password: str) -> Context:
        if len(password) < 8 or len(password) > 1024:
            raise ApiError(422, "MinLengthExceeded", "A password has 8 to 1024 characters.", field="password")
        return msgspec.structs.replace(ctx, hashed=await self._api.keyring.hash_password(password))

    async def _single(
        self, ctx: Context, method: str, head: str, rest: list[str], body: dict[str, Any]
    ) -> Response | None:
        """Types that are not plain rows. None: not one of these after all."""
        match head:
            case "":
                return self._api.json(ctx, _version(ctx))
            case "schemas":
                return self._api.json(ctx, _schemas(ctx, rest))
            case "scripts" if rest:
                return await entry.script(ctx, rest[0])
            case "setup":
                return (
                    await entry.setup(ctx, body)
                    if method == "POST"
                    else self._api.json(ctx, await entry.setup_state(ctx))
                )
            case "token":
                if method == "POST":
                    return await entry.login(ctx, body)
                return (
                    await entry.logout(ctx) if method == "DELETE" else self._api.json(ctx, await entry.token_state(ctx))
                )
            case "register":
                return await self._register(ctx, method, rest, body)
            case "composeplans" | "composeplan" if method == "POST":
                return await self._plan(ctx, body)
            case "haconfigs" | "haconfig":
                return await self._haconfig(ctx, method, rest, body)
            case "settings" | "setting":
                return await self._setting(ctx, method, rest, body)
        return None

    async def _register(self, ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
        key = str(body.get("key") or ctx.param("key") or (rest[0] if rest else ""))
        if method != "POST":
            # keys are shown once, in the answer to the POST; an agent that lost them posts again
            data: list[dict[str, Any]] = []
            return self._api.json(ctx, render.collection(ctx, "register", "register", data))
        return self._api.json(ctx, await entry.register(ctx, key), 201)

    async def _plan(self, ctx: Context, body: dict[str, Any]) -> Response:
        kind = TYPES["composePlan"]
        if not ctx.can(kind, "c"):
            raise ApiError(401 if ctx.caller.role == ANONYMOUS else 403)

        def unit(tx: Any) -> dict[str, Any]:
            return stacks.plan(tx, ctx, for_create(kind, body, handlers.lookup(tx, ctx)))

        return self._api.json(ctx, await self._api.read(unit))

    async def _haconfig(self, ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
        if not ctx.can(TYPES["haConfig"], "r"):
            raise ApiError(401 if ctx.caller.role == ANONYMOUS else 403, "", "Only administrators see this.")
        action = ctx.param("action")
        if method == "POST" and action:
            told = await cluster.act(ctx, action, body)
            return told if isinstance(told, Response) else self._api.json(ctx, told)
        if method == "PUT":
            raise ApiError(
                422, "InvalidState", "High availability is enabled by generating the script, and ended by starting a single"
                " server.", field="enabled",
            )  # fmt: skip
        document = await cluster.show(ctx)
        return self._api.json(ctx, document if rest else render.collection(ctx, "haConfig", "haconfigs", [document]))

    async def _setting(self, ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response | None:
        kind = TYPES["setting"]
        if ctx.caller.role == ANONYMOUS or not ctx.can(kind, "r"):
            raise ApiError(401, "Unauthorized", "Log in, or send an API key.")
        behaviour = self._api.behaviour(kind)
        assert isinstance(behaviour, Settings)
        if not rest:
            names = [n for n in self._api.settings.names() if ctx.is_admin or _public(n)]
            data = await self._api.read(lambda tx: [_setting_document(tx, ctx, behaviour, n) for n in names])
            return self._api.json(ctx, render.collection(ctx, "setting", "settings", data))
        name = rest[0].removeprefix("1as!")
        if not ctx.is_admin and not _public(name):
            raise not_found(f"setting '{name}'")
        if method == "PUT":
            if not ctx.is_admin:
                raise ApiError(403, "Forbidden", "Only administrators change settings.")
            value = str(body.get("value") if body.get("value") is not None else "")
            await self._api.write(lambda tx: audit(tx, ctx, "api.setting.update", kind,
                                                            behaviour.change(tx, ctx, name, value), body, 200))  # fmt: skip
            await self._api.settings.load(self._api.store)
        elif method == "DELETE":
            if not ctx.is_admin:
                raise ApiError(403, "Forbidden", "Only administrators change settings.")

            def reset(tx: Any) -> None:
                row = behaviour.by_name(tx, name)
                if row is not None:
                    behaviour.remove(tx, ctx, row, {})

            await self._api.write(reset)
            await self._api.settings.load(self._api.store)
        return self._api.json(ctx, await self._api.read(lambda tx: _setting_document(tx, ctx, behaviour, name)))

    def _check_csrf(self, request: Request, ctx: Context) -> None:
        if not ctx.caller.by_cookie:
            return
        sent = request.headers.get("x-api-csrf") or request.query_params.get(CSRF) or ""
        expected = request.cookies.get(CSRF, "")
        if not expected or not secrets.compare_digest(sent.encode(), expected.encode()):
            raise ApiError(403, "InvalidCSRFToken", "Send the value of the cookie CSRF in the header X-API-CSRF.")

    def _csrf_cookie(self, request: Request, response: Response) -> None:
        if CSRF not in request.cookies:
            secure = root_of(request).startswith("https")
            response.set_cookie(CSRF, secrets.token_hex(5), path="/", samesite="lax", secure=secure)

    # ---- WebSockets

    async def socket(self, socket: WebSocket) -> None:
        """Subscribe, agents, streams."""
        try:
            ctx, parts = await self._context(socket, request_id())
        except ApiError as problem:
            await socket.close(1008, problem.message[:120])
            return
        head = parts[0].lower() if parts else ""
        if head == "subscribe":
            await self._api.broadcaster.serve(socket, ctx)
        elif head == "agentsession":
            await agents.serve(self._api, socket, ctx)
        elif head in ("exec", "logs", "containerstats", "hoststats", "stats"):
            await streams.serve(self._api, socket, head)
        else:
            await socket.close(1008, "There is no such stream.")


def _project_of(parts: list[str]) -> tuple[int | None, str]:
    """The environment that a path is below, and that part of the path."""
    scoped = len(parts) > 2 and parts[0].lower() in ("projects", "project") and parts[2].lower() != "projectmembers"
    if not scoped:
        return None, ""
    return _project_id(parts[1]), f"/projects/{parts[1]}"


def _project_id(text: str) -> int:
    number = ids.number(text)
    if number is None:
        raise ApiError(403, "Forbidden", f"There is no environment '{text}', or you may not see it.")
    return number


async def _body(request: Request) -> dict[str, Any]:
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > MAX_BODY:
        raise ApiError(413, "", f"A request may have at most {MAX_BODY} bytes.")
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        return {k: v for k, v in (await request.form()).items() if isinstance(v, str)}
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY:
            raise ApiError(413, "", f"A request may have at most {MAX_BODY} bytes.")
    # clients send JSON under any type or none: curl -d says it is a form
    if kind.startswith("application/x-www-form-urlencoded") and not raw.lstrip().startswith((b"{", b"[", b"null")):
        return dict(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True))
    if not raw.strip():
        return {}
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise ApiError(400, "InvalidBodyContent", f"The body is not JSON: {problem}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ApiError(400, "InvalidBodyContent", "The body must be a JSON object.")
    return value


def _version(ctx: Context) -> dict[str, Any]:
    links = {"self": ctx.root + ctx.prefix, "schemas": ctx.url("schemas")}
    for kind in visible(ctx.caller.role):
        if "GET" in kind.methods and "r" in kind.rights.get(ctx.caller.role, ""):
            links[kind.plural_name] = ctx.url(kind.plural_name.lower())
    return {"id": "v1", "type": "apiVersion", "links": links, "actions": {}}


def _schemas(ctx: Context, rest: list[str]) -> dict[str, Any]:
    role = ctx.caller.role
    if rest and rest[0].lower() != "schemas":
        kind = handlers.type_of(ctx, rest[0])
        return render.schema(ctx, describe(kind.id, role), "GET" in kind.methods)
    data = [render.schema(ctx, describe(k.id, role), "GET" in k.methods) for k in visible(role)]
    return render.collection(ctx, "schema", "schemas", data)


def _public(name: str) -> bool:
    declared = SETTINGS.get(name)
    return bool(declared and declared.public)


def _setting_document(tx: Any, ctx: Context, behaviour: Settings, name: str) -> dict[str, Any]:
    row = behaviour.by_name(tx, name)
    if row is None:
        raise not_found(f"setting '{name}'")
    return handlers.documents(tx, ctx, TYPES["setting"], [row])[0]
