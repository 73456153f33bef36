"""Write down who changed what, in the same transaction as the change. Bodies are masked first."""

from __future__ import annotations

from typing import Any

from remuda.api.context import Context
from remuda.core.model import AuditLog, Record
from remuda.ports.store import Tx
from remuda.schema.fields import ResourceType

_SECRET = {"password", "secret", "secretvalue", "code", "key", "token", "cert", "certchain"}
_BULKY = {"dockercompose", "ranchercompose"}
_DEPTH = 6


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
            client_ip=ctx.client_ip,
            response_code=status,
            request=masked(body) if isinstance(body, dict) else {},
        )
    )


def masked(body: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """The body without secrets: known secret fields, and all values of environments, which often hold some."""
    out: dict[str, Any] = {}
    for key, value in body.items():
        low = str(key).lower()
        if low in _SECRET:
            out[key] = "***"
        elif low in _BULKY and isinstance(value, str):
            out[key] = f"({len(value)} characters)"
        elif low == "environment" and isinstance(value, dict):
            out[key] = dict.fromkeys(value, "***")
        elif isinstance(value, dict):
            out[key] = masked(value, depth + 1) if depth < _DEPTH else "..."
        elif isinstance(value, list):
            out[key] = [masked(v, depth + 1) if isinstance(v, dict) else v for v in value[:100]]
        else:
            out[key] = value if not isinstance(value, str) or len(value) < 2000 else value[:2000] + "..."
    return out
