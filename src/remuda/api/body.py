"""Read what a client sends: JSON under any content type, or a form. Bounded in size, time, depth and numbers, so that
nothing behind it has to be.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request

from remuda.api.errors import ApiError

MAX_BODY = 4 * 1024 * 1024
MAX_STRANGER = 64 * 1024
"""For those who have not said who they are, and for machines: they send a name and a password, or a key."""
SECONDS = 30.0
MAX_DEPTH = 64
_LARGEST = 2**63


async def read(request: Request, limit: int) -> dict[str, Any]:
    """The body as an object; empty when there is none."""
    kind = request.headers.get("content-type", "")
    raw = await _raw(request, limit)
    if kind.startswith("multipart/form-data"):
        request._body = raw  # what was read stays readable: Starlette's own cache
        form = await request.form(max_files=0, max_fields=100)
        return {k: v for k, v in form.items() if isinstance(v, str)}
    # clients send JSON under any type or none: curl -d says it is a form
    if kind.startswith("application/x-www-form-urlencoded") and not raw.lstrip().startswith((b"{", b"[", b"null")):
        try:
            return dict(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=100))
        except ValueError as problem:
            raise ApiError(400, "InvalidBodyContent", f"The form cannot be read: {problem}") from None
    return _object(raw)


async def _raw(request: Request, limit: int) -> bytes:
    refusal = ApiError(413, "", f"A request of this kind may have at most {limit} bytes.")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and (len(length) > 18 or int(length) > limit):
        raise refusal
    raw = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > limit:
                    raise refusal
    except TimeoutError:
        raise ApiError(408, "", f"The body did not arrive within {SECONDS:g} seconds.") from None
    return bytes(raw)


def _object(raw: bytes) -> dict[str, Any]:
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
    _tame(value)
    return value


def _tame(value: Any) -> None:
    """Refuse what could not be stored or walked: deep nesting, numbers of more than 64 bits."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for item in level:
            for part in item.values() if isinstance(item, dict) else item:
                if isinstance(part, dict | list):
                    inner.append(part)
                elif isinstance(part, int) and not -_LARGEST <= part < _LARGEST:
                    raise ApiError(400, "InvalidBodyContent", "The body holds a number of more than 64 bits.")
        if not inner:
            return
        level = inner
    raise ApiError(400, "InvalidBodyContent", f"The body is nested more than {MAX_DEPTH} levels deep.")
