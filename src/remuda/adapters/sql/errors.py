"""What a database error means: try again, look whether the commit went through, or tell the operator what to do.

Works on error numbers and driver texts, and never passes a driver's text on where it could hold a password or a value.
"""

from __future__ import annotations

import enum
import re

import sqlalchemy.exc as exc

from remuda.ports.store import Duplicate, StoreError, Unavailable


class Verdict(enum.Enum):
    """``RETRY``: rolled back, run the unit again. ``LOST``: the connection is gone. ``REFUSED``: trying again is no use."""

    RETRY = "retry"
    LOST = "lost"
    REFUSED = "refused"


_RETRY = {
    1205: "the rows were locked by another transaction",
    1213: "the transaction collided with another one",
    1020: "the rows changed under the transaction",
    1040: "the database has no free connection (too many connections; raise max_connections)",
    1203: "the database user has too many connections (raise max_user_connections)",
    1047: "the Galera node is not ready or not in the primary component (look at wsrep_cluster_status)",
    1290: "the database is read only (a replica, or read_only is set)",
    1836: "the database is read only (read_only is set)",
    1792: "the database is read only",
    1180: "the commit collided with another one",
    3572: "the rows were locked by another transaction",
}
ROLLED_BACK = frozenset({1205, 1213, 1020})
"""Errors after which, even at COMMIT, nothing was stored. All others leave that open."""
_LOST = {
    2002,
    2003,
    2004,
    2005,
    2006,
    2013,
    2014,
    2055,
    1053,
    1077,
    1079,
    1080,
    1152,
    1158,
    1159,
    1160,
    1161,
    1184,
    1927,
}
_REFUSED = {
    1044: "the database user may not use this database; grant it ALL PRIVILEGES on it",
    1045: "the database refused the user name or the password",
    1049: "the database does not exist; create it",
    1130: "the database does not accept connections from this address for this user",
    1142: "the database user lacks a privilege on a table; grant it ALL PRIVILEGES on the database",
    1146: "a table is missing: the schema is not installed or of another version; start the server so that it migrates",
    1054: "a column is missing: the schema belongs to another version; start the newest server so that it migrates",
    1524: "the database asks for a way to log in that this server does not know",
    1021: "the disk of the database is full",
    1114: "a table of the database is full; look at its disk",
    3024: "the statement took too long",
    1969: "the statement took too long",
    2059: "the database asks for a way to log in that this server does not know",
    3159: "the database only accepts encrypted connections",
}
_READ_ONLY = re.compile(r"read.only", re.IGNORECASE)
_SQLITE_UNIQUE = re.compile(r"UNIQUE constraint failed: (.+)$", re.MULTILINE)
_MYSQL_UNIQUE = re.compile(r"for key '(?:[^'.]+\.)?([^']+)'")


def code_of(error: BaseException) -> int:
    """The database's own error number, 0 when there is none."""
    seen: BaseException | None = error
    while seen is not None:
        original = getattr(seen, "orig", None) or seen
        args = original.args
        if args and isinstance(args[0], int) and not isinstance(original, OSError):
            return args[0]
        seen = seen.__cause__ if original is seen else original
        if seen is error:
            break
    return 0


def judge(error: BaseException) -> tuple[Verdict, str]:
    """What to do about a MySQL error, and why, in words for an operator."""
    if isinstance(error, TimeoutError):
        return Verdict.LOST, "the database did not answer in time"
    if isinstance(error, exc.TimeoutError):
        return Verdict.RETRY, "all connections to the database are busy"
    code = code_of(error)
    if code in _RETRY:
        if code == 1290 and not _READ_ONLY.search(str(error)):
            return Verdict.REFUSED, "an option of the database forbids the statement"
        return Verdict.RETRY, _RETRY[code]
    if code in _REFUSED:
        return Verdict.REFUSED, _REFUSED[code]
    gone = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    if code in _LOST or gone or isinstance(error, (OSError, EOFError, exc.InterfaceError, exc.PendingRollbackError)):
        return Verdict.LOST, _lost_reason(code)
    return Verdict.REFUSED, f"the database answered with error {code}" if code else "the database driver failed"


def _lost_reason(code: int) -> str:
    if code in (2002, 2003, 2005):
        return "the database cannot be reached (is it running, is its address right, does a firewall stand between?)"
    return "the connection to the database was lost"


def duplicate(error: exc.IntegrityError, table: str) -> Duplicate | None:
    """The refusal of a unique constraint with the names of its columns; None when it is another constraint."""
    text = str(error.orig)
    if match := _SQLITE_UNIQUE.search(text):
        fields = tuple(part.strip().rpartition(".")[2] for part in match[1].split(","))
    elif code_of(error) in (1062, 1586) and (match := _MYSQL_UNIQUE.search(text)):
        key = match[1]
        fields = tuple(key.removeprefix(f"uq_{table}__").split("__")) if key.startswith("uq_") else ("id",)
    else:
        return None
    return Duplicate(f"There already is a {table} with this {' and '.join(fields)}; choose another", fields)


def sqlite_error(error: exc.DBAPIError) -> StoreError:
    """What an error of SQLite means to an operator."""
    text = str(error.orig).lower()
    if "locked" in text or "busy" in text:
        return Unavailable("The database file is locked by another process; stop that process or wait until it is done")
    if "full" in text:
        return Unavailable("The disk that holds the database file is full; make room on it")
    if "readonly" in text or "unable to open" in text:
        return Unavailable("The database file cannot be written; check that it and its folder belong to this user")
    if "no such table" in text or "no such column" in text:
        return Unavailable("The database file has no current schema; start the server so that it migrates the file")
    if "disk i/o" in text or "malformed" in text or "not a database" in text:
        return Unavailable("The database file is damaged or its disk fails; restore it from a backup")
    return StoreError(f"The database refused the statement ({type(error.orig).__name__})")
