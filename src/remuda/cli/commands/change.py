"""Commands that change what runs: scale, start, stop, restart, rm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from remuda.cli.client import Json
from remuda.cli.commands.listing import settled
from remuda.cli.errors import USAGE, CliError, RefusalError
from remuda.cli.output import reason_of, state_of
from remuda.cli.session import Session, confirm, current, wait_until

Force = Annotated[bool, Parameter(name=["--force", "-f"], negative="")]
Wait = Annotated[bool, Parameter(name=["--wait", "-w"], negative="")]
Timeout = Annotated[float, Parameter(name="--wait-timeout")]

_VERBS = {
    "start": {"environment": "activateservices", "service": "activate", "container": "start"},
    "stop": {"environment": "deactivateservices", "service": "deactivate", "container": "stop"},
    "restart": {"service": "restart", "container": "restart"},
}
_REACHED = {
    "start": {"active", "running", "activating", "updating-active", "starting", "restarting"},
    "stop": {"inactive", "stopped", "deactivating", "stopping"},
}


def scale(*wishes: str, wait: Wait = False, wait_timeout: Timeout = 600) -> None:
    """Set how many containers services should have: SERVICE=N ...

    Parameters
    ----------
    wishes
        SERVICE=N, where SERVICE may be stack/service.
    wait
        Wait until it is so.
    wait_timeout
        Seconds until giving up with exit code 6.
    """
    session = current()
    pairs = [parse_scale(wish) for wish in wishes]
    if not pairs:
        raise CliError("say what to scale, such as web=3", USAGE)
    found = [(session.names.find(name, ("service",)), count) for name, count in pairs]
    for service, count in found:
        session.api.update(service, scale=count)
        session.output.say(f"{session.names.service_name(service)} is to have {count}")
    if wait:
        _wait(session, [service for service, _ in found], wait_timeout)


def parse_scale(wish: str) -> tuple[str, int]:
    """``web=3`` as a name and a number."""
    name, equals, count = wish.partition("=")
    if not equals or not name or not (count.isdecimal() and len(count) < 6):
        raise CliError(f"{wish!r} is not SERVICE=N, such as web=3", USAGE)
    return name, int(count)


def start(*names: str, wait: Wait = False, wait_timeout: Timeout = 600) -> None:
    """Start stacks, services or containers.

    Parameters
    ----------
    names
        Stacks, services or containers.
    wait
        Wait until they run.
    wait_timeout
        Seconds until giving up with exit code 6.
    """
    _act("start", names, wait, wait_timeout)


def stop(*names: str, wait: Wait = False, wait_timeout: Timeout = 600) -> None:
    """Stop stacks, services or containers; nothing is removed.

    Parameters
    ----------
    names
        Stacks, services or containers.
    wait
        Wait until they are stopped.
    wait_timeout
        Seconds until giving up with exit code 6.
    """
    _act("stop", names, wait, wait_timeout)


def restart(*names: str, wait: Wait = False, wait_timeout: Timeout = 600) -> None:
    """Restart the containers of stacks and services, or single containers.

    Parameters
    ----------
    names
        Stacks, services or containers.
    wait
        Wait until they run again.
    wait_timeout
        Seconds until giving up with exit code 6.
    """
    _act("restart", names, wait, wait_timeout)


def _act(verb: str, names: Sequence[str], wait: bool, timeout: float) -> None:
    session = current()
    if not names:
        raise CliError(f"say what to {verb}: a stack, service or container", USAGE)
    found = [session.names.find(name, ("environment", "service", "container")) for name in names]
    for resource in found:
        for one in _targets(session, verb, resource):
            _carry_out(session, verb, one)
    if wait:
        _wait(session, found, timeout)


def _targets(session: Session, verb: str, resource: Json) -> list[Json]:
    return (
        session.names.services_of(resource) if verb == "restart" and resource["type"] == "environment" else [resource]
    )


def _carry_out(session: Session, verb: str, resource: Json) -> None:
    name = resource.get("name") or resource["id"]
    if resource.get("nativeContainer") and verb != "restart":
        session.output.say(f"{name} was started by hand, outside of Remuda")
    try:
        session.api.action(resource, _VERBS[verb][resource["type"]], {}, repeat=verb != "restart")
    except RefusalError as refusal:
        if refusal.status == 422 and resource.get("state") in _REACHED.get(verb, ()):
            session.output.say(f"{name} is {resource['state']} already")
            return
        raise
    session.output.say(f"{name}: {verb} was asked for")


def _wait(session: Session, found: Sequence[Json], timeout: float) -> None:
    last = {r["id"]: r for r in found}

    def look() -> bool:
        for resource in found:
            last[resource["id"]] = session.api.get(resource["type"], resource["id"]) or {**resource, "state": "removed"}
        return all(settled(r, "") for r in last.values())

    def late() -> str:
        told = "; ".join(
            f"{r.get('name')} is {state_of(r)}: {reason_of(r)}" for r in last.values() if not settled(r, "")
        )
        return f"not reached within {timeout:g} s: {told}"

    wait_until(look, timeout, late)


def rm(*names: str, force: Force = False, wait: Wait = False, wait_timeout: Timeout = 600) -> None:
    """Remove stacks, services or containers for good.

    Parameters
    ----------
    names
        Stacks, services or containers. A stack goes with its services and their containers.
    force
        Do not ask.
    wait
        Wait until they are gone.
    wait_timeout
        Seconds until giving up with exit code 6.
    """
    session = current()
    if not names:
        raise CliError("say what to remove: a stack, service or container", USAGE)
    found = [session.names.find(name, ("environment", "service", "container")) for name in names]
    told = ", ".join(f"{_word(r)} {r.get('name') or r['id']}" for r in found)
    confirm(f"Remove {told} for good?", force)
    for resource in found:
        if resource["type"] == "container" and resource.get("serviceId"):
            session.output.say(
                f"{resource.get('name')} belongs to a service, which will make another one; scale it instead"
            )
        session.api.delete(resource)
        session.output.say(f"{resource.get('name') or resource['id']} is being removed")
    if not wait:
        return

    def look() -> bool:
        return all(
            (session.api.get(r["type"], r["id"]) or {"state": "removed"}).get("state") in ("removed", "purged")
            for r in found
        )

    wait_until(look, wait_timeout, lambda: f"not gone within {wait_timeout:g} s: see `remuda ps --all`")


def _word(resource: Json) -> str:
    return "stack" if resource["type"] == "environment" else str(resource["type"])
