"""Settings: what an operator set over what the product says."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Any

from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.render import Extra
from remuda.catalog import sources
from remuda.core.model import Record, Setting
from remuda.ports.store import ALIVE, Tx, Where, eq
from remuda.schema.settings import SETTINGS

# Both end up in commands and scripts that people run as root.
_URL = re.compile(r"https?://(?:[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")


class Settings(Behaviour):
    """Rows exist for changed settings only; the API shows all of them by name."""

    def scope(self, ctx: Context) -> list[Where]:
        return [ALIVE]

    def by_name(self, tx: Tx, name: str) -> Setting | None:
        """The stored row, or one that stands for the default, or None when there is no such setting."""
        row = tx.first(Setting, eq("name", name), ALIVE)
        if row is not None:
            return row
        return Setting(name=name, kind="setting", state="active") if name in SETTINGS else None

    def change(self, tx: Tx, ctx: Context, name: str, value: str) -> Record:
        """Set a value."""
        declared = SETTINGS.get(name)
        if declared and declared.fixed:
            raise ApiError(422, "InvalidState", f"'{name}' cannot be changed.", field="value")
        _check(name, value)
        row = tx.first(Setting, eq("name", name))
        if row is None:
            return tx.insert(Setting(name=name, kind="setting", value=value))
        return tx.update(row, value=value, removed=None, desired="active")

    def update(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        return self.change(tx, ctx, record.name, str(values.get("value") or ""))

    def remove(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        if record.id == 0:
            return record  # type: ignore[no-any-return]
        return tx.update(record, removed=tx.now(), desired="removed", value="")  # type: ignore[no-any-return]

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        return {r.id: describe(ctx, r) for r in records}


def describe(ctx: Context, row: Setting) -> dict[str, Any]:
    """The computed fields of one setting."""
    declared = SETTINGS.get(row.name)
    stored = row.id != 0 and row.removed is None
    active = row.value if stored else ctx.api.settings.get(row.name)
    where = {"source": "Database" if stored else "Default", "inDb": stored} if ctx.is_admin else {}
    return {
        **where,
        "id": row.name,
        "value": active,
        "activeValue": active,
        "default": declared.default if declared else None,
        "description": declared.description if declared else None,
    }


def _check(name: str, value: str) -> None:
    if len(value) > 65535:
        raise ApiError(422, "MaxLengthExceeded", "A setting may have at most 65535 characters.", field="value")
    if name == "api.host" and value and not _URL.fullmatch(value):
        raise ApiError(
            422, "InvalidFormat", "The Host Registration URL is http:// or https:// with a host, e.g. http://10.0.0.5:8080.",
            field="value",
        )  # fmt: skip
    if name == "api.security.enabled" and value not in ("true", "false"):
        raise ApiError(422, "InvalidOption", "'api.security.enabled' is 'true' or 'false'.", field="value")
    if name == "host.dockersocket.enabled" and value not in ("true", "false"):
        raise ApiError(422, "InvalidOption", f"'{name}' is 'true' or 'false'.", field="value")
    if name == "network.encryption" and value not in ("ipsec", "plain"):
        raise ApiError(422, "InvalidOption", "'network.encryption' is 'ipsec' or 'plain'.", field="value")
    if name == sources.SETTING:
        try:
            sources.sources(value)
        except ValueError as error:
            raise ApiError(422, "InvalidFormat", f"'{name}': {error}.", field="value") from None
    if name == "network.subnet":
        try:
            ipaddress.IPv4Network(value)
        except ValueError as error:
            raise ApiError(
                422, "InvalidFormat", f"'network.subnet' is a network such as 10.42.0.0/16: {error}.", field="value"
            ) from None
    if name in ("agent.image", "lb.image") and not _IMAGE.fullmatch(value):
        raise ApiError(422, "InvalidFormat", f"'{name}' is a Docker image, e.g. remuda/agent:1.0.", field="value")
    if name.endswith((".seconds", ".expiry")) and not (value.isascii() and value.isdecimal() and len(value) < 14):
        raise ApiError(422, "InvalidFormat", f"'{name}' is a whole number of at most 13 digits.", field="value")
