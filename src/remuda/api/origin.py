"""Under which name we are reached, and from where. Both come from headers that anybody can write, and end up in URLs, in
scripts and in commands that people run as root: what is not well-formed is refused or left out, never passed on.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from remuda.api.errors import ApiError

_HOST = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


def _first(connection: HTTPConnection, header: str) -> str:
    return connection.headers.get(header, "").split(",")[0].strip()


def root_of(connection: HTTPConnection) -> str:
    """``scheme://host[:port]`` as the client sees it, through any proxies that say so (first element of each header)."""
    own = connection.scope.get("server") or ("localhost", None)
    host = _first(connection, "x-forwarded-host") or connection.headers.get("host") or f"{own[0]}:{own[1]}"
    if not _HOST.fullmatch(host):
        raise ApiError(400, "InvalidHost", "The header Host or X-Forwarded-Host does not hold a host name.")
    port = _first(connection, "x-forwarded-port")
    if _PORT.fullmatch(port):
        bare = host.rsplit(":", 1)[0] if host.count(":") == 1 or "]:" in host else host
        host = bare if port in ("80", "443") else f"{bare}:{port}"
    scheme = _first(connection, "x-forwarded-proto") or str(connection.scope.get("scheme", "http"))
    return f"{'https' if scheme in ('https', 'wss') else 'http'}://{host}"


@lru_cache(1024)  # the same few proxies and clients, several times in each request
def _address(text: str) -> str:
    """An IP address in its usual form, empty when it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


@lru_cache(1024)
def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def peer_of(connection: HTTPConnection) -> str:
    """Who holds the other end of the socket."""
    return connection.client.host if connection.client else ""


def client_of(connection: HTTPConnection) -> str:
    """The client's address: what the proxies in front say, else the peer's."""
    return _address(_first(connection, "x-forwarded-for")) or peer_of(connection)


def via_of(connection: HTTPConnection) -> str:
    """The proxy on another machine that told us the client's address; empty when there is none.

    Kept beside the address in the audit log: without a proxy in front, anybody can send the header.
    """
    peer = _address(peer_of(connection))
    return "" if not peer or client_of(connection) == peer or _is_loopback(peer) else peer


def nearest_of(connection: HTTPConnection) -> str:
    """The address that the nearest proxy saw: harder to make up than :func:`client_of`."""
    return _address(connection.headers.get("x-forwarded-for", "").rsplit(",", 1)[-1]) or peer_of(connection)


def is_foreign(connection: HTTPConnection, root: str) -> bool:
    """Does a page of another site ask? Browsers say so in ``Origin``; programs do not send one."""
    origin = connection.headers.get("origin")
    if origin is None:
        return False
    ours = {_netloc(root), _netloc("//" + connection.headers.get("host", ""))}
    return _netloc(origin) not in ours - {""}


def _netloc(url: str) -> str:
    try:
        text = urlsplit(url).netloc.lower()
    except ValueError:
        return ""
    return text.removesuffix(":80").removesuffix(":443")
