"""Upgrades of a service to another one (``toServiceStrategy``): what is asked, and who else leads to the service."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from remuda.api.behaviour import Values
from remuda.api.errors import ApiError
from remuda.control.agents.certificates import certificate_ids, tell_again
from remuda.core import handover
from remuda.core.model import REMOVED, Record, Service
from remuda.core.units import is_global
from remuda.ports.store import ALIVE, Tx, eq

_FIELD = "toServiceStrategy.toServiceId"
Change = Callable[[Iterable[Service], int, int], list[tuple[Service, dict[str, Any]]]]


def begin(tx: Tx, old: Service, values: Values) -> Record:
    """Let another service take over, batch by batch."""
    if values.get("toServiceId") is None:
        raise ApiError(422, "MissingRequired", f"'{_FIELD}' is required: the service that takes over.", field=_FIELD)
    new = tx.get(Service, values["toServiceId"])
    if new is None or new.account_id != old.account_id or new.desired == REMOVED or new.removed is not None:
        raise ApiError(422, "InvalidReference", f"'{_FIELD}': there is no such service here.", field=_FIELD)
    if new.id == old.id:
        raise ApiError(422, "InvalidReference", f"'{_FIELD}': a service is not upgraded to itself.", field=_FIELD)
    if new.kind != old.kind:
        raise ApiError(422, "InvalidType", f"'{_FIELD}': a {old.kind} is not upgraded to a {new.kind}.", field=_FIELD)
    if is_global(old) or is_global(new):
        raise ApiError(
            422, "InvalidState", "A global service has no scale to hand over: use 'inServiceStrategy'.", field=_FIELD
        )
    asked = handover.Wish(
        to=new.id,
        batch_size=values.get("batchSize") or 1,
        interval_millis=values.get("intervalMillis") or 2000,
        final_scale=values.get("finalScale") or 1,
        update_links=bool(values.get("updateLinks")),
    )
    ours, theirs = handover.begin(old, new, asked)
    tx.update(new, **theirs)
    if asked.update_links:
        _lead(tx, old, new.id, handover.linked)
    return tx.update(old, **ours)


def back(tx: Tx, old: Service) -> Record:
    """Let both be as they were."""
    asked = handover.wish(old)
    assert asked is not None
    new = tx.get(Service, asked.to)
    if new is not None and (new.removed is not None or new.desired == REMOVED):
        new = None
    ours, theirs = handover.back(old, new)
    if new is not None:
        tx.update(new, **theirs)
    if asked.update_links:
        _lead(tx, old, asked.to, handover.unlinked)
    return tx.update(old, **ours)


def _lead(tx: Tx, old: Service, new: int, change: Change) -> None:
    for service, changes in change(tx.find(Service, eq("account_id", old.account_id), ALIVE), old.id, new):
        changed = tx.update(service, **changes)
        if certificate_ids(changed) != certificate_ids(service):
            tell_again(tx, changed)
