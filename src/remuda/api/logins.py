"""Let people in by a provider's word: GitHub, a directory, an issuer of OpenID Connect.

One provider at most is in force. Passwords of ours go on working for administrators beside it: they are the way back when
the provider is gone or was configured wrongly. A configuration is put in force only after somebody logged in by it, and
that login is tied to the administrator who made it, so that nobody locks the door with the key inside.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.core import ids, logins
from remuda.core.model import ACTIVE, INACTIVE, Account, AuthProvider, Credential, Member
from remuda.ports.identity import Attempt, Identity, Proof, Provider, Providers
from remuda.ports.store import ALIVE, Tx, Where, eq

if TYPE_CHECKING:
    from remuda.api.server import Api

LOCAL = "localauthconfig"
CONFIGURED = "api.auth.provider.configured"
BEGAN = "login"
"""The cookie that ties the end of a login at a provider to its beginning in the same browser."""
BEGAN_SECONDS = 600
_PURPOSE = "auth-provider"
_LONGEST = 255


class Logins:
    """The provider in force, and what is to be known of a login."""

    def __init__(self, api: Api, providers: Providers | None) -> None:
        self._api, self._providers = api, providers
        self._opened: dict[tuple[int, int], Provider] = {}

    @property
    def configured(self) -> str:
        """The type of the configuration in force; :data:`LOCAL` for passwords of ours."""
        return self._api.settings.get(CONFIGURED) or LOCAL

    def make(self, kind: str, config: dict[str, Any], secret: dict[str, str]) -> Provider:
        """The provider of a configuration that is not stored yet. Raises a refusal that names the field."""
        if self._providers is None:
            raise ApiError(422, "InvalidState", "This server was started without ways to log in by others.")
        try:
            return self._providers.open(kind, config, secret)
        except ValueError as problem:
            field, _, why = str(problem).partition(": ")
            raise ApiError(422, "InvalidFormat", f"'{field}': {why}.", field=field) from None

    def opened(self, row: AuthProvider) -> Provider:
        """The provider of a stored configuration; kept, for it remembers what the provider says of itself."""
        key = (row.id, row.version)
        if key not in self._opened:
            if len(self._opened) > 16:
                self._opened.clear()
            self._opened[key] = self.make(row.kind, row.config, self.secrets(row))
        return self._opened[key]

    def secrets(self, row: AuthProvider) -> dict[str, str]:
        """The secrets of a stored configuration."""
        if not row.sealed:
            return {}
        return msgspec.json.decode(self._api.keyring.unseal(row.sealed, _PURPOSE), type=dict[str, str])

    def seal(self, secret: dict[str, str]) -> str:
        """Secrets, as they are stored."""
        return self._api.keyring.seal(msgspec.json.encode(secret).decode(), _PURPOSE)

    def fingerprint(self, config: dict[str, Any], secret: dict[str, str]) -> str:
        """Equal for equal configurations; tells nobody anything of the secrets in them."""
        return self._api.keyring.digest(msgspec.json.encode([config, secret], order="sorted").decode())

    async def row(self, kind: str) -> AuthProvider | None:
        """The stored configuration of a type."""
        return await self._api.read(lambda tx: tx.first(AuthProvider, eq("kind", kind), ALIVE))

    async def usable(self, ctx: Context, asked: str) -> AuthProvider:
        """The configuration to log in by: the one in force, or, for an administrator who tries it out, a saved one."""
        row = await self.row(asked)
        if row is not None and ((row.desired == ACTIVE and asked == self.configured) or ctx.caller.kind == "admin"):
            return row
        raise ApiError(422, "InvalidOption", f"Logins by '{asked}' are not enabled here.", field="authProvider")

    async def untried(self, ctx: Context) -> str:
        """The configuration that an administrator saved last and nobody has logged in by yet: clients of 1.x try it out without
        saying that they do."""
        if ctx.caller.kind != "admin" or self.configured != LOCAL:
            return ""
        rows = await self._api.read(lambda tx: tx.find(AuthProvider, eq("desired", INACTIVE), eq("proven", ""), ALIVE))
        return max(rows, key=lambda r: r.data.get("saved", 0)).kind if rows else ""

    # ---- a login that begins with a redirect

    async def begin(self, ctx: Context, row: AuthProvider) -> tuple[str, str]:
        """Where the browser goes, and what it is given to keep until it returns."""
        kept = ctx.began or secrets.token_hex(16)
        return_to = f"{ctx.root}/login"
        claims = {"use": "login-state", "of": _hash(kept), "to": return_to, "by": row.kind}
        state = self._api.keyring.sign(claims, BEGAN_SECONDS)
        challenge = (
            base64.urlsafe_b64encode(hashlib.sha256(self._verifier(kept).encode()).digest()).decode().rstrip("=")
        )
        url = await self.opened(row).redirect(
            state=state, nonce=self._nonce(kept), challenge=challenge, return_to=return_to
        )
        return url, kept

    def attempt(self, ctx: Context, kind: str, code: str, state: str) -> Attempt:
        """What the caller brings. A state must be one of ours, and begun in the same browser."""
        if not state:
            return Attempt(code=code)
        claims = self._api.keyring.verify(state)
        if not claims or claims.get("use") != "login-state" or claims.get("by") != kind:
            raise ApiError(422, "InvalidOption", "That login was not begun here, or too long ago.", field="state")
        if not ctx.began or claims.get("of") != _hash(ctx.began):
            raise ApiError(422, "InvalidOption", "That login was begun in another browser.", field="state")
        return Attempt(
            code=code,
            nonce=self._nonce(ctx.began),
            verifier=self._verifier(ctx.began),
            returned_to=str(claims.get("to")),
        )

    def _nonce(self, kept: str) -> str:
        return self._api.keyring.digest(f"login nonce {kept}")[:43]

    def _verifier(self, kept: str) -> str:
        return self._api.keyring.digest(f"login verifier {kept}")


def _hash(kept: str) -> str:
    return hashlib.sha256(kept.encode()).hexdigest()


# ---- whose login it is; inside a unit of work


def enter(tx: Tx, ctx: Context, row: AuthProvider, proof: Proof) -> Account:
    """The account of somebody whom the provider in force vouches for; a new one the first time. Refuses who may not come in."""
    tx.hold(AuthProvider, row.id)  # two first logins at once make one account
    now = tx.get(AuthProvider, row.id)
    if now is None or now.desired != ACTIVE:
        raise ApiError(401, "Unauthorized", "Logins by this provider have just been disabled.")
    account = _of(tx, proof)
    if account is not None and account.desired != ACTIVE:
        raise ApiError(401, "Unauthorized", "Your account is deactivated. An administrator can activate it.")
    keeper = account is not None and account.kind == "admin"
    if not keeper and not admitted(tx, now, proof.keys):
        raise ApiError(
            401,
            "Unauthorized",
            "You may not log in here: an administrator must name you, or one of your groups, first.",
        )
    return note(tx, account or _welcome(tx, ctx, proof), row.kind, proof)


def tried(tx: Tx, ctx: Context, row: AuthProvider, proof: Proof) -> Account:
    """An administrator tried a configuration out: it is proven, and from now on that is who they are there."""
    account = claim(tx, ctx, row.kind, proof)
    current = tx.get(AuthProvider, row.id)
    if current is None or (current.config, current.sealed) != (row.config, row.sealed):
        raise ApiError(409, "Conflict", "The configuration was changed while you logged in. Try once more.")
    fingerprint = ctx.api.logins.fingerprint(row.config, ctx.api.logins.secrets(row))
    tx.update(current, proven=fingerprint)
    return account


def claim(tx: Tx, ctx: Context, kind: str, proof: Proof) -> Account:
    """The caller, an administrator, is who the provider says. If somebody else is already, only as another administrator."""
    account = _of(tx, proof)
    if account is None:
        account = tx.get(Account, ctx.caller.account_id)
    elif account.kind != "admin" or account.desired != ACTIVE:
        raise ApiError(
            422, "InvalidState", f"'{proof.user.login}' is the account '{account.name}' here, which is no administrator. Make it"
            " one first, or you would lock yourself out.",
        )  # fmt: skip
    assert account is not None
    return note(tx, account, kind, proof)


def note(tx: Tx, account: Account, kind: str, proof: Proof) -> Account:
    """Remember who the account is at the provider, and the groups of this login."""
    told = {"provider": kind, "user": _plain(proof.user), "groups": [_plain(g) for g in proof.groups]}
    return tx.update(
        account,
        external_id=proof.user.id,
        external_id_type=proof.user.kind,
        data={**account.data, "login": told},
    )


def admitted(tx: Tx, row: AuthProvider, keys: list[str]) -> bool:
    """Does the access mode let them in?"""
    allowed = {f"{a['externalIdType']}:{a['externalId']}" for a in row.allowed}
    member = row.access_mode == "restricted" and bool(memberships(tx, keys))
    return logins.admits(row.access_mode, allowed, keys, is_member=member)


def memberships(tx: Tx, keys: list[str]) -> dict[int, str]:
    """Environment -> role, for whoever goes by these names."""
    told = {pair for key in keys if (pair := logins.split(key)) is not None}
    if not told:
        return {}
    found: dict[int, list[str]] = {}
    for row in tx.find(Member, Where("external_id", "in", sorted({i for _, i in told})), ALIVE):
        if (row.external_id_type, row.external_id) in told:
            found.setdefault(row.account_id, []).append(row.role)
    return {project: logins.strongest(roles) for project, roles in found.items()}


def see_out(tx: Tx, row: AuthProvider) -> None:
    """End the sessions of those whom the configuration does not let in any more."""
    for session in tx.find(Credential, eq("kind", "session"), ALIVE):
        if session.data.get("provider") != row.kind:
            continue
        account = tx.get(Account, session.account_id)
        if account is None or account.kind == "admin":
            continue
        if not admitted(tx, row, logins.keys_of(account.data.get("login") or {})):
            tx.update(session, desired="removed", removed=tx.now())


def _of(tx: Tx, proof: Proof) -> Account | None:
    if len(proof.user.id) > _LONGEST:
        raise ApiError(422, "MaxLengthExceeded", f"Your id there has more than {_LONGEST} characters.")
    return tx.first(
        Account, eq("external_id", proof.user.id), eq("external_id_type", proof.user.kind), Where("kind", "ne", "project"), ALIVE
    )  # fmt: skip


def _welcome(tx: Tx, ctx: Context, proof: Proof) -> Account:
    from remuda.api.resources.accounts import welcome  # it imports the API's half of us

    name = (proof.user.name or proof.user.login)[:_LONGEST]
    account = tx.insert(Account(kind="user", name=name))
    if ctx.api.settings.get("project.create.default") == "true":
        welcome(tx, account.id, proof.user.login[: _LONGEST - 10])
    return account


def _plain(identity: Identity) -> dict[str, Any]:
    return {k: v for k, v in msgspec.to_builtins(identity).items() if v}


# ---- how identities are shown


def document(told: dict[str, Any], *, mine: bool = False) -> dict[str, Any]:
    """Somebody at a provider, as they appear in lists of members. ``told``: an :class:`Identity` as plain values."""
    kind, identity = str(told.get("kind")), str(told.get("id"))
    return {
        "type": "identity",
        "id": f"{kind}:{identity}",
        "externalId": identity,
        "externalIdType": kind,
        "login": told.get("login"),
        "name": told.get("name"),
        "profilePicture": told.get("picture"),
        "profileUrl": told.get("url"),
        "user": mine,
    }


def ours(account: Account) -> dict[str, Any]:
    """An account of this installation, as they appear in lists of members."""
    public = ids.public("account", account.id)
    return {
        "type": "identity",
        "id": f"rancher_id:{public}",
        "externalId": public,
        "externalIdType": "rancher_id",
        "login": account.name,
        "name": account.name,
    }


def of(account: Account, provider: str) -> list[dict[str, Any]]:
    """Who somebody is by the word of a provider, themselves first, then their groups."""
    told = account.data.get("login") or {}
    if not told or told.get("provider") != provider:
        return [ours(account)]
    return [document(told["user"], mine=True), *(document(group) for group in told.get("groups") or ())]
