"""How a command ends when it does not succeed: a sentence for people and a code for scripts."""

from __future__ import annotations

OK, FAILED, USAGE, NOT_FOUND, REFUSED, UNREACHABLE, TIMED_OUT = range(7)

CODES = "0 ok, 1 failed, 2 usage, 3 not found, 4 refused or invalid input, 5 cannot reach the server, 6 timed out"


class CliError(Exception):
    """Ends the command with this sentence on stderr and this exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.message, self.code = message, code


class RefusalError(CliError):
    """The server said no. ``status`` and ``reason`` (the API's code) let commands react."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        code = {401: REFUSED, 403: REFUSED, 404: NOT_FOUND, 409: REFUSED, 422: REFUSED, 400: REFUSED}.get(
            status, FAILED
        )
        if status in (502, 503, 504):
            code = UNREACHABLE
        super().__init__(message, code)
        self.status, self.reason = status, reason


def not_found(what: str, name: str, hint: str = "") -> CliError:
    """There is no such thing."""
    return CliError(f"there is no {what} {name!r}{hint}", NOT_FOUND)
