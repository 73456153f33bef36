"""A small client of the public API for the demo, benchmarks and bed tests: one connection per request, as a stranger would.

It is deliberately not the CLI's client: what judges the product shares no code with it. Certificates are not verified
unless a CA is given.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import itertools
import json
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from remuda.cli.live import LiveSocket, open_socket


class ApiError(RuntimeError):
    """The API refused; ``status``, ``code`` and its words."""

    def __init__(self, status: int, body: Any) -> None:
        self.status = status
        self.body = body if isinstance(body, dict) else {"message": str(body)[:300]}
        self.code = self.body.get("code")
        super().__init__(f"{status} {self.code}: {self.body.get('message')} {self.body.get('detail') or ''}".strip())


class Client:
    """The API below one URL, e.g. ``https://10.77.0.100``; ``key`` is (access key, secret key)."""

    def __init__(self, url: str, key: tuple[str, str] | None = None, timeout: float = 10.0) -> None:
        self.url = url.rstrip("/")
        self.key = key
        self.timeout = timeout
        self.cookie: str | None = None
        self.tls = ssl.create_default_context()
        self.tls.check_hostname = False
        self.tls.verify_mode = ssl.CERT_NONE

    def at(self, url: str) -> Client:
        """The same rights at another door."""
        other = Client(url, self.key, self.timeout)
        other.cookie = self.cookie
        return other

    def raw(
        self, method: str, path: str, body: Any = None, timeout: float | None = None, accept: str = "application/json"
    ) -> tuple[int, bytes, Any]:
        """One request: status, bytes, headers. ``path`` may be a whole URL of the API."""
        parts = urlsplit(path if "://" in path else self.url + path)
        where: dict[str, Any] = {"host": parts.hostname, "port": parts.port, "timeout": timeout or self.timeout}
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(context=self.tls, **where)
        else:
            connection = http.client.HTTPConnection(**where)
        with contextlib.closing(connection):
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(
                method,
                target,
                None if body is None else json.dumps(body),
                {**self._headers(body is not None), "Accept": accept},
            )
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers

    def _headers(self, has_body: bool) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if has_body:
            headers["Content-Type"] = "application/json"
        if self.key:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(self.key).encode()).decode()
        elif self.cookie:
            headers["Authorization"] = f"Bearer {self.cookie}"
        return headers

    def call(self, method: str, path: str, body: Any = None, timeout: float | None = None) -> Any:
        """One request; the decoded answer, or ApiError."""
        status, content, _ = self.raw(method, path, body, timeout)
        try:
            decoded = json.loads(content) if content else None
        except ValueError:
            decoded = content.decode(errors="replace")
        if status >= 400:
            raise ApiError(status, decoded)
        return decoded

    def get(self, path: str, **query: object) -> Any:
        """GET with a query."""
        return self.call("GET", path + (f"?{urlencode(query)}" if query else ""))

    def post(self, path: str, body: Any = None, timeout: float | None = None) -> Any:
        """POST."""
        return self.call("POST", path, {} if body is None else body, timeout)

    def all(self, path: str, **query: object) -> list[dict[str, Any]]:
        """Every page of a collection."""
        page = self.get(path, limit=1000, **query)
        found: list[dict[str, Any]] = list(page["data"])
        while following := (page.get("pagination") or {}).get("next"):
            page = self.call("GET", following)
            found += page["data"]
        return found

    def action(self, resource: dict[str, Any], name: str, body: Any = None) -> Any:
        """An action of a resource, at our own door."""
        parts = urlsplit(resource["actions"][name])
        return self.post(f"{parts.path}?{parts.query}", body)

    def dial(self, access: dict[str, str], **query: str) -> LiveSocket:
        """The WebSocket of an exec, logs or stats answer (hostAccess), through our own door."""
        parts, door = urlsplit(access["url"]), urlsplit(self.url)
        scheme = "wss" if door.scheme == "https" else "ws"
        words = "&".join(filter(None, [parts.query, urlencode({"token": access["token"], **query})]))
        url = f"{scheme}://{door.netloc}{parts.path}?{words}"
        return open_socket(url, tls=self.tls, open_seconds=10, max_size=None)


@dataclass
class Attempt:
    """One write: when it began and ended (monotonic), and whether it was acknowledged."""

    name: str
    began: float
    ended: float
    acknowledged: bool
    said: str = ""


@dataclass
class Writer:
    """Writes stacks through a door without end, one after another, and remembers what was acknowledged."""

    client: Client
    prefix: str
    project: str = "1a5"
    pause: float = 0.05
    timeout: float = 1.5
    attempts: list[Attempt] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name=f"writer-{self.prefix}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join(30)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.write(f"{self.prefix}-{len(self.attempts)}")
            self._stop.wait(self.pause)

    def write(self, name: str) -> Attempt:
        """One write of a stack with that name."""
        began, said, good = time.monotonic(), "", False
        try:
            self.client.post(f"/v1/projects/{self.project}/environments", {"name": name}, self.timeout)
            good = True
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        attempt = Attempt(name, began, time.monotonic(), good, said)
        self.attempts.append(attempt)
        return attempt

    def acknowledged(self) -> list[str]:
        """Names of all acknowledged writes."""
        return [a.name for a in list(self.attempts) if a.acknowledged]

    def resumed(self, since: float, timeout: float = 60.0) -> float:
        """Wait until a write that began after ``since`` was acknowledged; the time of that acknowledgement."""
        end = time.monotonic() + timeout
        seen = 0
        while time.monotonic() < end:
            for attempt in self.attempts[seen:]:
                seen += 1
                if attempt.acknowledged and attempt.began > since:
                    return attempt.ended
            time.sleep(0.01)
        last = self.attempts[-1].said if self.attempts else "none was tried"
        raise TimeoutError(f"no write was acknowledged within {timeout:.0f} s (last: {last})")

    def longest_gap(self, since: float, until: float) -> float:
        """The longest time without an acknowledged write in that window."""
        times = [a.ended for a in self.attempts if a.acknowledged and since <= a.ended <= until]
        marks = [since, *times, until]
        return max(b - a for a, b in itertools.pairwise(marks))
