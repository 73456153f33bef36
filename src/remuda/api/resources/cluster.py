"""High availability: the cluster's configuration generations, its script, its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from remuda.api.audit import audit
from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.render import Extra
from remuda.core.model import HaGeneration, Setting
from remuda.ports.store import Duplicate, Tx, eq
from remuda.schema.registry import TYPES
from remuda.schema.validate import for_create

SINGLETON = "haconfig"
SCRIPT_NAME = "remuda-ha.sh"


class HaConfigs(Behaviour):
    """The rows are generations; what clients see is the one singleton, served by :func:`show` and :func:`act`."""


class ClusterNodes(Behaviour):
    """Management nodes as their supervisors report them."""

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        living = {m.node for m in ctx.api.leases.members().values()}
        return {r.id: {"live": r.uuid in living, "leader": r.uuid == ctx.leading} for r in records}


def newest(tx: Tx) -> HaGeneration | None:
    """The generation in force."""
    rows = tx.find(HaGeneration, order=("-number",), limit=1)
    return rows[0] if rows else None


async def show(ctx: Context) -> dict[str, Any]:
    """The singleton: database judged live, the generation in force, quorum as this server sees it."""
    api = ctx.api
    generation = await api.read(newest)
    config = generation.config if generation else {}
    size = int(config.get("clusterSize", 3))
    checks = await api.cluster.checks(size)
    base = ctx.url("haconfigs", SINGLETON)
    ready = all(c["ok"] or c.get("warning") for c in checks)
    actions = ["generate", "createscript", "rotate"] if ready else []
    return {
        "id": SINGLETON,
        "type": "haConfig",
        "baseType": "haConfig",
        "links": {"self": base},
        "actions": {a: f"{base}/?action={a}" for a in actions},
        "enabled": api.settings.get("ha.enabled") == "true",
        "clusterSize": size if generation else None,
        "dbHost": api.cluster.db_host,
        "dbSize": None,
        "database": {"ok": ready, "checks": checks},
        "generation": _told(generation),
        "quorum": {
            "ok": api.leases.quorum,
            "reason": api.leases.reason,
            "servers": len(api.leases.members()),
            "leader": await api.leading_node(),
        },
    }


def _told(generation: HaGeneration | None) -> dict[str, Any] | None:
    if generation is None:
        return None
    return {
        "number": generation.number,
        "fingerprint": generation.fingerprint,
        "config": generation.config,
        "created": generation.created,
    }


async def act(ctx: Context, name: str, body: dict[str, Any]) -> dict[str, Any] | Response:
    """``generate``, ``createscript``, ``rotate``."""
    if name not in ("generate", "createscript", "rotate"):
        raise ApiError(422, "InvalidAction", f"haConfig has no action '{name}'.")
    await _fit_database(ctx, body)
    generation = await _generation(ctx, body, rotate=name == "rotate", name=name)
    if name != "createscript":
        return await show(ctx)
    return Response(
        ctx.api.cluster.script(generation),
        media_type="application/octet-stream",
        headers={
            "Content-Disposition": f'attachment; filename="{SCRIPT_NAME}"',
            "Cache-Control": "no-store",
            "X-Remuda-Fingerprint": generation.fingerprint,
        },
    )


async def _fit_database(ctx: Context, body: dict[str, Any]) -> None:
    size = body.get("clusterSize")
    checks = await ctx.api.cluster.checks(size if isinstance(size, int) else 3)
    failed = [c for c in checks if not c["ok"] and not c.get("warning")]
    if failed:
        first = failed[0]
        raise ApiError(
            422, "InvalidState", f"{first['message']} {first['fix']}".strip(), field="database",
            detail="\n".join(f"{c['message']} {c['fix']}" for c in failed),
        )  # fmt: skip


async def _generation(ctx: Context, body: dict[str, Any], *, rotate: bool, name: str) -> HaGeneration:
    """The generation that this input stands for: the one in force when it asks for nothing new, else the next."""
    current = await ctx.api.read(newest)
    if not body.get("hostRegistrationUrl") and current is not None and not rotate:
        return current
    values = for_create(TYPES["haConfigInput"], body, lambda _type, _number: False)
    config, problems = ctx.api.cluster.judge(values)
    if config is None:
        wrong = [p for p in problems if p.severity == "error"]
        raise ApiError(
            422, wrong[0].code, wrong[0].message, field=wrong[0].field,
            detail="\n".join(f"{p.field}: {p.message}" for p in wrong),
        )  # fmt: skip
    if current is not None and current.config == config and not rotate:
        return current
    draft = ctx.api.cluster.draft(values, current, rotate=rotate)

    def unit(tx: Tx) -> HaGeneration:
        # the unique number makes two operators who press the button at once collide instead of splitting the cluster
        made = tx.insert(
            HaGeneration(
                number=(current.number if current else 0) + 1,
                kind="haConfig",
                fingerprint=draft.fingerprint,
                config=draft.config,
                sealed=draft.sealed,
            )
        )
        for key, value in (("ha.enabled", "true"), ("ha.cluster.size", str(draft.config["clusterSize"])),
                           ("api.host", draft.config["hostRegistrationUrl"])):  # fmt: skip
            _set(tx, key, value)
        audit(tx, ctx, f"api.haConfig.{name}", TYPES["haConfig"], made, body, 200)
        return made

    try:
        return await ctx.api.write(unit)
    except Duplicate:
        raise ApiError(
            409,
            "Conflict",
            "Somebody else has just made a configuration. Look at it, and repeat if it is not what you want.",
        ) from None


def _set(tx: Tx, name: str, value: str) -> None:
    row = tx.first(Setting, eq("name", name))
    if row is None:
        tx.insert(Setting(name=name, kind="setting", value=value))
    else:
        tx.update(row, value=value, removed=None)


__all__: Sequence[str] = ("ClusterNodes", "HaConfigs", "Values", "act", "show")
