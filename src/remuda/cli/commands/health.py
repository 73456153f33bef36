"""``remuda health``: which containers are checked, how they are, and what each observer saw last."""

from __future__ import annotations

import time
from collections.abc import Sequence

from remuda.cli.client import Json
from remuda.cli.session import current

BAD_EXIT = 1


def health(*names: str) -> int:
    """Show the health of checked containers and what each observer saw last. Exit code 1 when one is unhealthy.

    Parameters
    ----------
    names
        Stacks, services, hosts or containers. Default: every container that is checked.
    """
    session = current()
    inventory = session.names
    if names:
        chosen = [c for name in names for c in inventory.containers_of(inventory.find(name))]
        containers = list({c["id"]: c for c in chosen}.values())
    else:
        containers = [c for c in inventory.all("container") if c.get("healthState")]
    seen: dict[str, list[Json]] = {}
    for one in session.api.fetch("healthcheckInstanceHostMap"):
        seen.setdefault(str(one.get("instanceId")), []).append(one)
    hosts = {h["id"]: str(h.get("name") or h.get("hostname")) for h in inventory.all("host")}
    if session.output.form == "json":
        session.output.document([{**c, "observations": seen.get(c["id"], [])} for c in containers])
    else:
        rows, stand_for = [], []
        for container in containers:
            for row in rows_of(container, seen.get(container["id"], []), hosts, time.time()):
                rows.append(row)
                stand_for.append(container)
        shown = list({c["id"]: c for c in stand_for}.values()) if session.output.quiet else stand_for
        session.output.table(("ID", "NAME", "HEALTH", "SEEN FROM", "SAW", "MS", "FOR", "ANSWER"), rows, shown)
    return BAD_EXIT if any(c.get("healthState") == "unhealthy" for c in containers) else 0


def rows_of(container: Json, seen: Sequence[Json], hosts: dict[str, str], now: float) -> list[tuple[object, ...]]:
    """One line for each observer of a container; one that says why when there is none."""
    head = (container["id"], container.get("name"), container.get("healthState") or "not checked")
    engine = str((container.get("engine") or {}).get("Health") or "")
    rows: list[tuple[object, ...]] = [
        (*head, hosts.get(str(one.get("hostId")), one.get("hostId")), one.get("healthState"), one.get("latency"),
         age(one.get("sinceTS"), now), one.get("message"))
        for one in sorted(seen, key=lambda one: hosts.get(str(one.get("hostId")), ""))
    ]  # fmt: skip
    if engine:
        rows.append((*head, "its engine", engine, "", "", "as its own HEALTHCHECK says"))
    return rows or [(*head, "", "", "", "", container.get("healthBecause") or "")]


def age(since: object, now: float) -> str:
    """``since`` in milliseconds as the time that has passed, in the largest unit that fits."""
    if not isinstance(since, int | float) or not since:
        return ""
    seconds = max(0, round(now - since / 1000))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
