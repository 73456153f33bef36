"""Commands about the connection itself: login, config, version."""

from __future__ import annotations

import getpass
import platform
import sys
from typing import Annotated

from cyclopts import App, Parameter

from remuda import __version__
from remuda.cli import config
from remuda.cli.client import Api
from remuda.cli.errors import REFUSED, USAGE, CliError, RefusalError
from remuda.cli.session import current

settings_app = App(
    name="config", group="Connection", help="Show (the default) or change where the server is and who asks."
)


def login(
    url: str = "",
    /,
    *,
    username: Annotated[str, Parameter(name=["--username", "-u"])] = "",
    password_stdin: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Log in with name and password; an API key is made and kept for later commands.

    Parameters
    ----------
    url
        The server, such as https://remuda.example.com. Default: the one in use.
    username
        Name to log in with. Default: ask.
    password_stdin
        Read the password from stdin instead of asking.
    """
    session = current()
    server, environment = config.split_url(url or session.settings.url)
    # the keys in use belong to the server that was used before; they must not be shown to another
    api = Api(config.Settings(url=server, ca=session.settings.ca), session.output.say)
    try:
        setup = api.request("GET", "/v1/setup")
        if setup.get("required"):
            raise CliError(
                f"{server} has no administrator yet: open it in a browser, or run `remuda admin init` on its machine; "
                "both ask for the setup secret that the server printed when it started",
                REFUSED,
            )
        name = username or _ask("Username: ")
        password = sys.stdin.readline().rstrip("\n") if password_stdin else _secret()
        try:
            token = api.request("POST", "/v1/token", {"code": f"{name}:{password}"}, repeat=True)
        except RefusalError as refusal:
            if refusal.status in (401, 403):
                raise CliError(f"{server} does not accept this name and password", REFUSED) from None
            raise
    finally:
        api.close()
    access, secret = _new_key(server, session.settings.ca, str(token["jwt"]), token.get("accountId"))
    kept = {"url": server, "access_key": access, "secret_key": secret, "ca": session.settings.ca}
    if environment:
        kept["environment"] = environment
    config.write_file(session.path, kept)
    session.output.say(f"logged in to {server} as {name}; the key is kept in {session.path}")


def _new_key(server: str, ca: str, jwt: str, account: object) -> tuple[str, str]:
    api = Api(config.Settings(url=server, ca=ca), token=jwt)
    body = {"name": f"remuda CLI on {platform.node() or 'a machine'}"}
    if account:
        body["accountId"] = str(account)
    try:
        key = api.request("POST", "/v1/apikeys", body)
        # the session was only needed to make the key
        api.request("DELETE", "/v1/token")
    finally:
        api.close()
    return str(key["publicValue"]), str(key["secretValue"])


def _ask(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise CliError("say who you are with --username, and give the password with --password-stdin", USAGE)
    return input(prompt).strip()


def _secret() -> str:
    if not sys.stdin.isatty():
        raise CliError("there is no terminal to ask for the password: use --password-stdin", USAGE)
    return getpass.getpass("Password: ")


@settings_app.default
def show() -> None:
    """Show the configuration in force and where each value comes from."""
    session = current()
    shown = config.masked(session.settings)
    rows = [(name, getattr(shown, name), shown.sources.get(name, "")) for name in config.FIELDS]
    values = [{"id": name, "name": name, "value": value, "source": source} for name, value, source in rows]
    session.output.table(("NAME", "VALUE", "FROM"), rows, values)
    session.output.say(f"file: {session.path}")


@settings_app.command(name="set")
def set_(name: str, value: str, /) -> None:
    """Keep a value in the file: url, access_key, secret_key, environment or ca. An empty value removes it.

    Parameters
    ----------
    name
        Which value.
    value
        Its new text.
    """
    session = current()
    key = name.replace("-", "_")
    if key not in config.FIELDS:
        raise CliError(f"there is no setting {name!r}: use one of {', '.join(config.FIELDS)}", USAGE)
    if key == "url" and value:
        config.split_url(value)
    config.write_file(session.path, {**session.file, key: value})
    session.output.say(f"{key} is kept in {session.path}")


def version() -> None:
    """Show the version of this program and of the server."""
    session = current()
    found = {"client": __version__, "server": ""}
    if session.settings.url:
        try:
            setup = session.api.request("GET", "/v1/setup")
            found["server"] = str(setup.get("version") or session.api.version)
        except CliError as error:
            found["server"] = f"unknown: {error.message}"
    if session.output.form == "json":
        session.output.document(found)
        return
    session.output.line(f"client: {found['client']}")
    session.output.line(f"server: {found['server'] or 'none known; run `remuda login URL`'}")
