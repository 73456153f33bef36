"""Paths to handlers. The grammar of 1.x: ``/v1[/projects/<id>]/<type>[/<id>[/<link>]]``, actions as ``?action=``."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from remuda.api import (
    agents,
    body,
    browse,
    catalog,
    handlers,
    lists,
    logins,
    proxy,
    proxysockets,
    query,
    singles,
    streams,
)
from remuda.api.context import Caller, Context
from remuda.api.errors import ApiError, not_found, translate
from remuda.api.origin import client_of, is_foreign, nearest_of, root_of, via_of
from remuda.api.server import Api, request_id
from remuda.api.static import static_routes
from remuda.core import ids, tickets
from remuda.schema.dialect import DIALECTS, LATEST
from remuda.schema.fields import ADMIN, AGENT, ANONYMOUS, EVERYONE, PROJECTADMIN, REGISTER, SUPERADMIN, ResourceType
from remuda.schema.registry import TYPES

log = structlog.get_logger()

CSRF = "CSRF"
Dispatch = Callable[[Request, Context, list[str]], Awaitable[Response]]

_FOREIGN = ("/v{number:int}{rest:anything}", "/v1-{rest:anything}", "/latest", "/latest/{rest:anything}")


class _Anything(PathConvertor):
    """The rest of a path, line breaks included: what is no id of ours is refused by us."""

    regex = "(?s:.*)"


register_url_convertor("anything", _Anything())
_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
"""All that may be sent, so that the answer is ours; the last two are refused."""


def application(api: Api) -> Starlette:
    """The ASGI application of one server."""
    edge = Edge(api)
    return Starlette(
        routes=[
            Route("/ping", _ping),
            Route("/healthcheck", _ping),
            Route("/metrics", edge.metrics),
            *(
                route
                for version in DIALECTS
                for route in (
                    Route(f"/{version}/{tickets.PROXY}{{rest:anything}}", edge.proxy, methods=proxy.METHODS),
                    WebSocketRoute(f"/{version}/{tickets.PROXY}{{rest:anything}}", edge.proxy_socket),
                    Route(f"/{version}", edge.http, methods=_METHODS),
                    Route(f"/{version}/{{rest:anything}}", edge.http, methods=_METHODS),
                    WebSocketRoute(f"/{version}/{{rest:anything}}", edge.socket),
                )
            ),
            Route(f"/{catalog.ROOT}", edge.catalog, methods=_METHODS),
            Route(f"/{catalog.ROOT}/{{rest:anything}}", edge.catalog, methods=_METHODS),
            # paths of the API that are none of ours: a program must not be given the UI for them
            *(Route(path, edge.unknown, methods=_METHODS) for path in _FOREIGN),
            *static_routes(api.static, edge.versions),
        ],
        middleware=[Middleware(_OneSlash)],
    )


class _OneSlash:
    """``//v1/hosts`` is ``/v1/hosts``: clients join URLs carelessly."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if str(scope.get("path", "")).startswith("//"):
            scope = {**scope, "path": "/" + scope["path"].lstrip("/")}
        await self._app(scope, receive, send)


async def _ping(_request: Request) -> Response:
    return PlainTextResponse("pong")


class Edge:
    """Between Starlette and the handlers."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def versions(self, request: Request) -> Response:
        """``GET /`` for programs: the versions of the API that there are."""
        root = root_of(request)
        data = [
            {"id": name, "type": "apiVersion", "links": {"self": f"{root}/{name}"}, "actions": {}} for name in DIALECTS
        ]
        links = {"self": f"{root}/", "latest": f"{root}/{LATEST.version}"}
        document = {"type": "collection", "resourceType": "apiVersion", "links": links, "data": data}
        return self._api.json(None, document)

    async def unknown(self, request: Request) -> Response:
        """A version that there is not."""
        error = not_found(f"version of the API at {request.scope['path']}")
        response = self._api.json(None, error.document(request_id()), 404)
        response.headers["X-API-Schemas"] = f"{root_of(request)}/{LATEST.version}/schemas"
        return response

    async def metrics(self, _request: Request) -> Response:
        """Prometheus."""
        return Response(generate_latest(self._api.metrics), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def proxy(self, request: Request) -> Response:
        """What a container serves."""
        return await proxy.serve(self._api, request)

    async def proxy_socket(self, socket: WebSocket) -> None:
        """What a container says on a WebSocket."""
        await proxysockets.serve(self._api, socket)

    async def http(self, request: Request) -> Response:
        """One API request."""
        return await self._answered(request, self._dispatch)

    async def catalog(self, request: Request) -> Response:
        """One request to the catalogs."""
        return await self._answered(request, self._catalog)

    async def _answered(self, request: Request, dispatch: Dispatch) -> Response:
        """Never anything but a documented answer."""
        started = time.perf_counter()
        ctx: Context | None = None
        name = request_id()
        try:
            ctx, parts = await self._context(request, name)
            response = await dispatch(request, ctx, parts)
        except Exception as problem:
            response = self._failed(request, ctx, problem, name)
        csrf = request.cookies.get(CSRF) or secrets.token_hex(5)
        if browse.wanted(request):
            response = browse.page(request, response, csrf)
        if (
            "text/html" in request.headers.get("accept", "")
            or "mozilla" in request.headers.get("user-agent", "").lower()
        ) and CSRF not in request.cookies:
            secure = ctx is not None and ctx.root.startswith("https")
            response.set_cookie(CSRF, csrf, path="/", samesite="lax", secure=secure)
        response.headers["X-Content-Type-Options"] = "nosniff"
        self._api.observed(request.method, response.status_code, started)
        return response

    def _failed(self, request: Request, ctx: Context | None, problem: Exception, name: str) -> Response:
        if isinstance(problem, HTTPException):
            error: ApiError | None = ApiError(problem.status_code, "", str(problem.detail))
        else:
            error = translate(problem)
        if error is None:
            path = bytes(request.scope.get("raw_path") or b"").decode("latin-1")
            log.exception("request failed", method=request.method, path=path, request=name)
            error = ApiError(500, "", f"The server made a mistake; its log knows more under {name}.")
        document = error.document(name)
        if ctx is not None:
            document = ctx.dialect.told(document)
        response = self._api.json(ctx, document, error.status)
        if error.status == 401 and "x-api-no-challenge" not in request.headers:
            response.headers["WWW-Authenticate"] = (
                'Basic realm="Enter API access key and secret key as username and password"'
            )
        if error.status in (429, 503):
            response.headers["Retry-After"] = "1"
        return response

    async def _context(self, request: Request | WebSocket, name: str) -> tuple[Context, list[str]]:
        root = root_of(request)
        dialect = DIALECTS.get(str(request.scope["path"]).split("/", 2)[1], LATEST)
        parts = [p for p in request.path_params.get("rest", "").split("/") if p]
        project, prefix = _project_of(parts)
        if project is not None:
            parts = parts[2:]
        else:
            told = request.headers.get("x-api-project-id") or request.query_params.get("projectId")
            project = _project_id(told) if told else None
        caller = _posing(await self._api.auth.caller(request, project), request.query_params.get("_role"))
        ctx = Context(
            api=self._api,
            caller=caller,
            root=root,
            dialect=dialect,
            prefix=f"/{dialect.version}{prefix}",
            client_ip=client_of(request),
            via=via_of(request),
            nearest=nearest_of(request),
            query=tuple(request.query_params.multi_items()),
            request_id=name,
            began=request.cookies.get(logins.BEGAN, "")[:64],
            action_links=request.headers.get("x-api-action-links", "").lower() == "true",
        )
        return ctx, parts

    async def _sent(self, request: Request, ctx: Context) -> tuple[str, dict[str, Any]]:
        """The method that is meant, and the body with what the query adds to it."""
        method = "GET" if request.method == "HEAD" else request.method
        if method == "POST":  # only there: a link or an image must not change anything
            method = (request.query_params.get("_method") or method).upper()
        if request.method not in ("GET", "HEAD"):
            self._check_browser(request, ctx)
        if method not in ("POST", "PUT"):
            return method, {}
        trusted = ctx.caller.role not in (ANONYMOUS, REGISTER, AGENT)
        sent = await body.read(request, body.MAX_BODY if trusted else body.MAX_STRANGER)
        return method, {**{name: value for name, value in ctx.query if name not in query.CONTROL}, **sent}

    async def _catalog(self, request: Request, ctx: Context, parts: list[str]) -> Response:
        method, sent = await self._sent(request, ctx)
        return await catalog.serve(ctx, method, parts, sent)

    async def _dispatch(self, request: Request, ctx: Context, parts: list[str]) -> Response:
        method, sent = await self._sent(request, ctx)
        head = parts[0].lower() if parts else ""
        answer = await singles.serve(ctx, method, head, parts[1:], sent)
        if answer is not None:
            return answer
        if ctx.caller.role == ANONYMOUS:
            raise ApiError(401, "Unauthorized", "Log in, or send an API key.")
        kind = handlers.type_of(ctx, head)
        secret = {"account": "password", "password": "secretValue"}.get(kind.id, "")
        if sent.get(secret) and not ctx.param("action") and ctx.can(kind, "c" if method == "POST" else "u"):
            ctx = await self._hashed(ctx, str(sent[secret]), secret)
        if kind.id == "clusterNode":
            ctx = msgspec.structs.replace(ctx, leading=await self._api.leading_node())
        return await self._rows(ctx, method, kind, parts, sent, request.headers.get("if-none-match", ""))

    async def _list(self, ctx: Context, kind: ResourceType, path: str, seen: str) -> Response:
        """A list; ``seen`` is the ETag of the answer that the caller has already."""
        if not lists.keeps(ctx, kind):
            return self._api.json(ctx, await handlers.listing(ctx, kind, path))
        key = lists.key_of(ctx, kind, path)
        seq, answer = await self._api.read(lambda tx: self._api.lists.look(tx, key))
        if lists.has(seen, key, seq, answer):
            response = self._api.encoded(ctx, b"", 304)
        else:
            if answer is None:
                # read after the number was: it may hold more than that, never less
                asked: set[str] = set()
                body = self._api.bytes_of(ctx, await handlers.listing(ctx, kind, path, asked=asked))
                answer = lists.Answer(seq, seq, frozenset(asked), ctx.caller.project_id, body)
            response = self._api.encoded(ctx, answer.body)
        if answer is not None:
            self._api.lists.put(key, answer)
        response.headers["ETag"] = lists.etag(key, seq)
        return response

    async def _rows(
        self, ctx: Context, method: str, kind: ResourceType, parts: list[str], sent: dict[str, Any], seen: str
    ) -> Response:
        action = ctx.param("action")
        match (method, len(parts)):
            case ("GET", 1):
                return await self._list(ctx, kind, parts[0].lower(), seen)
            case ("POST", 1) if not action:
                return self._api.json(ctx, await handlers.creating(ctx, kind, sent), 201)
            case ("GET", 2):
                answer = self._api.json(ctx, await handlers.reading(ctx, kind, parts[1]))
                if kind.id == "project":
                    # who was given an environment's URL works within it
                    answer.headers["X-API-Schemas"] = ctx.url("projects", parts[1], "schemas")
                return answer
            case ("PUT", 2):
                return self._api.json(ctx, await handlers.updating(ctx, kind, parts[1], sent))
            case ("DELETE", 2):
                return self._api.json(ctx, await handlers.removing(ctx, kind, parts[1]))
            case ("POST", 2) if action:
                status, told = await handlers.acting(ctx, kind, parts[1], action, sent)
                return told if isinstance(told, Response) else self._api.json(ctx, told, status)
            case ("GET", 3):
                linked = await handlers.following(ctx, kind, parts[1], parts[2])
                return linked if isinstance(linked, Response) else self._api.json(ctx, linked)
            case ("POST", 3):
                return await self._child(ctx, kind, parts, sent)
        raise ApiError(405, "", f"{method} is not offered here.")

    async def _child(self, ctx: Context, kind: ResourceType, parts: list[str], sent: dict[str, Any]) -> Response:
        """POST to a link creates below it: ``/environments/1e1/services``."""
        name = ctx.dialect.our_link(parts[2]).lower()
        link = next((x for x in kind.links if x.name.lower() == name), None)
        if link is None:
            raise not_found(parts[2])
        target = TYPES[link.type]
        field = handlers.child_field(target, link)
        if field is None:
            raise ApiError(405, "", f"A {target.id} is not made below a {kind.id}.")
        return self._api.json(ctx, await handlers.creating(ctx, target, {**sent, field.name: parts[1]}), 201)

    async def _hashed(self, ctx: Context, password: str, field: str) -> Context:
        if len(password) < 8 or len(password) > 1024:
            raise ApiError(422, "MinLengthExceeded", "A password has 8 to 1024 characters.", field=field)
        return msgspec.structs.replace(ctx, hashed=await self._api.keyring.hash_password(password))

    def _check_browser(self, request: Request, ctx: Context) -> None:
        """No page of another site may change anything with what a visitor's browser sends along by itself."""
        if is_foreign(request, ctx.root):
            raise ApiError(
                403, "InvalidOrigin", "A page of another site sent this. If it was ours: a proxy in front must pass on the"
                " header Host, or say X-Forwarded-Host.",
            )  # fmt: skip
        if not ctx.caller.by_cookie:
            return
        sent = request.headers.get("x-api-csrf") or request.query_params.get(CSRF) or ""
        expected = request.cookies.get(CSRF, "")
        if not expected or not secrets.compare_digest(sent.encode(), expected.encode()):
            raise ApiError(403, "InvalidCSRFToken", "Send the value of the cookie CSRF in the header X-API-CSRF.")

    # ---- WebSockets

    async def socket(self, socket: WebSocket) -> None:
        """Subscribe, agents, streams."""
        try:
            ctx, parts = await self._context(socket, request_id())
            head = parts[0].lower() if parts else ""
            await self._stream(socket, ctx, head)
        except Exception as problem:
            error = translate(problem)
            if error is None:
                raise
            # 1013: come again later
            await socket.close(1013 if error.status == 503 else 1008, _short(error.message))

    async def _stream(self, socket: WebSocket, ctx: Context, head: str) -> None:
        origin = socket.headers.get("origin")
        if is_foreign(socket, ctx.root) or (ctx.caller.by_cookie and origin is None):
            await socket.close(1008, "A page of another site may not listen here.")
        elif head == "subscribe":
            await self._api.broadcaster.serve(socket, ctx)
        elif head == "agentsession":
            await agents.serve(self._api, socket, ctx)
        elif head in tickets.SOCKETS:
            await streams.serve(self._api, socket, head)
        else:
            await socket.close(1008, "There is no such stream.")


def _short(text: str) -> str:
    """Close reasons may have 123 bytes."""
    return text.encode()[:120].decode("utf-8", "ignore")


def _project_of(parts: list[str]) -> tuple[int | None, str]:
    """The environment that a path is below, and that part of the path. (Its members are a list of the environment itself.)"""
    scoped = len(parts) > 2 and parts[0].lower() in ("projects", "project")
    if not scoped or (len(parts) == 3 and parts[2].lower() == "projectmembers"):
        return None, ""
    number = _project_id(parts[1])
    return number, f"/projects/{ids.public('account', number)}"


def _posing(caller: Caller, role: str | None) -> Caller:
    """Administrators may ask as somebody of another role would (``_role=``)."""
    if role is None or caller.role not in (ADMIN, PROJECTADMIN, SUPERADMIN):
        return caller
    if role not in EVERYONE:
        raise ApiError(422, "InvalidOption", f"There is no role '{role}'. Roles: {', '.join(EVERYONE)}.", field="_role")
    return msgspec.structs.replace(caller, role=role, posing=True)


def _project_id(text: str) -> int:
    number = ids.number(text)
    if number is None:
        raise ApiError(403, "Forbidden", f"There is no environment '{text}', or you may not see it.")
    return number
