"""The API as the commands use it: one small synchronous client that survives the death of a server behind the URL.

What can be repeated without harm is repeated for a while when nobody answers (connection refused, 502, 503, 504): reads,
replacements, deletions and the actions that only state a wish. A creation is repeated only when it surely was not received.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from remuda.cli.config import Settings
from remuda.cli.errors import NOT_FOUND, REFUSED, UNREACHABLE, CliError, RefusalError

if TYPE_CHECKING:
    import httpx2

Json = dict[str, Any]

CONNECT_SECONDS = 3.0
READ_SECONDS = 30.0
FIRST_CONTACT_SECONDS = 4.0
RETRY_SECONDS = 30.0
PLURALS = {
    "ipAddress": "ipaddresses",
    "apiKey": "apikeys",
    "registrationToken": "registrationtokens",
    "registry": "registries",
    "identity": "identities",
}


def plural(kind: str) -> str:
    """The path segment of a type."""
    return PLURALS.get(kind) or kind.lower() + "s"


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Certificates are always checked; ``--ca`` adds a private authority."""
    context = ssl.create_default_context()
    if settings.ca:
        try:
            context.load_verify_locations(cafile=str(Path(settings.ca).expanduser()))
        except (OSError, ssl.SSLError) as error:
            raise CliError(f"the CA certificate {settings.ca} cannot be used: {error}", REFUSED) from None
    return context


class Api:
    """One server (or a load balancer in front of several). ``say`` gets a sentence when something is waited for."""

    def __init__(self, settings: Settings, say: Callable[[str], None] = lambda _text: None, token: str = "") -> None:
        self.settings = settings
        self.server = settings.server
        self.say = say
        self.token = token
        self.reached = False
        self.version = ""
        self._project: Json | None = None
        self._http: httpx2.Client | None = None
        self.tls = tls_context(settings) if self.server.startswith("https") else None

    def close(self) -> None:
        """Let go of the connections."""
        if self._http is not None:
            self._http.close()

    @property
    def http(self) -> httpx2.Client:
        """The HTTP client, made when first needed: importing it costs a quarter of a second."""
        if self._http is None:
            import httpx2

            timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
            self._http = httpx2.Client(
                base_url=self.server, timeout=timeout, verify=self.tls or True, headers=self.headers(), trust_env=True
            )
        return self._http

    def headers(self) -> dict[str, str]:
        """Who asks."""
        import base64

        headers = {"Accept": "application/json", "User-Agent": "remuda-cli"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        elif self.settings.access_key:
            pair = f"{self.settings.access_key}:{self.settings.secret_key}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return headers

    # -- requests ---------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        params: Json | None = None,
        repeat: bool | None = None,
    ) -> Any:
        """The decoded answer. ``repeat``: may this be sent twice? Default: everything but POST."""
        answer = self.raw(method, path, body, params=params, repeat=repeat)
        if not answer.content:
            return {}
        try:
            return json.loads(answer.content)
        except ValueError:
            raise CliError(
                f"{self.server} did not answer as a Remuda server does; check the URL (`remuda config`)", UNREACHABLE
            ) from None

    def raw(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        params: Json | None = None,
        repeat: bool | None = None,
    ) -> httpx2.Response:
        """The answer itself, after repeating what may be repeated; raises for every refusal."""
        import httpx2

        repeatable = method != "POST" if repeat is None else repeat
        started = time.monotonic()
        pause, told = 0.2, False
        while True:
            patience = RETRY_SECONDS if self.reached else FIRST_CONTACT_SECONDS
            refusal: RefusalError | None = None
            try:
                answer = self.http.request(method, path, json=body, params=params)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                reason, again = _network_reason(error), not _is_tls(error)
            except httpx2.TransportError as error:
                reason, again = _network_reason(error), repeatable
            except httpx2.InvalidURL as error:
                raise CliError(f"{self.server} is not a usable URL: {error}", REFUSED) from None
            else:
                if answer.status_code not in (502, 503, 504):
                    self.reached = True
                    return self._checked(answer)
                refusal = _refusal(answer, self.server)
                reason, patience = refusal.message, RETRY_SECONDS
                # 503 is said before anything was done, by us (no quorum) or a balancer (no server); 502 and 504 may come after
                again = repeatable or answer.status_code == 503
            if not again or time.monotonic() - started + pause > patience:
                if refusal is not None and refusal.reason:
                    raise refusal
                raise CliError(f"cannot reach {self.server}: {reason}{_advice(reason)}", UNREACHABLE)
            if not told:
                what = "cannot do this now" if refusal is not None and refusal.reason else "does not answer"
                self.say(f"{self.server} {what} ({reason.splitlines()[0]}); trying again")
                told = True
            time.sleep(pause)
            pause = min(pause * 1.6, 2.0)

    def _checked(self, answer: httpx2.Response) -> httpx2.Response:
        self.version = answer.headers.get("X-Rancher-Version", self.version)
        if answer.is_redirect:
            raise CliError(f"{self.server} sends us to {answer.headers.get('Location')}; use that as the URL", REFUSED)
        if answer.status_code >= 400:
            raise _refusal(answer, self.server)
        return answer

    # -- environments ------------------------------------------------------------------------------------------------

    @property
    def project(self) -> Json:
        """The environment that commands work in."""
        if self._project is None:
            self._project = choose_project(
                self.request("GET", "/v1/projects").get("data", []), self.settings.environment
            )
        return self._project

    @property
    def base(self) -> str:
        """Path under which the environment's resources are."""
        return f"/v1/projects/{self.project['id']}"

    def path(self, kind: str, identity: str = "") -> str:
        """Path of a collection or a resource of the environment."""
        return f"{self.base}/{plural(kind)}" + (f"/{identity}" if identity else "")

    # -- resources -----------------------------------------------------------------------------------------------------

    def fetch(self, kind: str, **filters: Any) -> list[Json]:
        """All of a kind, page after page."""
        return list(self._pages(self.path(kind), filters))

    def fetch_at(self, path: str, **filters: Any) -> list[Json]:
        """All of a collection outside of the environment."""
        return list(self._pages(path, filters))

    def _pages(self, path: str, filters: Json) -> Iterator[Json]:
        params: Json = {"limit": 1000, **filters}
        while True:
            page = self.request("GET", path, params=params)
            yield from page.get("data", [])
            following = (page.get("pagination") or {}).get("next")
            if not following:
                return
            # only the query is followed: behind a proxy the server may not know its own address
            params = dict(parse_qsl(urlsplit(following).query))

    def get(self, kind: str, identity: str) -> Json | None:
        """One resource, None when there is none."""
        try:
            found = self.request("GET", self.path(kind, identity))
        except RefusalError as refusal:
            if refusal.status == 404:
                return None
            raise
        return found if isinstance(found, dict) and found.get("id") == identity else None

    def create(self, kind: str, body: Json) -> Json:
        """Make one; repeated only when it surely was not received."""
        made: Json = self.request("POST", self.path(kind), body)
        return made

    def update(self, resource: Json, **changes: Any) -> Json:
        """Change fields."""
        changed: Json = self.request("PUT", self.path(resource["type"], resource["id"]), changes)
        return changed

    def delete(self, resource: Json) -> None:
        """Remove; that it is gone already is fine."""
        try:
            self.request("DELETE", self.path(resource["type"], resource["id"]))
        except RefusalError as refusal:
            if refusal.status != 404:
                raise

    def action(self, resource: Json, name: str, body: Json | None = None, *, repeat: bool = True) -> Json:
        """Carry out an action. Those of this API state a wish, so that saying it twice does no harm."""
        path = self.path(resource["type"], resource["id"])
        done: Json = self.request("POST", path, body or {}, params={"action": name}, repeat=repeat)
        return done

    def socket_url(self, url: str) -> str:
        """A WebSocket address given by the server, on the address that we know to work."""
        parts, own = urlsplit(url), urlsplit(self.server)
        path = parts.path
        if own.path and not path.startswith(own.path):
            path = own.path + path
        scheme = "wss" if own.scheme == "https" else "ws"
        return f"{scheme}://{own.netloc}{path}" + (f"?{parts.query}" if parts.query else "")


def choose_project(projects: list[Json], wanted: str) -> Json:
    """The environment that was asked for, or the one that goes without saying."""
    projects = [p for p in projects if p.get("state") not in ("removed", "removing")]
    if wanted:
        for key in ("id", "name", "uuid"):
            found = [p for p in projects if p.get(key) == wanted]
            if len(found) == 1:
                return found[0]
            if found:
                ids = ", ".join(p["id"] for p in found)
                raise CliError(f"several environments are called {wanted!r}: use an id ({ids})", REFUSED)
        names = ", ".join(sorted(str(p.get("name")) for p in projects)) or "none"
        raise CliError(f"there is no environment {wanted!r} that you may use; there is: {names}", NOT_FOUND)
    if len(projects) == 1:
        return projects[0]
    for project in projects:
        if project.get("id") == "1a5":
            return project
    if not projects:
        raise CliError("you may not use any environment; ask an administrator to add you to one", REFUSED)
    names = ", ".join(sorted(str(p.get("name")) for p in projects))
    raise CliError(f"say which environment with --env or `remuda env use`; there is: {names}", REFUSED)


def _refusal(answer: httpx2.Response, server: str) -> RefusalError:
    try:
        found = json.loads(answer.content)
    except ValueError:
        found = {}
    if not isinstance(found, dict) or found.get("type") != "error":
        found = {}
    message = str(found.get("message") or "")
    detail = found.get("detail")
    if detail and str(detail) != message:
        message = f"{message}\n{detail}" if message not in str(detail) else str(detail)
    status = answer.status_code
    if status == 401:
        message = (
            f"{server} does not accept these keys; run `remuda login {server}`, or check --access-key and --secret-key"
        )
    return RefusalError(
        status, str(found.get("code") or ""), message or f"{server} answered {status} {answer.reason_phrase}"
    )


def _network_reason(error: Exception) -> str:
    text = str(error).strip()
    names = {"ConnectTimeout": "no answer to the connection", "ReadTimeout": f"no answer within {READ_SECONDS:.0f} s"}
    known = names.get(type(error).__name__)
    if known:
        return known
    for words, plain in (
        ("Name or service not known", "the name is not known"),
        ("nodename nor servname", "the name is not known"),
        ("Temporary failure in name resolution", "the name cannot be looked up"),
        ("Connection refused", "connection refused"),
        ("All connection attempts failed", "connection refused"),
        ("disconnected without sending", "the connection was closed without an answer"),
    ):
        if words in text:
            return plain
    return text or type(error).__name__


def _is_tls(error: Exception) -> bool:
    return "CERTIFICATE_VERIFY_FAILED" in str(error) or "WRONG_VERSION_NUMBER" in str(error) or "[SSL" in str(error)


def _advice(reason: str) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return "; if its certificate is private, pass the authority's with --ca (the server gives it at /v1/scripts/ca.crt)"
    if "WRONG_VERSION_NUMBER" in reason:
        return "; it does not speak TLS there, use http://"
    return ""
