"""The ways in that need no identity yet: first-run set-up, login, registration of machines, their scripts."""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Any

import msgspec
from starlette.responses import PlainTextResponse, Response

from remuda.api import logins
from remuda.api.audit import audit
from remuda.api.auth import COOKIE, SESSION
from remuda.api.context import Context
from remuda.api.errors import ApiError, not_found
from remuda.api.logins import BEGAN, BEGAN_SECONDS, LOCAL
from remuda.api.resources.accounts import PASSWORD_KIND, store_password, welcome
from remuda.api.resources.agents import uri_of
from remuda.api.resources.keys import new_pair
from remuda.control.network import network_of
from remuda.core import ids
from remuda.core.model import ACTIVE, Account, Agent, Credential, Member
from remuda.ports.identity import Denied, ProviderDown
from remuda.ports.store import ALIVE, Duplicate, Store, Tx, Where, eq
from remuda.schema.fields import ANONYMOUS, REGISTER, SUPERADMIN
from remuda.schema.registry import TYPES
from remuda.schema.validate import for_create

ADMIN_ID, DEFAULT_PROJECT = 1, 5
_UNSAFE = re.compile(r"[^A-Za-z0-9._:/@%\[\]-]")


def _nothing(_type: str, _number: int) -> bool:
    return False


def set_up(tx: Tx) -> bool:
    """Is there somebody who can log in?"""
    return tx.first(Credential, eq("kind", PASSWORD_KIND), ALIVE) is not None


async def setup_state(ctx: Context) -> dict[str, Any]:
    """Whether the first run is still to come."""
    done = await ctx.api.read(set_up)
    security = ctx.api.settings.get("api.security.enabled") == "true"
    return {
        "id": "setup",
        "type": "setup",
        "links": {"self": ctx.url("setup")},
        "actions": {},
        "required": security and not done,
        "security": security,
        "version": ctx.api.version,
    }


async def setup(ctx: Context, body: dict[str, Any]) -> Response:
    """Make the administrator, once, for whoever has the secret; logs them in."""
    values = for_create(TYPES["setup"], body, _nothing)
    expected = await ctx.api.setup_secret()
    if expected is None:
        raise ApiError(409, "Conflict", "The administrator has been created already: log in instead.")
    if not hmac.compare_digest(expected.encode(), values["secret"].strip().encode()):
        raise ApiError(
            403, "Forbidden", "That is not the setup secret. The server prints it at its start and keeps it in its data folder"
            " (file setup-secret).", field="secret",
        )  # fmt: skip
    hashed = await ctx.api.keyring.hash_password(values["password"])

    def unit(tx: Tx) -> Account:
        admin = tx.hold(Account, ADMIN_ID)  # two set-ups at once: the second finds the first one's work
        if set_up(tx):
            raise ApiError(409, "Conflict", "The administrator has been created already: log in instead.")
        assert admin is not None
        store_password(tx, admin.id, values["username"], hashed)
        admin = tx.update(admin, name=values.get("name") or values["username"])
        audit(tx, ctx, "api.setup.create", TYPES["account"], admin, {"username": values["username"]}, 201)
        return admin

    admin = await ctx.api.write(unit)
    ctx.api.setup_done()
    return await _logged_in(ctx, admin, 201)


async def token_state(ctx: Context) -> Response:
    """How to log in, and who is. With ``authProvider=``, administrators are told it of a provider that is not enabled yet."""
    caller = ctx.caller
    known = caller.role != ANONYMOUS
    kind = ctx.param("authProvider") or ctx.api.logins.configured
    account = await ctx.api.read(lambda tx: tx.get(Account, caller.account_id)) if known else None
    document = {
        "id": "token",
        "type": "token",
        "links": {"self": ctx.url("token")},
        "actions": {},
        "security": ctx.api.settings.get("api.security.enabled") == "true",
        "enabled": True,
        "authProvider": kind,
        "user": caller.name if known else None,
        "accountId": ids.public("account", caller.account_id) if known else None,
        "userType": caller.kind if known else None,
        "userIdentity": logins.of(account, kind)[0] if account else None,
    }
    kept = ""
    if kind != LOCAL:
        row = await ctx.api.logins.usable(ctx, kind)
        document |= {name: row.config.get(name) for name in ("clientId", "hostname", "scheme")}
        try:
            url, kept = await ctx.api.logins.begin(ctx, row)
            document["redirectUrl"] = url or None
        except ProviderDown as problem:  # who is logged in, or an administrator with a password, must get their answer
            document |= {"redirectUrl": None, "message": str(problem)}
    response = ctx.api.json(ctx, document)
    if document.get("redirectUrl"):
        secure = ctx.root.startswith("https")
        response.set_cookie(BEGAN, kept, max_age=BEGAN_SECONDS, httponly=True, samesite="lax", path="/", secure=secure)
    return response


async def login(ctx: Context, body: dict[str, Any]) -> Response:
    """``code`` = ``user:password``, or what a provider gave the browser. A wrong name takes as long as a wrong password."""
    values = for_create(TYPES["token"], body, _nothing)
    code, asked, configured = str(values["code"]), values.get("authProvider"), ctx.api.logins.configured
    key = (ctx.nearest, hash(code.partition(":")[0]))
    if wait := ctx.api.throttle.wait(key):
        raise ApiError(429, "TooManyRequests", f"Too many wrong passwords. Try again in {wait:.0f} second(s).")
    state = str(values.get("state") or "")
    try:
        try:
            account, provider, shown = await _recognised(ctx, asked or configured, code, state)
        except ApiError as problem:
            saved = await ctx.api.logins.untried(ctx) if not asked and problem.status in (400, 401) else ""
            if not saved:
                raise
            account, provider, shown = await _recognised(ctx, saved, code, state)
    except (ApiError, Denied) as problem:
        if isinstance(problem, Denied) or problem.status == 401:
            ctx.api.throttle.failed(key)
        raise
    ctx.api.throttle.passed(key)
    return await _logged_in(ctx, account, 201, provider, shown)


async def _recognised(ctx: Context, kind: str, code: str, state: str) -> tuple[Account, str, str]:
    """Who it is; the provider that their session depends on (none for passwords of ours, and for an administrator who tries
    a provider out); the provider whose word it is."""
    if kind == LOCAL:
        account = await _by_password(ctx, code)
        if ctx.api.logins.configured != LOCAL and account.kind != "admin":
            raise ApiError(401, "Unauthorized", "Passwords of this installation are for its administrators now.")
        return account, "", LOCAL
    row = await ctx.api.logins.usable(ctx, kind)
    proof = await ctx.api.logins.opened(row).login(ctx.api.logins.attempt(ctx, kind, code, state))
    if row.desired == ACTIVE and kind == ctx.api.logins.configured:
        return await ctx.api.write(lambda tx: logins.enter(tx, ctx, row, proof)), kind, kind
    return await ctx.api.write(lambda tx: logins.tried(tx, ctx, row, proof)), "", kind


async def _by_password(ctx: Context, code: str) -> Account:
    name, separator, password = code.partition(":")
    if not separator:
        raise ApiError(400, "InvalidFormat", "'code' is user:password.", field="code")

    def unit(tx: Tx) -> tuple[str, Account | None]:
        row = tx.first(Credential, eq("public_value", f"user:{name}"), eq("kind", PASSWORD_KIND), ALIVE)
        account = tx.get(Account, row.account_id) if row and row.desired == ACTIVE else None
        usable = account is not None and account.removed is None and account.desired == ACTIVE
        return (row.secret_hash if row and usable else ""), account if usable else None

    hashed, account = await ctx.api.read(unit)
    if not await ctx.api.keyring.check_password(hashed, password) or account is None:
        raise ApiError(401, "Unauthorized", "That is not a user and password of this installation.")
    return account


async def _logged_in(ctx: Context, account: Account, status: int, provider: str = "", shown: str = LOCAL) -> Response:
    seconds = max(60, int(ctx.api.settings.get("api.auth.jwt.token.expiry")) // 1000)
    sid = "s-" + secrets.token_hex(16)
    by = msgspec.structs.replace(ctx.caller, account_id=account.id, auth_type="Password")

    def unit(tx: Tx) -> None:
        for old in tx.find(Credential, eq("kind", SESSION), eq("account_id", account.id),
                           Where("created", "lt", tx.now() - seconds * 1000)):  # fmt: skip
            tx.delete(old)  # the token that named it has expired
        if not provider:
            _welcome(tx, ctx, account.id)
        data = {"provider": provider} if provider else {}
        tx.insert(Credential(kind=SESSION, account_id=account.id, name=account.name, public_value=sid, data=data))
        audit(tx, msgspec.structs.replace(ctx, caller=by), "api.token.create", TYPES["account"], account, {}, status)

    await ctx.api.write(unit)
    jwt = ctx.api.keyring.sign({"use": "login", "sid": sid, "account": account.id}, seconds)
    document = {
        "id": jwt,
        "type": "token",
        "links": {},
        "actions": {},
        "jwt": jwt,
        "user": account.name,
        "userType": account.kind,
        "accountId": ids.public("account", account.id),
        "security": True,
        "enabled": True,
        "authProvider": shown,
        "userIdentity": logins.of(account, shown)[0],
        "identities": logins.of(account, shown),
    }
    response = ctx.api.json(ctx, document, status)
    response.set_cookie(
        COOKIE, jwt, max_age=seconds, httponly=True, samesite="lax", path="/", secure=ctx.root.startswith("https")
    )
    if ctx.began:
        response.delete_cookie(BEGAN, path="/")  # the next login begins anew
    return response


def _welcome(tx: Tx, ctx: Context, number: int) -> None:
    """Who logs in for the first time and belongs nowhere gets an environment of their own."""
    account = tx.get(Account, number)
    wanted = ctx.api.settings.get("project.create.default") == "true"
    if account is None or account.kind != "user" or account.data.get("welcomed") or not wanted:
        return
    account = tx.update(account, data={**account.data, "welcomed": True})
    if tx.first(Member, eq("external_id", str(number)), eq("external_id_type", "rancher_id"), ALIVE) is None:
        login = tx.first(Credential, eq("account_id", number), eq("kind", PASSWORD_KIND), ALIVE)
        welcome(tx, number, login.public_value.removeprefix("user:") if login is not None else account.name)


async def logout(ctx: Context) -> Response:
    """End the session of the token that was sent."""
    number = ctx.caller.credential_id

    def unit(tx: Tx) -> None:
        row = tx.get(Credential, number) if number else None
        if row is not None and row.kind == SESSION and row.removed is None:
            tx.update(row, desired="removed", removed=tx.now())
            owner = tx.get(Account, row.account_id)
            audit(tx, ctx, "api.token.remove", TYPES["account"], owner or row, {}, 204)

    await ctx.api.write(unit)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path="/")
    return response


async def register(ctx: Context, body: dict[str, Any]) -> dict[str, Any]:
    """An agent with a registration token gets keys of its own.

    The same key again: the agent kept it, and may have lost our answer or its state, so the old secret is replaced.
    """
    if ctx.caller.role not in (REGISTER, SUPERADMIN) or ctx.caller.project_id is None:
        raise ApiError(403, "Forbidden", "Registering needs a registration token.")
    told = for_create(TYPES["register"], body, _nothing)
    key, project = told["key"], ctx.caller.project_id
    uri = uri_of(ctx, told.get("agentUriFormat"), key)
    access, secret = new_pair()

    def unit(tx: Tx) -> Agent:
        agent = tx.first(Agent, eq("uuid", key), ALIVE)
        if agent is None:
            account = tx.insert(Account(kind="agent", name=f"agent {key[:12]}"))
            agent = tx.insert(Agent(uuid=key, account_id=project, kind="agent", uri=uri, key_account_id=account.id))
        elif agent.account_id != project:
            raise ApiError(
                422, "InvalidState", "This machine is registered in another environment: remove its host there, or delete"
                " the agent's state folder to register it anew.", field="key",
            )  # fmt: skip
        elif agent.uri != uri:
            raise ApiError(
                422, "InvalidState", f"This key is that of {'a simulated' if agent.uri else 'a real'} host: choose another.",
                field="key",
            )  # fmt: skip
        for old in tx.find(Credential, eq("account_id", agent.key_account_id), eq("kind", "agentApiKey"), ALIVE):
            tx.update(old, desired="removed", removed=tx.now())
        tx.insert(
            Credential(
                kind="agentApiKey",
                account_id=agent.key_account_id,
                public_value=access,
                secret_hash=ctx.api.keyring.digest(secret),
            )
        )
        audit(tx, ctx, "api.register.create", TYPES["register"], agent, {}, 201)
        return agent

    agent = await ctx.api.write(unit)
    url = ctx.url("register")
    return {
        "id": key,
        "type": "register",
        "links": {"self": url},
        "actions": {},
        "key": key,
        "state": "active",
        "accessKey": access,
        "secretKey": secret,
        "agentId": ids.public("agent", agent.id),
    }


async def script(ctx: Context, name: str) -> Response:
    """``/v1/scripts/<token>`` and the CA certificate."""
    if name == "ca.crt":
        text = ctx.api.ca_certificate()
        if not text:
            raise not_found("private CA")
        return PlainTextResponse(text)
    caller = await ctx.api.auth.registration(name)
    if caller is None:
        raise ApiError(
            404,
            "Not Found",
            "This registration token is not valid (any more). Take a new command from Hosts -> Add host.",
        )
    base = ctx.api.registration_base(ctx.root)
    exports = {
        "CATTLE_REGISTRATION_ACCESS_KEY": "registrationToken",
        "CATTLE_REGISTRATION_SECRET_KEY": name,
        "CATTLE_URL": f"{base}/v1",
        "DETECTED_CATTLE_AGENT_IP": ctx.client_ip,
        "CATTLE_AGENT_IMAGE": ctx.api.settings.get("agent.image"),
    }
    # none of these can hold a character that a shell would act on: all of them were checked; twice is better
    lines = "".join(f'export {key}="{_UNSAFE.sub("", value)}"\n' for key, value in exports.items())
    return PlainTextResponse("#!/bin/sh\n" + lines)


def seed(tx: Tx) -> None:
    """The rows that every installation starts with, under their well-known numbers."""
    if tx.get(Account, ADMIN_ID) is not None:
        return
    # numbers are given, not counted: a database counts on when an insertion fails
    first = (("admin", ACTIVE), ("system", "inactive"), ("superadmin", "inactive"), ("token", ACTIVE))
    for number, (kind, state) in enumerate(first, ADMIN_ID):
        tx.insert(Account(id=number, kind=kind, name=kind, uuid=kind, desired=state))
    project = tx.insert(Account(id=DEFAULT_PROJECT, kind="project", name="Default", uuid="adminProject"))
    tx.insert(Member(account_id=project.id, external_id=str(ADMIN_ID), role="owner", kind="projectMember"))
    network_of(tx, project.id)


async def plant(store: Store) -> None:
    """:func:`seed`, also when several servers start on an empty database at once."""
    try:
        await store.write(seed)
    except Duplicate:
        await store.write(seed)
