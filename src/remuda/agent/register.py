"""How a machine becomes a host: fetch the registration script, register, keep the keys. And whom to trust on the way.

With ``CA_FINGERPRINT`` the server's private CA is fetched without trust, compared with the fingerprint that came by another
way (the command that an administrator copied), and from then on nothing else is trusted.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import ssl
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import msgspec

_EXPORT = re.compile(r"""^\s*(?:export\s+)?([A-Z_][A-Z0-9_]*)=(?:"([^"]*)"|'([^']*)'|(\S*))\s*$""", re.MULTILINE)
_SECONDS = 15.0


class Unregistered(Exception):  # noqa: N818 - a state
    """Registration did not succeed. ``final`` = trying again with the same command is useless."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class Keys(NamedTuple):
    """What registration yields."""

    url: str
    access_key: str
    secret_key: str
    detected_ip: str


def exports(script: str) -> dict[str, str]:
    """The variables that a registration script sets."""
    return {name: a or b or c for name, a, b, c in _EXPORT.findall(script)}


def check_url(url: str) -> str:
    """The registration URL, or a ValueError that says what is wrong with it."""
    split = urlsplit(url)
    if split.scheme not in ("http", "https") or not split.netloc or "/scripts/" not in split.path:
        raise ValueError(
            f"{url!r} is no registration URL. Copy the whole command from Hosts, Add Host: its last word looks like"
            " https://server/v1/scripts/<token>"
        )
    return url


def basic(user: str, password: str) -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def base_of(url: str) -> str:
    """``https://server`` out of any URL below it."""
    split = urlsplit(url)
    return f"{split.scheme}://{split.netloc}"


def trust(ca: str) -> ssl.SSLContext:
    """Trust this CA only, or the system's when empty."""
    if not ca:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca)
    return context


def has_fingerprint(pem: str, fingerprint: str) -> bool:
    """Is this the certificate with that SHA-256 fingerprint, written with or without colons?"""
    expected = re.sub(r"[^0-9a-f]", "", fingerprint.lower())
    return bool(pem) and hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.strip())).hexdigest() == expected


async def fetch_ca(base: str, fingerprint: str) -> str:
    """The server's CA certificate in PEM, if it has the expected SHA-256 fingerprint."""
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as http:
        status, text = await _request(http, "GET", f"{base}/v1/scripts/ca.crt", tls=blind)
    if status != 200 or "BEGIN CERTIFICATE" not in text:
        raise Unregistered(f"{base} offers no CA certificate at /v1/scripts/ca.crt (status {status}): remove CA_FINGERPRINT"
                           " if its certificate is a public one")  # fmt: skip
    for pem in re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.DOTALL):
        if has_fingerprint(pem, fingerprint):
            return str(pem) + "\n"
    raise Unregistered(
        f"The CA certificate of {base} does not have the expected fingerprint: somebody may be between this host and the"
        " server, or the certificate was replaced; copy the command again from Hosts, Add Host",
        final=True,
    )


async def register(url: str, uuid: str, ca: str) -> Keys:
    """Register ``uuid`` with the server behind the registration URL. Raises :class:`Unregistered`."""
    tls = trust(ca) if url.startswith("https") else None
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as http:
        status, script = await _request(http, "GET", url, tls=tls)
        if status != 200:
            raise _refusal(url, status, script, "the registration script")
        found = exports(script)
        try:
            user, password = found["CATTLE_REGISTRATION_ACCESS_KEY"], found["CATTLE_REGISTRATION_SECRET_KEY"]
            api = found["CATTLE_URL"].rstrip("/")
        except KeyError as error:
            raise Unregistered(f"{url} answers, but not with a registration script (no {error.args[0]})") from error
        keys = await _keys(http, api, basic(user, password), uuid, tls)
    return Keys(api, keys["accessKey"], keys["secretKey"], found.get("DETECTED_CATTLE_AGENT_IP", ""))


async def _keys(
    http: aiohttp.ClientSession, api: str, auth: str, uuid: str, tls: ssl.SSLContext | None
) -> dict[str, str]:
    body = msgspec.json.encode({"key": uuid})
    for attempt in range(20):
        if attempt == 0:
            status, text = await _request(http, "POST", f"{api}/register", auth=auth, data=body, tls=tls)
        else:
            await asyncio.sleep(0.5)
            status, text = await _request(http, "GET", f"{api}/register?key={uuid}", auth=auth, tls=tls)
        if status not in (200, 201, 202):
            raise _refusal(api, status, text, "the registration of this machine")
        document: Any = msgspec.json.decode(text)
        entries = document.get("data") if isinstance(document.get("data"), list) else [document]
        for entry in entries:
            if entry.get("accessKey") and entry.get("secretKey"):
                return {"accessKey": str(entry["accessKey"]), "secretKey": str(entry["secretKey"])}
    raise Unregistered(f"{api} took the registration but gave no keys within 10 s")


async def _request(
    http: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    auth: str = "",
    data: bytes | None = None,
    tls: ssl.SSLContext | None = None,
) -> tuple[int, str]:
    headers = {"Content-Type": "application/json"} if data else {}
    if auth:
        headers["Authorization"] = auth
    try:
        async with http.request(method, url, data=data, headers=headers, ssl=tls or True) as response:
            return response.status, await response.text()
    except aiohttp.ClientConnectorCertificateError as error:
        raise Unregistered(
            f"The certificate of {base_of(url)} is not trusted ({error.certificate_error}): pass -e CA_FINGERPRINT=... as the"
            " command in Hosts, Add Host has it"
        ) from error
    except (aiohttp.ClientError, OSError, TimeoutError, ssl.SSLError) as error:
        raise Unregistered(f"{base_of(url)} cannot be reached ({error or type(error).__name__})") from error


def _refusal(url: str, status: int, text: str, what: str) -> Unregistered:
    message = ""
    try:
        document = msgspec.json.decode(text)
        message = str(document.get("message") or document.get("detail") or document.get("code") or "")
    except (msgspec.DecodeError, AttributeError):
        message = text.strip()[:200]
    final = status in (401, 403, 404, 410, 422)
    advice = ": copy a fresh command from Hosts, Add Host" if final else ""
    return Unregistered(
        f"{base_of(url)} refuses {what} (status {status}{', ' + message if message else ''}){advice}", final=final
    )
