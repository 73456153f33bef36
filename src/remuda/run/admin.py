"""``remuda admin``: what needs the data folder or the database itself, not a login. The way back in when nobody can log in."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from remuda.adapters.crypto.keyring import FileKeyring
from remuda.adapters.memory.clock import SystemClock
from remuda.adapters.sql.store import SqlStore
from remuda.api.entry import ADMIN_ID, plant, set_up
from remuda.api.errors import ApiError
from remuda.api.resources.accounts import MIN_PASSWORD, PASSWORD_KIND, end_sessions, store_password
from remuda.api.resources.providers import to_passwords
from remuda.core.model import ACTIVE, INACTIVE, Account, AuthProvider, Credential
from remuda.ports.store import ALIVE, StoreError, Tx, eq
from remuda.run.rotation import keep_digests, rotate
from remuda.run.settings import ServerSettings, SettingsError, from_environment

_HELP = """\
Work on an installation from the machine it runs on, with its data folder (--data) or the database settings of the
environment (CATTLE_DB_CATTLE_*). Safe while the server runs.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    try:
        base = from_environment()
        told = _parser(base).parse_args(sys.argv[1:] if argv is None else argv)
        os.umask(0o077)
        if not told.verb:
            _parser(base).print_help()
            return 2
        return asyncio.run(_act(base, told))
    except (SettingsError, StoreError, ValueError, ApiError) as problem:
        print(f"remuda admin: {problem}", file=sys.stderr)
        return 1


def _parser(base: ServerSettings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="remuda admin", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=base.data, help="the server's data folder (now %(default)s)")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for name, text in (
        ("init", "create the administrator of a new installation"),
        ("password", "give an account a new password and end its sessions"),
    ):
        verb = verbs.add_parser(name, help=text, description=text)
        verb.add_argument("--username", default="admin", help="name to log in with (default %(default)s)")
        verb.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    verbs.add_parser("secret", help="print the setup secret of a new installation")
    text = "seal all secrets with a new root key and forget the old one; can be killed and run again"
    verbs.add_parser("rotate-key", help=text, description=text)
    text = "let people log in with passwords of this installation, whatever provider is configured"
    verbs.add_parser("local-auth", help=text, description=text)
    return parser


async def _act(base: ServerSettings, told: argparse.Namespace) -> int:
    path = base.secret_key_file or told.data / "secret.key"
    keyring = FileKeyring.load(path)
    store = await _open(base, told.data, keyring)
    try:
        if told.verb == "rotate-key":
            await rotate(store, path, print)
            return 0
        if told.verb == "local-auth":
            await store.write(_local)
            print("Passwords of this installation are in force again.")
            return 0
        if told.verb == "secret":
            if await store.read(set_up):
                raise ValueError("there is an administrator already; no secret is asked for any more")
            await keep_digests(store, keyring)
            print(keyring.digest("setup secret")[:24])
            return 0
        hashed = await keyring.hash_password(_password(stdin=told.password_stdin))
        await store.write(_init(told.username, hashed) if told.verb == "init" else _reset(told.username, hashed))
        (told.data / "setup-secret").unlink(missing_ok=True)
    finally:
        await store.close()
    print(f"{told.username} can log in now.")
    return 0


async def _open(base: ServerSettings, data: Path, keyring: FileKeyring) -> SqlStore:
    database = base.database
    if database.host:
        from remuda.ha.sealing import unseal

        store = await SqlStore.mysql(
            host=database.host, port=database.port, name=database.name, user=database.user,
            password=unseal(keyring.root, database.password), clock=SystemClock(), pool=2,
        )  # fmt: skip
    else:
        data.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - before anything else runs
        store = SqlStore.sqlite(str(data / "remuda.db"), clock=SystemClock())
    await store.migrate()
    await plant(store)
    return store


def _password(*, stdin: bool) -> str:
    password = sys.stdin.readline().rstrip("\n") if stdin else getpass.getpass("New password: ")
    if len(password) < MIN_PASSWORD:
        raise ValueError(f"a password has at least {MIN_PASSWORD} characters")
    if not stdin and getpass.getpass("The same again: ") != password:
        raise ValueError("the two passwords differ")
    return password


def _init(username: str, hashed: str) -> Callable[[Tx], None]:
    def unit(tx: Tx) -> None:
        admin = tx.hold(Account, ADMIN_ID)  # somebody may be setting it up in a browser at this moment
        if set_up(tx):
            raise ValueError("there is an administrator already; 'remuda admin password' gives a new password")
        assert admin is not None
        store_password(tx, admin.id, username, hashed)
        tx.update(admin, name=username)

    return unit


def _reset(username: str, hashed: str) -> Callable[[Tx], None]:
    def unit(tx: Tx) -> None:
        row = tx.first(Credential, eq("public_value", f"user:{username}"), eq("kind", PASSWORD_KIND), ALIVE)
        if row is None:
            raise ValueError(f"there is no account that logs in as '{username}'")
        tx.update(row, secret_hash=hashed, desired="active")
        account = tx.get(Account, row.account_id)
        if account is not None and account.desired == INACTIVE:
            tx.update(account, desired=ACTIVE)
        end_sessions(tx, row.account_id)

    return unit


def _local(tx: Tx) -> None:
    for row in tx.find(AuthProvider, eq("desired", ACTIVE), ALIVE):
        tx.update(row, desired=INACTIVE)
    to_passwords(tx)
