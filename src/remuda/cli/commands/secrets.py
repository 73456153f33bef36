"""``remuda secrets``, ``remuda registries``, ``remuda pull``: what hosts may know, and images they are to have."""

from __future__ import annotations

import base64
import getpass
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from remuda.cli.client import Api, Json
from remuda.cli.errors import FAILED, NOT_FOUND, USAGE, CliError
from remuda.cli.output import state_of
from remuda.cli.session import Session, confirm, current, wait_until

if TYPE_CHECKING:
    from remuda.compose import SecretSpec

secrets = App(
    name=("secrets", "secret"), group="Installation", help="Secrets of containers: list (the default), create, remove."
)
registries = App(
    name=("registries", "registry"),
    group="Installation",
    help="Registries that ask for a login: list (the default), add, remove.",
)
Force = Annotated[bool, Parameter(name=["--force", "-f"], negative="")]


@secrets.default
@secrets.command(name="ls")
def list_secrets() -> None:
    """List secrets. Values are never shown."""
    session = current()
    found = _alive(session.api, "secret")
    rows = [(s["id"], s.get("name"), state_of(s), s.get("description"), s.get("created")) for s in found]
    session.output.table(("ID", "NAME", "STATE", "DESCRIPTION", "CREATED"), rows, found)


@secrets.command
def create(name: str, file: Annotated[str, Parameter(allow_leading_hyphen=True)], /, *, description: str = "") -> None:
    """Keep a file's content as a secret. It cannot be changed or read again.

    Parameters
    ----------
    name
        Containers find it as /run/secrets/NAME, unless their service says otherwise.
    file
        The file; - reads standard input.
    description
        For people.
    """
    session = current()
    made = add(session.api, name, _content(file), description)
    session.output.say(f"secret {name} is kept")
    session.output.line(str(made["id"]))


@secrets.command(name="rm")
def remove_secrets(*names: str, force: Force = False) -> None:
    """Remove secrets for good; refused while something uses them.

    Parameters
    ----------
    names
        Secrets.
    force
        Do not ask.
    """
    session = current()
    _remove(session, "secret", names, ("name",), force)


@registries.default
@registries.command(name="ls")
def list_registries() -> None:
    """List registries and who logs in there. Passwords are never shown."""
    session = current()
    credentials = _alive(session.api, "registryCredential")
    found = _alive(session.api, "registry")
    rows = []
    for registry in found:
        own = [c for c in credentials if c.get("registryId") == registry["id"] and c.get("state") == "active"]
        newest = max(own, key=lambda c: c.get("createdTS") or 0, default={})
        rows.append((registry["id"], registry.get("serverAddress"), state_of(registry), newest.get("publicValue")))
    session.output.table(("ID", "ADDRESS", "STATE", "USER"), rows, found)


@registries.command(name="add")
def add_registry(
    address: str,
    /,
    *,
    user: Annotated[str, Parameter(name=["--user", "-u"])],
    email: str = "",
    password_stdin: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Let hosts log in at a registry. A second login for the same address replaces the first.

    Parameters
    ----------
    address
        Such as registry.example.com:5000; index.docker.io for Docker Hub.
    user
        Who to log in as.
    email
        Some registries want one.
    password_stdin
        Read the password from standard input instead of asking for it.
    """
    session = current()
    password = sys.stdin.readline().rstrip("\n") if password_stdin else getpass.getpass("Password: ")
    if not password:
        raise CliError("the password is empty", USAGE)
    there = _matching(_alive(session.api, "registry"), _bare(address), ("serverAddress",))
    registry = there[0] if there else session.api.create("registry", {"serverAddress": address})
    older = [c for c in _alive(session.api, "registryCredential") if c.get("registryId") == registry["id"]]
    body = {"registryId": registry["id"], "publicValue": user, "secretValue": password, "email": email}
    session.api.create("registryCredential", {key: value for key, value in body.items() if value})
    for credential in older:
        session.api.delete(credential)
    session.output.say(f"hosts log in at {registry['serverAddress']} as {user}")
    session.output.line(str(registry["id"]))


@registries.command(name="rm")
def remove_registries(*names: str, force: Force = False) -> None:
    """Forget registries and their passwords; images that hosts have stay there.

    Parameters
    ----------
    names
        Addresses or ids.
    force
        Do not ask.
    """
    session = current()
    _remove(session, "registry", names, ("serverAddress", "name"), force)


def pull(
    image: str,
    /,
    *,
    cached: Annotated[bool, Parameter(negative="")] = False,
    label: list[str] | None = None,
    detach: Annotated[bool, Parameter(name=["--detach", "-d"], negative="")] = False,
    wait_timeout: float = 1800,
) -> None:
    """Have hosts pull an image before anything needs it.

    Parameters
    ----------
    image
        The image.
    cached
        Only on hosts that have an image of this name already.
    label
        KEY=VALUE; only on hosts with this label. May be repeated.
    detach
        Do not wait for the end.
    wait_timeout
        Seconds until giving up with exit code 6. The hosts go on.
    """
    session = current()
    labels = dict(_pair(text) for text in label or [])
    body = {"image": image, "mode": "cached" if cached else "all", "labels": labels}
    task = session.api.create("pullTask", body)
    if detach:
        session.output.line(str(task["id"]))
        return
    shown: dict[str, str] = {}

    def look() -> bool:
        nonlocal task
        task = session.api.get("pullTask", task["id"]) or task
        for host, text in sorted((task.get("status") or {}).items()):
            if shown.get(host) != text:
                shown[host] = text
                session.output.say(f"{host}: {text}")
        return task.get("transitioning") != "yes"

    wait_until(look, wait_timeout, lambda: f"not everywhere within {wait_timeout:g} s: {task['transitioningMessage']}")
    if task.get("transitioning") == "error":
        raise CliError(str(task.get("transitioningMessage")), FAILED)
    if not shown:
        session.output.say(str(task.get("transitioningMessage") or "no host matches"))


def ensure(session: Session, specs: Sequence[SecretSpec], folder: Path, environment: Mapping[str, str]) -> None:
    """Make the secrets that a compose file takes from files or variables; one that is there already is kept as it is."""
    wanted = [spec for spec in specs if not spec.external]
    if not wanted:
        return
    there = {s.get("name") for s in _alive(session.api, "secret")}
    for spec in wanted:
        if spec.secret in there:
            session.output.say(f"secret {spec.secret} is there already and stays as it is")
            continue
        add(session.api, spec.secret, _value(spec, folder, environment), "")
        session.output.say(f"secret {spec.secret} is kept, from {spec.file or spec.variable}")


def add(api: Api, name: str, value: bytes, description: str) -> Json:
    """Keep a value."""
    body = {"name": name, "description": description, "value": base64.b64encode(value).decode()}
    return api.create("secret", body)


def _value(spec: SecretSpec, folder: Path, environment: Mapping[str, str]) -> bytes:
    if spec.file:
        return _content(str(folder / Path(spec.file).expanduser()))
    if spec.variable not in environment:
        raise CliError(f"the secret {spec.name} is to be the variable {spec.variable}, which is not set", USAGE)
    return environment[spec.variable].encode()


def _content(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise CliError(f"{file}: {error.strerror}", USAGE) from error


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise CliError(f"{text!r} is not KEY=VALUE", USAGE)
    return key, value


def _bare(address: str) -> str:
    from remuda.core.secrets import address as bare

    try:
        return bare(address)
    except ValueError as error:
        raise CliError(str(error), USAGE) from error


def _alive(api: Api, kind: str) -> list[Json]:
    return [r for r in api.fetch(kind) if r.get("state") not in ("removed", "purged")]


def _matching(found: Sequence[Json], name: str, fields: Sequence[str]) -> list[Json]:
    return [r for r in found if name == r["id"] or name in (r.get(field) for field in fields)]


def _remove(session: Session, kind: str, names: Sequence[str], fields: Sequence[str], force: bool) -> None:
    if not names:
        raise CliError(f"say which {kind} to remove", USAGE)
    there = _alive(session.api, kind)
    chosen: list[Json] = []
    for name in names:
        matching = _matching(there, name, fields)
        if not matching:
            raise CliError(f"there is no {kind} {name!r}", NOT_FOUND)
        chosen += matching
    confirm(f"Remove {kind} {', '.join(names)} for good?", force)
    for resource in chosen:
        session.api.delete(resource)
        session.output.say(f"{resource.get('name') or resource.get('serverAddress')} is removed")
