"""Secrets: sealed when they come in, never shown and never changed, and kept for as long as something mounts them."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.control.agents.confidences import SECRET
from remuda.core.model import Account, Instance, Record, Secret, Service
from remuda.core.secrets import LARGEST, users
from remuda.ports.store import ALIVE, Tx, eq

SHOWN = 5


class Secrets(Behaviour):
    """One row per name in an environment."""

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        value = _decoded(values["value"])
        if values["name"] in (".", ".."):
            raise ApiError(422, "InvalidFormat", "'name' must be fit for a file.", field="name")
        owner = self.owner(tx, ctx)
        tx.hold(Account, owner)
        if tx.first(Secret, eq("account_id", owner), eq("name", values["name"]), ALIVE) is not None:
            raise ApiError(
                422,
                "NotUnique",
                f"There already is a secret '{values['name']}' here, and secrets do not change: choose another name.",
                field="name",
            )
        sealed = ctx.api.keyring.seal(base64.b64encode(value).decode(), SECRET)
        return tx.insert(Secret(**self.fill(tx, ctx, values), sealed=sealed))

    def remove(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        tx.hold(Account, record.account_id)
        own = (eq("account_id", record.account_id), ALIVE)
        using = users(record.id, tx.find(Service, *own), tx.find(Instance, *own))
        if using:
            more = f" and {len(using) - SHOWN} more" if len(using) > SHOWN else ""
            raise ApiError(
                422, "InvalidState", f"It is used by {', '.join(using[:SHOWN])}{more}: take it away from those first."
            )
        return tx.update(record, desired="removed", removed=tx.now(), sealed="")  # type: ignore[no-any-return]


def _decoded(text: str) -> bytes:
    try:
        value = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(422, "InvalidFormat", "'value' must be in base64.", field="value") from None
    if len(value) > LARGEST:
        raise ApiError(
            422, "MaxLengthExceeded", f"'value' may have at most {LARGEST} bytes, not {len(value)}.", field="value"
        )
    return value
