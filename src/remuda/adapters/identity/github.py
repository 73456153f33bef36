"""Log in with GitHub or GitHub Enterprise: an OAuth code is traded for a token, which is used once to ask who it is, and dropped.

Organisations and teams are the groups. Names are looked up with the application's own id and secret, so nobody's token is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import httpx2

from remuda.adapters.identity.web import Web
from remuda.ports.identity import Attempt, Denied, Identity, Proof, ProviderDown

SCOPE = "read:org"
PAGES = 20
"""So many pages of organisations or teams are read; a person in more than 2,000 is told so."""
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?")
_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")


class GitHub:
    """A :class:`remuda.ports.identity.Provider`."""

    def __init__(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        host = str(config.get("hostname") or "")
        scheme = str(config.get("scheme") or "https://")
        if host and not _HOST.fullmatch(host):
            raise ValueError("hostname: this is a host name, e.g. github.example.com")
        if scheme not in ("https://", "http://"):
            raise ValueError("scheme: this is https:// or http://")
        self._client, self._secret = str(config.get("clientId") or ""), secrets.get("clientSecret") or ""
        if not self._client:
            raise ValueError("clientId: the id of the OAuth application is missing")
        if not self._secret:
            raise ValueError("clientSecret: the secret of the OAuth application is missing")
        self._web = f"{scheme}{host}" if host else "https://github.com"
        self._api = f"{self._web}/api/v3" if host else "https://api.github.com"

    async def redirect(self, *, state: str, nonce: str, challenge: str, return_to: str) -> str:
        # the address to return to is the one that was registered with the application, as for 1.x
        query = urlencode({"client_id": self._client, "scope": SCOPE, "state": state})
        return f"{self._web}/login/oauth/authorize?{query}"

    async def login(self, attempt: Attempt) -> Proof:
        async with Web("GitHub") as web:
            asked = {"client_id": self._client, "client_secret": self._secret, "code": attempt.code}
            url = f"{self._web}/login/oauth/access_token"
            status, told, _ = await web.ask("POST", url, data=asked, headers={"Accept": "application/json"})
            token = told.get("access_token") if isinstance(told, dict) else None
            if not token:
                problem = str(told.get("error") or status) if isinstance(told, dict) else str(status)
                if problem == "bad_verification_code":
                    raise Denied("GitHub does not know that code (any more). Log in once more.")
                raise ProviderDown(f"GitHub gives no token: {problem}. Check the client id and secret.")
            headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
            me = await web.fetch(f"{self._api}/user", headers=headers)
            orgs = await self._pages(web, "/user/orgs", headers)
            teams = await self._pages(web, "/user/teams", headers)
        groups = (*(_account(o, "github_org") for o in orgs), *(_team(t) for t in teams))
        return Proof(user=_account(me, "github_user"), groups=groups)

    async def _pages(self, web: Web, path: str, headers: dict[str, str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for page in range(1, PAGES + 1):
            told = await web.fetch(f"{self._api}{path}?per_page=100&page={page}", headers=headers)
            if not isinstance(told, list):
                raise ProviderDown(f"GitHub answers no list at {path}.")
            found += told
            if len(told) < 100:
                return found
        raise ProviderDown(f"GitHub has more than {PAGES} pages at {path}.")

    async def search(self, name: str) -> list[Identity]:
        if not _NAME.fullmatch(name):
            return []
        return await self._one(f"/users/{quote(name)}")

    async def find(self, kind: str, identity: str) -> Identity | None:
        if not identity.isdecimal() or kind not in ("github_user", "github_org", "github_team"):
            return None
        if kind == "github_team":  # only a token of a member may look at it: known by its number alone
            return Identity(kind=kind, id=identity, name=f"team {identity}")
        found = await self._one(f"/user/{identity}")
        return found[0] if found else None

    async def _one(self, path: str) -> list[Identity]:
        async with Web("GitHub") as web:
            auth = httpx2.BasicAuth(self._client, self._secret)
            status, told, _ = await web.ask("GET", f"{self._api}{path}", auth=auth)
        if status == 404:
            return []
        if status != 200 or not isinstance(told, dict):
            raise ProviderDown(f"GitHub answers {status} when a name is looked up.")
        return [_account(told, "github_org" if told.get("type") == "Organization" else "github_user")]


def _account(told: dict[str, Any], kind: str) -> Identity:
    login = str(told.get("login") or "")
    if not isinstance(told.get("id"), int) or not login:
        raise ProviderDown("GitHub tells of somebody without an id.")
    return Identity(
        kind=kind,
        id=str(told["id"]),
        login=login,
        name=str(told.get("name") or login),
        picture=str(told.get("avatar_url") or ""),
        url=str(told.get("html_url") or ""),
    )


def _team(told: dict[str, Any]) -> Identity:
    organisation = told.get("organization") or {}
    slug, owner = str(told.get("slug") or told.get("name") or ""), str(organisation.get("login") or "")
    return Identity(
        kind="github_team",
        id=str(told.get("id")),
        login=slug,
        name=f"{owner}:{told.get('name') or slug}",
        url=str(told.get("html_url") or ""),
    )
