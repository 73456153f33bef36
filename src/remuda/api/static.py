"""The browser's files: hashed assets that never change, and the page that loads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self' ws: wss:; "
    "frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class _Assets(StaticFiles):
    """Files whose names carry their content's hash."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    async def get_response(self, path: str, scope: Scope) -> Response:
        return await super().get_response(path, scope)


def browses(request: Request) -> bool:
    """Does a person look at this with a browser?"""
    accepts = request.headers.get("accept", "")
    return "text/html" in accepts or ("mozilla" in request.headers.get("user-agent", "").lower() and "*/*" in accepts)


def static_routes(folder: Path | None, versions: Callable[[Request], Response]) -> list[BaseRoute]:
    """Routes for the UI; a sentence in its place when it was not built. Programs are told the API's versions at ``/``."""
    if folder is None or not (folder / "index.html").exists():

        async def missing(request: Request) -> Response:
            if not browses(request):
                return versions(request)
            return PlainTextResponse("The user interface is not built into this server (make ui). The API is at /v1.\n")

        return [Route("/", missing)]
    page = folder / "index.html"

    async def index(request: Request) -> Response:
        if request.url.path == "/" and not browses(request):
            return versions(request)
        return FileResponse(page, headers=_HEADERS)

    return [Mount("/static", _Assets(directory=folder)), Route("/{path:path}", index)]
