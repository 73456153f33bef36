"""Commands that show: ps, stacks, inspect, wait, events, export."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from remuda.cli.client import Json
from remuda.cli.errors import FAILED, REFUSED, CliError
from remuda.cli.names import EVERYTHING, Inventory
from remuda.cli.output import clean, endpoints_of, reason_of, state_of
from remuda.cli.session import current, wait_until

SETTLED_BADLY = ("error", "removed", "purged")


def ps(
    *names: str,
    all_: Annotated[bool, Parameter(name=["--all", "-a"], negative="")] = False,
    containers: Annotated[bool, Parameter(name=["--containers", "-c"], negative="")] = False,
) -> None:
    """List services; with the name of a stack, service or host, its containers.

    Parameters
    ----------
    names
        Stacks, services or hosts.
    all_
        Every container of the environment, also those started by hand and those of the system.
    containers
        Containers instead of services.
    """
    session = current()
    inventory = session.names
    if names:
        found: list[Json] = []
        for name in names:
            for container in inventory.containers_of(inventory.find(name)):
                if container not in found:
                    found.append(container)
        show_containers(inventory, found)
    elif all_ or containers:
        show_containers(
            inventory,
            [
                c
                for c in inventory.all("container")
                if all_ or not (c.get("systemContainer") or c.get("nativeContainer"))
            ],
        )
    else:
        show_services(inventory, inventory.all("service"))


def show_services(inventory: Inventory, services: list[Json]) -> None:
    """The table of services."""
    services = sorted(services, key=inventory.service_name)
    rows = [
        (s["id"], inventory.service_name(s), image_of(s), state_of(s), scale_of(s), endpoints_of(s), reason_of(s))
        for s in services
    ]
    current().output.table(("ID", "NAME", "IMAGE", "STATE", "SCALE", "ENDPOINTS", "DETAIL"), rows, services)


def show_containers(inventory: Inventory, containers: list[Json]) -> None:
    """The table of containers."""
    hosts = {h["id"]: h.get("name") or h.get("hostname") for h in inventory.all("host")}
    rows = [
        (
            c["id"], c.get("name"), str(c.get("imageUuid") or "").removeprefix("docker:"), state_of(c),
            hosts.get(c.get("hostId"), ""), c.get("primaryIpAddress"), endpoints_of(c), str(c.get("externalId") or "")[:12],
            reason_of(c),
        )
        for c in containers
    ]  # fmt: skip
    headers = ("ID", "NAME", "IMAGE", "STATE", "HOST", "IP", "ENDPOINTS", "DOCKER", "DETAIL")
    current().output.table(headers, rows, containers)


def image_of(service: Json) -> str:
    """The image of a service."""
    return str((service.get("launchConfig") or {}).get("imageUuid") or "").removeprefix("docker:")


def scale_of(service: Json) -> str:
    """``2/3``: what runs and what should; ``global`` has no number to reach."""
    labels = (service.get("launchConfig") or {}).get("labels") or {}
    running = service.get("currentScale") or 0
    if str(labels.get("io.rancher.scheduler.global", "")).lower() == "true":
        return f"{running} (global)"
    return f"{running}/{service.get('scale')}"


def stacks() -> None:
    """List stacks."""
    session = current()
    found = sorted(session.names.all("environment"), key=lambda s: str(s["name"]))
    rows = [
        (s["id"], s["name"], state_of(s), len(s.get("serviceIds") or []), s.get("description"), reason_of(s))
        for s in found
    ]
    session.output.table(("ID", "NAME", "STATE", "SERVICES", "DESCRIPTION", "DETAIL"), rows, found)


def inspect(*names: str) -> None:
    """Show everything that is known of something, as JSON.

    Parameters
    ----------
    names
        Stacks, services, containers or hosts.
    """
    session = current()
    if not names:
        raise CliError("say what to inspect: a stack, service, container or host", 2)
    found = [session.names.find(name, EVERYTHING) for name in names]
    session.output.document(found[0] if len(found) == 1 else found)


def wait(
    *names: str,
    state: str = "",
    timeout: float = 600,
) -> None:
    """Wait until things are settled (active or running), or in a given state.

    Parameters
    ----------
    names
        Stacks, services, containers or hosts.
    state
        The state to wait for. Default: no longer in transition. "removed" also means gone.
    timeout
        Seconds until giving up with exit code 6.
    """
    session = current()
    if not names:
        raise CliError("say what to wait for: a stack, service, container or host", 2)
    found = [session.names.find(name, EVERYTHING) for name in names]
    told: dict[str, str] = {}
    last: dict[str, Json] = {r["id"]: r for r in found}

    def look() -> bool:
        ready = True
        for first in found:
            now = session.api.get(first["type"], first["id"])
            last[first["id"]] = now or {**first, "state": "removed", "transitioning": "no"}
            ready = settled(last[first["id"]], state) and ready
            _tell(first, last[first["id"]], told)
        return ready

    def late() -> str:
        open_ = [r for r in last.values() if not settled(r, state)]
        told = "; ".join(
            f"{r.get('name') or r['id']} is {state_of(r)}: {reason_of(r) or 'no reason known'}" for r in open_
        )
        return f"not reached within {timeout:g} s: {told}"

    wait_until(look, timeout, late)
    if session.output.form == "json":
        session.output.document(list(last.values()))


def settled(resource: Json, state: str) -> bool:
    """Has it come to rest (in this state)? Raises when it never will."""
    now = str(resource.get("state") or "")
    if state:
        return now == state or (state == "removed" and now == "purged")
    if now in SETTLED_BADLY:
        reason = reason_of(resource) or resource.get("because") or "no reason known"
        raise CliError(f"{resource.get('name') or resource['id']} is {now}: {reason}", FAILED)
    return resource.get("transitioning") != "yes" and now not in ("reconnecting", "disconnected", "")


def _tell(first: Json, now: Json, told: dict[str, str]) -> None:
    text = f"{first.get('name') or first['id']}: {state_of(now)}" + (f" ({reason_of(now)})" if reason_of(now) else "")
    if told.get(first["id"]) != text:
        told[first["id"]] = text
        current().output.say(text)


def export(stack: str, *, directory: Annotated[str, Parameter(name=["--dir", "-o"])] = "") -> None:
    """Write a stack as docker-compose.yml and rancher-compose.yml.

    Parameters
    ----------
    stack
        The stack.
    directory
        Folder to write the two files into. Default: print them.
    """
    session = current()
    found = session.names.find(stack, ("environment",))
    answer = session.api.action(found, "exportconfig", {})
    files = {
        "docker-compose.yml": str(answer.get("dockerComposeConfig") or ""),
        "rancher-compose.yml": str(answer.get("rancherComposeConfig") or ""),
    }
    if not directory:
        for name, text in files.items():
            session.output.line(f"# {name}\n{text}")
        return
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        raise CliError(f"cannot write to {folder}: {error.strerror}", REFUSED) from None
    session.output.say(f"wrote {' and '.join(str(folder / n) for n in files)}")


def events(*, kinds: Annotated[list[str] | None, Parameter(name="--type")] = None) -> None:
    """Show changes as they happen, until interrupted.

    Parameters
    ----------
    kinds
        Only these types (service, container, host, stack); may be repeated.
    """
    from remuda.cli.streams import subscribe

    session = current()
    wanted = {"environment" if k == "stack" else k for k in kinds or []}
    for event in subscribe(session.api):
        kind = str(event.get("resourceType") or "")
        if wanted and kind not in wanted:
            continue
        if session.output.form == "json":
            session.output.line(json.dumps(event, ensure_ascii=False))
            continue
        resource: dict[str, Any] = (event.get("data") or {}).get("resource") or {}
        stamp = time.strftime("%H:%M:%S")
        name = clean(resource.get("name") or "")
        reason = reason_of(resource)
        text = f"{stamp}  {kind:<12} {event.get('resourceId') or '':<8} {name:<30} {state_of(resource)}"
        session.output.line(text.rstrip() + (f"  {clean(reason)}" if reason else ""))
