"""How people log in: the configuration of each provider, and which one is in force.

As in 1.x: a configuration is saved with ``enabled`` false, tried by a login (``POST /v1/token``), and saved again with
``enabled`` true; or all at once, with a ``code`` beside it. One that nobody logged in by is never put in force. Secrets are
sealed, are never told again, and stay when they are sent as null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from remuda.api import logins, render
from remuda.api.audit import audit
from remuda.api.context import Context
from remuda.api.errors import ApiError, not_found
from remuda.api.resources.accounts import PASSWORD_KIND, store_password
from remuda.core.logins import MODES, split
from remuda.core.model import ACTIVE, INACTIVE, Account, AuthProvider, Credential, Setting
from remuda.ports.identity import Denied, Proof
from remuda.ports.store import ALIVE, Tx, eq
from remuda.schema.fields import ResourceType
from remuda.schema.validate import for_create

LOCAL_ID, AZURE_ID = "localAuthConfig", "azureadconfig"
SECRETS = {
    "githubconfig": ("clientSecret",),
    "ldapconfig": ("serviceAccountPassword",),
    "openldapconfig": ("serviceAccountPassword",),
    "oidcconfig": ("clientSecret",),
}
"""The providers there are, and the fields of each that are secret."""
SERVED = (LOCAL_ID, *SECRETS, AZURE_ID)
_APART = ("accessMode", "allowedIdentities", "enabled", "name")
_SECURITY = "api.security.enabled"
_AZURE = (
    "Azure AD is asked through OpenID Connect here: use an oidcconfig with issuer"
    " https://login.microsoftonline.com/<tenant id>/v2.0."
)


async def serve(ctx: Context, method: str, kind: ResourceType, rest: list[str], body: dict[str, Any]) -> Response:
    """Everything that can be asked of the configurations of one type: there is one of each."""
    if rest and (len(rest) > 1 or rest[0].lower() != kind.id.lower()):
        raise not_found(f"{kind.id} '{rest[0]}'")
    if method != "GET":
        if kind.id == AZURE_ID:
            raise ApiError(422, "InvalidState", _AZURE, field="type")
        await (_save_local(ctx, kind, body) if kind.id == LOCAL_ID else _save(ctx, method, kind, body))
        await ctx.api.settings.load(ctx.api.store)
        ctx.api.auth.forget()
    document = await ctx.api.read(lambda tx: _document(tx, ctx, kind))
    if method == "GET" and not rest:
        return ctx.api.json(ctx, render.collection(ctx, kind.id, kind.plural_name.lower(), [document]))
    return ctx.api.json(ctx, document, 201 if method == "POST" else 200)


def _document(tx: Tx, ctx: Context, kind: ResourceType) -> dict[str, Any]:
    told = {f.name: f.default for f in kind.fields if f.name != "id"}
    row = tx.first(AuthProvider, eq("kind", kind.id), ALIVE)
    if kind.id == LOCAL_ID:
        of = tx.first(Credential, eq("account_id", ctx.caller.account_id), eq("kind", PASSWORD_KIND), ALIVE)
        here = ctx.api.logins.configured == logins.LOCAL
        told |= {"enabled": here and ctx.api.settings.get(_SECURITY) == "true", "name": ctx.caller.name}
        told |= {"username": of.public_value.removeprefix("user:") if of else None}
    elif row is not None:
        told |= {**row.config, "accessMode": row.access_mode, "enabled": row.desired == ACTIVE}
        told["allowedIdentities"] = row.allowed
    else:
        told |= {"enabled": False, "allowedIdentities": []}
    if kind.id == "oidcconfig":
        told["redirectUrl"] = f"{ctx.root}/login"
    told |= dict.fromkeys((*SECRETS.get(kind.id, ()), "password", "adminAccountPassword") & told.keys())
    base = ctx.url(kind.plural_name.lower(), kind.id.lower())
    head = {"id": kind.id.lower(), "type": kind.id, "baseType": kind.id, "links": {"self": base}, "actions": {}}
    return {**head, **told}


async def _save(ctx: Context, method: str, kind: ResourceType, body: dict[str, Any]) -> None:
    row = await ctx.api.logins.row(kind.id)
    old = ctx.api.logins.secrets(row) if row is not None else {}
    values = _values(kind, row if method == "PUT" else None, old, body)
    secret = {name: str(values[name]) for name in SECRETS[kind.id] if values.get(name)}
    config = {k: v for k, v in values.items() if k not in (*SECRETS[kind.id], *_APART)}
    provider = ctx.api.logins.make(kind.id, config, secret)
    fingerprint = ctx.api.logins.fingerprint(config, secret)
    enabled = bool(row and row.desired == ACTIVE) if values.get("enabled") is None else bool(values["enabled"])
    proof: Proof | None = None
    if body.get("code"):
        attempt = ctx.api.logins.attempt(ctx, kind.id, str(body["code"]), str(body.get("state") or ""))
        try:
            proof = await provider.login(attempt)
        except Denied as problem:
            raise ApiError(422, "InvalidOption", str(problem), field="code") from None
    unchanged = row is not None and row.proven == fingerprint
    if enabled and proof is None and not unchanged:
        raise ApiError(
            422, "InvalidState", "Nobody has logged in by this configuration yet. Save it with enabled=false, log in once (POST"
            f" /v1/token with a code and authProvider={kind.id}), then enable it; or send the code along.", field="enabled",
        )  # fmt: skip
    changes = {
        "config": config,
        "sealed": row.sealed if row is not None and secret == old else ctx.api.logins.seal(secret),
        "proven": fingerprint if proof is not None or unchanged else "",
        "desired": ACTIVE if enabled else INACTIVE,
        "access_mode": values["accessMode"],
        "allowed": values["allowedIdentities"],
    }

    def unit(tx: Tx) -> None:
        stored = _store(tx, kind.id, row, changes)
        if proof is not None:
            logins.claim(tx, ctx, kind.id, proof)
        if enabled:
            _put_in_force(tx, stored)
        elif ctx.api.logins.configured == kind.id:
            to_passwords(tx)
        audit(tx, ctx, f"api.{kind.id}.update", kind, stored, body, 200)

    await ctx.api.write(unit)


def _values(
    kind: ResourceType, row: AuthProvider | None, old: Mapping[str, str], body: dict[str, Any]
) -> dict[str, Any]:
    """What is to be stored: what was sent, over what there was (when it is a change), over defaults."""
    defaults = {f.name: f.default for f in kind.fields if f.create and f.default is not None}
    there: dict[str, Any] = {"tls": False}
    if row is not None:
        there |= {**row.config, "accessMode": row.access_mode, "allowedIdentities": row.allowed}
    sent = {k: v for k, v in body.items() if v is not None}
    values = for_create(kind, {**defaults, **there, **old, **sent}, lambda _type, _number: False, "admin")
    if values.get("accessMode") not in MODES:
        raise ApiError(422, "InvalidOption", f"'accessMode' is one of {', '.join(MODES)}.", field="accessMode")
    values["allowedIdentities"] = [_identity(n, one) for n, one in enumerate(values.get("allowedIdentities") or [])]
    return values


def _identity(n: int, told: Any) -> dict[str, Any]:
    told = told if isinstance(told, dict) else {"id": told}
    found = split(f"{told.get('externalIdType')}:{told.get('externalId')}") or split(told.get("id"))
    if found is None:
        raise ApiError(
            422, "InvalidFormat", "An identity has externalIdType and externalId, as GET /v1/identities?name= tells them.",
            field=f"allowedIdentities[{n}]",
        )  # fmt: skip
    kind, identity = found
    shown = {name: str(told.get(name) or "")[:255] for name in ("login", "name")}
    return {"type": "identity", "id": f"{kind}:{identity}", "externalIdType": kind, "externalId": identity, **shown}


def _store(tx: Tx, kind: str, seen: AuthProvider | None, changes: dict[str, Any]) -> AuthProvider:
    tx.hold(Account, 1)  # two that are put in force at once
    now = tx.first(AuthProvider, eq("kind", kind), ALIVE)
    if (now.version if now else 0) != (seen.version if seen else 0):
        raise ApiError(409, "Conflict", "The configuration was changed by somebody else. Read it again and repeat.")
    data = {"saved": tx.now()}
    if now is None:
        return tx.insert(AuthProvider(kind=kind, name=kind, data=data, **changes))
    return tx.update(now, data=data, **changes)


def _put_in_force(tx: Tx, row: AuthProvider) -> None:
    for other in tx.find(AuthProvider, eq("desired", ACTIVE), ALIVE):
        if other.id != row.id:
            tx.update(other, desired=INACTIVE)
    _set(tx, logins.CONFIGURED, row.kind)
    _set(tx, _SECURITY, "true")
    logins.see_out(tx, row)


def to_passwords(tx: Tx) -> None:
    """Passwords of ours are in force again, if somebody with one could do anything then."""
    admins = [a.id for a in tx.find(Account, eq("kind", "admin"), eq("desired", ACTIVE), ALIVE)]
    held = tx.find(Credential, eq("kind", PASSWORD_KIND), eq("desired", ACTIVE), ALIVE)
    if not any(credential.account_id in admins for credential in held):
        raise ApiError(
            422, "InvalidState", "No administrator has a password: nobody could log in any more. Give one a password first"
            " (POST /v1/passwords).", field="enabled",
        )  # fmt: skip
    _set(tx, logins.CONFIGURED, logins.LOCAL)


def _set(tx: Tx, name: str, value: str) -> None:
    row = tx.first(Setting, eq("name", name))
    if row is None:
        tx.insert(Setting(name=name, kind="setting", value=value))
    else:
        tx.update(row, value=value, removed=None, desired=ACTIVE)


async def _save_local(ctx: Context, kind: ResourceType, body: dict[str, Any]) -> None:
    """Passwords of ours: the caller gets one, and they are in force. ``enabled`` false ends access control altogether."""
    values = for_create(kind, body, lambda _type, _number: False, "admin")
    if not 8 <= len(values["password"]) <= 1024:
        raise ApiError(422, "MinLengthExceeded", "A password has 8 to 1024 characters.", field="password")
    hashed = await ctx.api.keyring.hash_password(values["password"])
    enabled = values.get("enabled") is not False

    def unit(tx: Tx) -> None:
        account = tx.hold(Account, ctx.caller.account_id)
        assert account is not None
        _give_password(tx, account.id, values["username"], hashed)
        for row in tx.find(AuthProvider, eq("desired", ACTIVE), ALIVE):
            tx.update(row, desired=INACTIVE)
        _set(tx, logins.CONFIGURED, logins.LOCAL)
        _set(tx, _SECURITY, "true" if enabled else "false")
        audit(tx, ctx, f"api.{kind.id}.create", kind, account, body, 201)

    await ctx.api.write(unit)


def _give_password(tx: Tx, account_id: int, username: str, hashed: str) -> None:
    credential = tx.first(Credential, eq("account_id", account_id), eq("kind", PASSWORD_KIND), ALIVE)
    if credential is None:
        store_password(tx, account_id, username, hashed)
    elif credential.public_value == f"user:{username}":
        tx.update(credential, secret_hash=hashed, desired=ACTIVE)
    else:
        tx.update(
            credential, desired="removed", removed=tx.now(), public_value=f"{credential.public_value}#{credential.id}"
        )
        store_password(tx, account_id, username, hashed)
