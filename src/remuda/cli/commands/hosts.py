"""``remuda hosts``: see hosts, add one, take one out of use, forget one."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from remuda.cli.client import Json
from remuda.cli.errors import USAGE, CliError, RefusalError
from remuda.cli.output import reason_of, state_of
from remuda.cli.session import confirm, current

app = App(
    name="hosts", group="Installation", help="Hosts: list (the default), add, activate, deactivate, label, remove."
)


@app.default
@app.command(name="ls")
def list_() -> None:
    """List hosts."""
    session = current()
    found = sorted(session.names.all("host"), key=lambda h: str(h.get("name") or h.get("hostname")))
    containers = session.names.all("container")
    rows = [
        (
            h["id"], h.get("name") or h.get("hostname"), state_of(h), h.get("docker"), h.get("agentIpAddress"),
            sum(1 for c in containers if c.get("hostId") == h["id"] and c.get("state") == "running"), _engine(h), _labels(h),
            h.get("dockerMessage") if h.get("docker") == "down" else reason_of(h),
        )
        for h in found
    ]  # fmt: skip
    headers = ("ID", "NAME", "STATE", "DOCKER", "ADDRESS", "CONTAINERS", "ENGINE", "LABELS", "DETAIL")
    session.output.table(headers, rows, found)


def _engine(host: Json) -> str:
    info = (host.get("info") or {}).get("osInfo") or {}
    return str(info.get("dockerVersion") or "").removeprefix("Docker version ").split(",")[0]


def _labels(host: Json) -> str:
    return ", ".join(f"{k}={v}" for k, v in sorted((host.get("labels") or {}).items()))


@app.command
def add(*, new: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Print the command that makes a machine a host; run it there.

    Parameters
    ----------
    new
        Make a new token even if there is one.
    """
    session = current()
    tokens = [] if new else [t for t in session.api.fetch("registrationToken") if t.get("state") == "active"]
    token = tokens[-1] if tokens else session.api.create("registrationToken", {})
    if not token.get("command"):
        token = session.api.get("registrationToken", token["id"]) or token
    if session.output.form == "json":
        session.output.document(token)
        return
    session.output.say("run this on the machine that is to become a host; it appears in `remuda hosts` within seconds")
    session.output.line(str(token.get("command") or token.get("registrationUrl")))


@app.command
def activate(*names: str) -> None:
    """Allow new containers on hosts again.

    Parameters
    ----------
    names
        Hosts.
    """
    _act(names, "activate", "active")


@app.command
def deactivate(*names: str) -> None:
    """Put no new containers on hosts; those there stay.

    Parameters
    ----------
    names
        Hosts.
    """
    _act(names, "deactivate", "inactive")


def _act(names: tuple[str, ...], action: str, reached: str) -> None:
    session = current()
    if not names:
        raise CliError(f"say which host to {action}", USAGE)
    for host in [session.names.find(name, ("host",)) for name in names]:
        try:
            session.api.action(host, action, {})
        except RefusalError as refusal:
            if refusal.status != 422 or host.get("state") != reached:
                raise
        session.output.say(f"{host.get('name') or host.get('hostname')}: {action}d")


@app.command
def label(name: str, /, *changes: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> None:
    """Change a host's labels: KEY=VALUE sets one, KEY- takes one away. Without changes: show them.

    Parameters
    ----------
    name
        The host.
    changes
        KEY=VALUE or KEY-.
    """
    session = current()
    host = session.names.find(name, ("host",))
    labels = change_labels(dict(host.get("labels") or {}), changes)
    if changes:
        host = session.api.update(host, labels=labels)
    if session.output.form == "json":
        session.output.document(host.get("labels") or {})
    else:
        for key, value in sorted((host.get("labels") or {}).items()):
            session.output.line(f"{key}={value}")


def change_labels(labels: dict[str, str], changes: tuple[str, ...]) -> dict[str, str]:
    """Labels after ``KEY=VALUE`` and ``KEY-``."""
    for change in changes:
        key, equals, value = change.partition("=")
        if equals and key:
            labels[key] = value
        elif key.endswith("-") and len(key) > 1:
            labels.pop(key[:-1], None)
        else:
            raise CliError(f"{change!r} is neither KEY=VALUE nor KEY-", USAGE)
    return labels


@app.command
def rm(*names: str, force: Annotated[bool, Parameter(name=["--force", "-f"], negative="")] = False) -> None:
    """Forget hosts. Their containers are left running.

    Parameters
    ----------
    names
        Hosts.
    force
        Do not ask.
    """
    session = current()
    if not names:
        raise CliError("say which host to remove", USAGE)
    hosts = [session.names.find(name, ("host",)) for name in names]
    confirm(f"Forget {', '.join(str(h.get('name') or h.get('hostname')) for h in hosts)}?", force)
    for host in hosts:
        session.api.delete(host)
        session.output.say(f"{host.get('name') or host.get('hostname')} is being removed; stop its agent there as well")
