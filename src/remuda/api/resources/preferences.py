"""What belongs to a person wherever they are: their passwords, and what user interfaces remember for them.

Rows are the caller's own in every environment; administrators see those of others outside of environments, preferences only
when they ask for ``all``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from remuda.api.audit import audit
from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.logins import LOCAL
from remuda.api.render import Extra
from remuda.api.resources.accounts import MIN_PASSWORD, PASSWORD_KIND, end_sessions, store_password
from remuda.core.model import ACTIVE, INACTIVE, Account, Credential, Record, UserPreference
from remuda.ports.store import ALIVE, Tx, Where, eq


class Personal(Behaviour):
    """Rows of people."""

    def ownership(self, ctx: Context) -> list[Where]:
        return [] if self._everyone(ctx) else [eq("account_id", ctx.caller.account_id)]

    def _everyone(self, ctx: Context) -> bool:
        return ctx.is_admin and ctx.caller.project_id is None

    def sees(self, tx: Tx, ctx: Context, record: Record) -> bool:
        return ctx.is_admin or record.account_id == ctx.caller.account_id

    def owner(self, tx: Tx, ctx: Context) -> int:
        return ctx.caller.account_id


class Preferences(Personal):
    """What somebody likes: one value for each name."""

    def _everyone(self, ctx: Context) -> bool:
        return super()._everyone(ctx) and ctx.param("all") == "true"

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        tx.hold(Account, self.owner(tx, ctx))
        self._free(tx, self.owner(tx, ctx), str(values.get("name") or ""), 0)
        return super().create(tx, ctx, values)

    def update(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        if values.get("name"):
            tx.hold(Account, record.account_id)
            self._free(tx, record.account_id, values["name"], record.id)
        return super().update(tx, ctx, record, values)

    def _free(self, tx: Tx, owner: int, name: str, but: int) -> None:
        found = tx.first(UserPreference, eq("account_id", owner), eq("name", name), Where("id", "ne", but), ALIVE)
        if name and found is not None:
            raise ApiError(422, "NotUnique", f"There already is a preference '{name}'; change that one.", field="name")

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        return {record.id: {"all": False} for record in records}


class Passwords(Personal):
    """Names and passwords of accounts. What is told of one is the name, never anything of the password."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self.served["changesecret"] = self._change_secret

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        owner = values.get("accountId") or ctx.caller.account_id
        if owner != ctx.caller.account_id and not ctx.is_admin:
            raise ApiError(403, "Forbidden", "Only administrators give others a password.", field="accountId")
        if not ctx.hashed:
            raise ApiError(422, "MissingRequired", "'secretValue' is required: the password.", field="secretValue")
        account = tx.hold(Account, owner)
        if account is None or account.kind in ("project", "agent") or account.removed is not None:
            raise ApiError(422, "InvalidReference", "Only people log in with a password.", field="accountId")
        if self._others(tx, owner, 0):
            raise ApiError(422, "InvalidState", "There is a password already: change or remove it.", field="accountId")
        store_password(tx, owner, str(values["publicValue"]), ctx.hashed)
        row = tx.first(Credential, eq("account_id", owner), eq("kind", PASSWORD_KIND), ALIVE)
        assert row is not None
        return tx.update(row, name=values.get("name") or row.name, description=values.get("description") or "")

    def update(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        return super().update(tx, ctx, record, {k: v for k, v in values.items() if k in ("name", "description")})

    def deactivate(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        self._keep_a_way_in(tx, ctx, record)
        end_sessions(tx, record.account_id)
        return super().deactivate(tx, ctx, record, values)

    def remove(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        self._keep_a_way_in(tx, ctx, record)
        end_sessions(tx, record.account_id)
        # the name must be free for somebody else, and public_value is unique for ever
        tx.update(record, desired="removed", removed=tx.now(), public_value=f"{record.public_value}#{record.id}")
        return tx.get(Credential, record.id) or record

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        return {r.id: {"publicValue": r.public_value.removeprefix("user:").removesuffix(f"#{r.id}")} for r in records}

    async def _change_secret(self, ctx: Context, record: Any, values: Values) -> dict[str, Any]:
        old, new = str(values["oldSecret"]), str(values["newSecret"])
        if not MIN_PASSWORD <= len(new) <= 1024:
            raise ApiError(422, "MinLengthExceeded", "A password has 8 to 1024 characters.", field="newSecret")
        key = (ctx.nearest, "changesecret", record.id)
        if wait := ctx.api.throttle.wait(key):
            raise ApiError(429, "TooManyRequests", f"Too many wrong passwords. Try again in {wait:.0f} second(s).")
        if not await ctx.api.keyring.check_password(record.secret_hash, old):
            ctx.api.throttle.failed(key)
            raise ApiError(422, "InvalidOption", "That is not the present password.", field="oldSecret")
        ctx.api.throttle.passed(key)
        hashed = await ctx.api.keyring.hash_password(new)

        def unit(tx: Tx) -> None:
            tx.update(record, secret_hash=hashed)  # the row that was checked, or none
            for session in tx.find(Credential, eq("account_id", record.account_id), eq("kind", "session"), ALIVE):
                if session.id != ctx.caller.credential_id:
                    tx.update(session, desired="removed", removed=tx.now())
            audit(tx, ctx, "api.password.changesecret", self.kind, record, {}, 200)

        await ctx.api.write(unit)
        return {"type": "changeSecretInput", "links": {}, "actions": {}, "oldSecret": None, "newSecret": None}

    def _others(self, tx: Tx, owner: int, but: int) -> int:
        found = (eq("account_id", owner), eq("kind", PASSWORD_KIND), Where("id", "ne", but), ALIVE)
        return tx.count(Credential, *found)

    def _keep_a_way_in(self, tx: Tx, ctx: Context, record: Credential) -> None:
        """While people log in with passwords of ours, some administrator has one."""
        if ctx.api.logins.configured != LOCAL or record.desired == INACTIVE:
            return
        admins = {a.id for a in tx.find(Account, eq("kind", "admin"), eq("desired", ACTIVE), ALIVE)}
        held = tx.find(Credential, eq("kind", PASSWORD_KIND), eq("desired", ACTIVE), ALIVE)
        if record.account_id in admins and not any(c.account_id in admins and c.id != record.id for c in held):
            raise ApiError(422, "InvalidState", "It is the last administrator's way in: make another one first.")
