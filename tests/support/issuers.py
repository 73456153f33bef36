"""GitHub and an issuer of OpenID Connect, as small servers that speak their protocols to the letter: codes that work once,
secrets that are checked, PKCE, id tokens that are really signed, keys that are really published.

What a test wants to be wrong is said in :attr:`Issuers.lies`; what was asked is counted.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

CLIENT, SECRET = "remuda", "client secret/with+signs"
PEOPLE: dict[str, dict[str, Any]] = {
    "ann": {"id": 11, "login": "ann", "name": "Ann Example", "avatar_url": "https://pictures/ann", "type": "User"},
    "bob": {"id": 12, "login": "bob", "name": None, "avatar_url": "", "type": "User"},
    "acme": {"id": 90, "login": "acme", "name": "Acme", "type": "Organization"},
}
ORGS = {"ann": [PEOPLE["acme"]], "bob": []}
_TEAMS = [
    {"id": 70 + n, "slug": f"team{n}", "name": f"Team {n}", "organization": {"login": "acme"}} for n in range(120)
]
TEAMS: dict[str, list[Any]] = {"ann": _TEAMS, "bob": []}
GROUPS = {"ann": ["builders", "staff"], "bob": []}


class Issuers:
    """Both, on one port."""

    def __init__(self) -> None:
        self.base = ""
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
        self.codes: dict[str, dict[str, str]] = {}
        self.tokens: dict[str, str] = {}
        self.lies: dict[str, Any] = {}
        self.asked: list[str] = []

    @property
    def host(self) -> str:
        return self.base.removeprefix("http://")

    def github(self, **more: Any) -> dict[str, Any]:
        """A configuration of GitHub Enterprise."""
        told = {"hostname": self.host, "scheme": "http://", "clientId": CLIENT, "clientSecret": SECRET}
        return {**told, "accessMode": "unrestricted", "enabled": False, **more}

    def oidc(self, **more: Any) -> dict[str, Any]:
        """A configuration of OpenID Connect."""
        told = {"issuer": f"{self.base}/realm", "clientId": CLIENT, "clientSecret": SECRET}
        return {**told, "accessMode": "unrestricted", "enabled": False, **more}

    def consent(self, who: str, url: str = "") -> str:
        """Somebody agrees in their browser: the code that it brings back."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        code = f"code{len(self.codes)}"
        self.codes[code] = {**query, "who": who}
        return code

    def routes(self) -> list[Route]:
        return [
            Route("/login/oauth/access_token", self._github_token, methods=["POST"]),
            Route("/api/v3/user", self._github_user),
            Route("/api/v3/user/orgs", self._github_list),
            Route("/api/v3/user/teams", self._github_list),
            Route("/api/v3/users/{name}", self._github_named),
            Route("/api/v3/user/{number:int}", self._github_numbered),
            Route("/realm/.well-known/openid-configuration", self._discovery),
            Route("/realm/token", self._oidc_token, methods=["POST"]),
            Route("/realm/keys", self._keys),
            Route("/realm/me", self._me),
        ]

    # ---- GitHub

    async def _github_token(self, request: Request) -> Response:
        form = dict(await request.form())
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT, SECRET):
            return JSONResponse({"error": "incorrect_client_credentials"})
        known = self.codes.pop(str(form.get("code")), None)
        if known is None:
            return JSONResponse({"error": "bad_verification_code"})
        return JSONResponse({"access_token": self._token(known["who"]), "token_type": "bearer", "scope": "read:org"})

    def _token(self, who: str) -> str:
        token = f"gho_{len(self.tokens)}"
        self.tokens[token] = who
        return token

    def _bearer(self, request: Request) -> str | None:
        return self.tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))

    async def _github_user(self, request: Request) -> Response:
        who = self._bearer(request)
        return JSONResponse(PEOPLE[who]) if who else JSONResponse({"message": "Bad credentials"}, 401)

    async def _github_list(self, request: Request) -> Response:
        who = self._bearer(request)
        if who is None:
            return JSONResponse({"message": "Bad credentials"}, 401)
        every: list[Any] = (ORGS if request.url.path.endswith("orgs") else TEAMS)[who]
        size, page = int(request.query_params["per_page"]), int(request.query_params["page"])
        return JSONResponse(every[(page - 1) * size : page * size])

    async def _github_named(self, request: Request) -> Response:
        found = PEOPLE.get(request.path_params["name"])
        return JSONResponse(found) if found else JSONResponse({"message": "Not Found"}, 404)

    async def _github_numbered(self, request: Request) -> Response:
        found = [p for p in PEOPLE.values() if p["id"] == request.path_params["number"]]
        return JSONResponse(found[0]) if found else JSONResponse({"message": "Not Found"}, 404)

    # ---- OpenID Connect

    async def _discovery(self, _request: Request) -> Response:
        self.asked.append("discovery")
        base = f"{self.base}/realm"
        told = {
            "issuer": base,
            "authorization_endpoint": f"{base}/auth",
            "token_endpoint": f"{base}/token",
            "jwks_uri": f"{base}/keys",
            "userinfo_endpoint": f"{base}/me",
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        }
        return JSONResponse({**told, **self.lies.get("discovery", {})})

    async def _oidc_token(self, request: Request) -> Response:
        form = dict(await request.form())
        given = base64.b64decode(request.headers.get("authorization", "").removeprefix("Basic ")).decode()
        user, _, secret = given.partition(":")
        if (unquote(user), unquote(secret)) != (CLIENT, SECRET):
            return JSONResponse({"error": "invalid_client"}, 401)
        known = self.codes.pop(str(form.get("code")), None)
        verifier = hashlib.sha256(str(form.get("code_verifier")).encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).decode().rstrip("=")
        if (
            known is None
            or challenge != known.get("code_challenge")
            or form.get("redirect_uri") != known.get("redirect_uri")
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        return JSONResponse({"access_token": self._token(known["who"]), "id_token": self._id_token(known)})

    def _id_token(self, known: dict[str, str]) -> str:
        now, who = int(time.time()), known["who"]
        claims = {
            "iss": f"{self.base}/realm", "aud": CLIENT, "sub": f"sub-{who}", "iat": now, "exp": now + 60,
            "nonce": known.get("nonce"), "preferred_username": who, **self.lies.get("claims", {}),
        }  # fmt: skip
        if "signed with" in self.lies:
            return jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.lies["signed with"])
        if "shared" in self.lies:  # the published key, taken as a shared secret
            told = [json.dumps(part).encode() for part in ({"alg": "HS256", "kid": "one"}, claims)]
            body = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in told)
            mac = hmac.digest(self.key.as_pem(private=False), body, "sha256")
            return (body + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.key)

    async def _keys(self, _request: Request) -> Response:
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    async def _me(self, request: Request) -> Response:
        who = self._bearer(request)
        if who is None:
            return JSONResponse({}, 401)
        return JSONResponse({"sub": f"sub-{who}", "groups": GROUPS[who], "name": f"{who.title()} Example"})


@contextlib.asynccontextmanager
async def issuers() -> AsyncIterator[Issuers]:
    """Both, running in this loop on a free port."""
    both = Issuers()
    config = uvicorn.Config(Starlette(routes=both.routes()), port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.005)
    both.base = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield both
    finally:
        server.should_exit = True
        await asyncio.wait([task], timeout=5)
