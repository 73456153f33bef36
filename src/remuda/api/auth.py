"""Find out who asks: cookie or bearer token, API key, registration token, or nobody.

Rows that were looked up are remembered until the change log says that one of them changed, so a request costs no
extra query and a revoked key stops working at once on every server.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from typing import TYPE_CHECKING

import msgspec
from starlette.requests import HTTPConnection

from remuda.api.context import Caller
from remuda.api.errors import ApiError
from remuda.api.logins import LOCAL, memberships
from remuda.core import ids
from remuda.core.logins import keys_of, strongest
from remuda.core.model import ACTIVE, Account, Credential, Member
from remuda.ports.store import ALIVE, Tx, eq
from remuda.schema.fields import (
    ADMIN,
    AGENT,
    INSTALLATION,
    MEMBER,
    PROJECTADMIN,
    READONLY,
    REGISTER,
    SERVICE,
    SUPERADMIN,
    USER,
)

if TYPE_CHECKING:
    from remuda.api.server import Api

COOKIE = "token"
SESSION = "session"
"""Kind of the credential that a login makes; removed by logging out."""
_REMEMBERED = 4096
_FRESH_SECONDS = 10.0
"""So long at most, should nobody tell us of a change: ``remuda admin`` writes beside a server that is alone."""


class Known(msgspec.Struct, frozen=True):
    """A credential with its account and memberships, as last read."""

    credential: Credential
    account: Account
    roles: dict[int, str]
    lent: dict[int, str] = {}
    """Roles by names and groups at the provider they logged in by."""


class Authenticator:
    """Turns a connection into a :class:`Caller`."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: dict[str, tuple[float, Known]] = {}
        self._projects: dict[int, Account] = {}
        self._epoch = 0

    def forget(self) -> None:
        """Something about accounts, credentials or members changed."""
        self._known.clear()
        self._projects.clear()
        self._epoch += 1

    async def caller(self, connection: HTTPConnection, project: int | None) -> Caller:
        """Who is it, and what may they do in ``project`` (or in none)? Raises 401 or 403 in the documented shape."""
        caller = await self._identify(connection)
        if caller is None:
            enforced = connection.headers.get("x-enforce-authentication", "").lower() == "true"
            return await self._enter(_ANYBODY, project) if self._open and not enforced else Caller()
        caller = await self._for_client(caller, connection.headers.get("x-api-client-access-key"))
        return caller if caller.role in (AGENT, REGISTER) else await self._enter(caller, project)

    async def _for_client(self, caller: Caller, key: str | None) -> Caller:
        """Programs of the installation act for the one whose access key they name, and may no more than them."""
        if not key or caller.role not in (ADMIN, SUPERADMIN, SERVICE):
            return caller
        known = await self._lookup(key)
        if known is None or known.credential.kind != "apiKey":
            raise ApiError(403, "Forbidden", "X-API-Client-Access-Key names no access key that is in use.")
        return self._caller(known, caller.auth_type)

    @property
    def _open(self) -> bool:
        return self._api.settings.get("api.security.enabled") == "false"

    async def again(self, caller: Caller) -> Caller | None:
        """Who ``caller`` is by now, for what lasts longer than a request. None: the credential is not valid any more; role
        ``anonymous``: it is, but not in that environment."""
        if not caller.key:
            return caller if self._open and caller.role in (ADMIN, PROJECTADMIN) else None
        known = await self._lookup(caller.key)
        if known is None:
            return None
        if caller.role in (AGENT, REGISTER):
            return caller
        if known.credential.kind == SESSION and not self._in_force(known):
            return None
        try:
            now = await self._enter(self._caller(known, caller.auth_type), caller.project_id)
        except ApiError:
            return Caller()
        posing = caller.posing and now.kind in INSTALLATION
        return msgspec.structs.replace(now, role=caller.role, posing=True) if posing else now

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

    def _caller(self, known: Known, auth_type: str) -> Caller:
        account, roles = known.account, known.roles
        if known.lent and account.data["login"]["provider"] == self._api.logins.configured:
            told = {p: [r[p] for r in (known.lent, roles) if p in r] for p in {*known.lent, *roles}}
            roles = {project: strongest(given) for project, given in told.items()}
        return Caller(
            account_id=account.id,
            kind=account.kind,
            name=account.name,
            role=account.kind if account.kind in (*INSTALLATION, AGENT) else USER,
            auth_type=auth_type,
            credential_id=known.credential.id,
            key=known.credential.public_value,
            roles=roles,
        )

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
        return self._caller(known, "BasicAuth")

    async def _by_token(self, token: str, *, by_cookie: bool) -> Caller | None:
        claims = self._api.keyring.verify(token)
        if not claims or claims.get("use") != "login":
            return None
        known = await self._lookup(str(claims.get("sid")))
        if known is None or known.credential.kind != SESSION or not self._in_force(known):
            return None
        return msgspec.structs.replace(self._caller(known, "TokenAuth"), by_cookie=by_cookie)

    def _in_force(self, known: Known) -> bool:
        """A login lasts no longer than its provider. Those by passwords of ours last for administrators."""
        configured = self._api.logins.configured
        provider = known.credential.data.get("provider") or LOCAL
        return provider == configured or (provider == LOCAL and known.account.kind == "admin")

    async def _by_registration(self, token: str) -> Caller | None:
        known = await self._lookup(token.partition(":")[0])
        if known is None or known.credential.kind != "registrationToken":
            return None
        if not hmac.compare_digest(registration_token(self._api, known.credential).encode(), token.encode()):
            return None
        return Caller(
            account_id=known.account.id,
            kind="registrationToken",
            role=REGISTER,
            project_id=known.account.id,
            auth_type="RegistrationToken",
            credential_id=known.credential.id,
            key=known.credential.public_value,
        )

    async def registration(self, token: str) -> Caller | None:
        """The caller that a registration token stands for, None when it is not (or no longer) one."""
        return await self._by_registration(token)

    async def _lookup(self, public_value: str) -> Known | None:
        asked = time.monotonic()
        if public_value in self._known and asked - self._known[public_value][0] < _FRESH_SECONDS:
            return self._known[public_value][1]

        def unit(tx: Tx) -> Known | None:
            credential = tx.first(Credential, eq("public_value", public_value), ALIVE)
            if credential is None or credential.desired != ACTIVE:
                return None
            account = tx.get(Account, credential.account_id)
            if account is None or account.removed is not None or account.desired != ACTIVE:
                return None
            members = tx.find(Member, eq("external_id", str(account.id)), eq("external_id_type", "rancher_id"), ALIVE)
            lent = memberships(tx, keys_of(account.data.get("login") or {}))
            return Known(credential, account, {m.account_id: m.role for m in members}, lent)

        epoch = self._epoch
        known = await self._api.store.read(unit)
        if known is not None and epoch == self._epoch:  # else the row may have changed after it was read
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[public_value] = (asked, known)
        return known

    async def _project(self, number: int) -> Account | None:
        if number in self._projects:
            return self._projects[number]
        epoch = self._epoch
        found = await self._api.store.read(lambda tx: tx.get(Account, number))
        if found is None or found.kind != "project" or found.removed is not None:
            return None
        if epoch == self._epoch:
            if len(self._projects) >= _REMEMBERED:
                self._projects.clear()
            self._projects[number] = found
        return found

    async def _enter(self, caller: Caller, project: int | None) -> Caller:
        if caller.kind == "project":
            if project not in (None, caller.account_id):
                raise ApiError(403, "Forbidden", "This key belongs to another environment.")
            # not an owner: who may make keys for an environment must not thereby choose its members
            return msgspec.structs.replace(caller, project_id=caller.account_id, role=MEMBER)
        if project is None:
            return caller
        found = await self._project(project)
        role = _within(caller, project)
        if role is None or found is None:
            raise ApiError(
                403,
                "Forbidden",
                f"There is no environment {ids.public('account', project)}, or you are no member of it.",
            )
        if found.desired != ACTIVE and role not in (PROJECTADMIN, SUPERADMIN, SERVICE):
            raise ApiError(
                403, "Forbidden", f"The environment '{found.name}' is deactivated: an owner can activate it."
            )
        return msgspec.structs.replace(caller, project_id=project, role=role)


def _within(caller: Caller, project: int) -> str | None:
    """The role that somebody has in an environment."""
    match caller.role:
        case "admin" | "projectadmin":
            return PROJECTADMIN
        case "superadmin" | "service":
            return caller.role
        case "readAdmin":
            return READONLY
        case _:
            return caller.roles.get(project)


_ANYBODY = Caller(account_id=1, kind="admin", name="admin", role=ADMIN)
"""Who everybody is while access control is off."""


def registration_token(api: Api, credential: Credential) -> str:
    """The token that lets machines register: stable for one credential, and checkable without storing it in plain."""
    secret = api.keyring.unseal(credential.sealed, "registration")
    head = f"{credential.public_value}:{credential.created // 86_400_000 * 86_400_000}"
    mac = hmac.new(secret.encode(), head.encode(), hashlib.sha256).digest()
    return f"{head}:{base64.urlsafe_b64encode(mac).decode().translate(str.maketrans('', '', '-_='))}"
