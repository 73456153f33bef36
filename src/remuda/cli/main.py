"""The CLI as a function: words in, exit code out."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence


def run(argv: Sequence[str]) -> int:
    """Run a command of the CLI; its exit code. Never lets an exception out."""
    from remuda.cli.errors import FAILED, OK, USAGE, CliError
    from remuda.cli.output import clean

    def fail(message: str, code: int) -> int:
        with contextlib.suppress(OSError):
            print(f"remuda: {clean(message)}", file=sys.stderr)
        return code

    try:
        return _run(argv)
    except CliError as error:
        return fail(error.message, error.code)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # whoever read our output has had enough; do not complain again while the interpreter shuts down
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED if end.code else OK
    except Exception as error:
        if os.environ.get("REMUDA_DEBUG"):
            raise
        usage = type(error).__module__.startswith("cyclopts")
        return fail(f"{_usage(error)}" if usage else _bug(error), USAGE if usage else FAILED)


def _run(argv: Sequence[str]) -> int:
    from remuda.cli.app import build
    from remuda.cli.session import Session, enter, split_globals

    flags, rest = split_globals(argv)
    tree = build()
    if not rest or any(word in ("--help", "-h", "--version") for word in rest[:3]):
        tree(rest or ["--help"], exit_on_error=False, print_error=False)
        return 0
    session = Session(flags)
    enter(session)
    try:
        result = tree(rest, exit_on_error=False, print_error=False)
    finally:
        session.close()
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def _usage(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{text[:1].lower()}{text[1:]} (see `remuda --help`)" if text else "see `remuda --help`"


def _bug(error: Exception) -> str:
    return f"this is a mistake in remuda itself: {type(error).__name__}: {error}; run again with REMUDA_DEBUG=1 and report it"
