"""Write down who changed what, in the same transaction as the change. Bodies are masked first."""

from __future__ import annotations

from typing import Any

from remuda.api.context import Context
from remuda.core.model import AuditLog, Record
from remuda.ports.store import Tx
from remuda.schema.fields import PASSWORD, ResourceType

_SECRET = {"password", "secret", "secretvalue", "code", "key", "token", "cert", "certchain", "dockerinspect"}
_BULKY = {"dockercompose", "ranchercompose"}
_DEPTH = 6
_MANY = 100
"""So many members of an object or list are kept."""


def audit(
    tx: Tx, ctx: Context, event: str, kind: ResourceType, record: Record, body: dict[str, Any], status: int
) -> None:
    """Log one change."""
    caller = ctx.caller
    owner = record.id if kind.id == "project" else record.account_id
    tx.insert(
        AuditLog(
            account_id=owner if kind.scope in ("project", "account", "key") else 0,
            event_type=event,
            resource_type=kind.id,
            resource_id=record.id,
            description=record.name,
            authenticated_as=caller.account_id,
            auth_type=caller.auth_type,
            client_ip=f"{ctx.client_ip} via {ctx.via}" if ctx.via else ctx.client_ip,
            response_code=status,
            request=masked(body, hidden=_passwords(kind)) if isinstance(body, dict) else {},
        )
    )


def _passwords(kind: ResourceType) -> frozenset[str]:
    """The fields of a type that are secrets whatever they are called."""
    return frozenset(field.name.lower() for field in kind.fields if field.type == PASSWORD)


def masked(body: dict[str, Any], depth: int = 0, hidden: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The body without secrets: known secret fields, ``hidden`` ones, and all values of environments, which often hold some."""
    out: dict[str, Any] = {}
    for key, value in list(body.items())[:_MANY]:
        key = str(key)[:200]
        low = key.lower()
        if low in _SECRET or low in hidden or low.endswith(("password", "secret")):
            out[key] = "***"
        elif low in _BULKY and isinstance(value, str):
            out[key] = f"({len(value)} characters)"
        elif low == "environment" and not isinstance(value, str):
            out[key] = dict.fromkeys(list(value)[:_MANY], "***") if isinstance(value, dict) else "***"
        else:
            out[key] = _shown(value, depth)
    return out


def _shown(value: Any, depth: int) -> Any:
    if isinstance(value, dict | list) and depth >= _DEPTH:
        return "..."
    if isinstance(value, dict):
        return masked(value, depth + 1)
    if isinstance(value, list):
        return [_shown(v, depth + 1) for v in value[:_MANY]]
    return value if not isinstance(value, str) or len(value) < 2000 else value[:2000] + "..."
