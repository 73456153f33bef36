"""Who asks, for which environment, and under which URL: what every handler needs to know about a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from starlette.requests import HTTPConnection

from remuda.schema.fields import ADMIN, ANONYMOUS, ResourceType
from remuda.schema.registry import rights

if TYPE_CHECKING:
    from remuda.api.server import Api


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who was recognised. ``account_id`` is who they are, ``project_id`` the environment they act in (None = none chosen).

    ``role`` already takes both into account. ``auth_type`` is one of the words that the audit log uses.
    """

    account_id: int = 0
    kind: str = ""
    name: str = ""
    role: str = ANONYMOUS
    project_id: int | None = None
    auth_type: str = "None"
    credential_id: int = 0
    by_cookie: bool = False
    roles: dict[int, str] = {}


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """One request. ``root`` is ``scheme://host``; ``prefix`` the path below which all URLs of the reply lie."""

    api: Api
    caller: Caller
    root: str
    version: str = "v1"
    prefix: str = "/v1"
    client_ip: str = ""
    query: tuple[tuple[str, str], ...] = ()
    request_id: str = ""
    leading: str = ""
    """The node that leads, where a handler wants to show it."""
    hashed: str = ""
    """Hash of the password in the body, made before the unit of work because it is slow on purpose."""

    def url(self, *parts: object) -> str:
        """The absolute URL of something below the prefix."""
        return "/".join((self.root + self.prefix, *(str(p) for p in parts)))

    def can(self, resource: ResourceType, letter: str) -> bool:
        """May the caller do this to that type at all?"""
        return letter in rights(resource, self.caller.role)

    def param(self, name: str) -> str | None:
        """The first query parameter of this name."""
        return next((v for k, v in self.query if k == name), None)

    @property
    def is_admin(self) -> bool:
        """An administrator of the installation."""
        return self.caller.role == ADMIN


def root_of(request: HTTPConnection) -> str:
    """``scheme://host[:port]`` as the client sees it, through any proxies that say so (first element of each header)."""

    def first(header: str) -> str:
        return request.headers.get(header, "").split(",")[0].strip()

    scheme = first("x-forwarded-proto") or request.url.scheme.replace("ws", "http")
    host = first("x-forwarded-host") or request.headers.get("host") or request.url.netloc
    port = first("x-forwarded-port")
    if port.isdigit():
        bare = host.rsplit(":", 1)[0] if host.count(":") == 1 or "]:" in host else host
        host = bare if port in ("80", "443") else f"{bare}:{port}"
    return f"{'https' if scheme in ('https', 'wss') else 'http'}://{host}"


def client_of(request: HTTPConnection) -> str:
    """The client's address, as told by the proxies in front."""
    told = request.headers.get("x-forwarded-for", "").split(",")[0].strip()
    return told or (request.client.host if request.client else "")
