"""One run of a command: the global options, the server, and where output goes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path

from remuda.cli import config
from remuda.cli.client import Api, Json
from remuda.cli.errors import TIMED_OUT, USAGE, CliError
from remuda.cli.names import Inventory
from remuda.cli.output import Output

GLOBALS = {
    "--url": "url",
    "--access-key": "access_key",
    "--secret-key": "secret_key",
    "--env": "environment",
    "--ca": "ca",
    "--format": "format",
}
PASS_THROUGH = ("exec",)
"""Commands whose last arguments belong to somebody else: after their first word nothing is ours."""


class Session:
    """What a command has at hand."""

    def __init__(
        self, flags: Mapping[str, str], environ: Mapping[str, str] | None = None, output: Output | None = None
    ) -> None:
        self.environ = os.environ if environ is None else environ
        self.path = config.config_path(self.environ)
        self.file = config.read_file(self.path)
        self.settings = config.resolve(flags, self.environ, self.file)
        form = flags.get("format", "table")
        if form not in ("table", "json"):
            raise CliError(f"--format is table or json, not {form!r}", USAGE)
        self.output = output or Output(form, bool(flags.get("quiet")))
        self._api: Api | None = None
        self._names: Inventory | None = None

    @property
    def api(self) -> Api:
        """The server."""
        if self._api is None:
            if not self.settings.access_key and self.settings.url:
                self.output.say(
                    "no API key is known; run `remuda login URL`, or set RANCHER_ACCESS_KEY and RANCHER_SECRET_KEY"
                )
            self._api = Api(self.settings, self.output.say)
        return self._api

    @property
    def names(self) -> Inventory:
        """What there is."""
        if self._names is None:
            self._names = Inventory.of(self.api)
        return self._names

    def close(self) -> None:
        """Let go of connections."""
        if self._api is not None:
            self._api.close()


_current: ContextVar[Session] = ContextVar("session")


def current() -> Session:
    """The run that is going on."""
    return _current.get()


def enter(session: Session) -> None:
    """Make this the run that is going on."""
    _current.set(session)


def split_globals(argv: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Global options may stand anywhere; what is behind ``--``, or behind ``exec``'s container, is left alone."""
    flags: dict[str, str] = {}
    rest: list[str] = []
    at = 0
    command = ""
    while at < len(argv):
        word = argv[at]
        if word == "--":
            return flags, rest + list(argv[at:])
        name, equals, value = word.partition("=")
        if name in GLOBALS:
            if not equals:
                at += 1
                if at >= len(argv):
                    raise CliError(f"{name} needs a value", USAGE)
                value = argv[at]
            flags[GLOBALS[name]] = value
        elif word in ("-q", "--quiet"):
            flags["quiet"] = "yes"
        else:
            rest.append(word)
            if not word.startswith("-"):
                if command in PASS_THROUGH:
                    tail = list(argv[at + 1 :])
                    return flags, rest + (["--", *tail] if tail and tail[0] != "--" else tail)
                command = command or word
        at += 1
    return flags, rest


def wait_until(look: Callable[[], bool], seconds: float, late: Callable[[], str], *, pause: float = 0.5) -> None:
    """Look again and again until it is so; after ``seconds`` end with what ``late`` says and exit code 6."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() >= deadline:
            raise CliError(late(), TIMED_OUT)
        time.sleep(min(pause, max(0.05, deadline - time.monotonic())))


def read_text(path: str) -> str:
    """A file's text, ``-`` for stdin; a sentence when it cannot be read."""
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
    except OSError as error:
        raise CliError(f"cannot read {path}: {error.strerror}", USAGE) from None
    except UnicodeDecodeError:
        raise CliError(f"cannot read {path}: it is not UTF-8 text", USAGE) from None


def confirm(question: str, force: bool) -> None:
    """Ask before something that cannot be undone; without a terminal, only ``--force`` will do."""
    if force:
        return
    if not sys.stdin.isatty():
        raise CliError(f"{question} Say --force to do it without being asked.", USAGE)
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise CliError("nothing was done")


__all__ = ["Json", "Session", "confirm", "current", "enter", "read_text", "split_globals", "wait_until"]
