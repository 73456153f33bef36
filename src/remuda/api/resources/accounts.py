"""People, machines and environments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from remuda.api.audit import audit
from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.lookup import lookup
from remuda.api.render import Extra
from remuda.control.network import network_of
from remuda.core import ids, logins
from remuda.core.model import ACTIVE, Account, Credential, Host, Member, Network, Record, Stack
from remuda.ports.store import ALIVE, Tx, Where, eq
from remuda.schema.fields import OWNER, READONLY, USER
from remuda.schema.registry import TYPES
from remuda.schema.validate import Invalid, for_create

PASSWORD_KIND = "usernamePassword"  # noqa: S105 - the name of a kind
MIN_PASSWORD = 8


class Accounts(Behaviour):
    """People and machines. Administrators see all; everybody else themselves."""

    def ownership(self, ctx: Context) -> list[Where]:
        people = Where("kind", "ne", "project")
        return [people] if ctx.is_admin else [people, eq("id", ctx.caller.account_id)]

    def sees(self, tx: Tx, ctx: Context, record: Record) -> bool:
        # environments have a type of their own, with rules of its own
        return record.kind != "project" and (ctx.is_admin or record.id == ctx.caller.account_id)

    def owner(self, tx: Tx, ctx: Context) -> int:
        return 0

    def fill(self, tx: Tx, ctx: Context, values: Values) -> Values:
        return {**super().fill(tx, ctx, values), "kind": values.get("kind") or "user"}

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        account = super().create(tx, ctx, values)
        if values.get("username"):
            store_password(tx, account.id, values["username"], ctx.hashed)
        return account

    def update(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        password = values.pop("password", None)
        if password:
            credential = tx.first(Credential, eq("account_id", record.id), eq("kind", PASSWORD_KIND), ALIVE)
            if credential is None:
                raise ApiError(422, "InvalidState", "This account has no password to change.", field="password")
            assert ctx.hashed  # an empty one would match nothing for ever
            tx.update(credential, secret_hash=ctx.hashed)
            end_sessions(tx, record.id)
        return super().update(tx, ctx, record, values)

    def deactivate(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        _keep_an_admin(tx, record)
        end_sessions(tx, record.id)
        return super().deactivate(tx, ctx, record, values)

    def remove(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        _keep_an_admin(tx, record)
        for credential in tx.find(Credential, eq("account_id", record.id), ALIVE):
            # the name must be free for somebody else, and public_value is unique for ever
            free = f"{credential.public_value}#{credential.id}" if credential.kind == PASSWORD_KIND else None
            tx.update(credential, desired="removed", removed=tx.now(), **({"public_value": free} if free else {}))
        return super().remove(tx, ctx, record, values)

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        found = tx.find(
            Credential, Where("account_id", "in", [r.id for r in records]), eq("kind", PASSWORD_KIND), ALIVE
        )
        return {c.account_id: {"username": c.public_value.removeprefix("user:")} for c in found}


def welcome(tx: Tx, account_id: int, login: str) -> None:
    """An environment of their own for somebody new."""
    project = tx.insert(Account(kind="project", name=f"{login}-Default"))
    tx.insert(Member(account_id=project.id, external_id=str(account_id), role=OWNER, kind="projectMember"))
    network_of(tx, project.id)


def _keep_an_admin(tx: Tx, account: Account) -> None:
    if account.kind != "admin":
        return
    others = tx.count(Account, eq("kind", "admin"), eq("state", ACTIVE), Where("id", "ne", account.id), ALIVE)
    if others == 0 or account.id == 1:
        raise ApiError(422, "InvalidState", "This is the last administrator: make another one first.")


def store_password(tx: Tx, account_id: int, username: str, hashed: str) -> None:
    """Give an account a name and password to log in with."""
    if ":" in username or not username.isprintable() or username != username.strip():
        raise ApiError(
            422, "InvalidCharacters", "A username has no colon, no control characters and no spaces around it.",
            field="username",
        )  # fmt: skip
    if tx.first(Credential, eq("public_value", f"user:{username}")) is not None:
        raise ApiError(422, "NotUnique", f"There already is somebody called '{username}'.", field="username")
    tx.insert(
        Credential(
            kind=PASSWORD_KIND,
            account_id=account_id,
            name=username,
            public_value=f"user:{username}",
            secret_hash=hashed,
        )
    )


def end_sessions(tx: Tx, account_id: int) -> None:
    """Log the account out everywhere."""
    for session in tx.find(Credential, eq("account_id", account_id), eq("kind", "session"), ALIVE):
        tx.update(session, desired="removed", removed=tx.now())


class Projects(Behaviour):
    """Environments. Everybody sees those they are a member of."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self.actions["setmembers"] = self.set_members

    def ownership(self, ctx: Context) -> list[Where]:
        caller = ctx.caller
        if ctx.is_admin:
            return []
        if caller.kind == "project":
            return [eq("id", caller.account_id)]
        return [Where("id", "in", list(caller.roles) or [-1])]

    def sees(self, tx: Tx, ctx: Context, record: Record) -> bool:
        return ctx.is_admin or record.id in ctx.caller.roles or record.id == ctx.caller.account_id

    def judged(self, ctx: Context, record: Record) -> Context:
        """By the role in the environment itself: who does not own it looks only, wherever the request was made from."""
        caller = ctx.caller
        if ctx.is_admin or caller.roles.get(record.id) == OWNER:
            return ctx
        role = READONLY
        return msgspec.structs.replace(ctx, caller=msgspec.structs.replace(caller, role=role))

    def fetch(self, tx: Tx, ctx: Context, number: int) -> Any | None:
        record = super().fetch(tx, ctx, number)
        return record if record is None or record.kind == "project" else None

    def owner(self, tx: Tx, ctx: Context) -> int:
        return 0

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        project = super().create(tx, ctx, {k: v for k, v in values.items() if k != "members"})
        members = _members(tx, values.get("members") or [])
        if not members and ctx.caller.role in (USER, "admin"):
            members = [(str(ctx.caller.account_id), "rancher_id", OWNER)]
        _write_members(tx, project.id, members)
        _limit_ports(tx, ctx, network_of(tx, project.id), values)
        return project

    def update(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        if _limit_ports(tx, ctx, network_of(tx, record.id), values):
            audit(
                tx,
                ctx,
                "api.project.update",
                self.kind,
                record,
                {"servicesPortRange": values["servicesPortRange"]},
                200,
            )
        return super().update(tx, ctx, record, values)

    def remove(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        record = tx.hold(Account, record.id) or record
        for kind, word in ((Host, "hosts"), (Stack, "stacks")):
            left = tx.count(kind, eq("account_id", record.id), ALIVE)
            if left:
                raise ApiError(422, "InvalidState", f"It still has {left} {word}: remove them first.")
        if record.id == 5:
            raise ApiError(422, "InvalidState", "The Default environment stays; make another one and use that.")
        return super().remove(tx, ctx, record, values)

    def set_members(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Replace the members; there must be an owner."""
        record = tx.hold(Account, record.id) or record
        members = _members(tx, values["members"])
        if not any(role == OWNER for _, _, role in members):
            raise ApiError(422, "InvalidOption", "An environment needs at least one owner.", field="members")
        _write_members(tx, record.id, members)
        return record  # type: ignore[no-any-return]

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        rows = tx.find(Member, Where("account_id", "in", [r.id for r in records]), ALIVE)
        told: Extra = {r.id: {"members": []} for r in records}
        for network in tx.find(Network, Where("account_id", "in", list(told)), ALIVE):
            ports = {"startPort": network.port_first, "endPort": network.port_last}
            told[network.account_id]["servicesPortRange"] = ports
        for row in rows:
            told[row.account_id]["members"].append(
                {
                    "type": "projectMember",
                    "externalId": row.external_id,
                    "externalIdType": row.external_id_type,
                    "role": row.role,
                }
            )
        return told


def _limit_ports(tx: Tx, ctx: Context, network: Network, values: Values) -> bool:
    """Public ports that nobody chose come from this range from now on; True when it is another one."""
    given = values.get("servicesPortRange")
    if given is None:
        return False
    try:
        wish = for_create(TYPES["servicesPortRange"], given if isinstance(given, dict) else {}, lookup(tx, ctx))
    except Invalid as problem:
        field = f"servicesPortRange.{problem.field}"
        raise ApiError(
            problem.status, problem.code, problem.message.replace(problem.field, field), field=field
        ) from None
    first, last = wish["startPort"], wish["endPort"]
    if first > last:
        raise ApiError(
            422, "InvalidOption", "'servicesPortRange.startPort' must not be above 'endPort'.",
            field="servicesPortRange.startPort",
        )  # fmt: skip
    if (first, last) == (network.port_first, network.port_last):
        return False
    tx.update(network, port_first=first, port_last=last)
    return True


def _members(tx: Tx, wanted: list[Any]) -> list[tuple[str, str, str]]:
    found = []
    for n, item in enumerate(wanted):
        if not isinstance(item, dict) or not item.get("externalId"):
            raise ApiError(
                422, "InvalidFormat", "A member needs externalId, externalIdType and role.", field=f"members[{n}]"
            )
        found.append(_member(tx, item, f"members[{n}]."))
    return found


def _member(tx: Tx, item: Values, path: str = "") -> tuple[str, str, str]:
    """Id, type of id and role of somebody who is to belong to an environment. ``path``: where this is said in the body."""
    role = str(item.get("role") or "member")
    if role not in ("owner", "member", "restricted", "readonly"):
        raise ApiError(422, "InvalidOption", f"There is no role '{role}'.", field=f"{path}role")
    external = str(item.get("externalId") or "")
    elsewhere = logins.split(f"{item.get('externalIdType')}:{external}") or logins.split(external)
    if elsewhere is not None:
        if len(elsewhere[1]) > 255:
            raise ApiError(422, "MaxLengthExceeded", "An id has at most 255 characters.", field=f"{path}externalId")
        return elsewhere[1], elsewhere[0], role
    number = ids.number(external)
    if number is None and external.isdecimal() and len(external) < 19:
        number = int(external)
    account = tx.get(Account, number) if number is not None else None
    if account is None or account.kind == "project" or account.removed is not None:
        raise ApiError(422, "InvalidReference", f"There is no account {external!r}.", field=f"{path}externalId")
    return str(account.id), "rancher_id", role


def _write_members(tx: Tx, project_id: int, members: list[tuple[str, str, str]]) -> None:
    for row in tx.find(Member, eq("account_id", project_id), ALIVE):
        tx.update(row, desired="removed", removed=tx.now())
    for member in members:
        _write_member(tx, project_id, member)


def _write_member(tx: Tx, project_id: int, member: tuple[str, str, str]) -> Member:
    external, kind, role = member
    return tx.insert(
        Member(account_id=project_id, external_id=external, external_id_type=kind, role=role, kind="projectMember")
    )


class Members(Behaviour):
    """Who belongs to an environment. Its owners and administrators add members."""

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        number = values.get("projectId") or ctx.caller.project_id
        project = tx.hold(Account, number) if number is not None else None
        if project is None or project.kind != "project" or project.removed is not None:
            raise ApiError(422, "MissingRequired", "Say which environment they are to belong to.", field="projectId")
        if not ctx.is_admin and ctx.caller.roles.get(project.id) != OWNER:
            raise ApiError(403, "Forbidden", "Only its owners choose the members of an environment.")
        member = _member(tx, values)
        external, kind, _ = member
        same = (eq("account_id", project.id), eq("external_id", external), eq("external_id_type", kind), ALIVE)
        if tx.first(Member, *same) is not None:
            raise ApiError(422, "NotUnique", "They belong to it already; setmembers changes roles.", field="externalId")
        return _write_member(tx, project.id, member)

    def ownership(self, ctx: Context) -> list[Where]:
        if ctx.caller.project_id is not None:
            return [eq("account_id", ctx.caller.project_id)]
        return [] if ctx.is_admin else [Where("account_id", "in", list(ctx.caller.roles) or [-1])]
