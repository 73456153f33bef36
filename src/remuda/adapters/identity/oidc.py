"""Log in by OpenID Connect: the authorisation code flow with PKCE, and an id token that is believed if all about it is right.

Right means: signed by a key that the issuer publishes, with an algorithm of public keys; from this issuer, for this client, not
expired, and made for the very login that began here (nonce). The person is ``sub``, which never changes; groups are a claim.
An issuer has no names to search: the name itself is taken, as a group or as somebody who has logged in before.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx2
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from remuda.adapters.identity.web import Web, trust
from remuda.ports.identity import Attempt, Denied, Identity, Proof, ProviderDown

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"]
"""Never one of shared secrets, and never none."""
SKEW = 60
FRESH = 300.0
"""Seconds for which what the issuer says of itself is taken as said."""
WHO = "The issuer"


class OpenId:
    """A :class:`remuda.ports.identity.Provider`."""

    def __init__(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        self._config, self._secret = dict(config), secrets.get("clientSecret") or ""
        self._issuer = str(config.get("issuer") or "")
        self._client = str(config.get("clientId") or "")
        self._certificate = str(config.get("certificate") or "")
        parts = urlsplit(self._issuer)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("issuer: this is a URL, e.g. https://login.example.com/realms/main")
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("issuer: only https:// is trusted over a network")
        if not self._client:
            raise ValueError("clientId: it is missing")
        trust(self._certificate)
        self._known: tuple[float, dict[str, Any]] | None = None

    async def _discovered(self, web: Web) -> dict[str, Any]:
        if self._known is not None and time.monotonic() - self._known[0] < FRESH:
            return self._known[1]
        found = await web.fetch(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        if not isinstance(found, dict) or found.get("issuer") != self._issuer:
            told = found.get("issuer") if isinstance(found, dict) else None
            raise ProviderDown(
                f"The issuer calls itself {str(told)[:200]!r}, not {self._issuer!r}: write it the same way."
            )
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if urlsplit(str(found.get(name))).scheme not in ("https", urlsplit(self._issuer).scheme):
                raise ProviderDown(f"The issuer's {name} is missing, or not https.")
        self._known = (time.monotonic(), found)
        return found

    async def redirect(self, *, state: str, nonce: str, challenge: str, return_to: str) -> str:
        async with Web(WHO, self._certificate) as web:
            endpoint = str((await self._discovered(web))["authorization_endpoint"])
        scopes = [str(s) for s in self._config.get("scopes") or []]
        query = {
            "response_type": "code",
            "client_id": self._client,
            "redirect_uri": return_to,
            "scope": " ".join(dict.fromkeys(["openid", *scopes])),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def login(self, attempt: Attempt) -> Proof:
        if not attempt.nonce:
            raise Denied("A login by OpenID Connect begins with the redirectUrl of GET /v1/token.")
        async with Web(WHO, self._certificate) as web:
            known = await self._discovered(web)
            token = await self._traded(web, known, attempt)
            claims = await self._believed(web, known, token["id_token"], attempt.nonce)
            claims = {**await self._more(web, known, token, claims), **claims}
        return self._proof(claims)

    async def _traded(self, web: Web, known: dict[str, Any], attempt: Attempt) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": attempt.code,
            "redirect_uri": attempt.returned_to,
            "code_verifier": attempt.verifier,
        }
        auth: Any = None
        ways = known.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        if self._secret and "client_secret_basic" in ways:
            auth = httpx2.BasicAuth(quote(self._client, safe=""), quote(self._secret, safe=""))
        else:
            form |= {"client_id": self._client, **({"client_secret": self._secret} if self._secret else {})}
        status, told, _ = await web.ask("POST", str(known["token_endpoint"]), data=form, auth=auth)
        if isinstance(told, dict) and status == 200 and isinstance(told.get("id_token"), str):
            return told
        problem = str(told.get("error") or status)[:100] if isinstance(told, dict) else str(status)
        if problem == "invalid_grant":
            raise Denied("The issuer does not know that code (any more). Log in once more.")
        raise ProviderDown(f"The issuer gives no id token: {problem}. Check the client id and secret.")

    async def _believed(self, web: Web, known: dict[str, Any], token: str, nonce: str) -> dict[str, Any]:
        keys = await web.fetch(str(known["jwks_uri"]))
        try:
            claims = jwt.decode(token, KeySet.import_key_set(keys), algorithms=ALGORITHMS).claims
        except (JoseError, ValueError, KeyError, TypeError, AttributeError) as problem:
            raise Denied(f"The id token is not signed by a key of the issuer ({type(problem).__name__}).") from None
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        # wall clock: the token's own words are in it, and a skewed clock costs a login, not safety
        now = time.time()
        wrong = (
            "another issuer" if claims.get("iss") != self._issuer
            else "another client" if self._client not in audiences or claims.get("azp", self._client) != self._client
            else "an earlier time" if not isinstance(claims.get("exp"), int | float) or claims["exp"] < now - SKEW
            else "another login" if claims.get("nonce") != nonce
            else "nobody" if not isinstance(claims.get("sub"), str) or not claims["sub"]
            else ""
        )  # fmt: skip
        if wrong:
            raise Denied(f"The id token is for {wrong}.")
        return dict(claims)

    async def _more(
        self, web: Web, known: dict[str, Any], token: dict[str, Any], claims: dict[str, Any]
    ) -> dict[str, Any]:
        """What the issuer tells of the person elsewhere, where the id token is short."""
        wanted = {str(self._config.get(n)) for n in ("loginClaim", "groupsClaim") if self._config.get(n)}
        endpoint = known.get("userinfo_endpoint")
        if wanted <= set(claims) or not endpoint or not token.get("access_token"):
            return {}
        status, told, _ = await web.ask(
            "GET", str(endpoint), headers={"Authorization": f"Bearer {token['access_token']}"}
        )
        return told if status == 200 and isinstance(told, dict) and told.get("sub") == claims["sub"] else {}

    def _proof(self, claims: dict[str, Any]) -> Proof:
        def claim(name: str) -> Any:
            return claims.get(str(self._config.get(name) or ""))

        login = str(claim("loginClaim") or claims.get("email") or claims["sub"])
        user = Identity(
            kind="oidc_user", id=claims["sub"], login=login, name=str(claim("nameClaim") or login),
            picture=str(claims.get("picture") or ""),
        )  # fmt: skip
        told = claim("groupsClaim")
        names = [g for g in told if isinstance(g, str) and g] if isinstance(told, list) else []
        return Proof(user=user, groups=tuple(_group(name) for name in dict.fromkeys(names)))

    async def search(self, name: str) -> list[Identity]:
        return [_group(name)] if name else []

    async def find(self, kind: str, identity: str) -> Identity | None:
        if kind == "oidc_group":
            return _group(identity)
        return Identity(kind=kind, id=identity, login=identity, name=identity) if kind == "oidc_user" else None


def _group(name: str) -> Identity:
    return Identity(kind="oidc_group", id=name, login=name, name=name)
