"""Whether what a body refers to is there, in the caller's eyes."""

from __future__ import annotations

from collections.abc import Callable

from remuda.api.context import Context
from remuda.ports.store import Tx
from remuda.schema.registry import TYPES


def lookup(tx: Tx, ctx: Context) -> Callable[[str, int], bool]:
    """Whether a referenced row exists in the caller's eyes."""

    def sees(type_id: str, number: int) -> bool:
        kind = TYPES.get(type_id)
        if kind is None or kind.record is None:
            return False
        if type_id == "account" and ctx.api.behaviour(TYPES["project"]).fetch(tx, ctx, number) is not None:
            return True  # environments are accounts too
        found = ctx.api.behaviour(kind).fetch(tx, ctx, number)
        if found is None or found.removed is not None:
            return False
        return ctx.caller.project_id in (None, found.account_id) or kind.scope != "project"

    return sees
