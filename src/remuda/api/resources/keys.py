"""API keys and registration tokens."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Sequence
from typing import Any

from remuda.api.auth import registration_token
from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.render import Extra
from remuda.core.model import Credential, Record
from remuda.ports.store import Tx, Where, eq

_CLEAR = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Without letters and digits that people confuse."""
_SECRET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz123456789"  # noqa: S105 - an alphabet


def new_pair() -> tuple[str, str]:
    """A fresh access key (20 characters) and secret key (40 characters, 230 bits)."""
    return "".join(secrets.choice(_CLEAR) for _ in range(20)), "".join(secrets.choice(_SECRET) for _ in range(40))


class ApiKeys(Behaviour):
    """Keys of an environment, or of the caller's own account."""

    def ownership(self, ctx: Context) -> list[Where]:
        if ctx.caller.project_id is not None:
            return [eq("account_id", ctx.caller.project_id)]
        return [] if ctx.is_admin else [eq("account_id", ctx.caller.account_id)]

    def owner(self, tx: Tx, ctx: Context) -> int:
        return ctx.caller.project_id if ctx.caller.project_id is not None else ctx.caller.account_id

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        owner = self.owner(tx, ctx)
        asked = values.get("accountId")
        if asked not in (None, owner):
            if not ctx.is_admin and asked != ctx.caller.account_id:
                raise ApiError(403, "Forbidden", "You may make keys for yourself and for your environment only.")
            owner = asked
        access, secret = new_pair()
        values["_secret"] = secret
        return tx.insert(
            Credential(
                kind="apiKey",
                account_id=owner,
                name=values.get("name") or "",
                description=values.get("description") or "",
                public_value=access,
                secret_hash=ctx.api.keyring.digest(secret),
            )
        )

    def update(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        values.pop("accountId", None)
        return super().update(tx, ctx, record, values)

    def created(self, ctx: Context, record: Any, values: Values) -> dict[str, Any]:
        return {"secretValue": values["_secret"]}


class RegistrationTokens(Behaviour):
    """What lets machines in; the same token for as long as the row lives."""

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        access, secret = new_pair()
        return tx.insert(
            Credential(
                kind="registrationToken",
                account_id=self.owner(tx, ctx),
                name=values.get("name") or "",
                description=values.get("description") or "",
                public_value=access,
                sealed=ctx.api.keyring.seal(secret, "registration"),
            )
        )

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        return {record.id: registration(ctx, record) for record in records}


def registration(ctx: Context, credential: Credential) -> dict[str, Any]:
    """Token, URL and command of a registration token."""
    token = registration_token(ctx.api, credential)
    base = ctx.api.registration_base(ctx.root)
    url = f"{base}/v1/scripts/{token}"
    image = ctx.api.settings.get("agent.image")
    fingerprint = ctx.api.ca_fingerprint()
    trust = f"-e CA_FINGERPRINT={fingerprint} " if fingerprint and url.startswith("https") else ""
    command = (
        f"sudo docker run -d --privileged {trust}-v /var/run/docker.sock:/var/run/docker.sock "
        f"-v /var/lib/rancher:/var/lib/rancher {shlex.quote(image)} {shlex.quote(url)}"
    )
    return {"token": token, "registrationUrl": url, "command": command, "image": image}
