"""``remuda volume``: named volumes of an environment, where they lie and who uses them."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from remuda.cli.client import Json
from remuda.cli.errors import NOT_FOUND, REFUSED, USAGE, CliError
from remuda.cli.output import reason_of, state_of
from remuda.cli.session import confirm, current, wait_until

app = App(name="volume", group="Services and containers", help="Volumes: ls (the default), create, rm.")
GONE = ("removed", "purged")


def _all() -> list[Json]:
    return [v for v in current().api.fetch("volume") if v.get("state") not in GONE]


def _hosts() -> dict[str, str]:
    return {h["id"]: str(h.get("name") or h.get("hostname") or h["id"]) for h in current().names.all("host")}


@app.default
@app.command(name="ls")
def list_() -> None:
    """List volumes, where they lie and which containers use them."""
    session = current()
    hosts, found = _hosts(), sorted(_all(), key=lambda v: (str(v["name"]), str(v.get("hostId"))))
    rows = [
        (
            v["id"],
            v["name"],
            state_of(v),
            v.get("driver"),
            hosts.get(v.get("hostId") or "", ""),
            _users(v),
            reason_of(v),
        )
        for v in found
    ]
    session.output.table(("ID", "NAME", "STATE", "DRIVER", "HOST", "USED BY", "DETAIL"), rows, found)


def _users(volume: Json) -> str:
    return ", ".join(f"{m.get('instanceName')}:{m.get('path')}" for m in volume.get("mounts") or [])


@app.command
def create(
    name: str,
    /,
    *,
    driver: Annotated[str, Parameter(name=["--driver", "-d"])] = "local",
    opt: Annotated[list[str] | None, Parameter(name=["--opt", "-o"])] = None,
    host: str = "",
) -> None:
    """Make a volume. Without a host it is made where a container first uses it.

    Parameters
    ----------
    name
        Its name, for containers and for Docker.
    driver
        Docker's volume driver.
    opt
        An option of the driver, NAME=VALUE; may be given several times. Not for secrets: everybody in the environment sees it.
    host
        Make it on this host, now.
    """
    session = current()
    body: Json = {"name": name, "driver": driver, "driverOpts": dict(_option(text) for text in opt or [])}
    if host:
        body["hostId"] = session.names.find(host, ("host",))["id"]
    made = session.api.create("volume", body)
    if session.output.form == "json":
        session.output.document(made)
    else:
        session.output.line(str(made["id"]))


def _option(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise CliError(f"--opt is NAME=VALUE, not {text!r}", USAGE)
    return name, value


@app.command
def rm(
    *names: str,
    force: Annotated[bool, Parameter(name=["--force", "-f"], negative="")] = False,
    wait: bool = False,
    wait_timeout: float = 60,
) -> None:
    """Remove volumes with their data. One that a container uses is kept.

    Parameters
    ----------
    names
        Names or ids.
    force
        Do not ask.
    wait
        Wait until they are gone.
    wait_timeout
        Seconds until giving up with exit code 6.
    """
    session = current()
    if not names:
        raise CliError("say which volume to remove: a name or an id", USAGE)
    there = _all()
    found = [_one(name, there) for name in names]
    confirm(f"Remove {', '.join(str(v['name']) for v in found)} with all data for good?", force)
    for volume in found:
        session.api.delete(volume)
        session.output.say(f"{volume['name']} is being removed")
    if not wait:
        return

    def look() -> bool:
        return all((session.api.get("volume", v["id"]) or {"state": GONE[0]}).get("state") in GONE for v in found)

    wait_until(look, wait_timeout, lambda: f"not gone within {wait_timeout:g} s: see `remuda volume ls`")


def _one(name: str, there: list[Json]) -> Json:
    found = [v for v in there if name in (v["id"], v["name"])]
    if not found:
        raise CliError(f"there is no volume {name!r}", NOT_FOUND)
    if len(found) > 1:
        hosts = _hosts()
        told = ", ".join(f"{v['id']} on {hosts.get(v.get('hostId') or '', 'no host')}" for v in found)
        raise CliError(f"{name!r} is on several hosts: {told}; write the id", REFUSED)
    return found[0]
