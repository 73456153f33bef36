"""Find out who asks: cookie or bearer token, API key, registration token, or nobody.

Rows that were looked up are remembered until the change log says that one of them changed, so a request costs no
extra query and a revoked key stops working at once on every server.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING

import msgspec
from starlette.requests import HTTPConnection

from remuda.api.context import Caller
from remuda.api.errors import ApiError
from remuda.core import ids
from remuda.core.model import ACTIVE, Account, Credential, Member
from remuda.ports.store import ALIVE, Tx, eq
from remuda.schema.fields import ADMIN, AGENT, OWNER, REGISTER, USER

if TYPE_CHECKING:
    from remuda.api.server import Api

COOKIE = "token"
SESSION = "session"
"""Kind of the credential that a login makes; removed by logging out."""
_REMEMBERED = 4096


class Known(msgspec.Struct, frozen=True):
    """A credential with its account and memberships, as last read."""

    credential: Credential
    account: Account
    roles: dict[int, str]


class Authenticator:
    """Turns a connection into a :class:`Caller`."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: dict[str, Known | None] = {}

    def forget(self) -> None:
        """Something about accounts, credentials or members changed."""
        self._known.clear()

    async def caller(self, connection: HTTPConnection, project: int | None) -> Caller:
        """Who is it, and what may they do in ``project`` (or in none)? Raises 401 or 403 in the documented shape."""
        caller = await self._identify(connection)
        if caller is None:
            if self._api.settings.get("api.security.enabled") == "false":
                return self._enter(Caller(account_id=1, kind="admin", name="admin", role=ADMIN), project)
            return Caller()
        return caller if caller.role in (AGENT, REGISTER) else self._enter(caller, project)

    async def _identify(self, connection: HTTPConnection) -> Caller | None:
        scheme, _, rest = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and rest:
            return await self._by_token(rest.strip(), by_cookie=False)
        if scheme.lower() == "basic":
            return await self._by_basic(rest)
        token = connection.cookies.get(COOKIE)
        if token:
            return await self._by_token(token, by_cookie=True)
        token = connection.query_params.get("token")
        return await self._by_token(token, by_cookie=False) if token else None

    async def _by_basic(self, encoded: str) -> Caller | None:
        try:
            user, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        if user.lower() == "registrationtoken":
            return await self._by_registration(secret)
        if user.lower().startswith("x-api-bearer"):
            return await self._by_token(secret, by_cookie=False)
        known = await self._lookup(user)
        if known is None or known.credential.kind not in ("apiKey", "agentApiKey"):
            return None
        if not hmac.compare_digest(known.credential.secret_hash, self._api.keyring.digest(secret)):
            return None
        return _caller(known, "BasicAuth")

    async def _by_token(self, token: str, *, by_cookie: bool) -> Caller | None:
        claims = self._api.keyring.verify(token)
        if not claims or claims.get("use") != "login":
            return None
        known = await self._lookup(str(claims.get("sid")))
        if known is None or known.credential.kind != SESSION:
            return None
        return msgspec.structs.replace(_caller(known, "TokenAuth"), by_cookie=by_cookie)

    async def _by_registration(self, token: str) -> Caller | None:
        known = await self._lookup(token.partition(":")[0])
        if known is None or known.credential.kind != "registrationToken":
            return None
        if not hmac.compare_digest(registration_token(self._api, known.credential), token):
            return None
        return Caller(
            account_id=known.account.id,
            kind="registrationToken",
            role=REGISTER,
            project_id=known.account.id,
            auth_type="RegistrationToken",
            credential_id=known.credential.id,
        )

    async def registration(self, token: str) -> Caller | None:
        """The caller that a registration token stands for, None when it is not (or no longer) one."""
        return await self._by_registration(token)

    async def _lookup(self, public_value: str) -> Known | None:
        if public_value in self._known:
            return self._known[public_value]

        def unit(tx: Tx) -> Known | None:
            credential = tx.first(Credential, eq("public_value", public_value), ALIVE)
            if credential is None or credential.desired != ACTIVE:
                return None
            account = tx.get(Account, credential.account_id)
            if account is None or account.removed is not None or account.desired != ACTIVE:
                return None
            members = tx.find(Member, eq("external_id", str(account.id)), eq("external_id_type", "rancher_id"), ALIVE)
            return Known(credential, account, {m.account_id: m.role for m in members})

        known = await self._api.store.read(unit)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        if known is not None:
            self._known[public_value] = known
        return known

    def _enter(self, caller: Caller, project: int | None) -> Caller:
        if caller.kind == "project":
            if project not in (None, caller.account_id):
                raise ApiError(403, "Forbidden", "This key belongs to another environment.")
            return msgspec.structs.replace(caller, project_id=caller.account_id, role=OWNER)
        if project is None:
            return caller
        if caller.role == ADMIN:
            return msgspec.structs.replace(caller, project_id=project)
        role = caller.roles.get(project)
        if role is None:
            raise ApiError(403, "Forbidden", f"You are no member of environment {ids.public('account', project)}.")
        return msgspec.structs.replace(caller, project_id=project, role=role)


def _caller(known: Known, auth_type: str) -> Caller:
    account = known.account
    role = {"admin": ADMIN, "superadmin": ADMIN, "agent": AGENT}.get(account.kind, USER)
    return Caller(
        account_id=account.id,
        kind=account.kind,
        name=account.name,
        role=role,
        auth_type=auth_type,
        credential_id=known.credential.id,
        roles=known.roles,
    )


def registration_token(api: Api, credential: Credential) -> str:
    """The token that lets machines register: stable for one credential, and checkable without storing it in plain."""
    secret = api.keyring.unseal(credential.sealed, "registration")
    head = f"{credential.public_value}:{credential.created // 86_400_000 * 86_400_000}"
    mac = hmac.new(secret.encode(), head.encode(), hashlib.sha256).digest()
    return f"{head}:{base64.urlsafe_b64encode(mac).decode().translate(str.maketrans('', '', '-_='))}"
