"""``remuda env``: environments, and which one commands work in."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from remuda.cli import config
from remuda.cli.client import Json, choose_project
from remuda.cli.errors import CliError
from remuda.cli.output import state_of
from remuda.cli.session import confirm, current

app = App(name="env", group="Installation", help="Environments: list (the default), create, use, remove.")


def _all() -> list[Json]:
    return current().api.fetch_at("/v1/projects")


@app.default
@app.command(name="ls")
def list_() -> None:
    """List environments; the one in use has a star."""
    session = current()
    found = _all()
    try:
        used = choose_project(found, session.settings.environment)["id"]
    except CliError:
        used = ""
    rows = [("*" if p["id"] == used else "", p["id"], p["name"], state_of(p), p.get("description")) for p in found]
    session.output.table(("", "ID", "NAME", "STATE", "DESCRIPTION"), rows, found)


@app.command
def create(name: str, /, *, description: str = "") -> None:
    """Make an environment.

    Parameters
    ----------
    name
        Its name.
    description
        What it is for.
    """
    session = current()
    made = session.api.request("POST", "/v1/projects", {"name": name, "description": description})
    if session.output.form == "json":
        session.output.document(made)
    else:
        session.output.line(str(made["id"]))


@app.command
def use(name: str, /) -> None:
    """Work in this environment from now on.

    Parameters
    ----------
    name
        Name or id.
    """
    session = current()
    found = choose_project(_all(), name)
    config.write_file(session.path, {**session.file, "environment": found["id"]})
    session.output.say(f"commands work in {found['name']} ({found['id']}) from now on")


@app.command
def rm(name: str, /, *, force: Annotated[bool, Parameter(name=["--force", "-f"], negative="")] = False) -> None:
    """Remove an environment, which must be empty.

    Parameters
    ----------
    name
        Name or id.
    force
        Do not ask.
    """
    session = current()
    found = choose_project(_all(), name)
    confirm(f"Remove the environment {found['name']} ({found['id']}) for good?", force)
    session.api.request("DELETE", f"/v1/projects/{found['id']}")
    if session.file.get("environment") in (found["id"], found["name"]):
        config.write_file(session.path, {**session.file, "environment": ""})
    session.output.say(f"{found['name']} is being removed")
