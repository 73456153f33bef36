"""Talk to a provider over HTTP: short deadlines, no redirects followed, answers of bounded size, no secret in an error."""

from __future__ import annotations

import ssl
from typing import Any

import httpx2
import msgspec

from remuda.ports.identity import ProviderDown

SECONDS = 10.0
LARGEST = 2 * 1024 * 1024


def trust(certificate: str = "") -> ssl.SSLContext:
    """What to trust: the system's authorities, or only the private one that was configured."""
    try:
        return ssl.create_default_context(cadata=certificate or None)
    except ssl.SSLError:
        raise ValueError("certificate: this is no certificate in PEM form") from None


class Web:
    """One conversation with one provider."""

    def __init__(self, who: str, certificate: str = "") -> None:
        self._who = who
        self._http = httpx2.AsyncClient(timeout=SECONDS, verify=trust(certificate), follow_redirects=False)

    async def __aenter__(self) -> Web:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *problem: Any) -> None:
        await self._http.__aexit__(*problem)

    async def ask(self, method: str, url: str, **more: Any) -> tuple[int, Any, httpx2.Headers]:
        """Status, JSON (None where it is none) and headers of an answer."""
        try:
            async with self._http.stream(method, url, **more) as answer:
                raw = bytearray()
                async for chunk in answer.aiter_bytes():
                    raw += chunk
                    if len(raw) > LARGEST:
                        raise ProviderDown(f"{self._who} answers with more than {LARGEST} bytes at {_bare(url)}.")
        except (httpx2.HTTPError, httpx2.InvalidURL) as problem:
            raise ProviderDown(
                f"{self._who} cannot be asked at {_bare(url)}: {type(problem).__name__} {problem}".rstrip() + "."
            ) from None
        if answer.status_code >= 500:
            raise ProviderDown(f"{self._who} answers {answer.status_code} at {_bare(url)}.")
        try:
            told = msgspec.json.decode(bytes(raw))
        except (msgspec.DecodeError, UnicodeDecodeError):
            told = None
        return answer.status_code, told, answer.headers

    async def fetch(self, url: str, **more: Any) -> Any:
        """The JSON of an answer that must be good."""
        status, told, _ = await self.ask("GET", url, **more)
        if status != 200 or told is None:
            raise ProviderDown(f"{self._who} answers {status} without what was asked for at {_bare(url)}.")
        return told


def _bare(url: str) -> str:
    """The URL without its query, which may hold what nobody should read."""
    return url.partition("?")[0]
