"""Is this database fit for a cluster? Checks as values, each with the exact words that mend it.

Only looks: creates nothing, changes nothing. ``judge_*`` are pure, so that every sentence can be tested without a server.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import time
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from remuda.adapters.sql import errors
from remuda.adapters.sql.mysql import MAX_POOL, Target

DEADLINE_SECONDS = 10
SLOW_MILLISECONDS = 20
NEEDED = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "INDEX", "DROP", "REFERENCES")
_LOCAL_NAMES = {"", "localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "localhost6"}


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at. ``warning``: not as it should be, but the cluster works."""

    id: str
    ok: bool
    message: str
    fix: str = ""
    warning: bool = False


async def check_database(
    *, host: str, port: int, name: str, user: str, password: str, nodes: int = 3, ssl: Any = None
) -> list[Check]:
    """All checks of a MySQL or MariaDB database for a cluster of ``nodes`` servers. Never raises, at most ten seconds."""
    target = Target(host, port, name, user, password, ssl)
    external = await _external(host)
    engine = target.single()
    try:
        async with asyncio.timeout(DEADLINE_SECONDS), engine.connect() as cx:
            checks = [Check("reachable", True, f"The database {name} on {host}:{port} answers"), external]
            return checks + await cx.run_sync(_look, target, nodes)
    except (SQLAlchemyError, OSError, EOFError) as error:
        why = errors.judge(error)[1]
        message = f"The database {name} on {host}:{port} cannot be used: {why}"
        return [Check("reachable", False, message, _reach_fix(errors.code_of(error), target)), external]
    finally:
        await engine.dispose()


def _reach_fix(code: int, target: Target) -> str:
    if code == 1049:
        return f"CREATE DATABASE `{target.name}` CHARACTER SET utf8mb4;"
    if code == 1044:
        return f"GRANT ALL ON `{target.name}`.* TO '{target.user}'@'%';"
    if code in (1045, 1130):
        user = f"'{target.user}'@'%'"
        return f"CREATE USER {user} IDENTIFIED BY '<password>'; GRANT ALL ON `{target.name}`.* TO {user};"
    return f"From this machine, try: mysql -h {target.host} -P {target.port} -u {target.user} -p {target.name}"


# -- is it outside of the management nodes?


async def _external(host: str) -> Check:
    try:
        async with asyncio.timeout(3):
            found = await asyncio.get_running_loop().getaddrinfo(_bare(host), None, type=socket.SOCK_STREAM)
        addresses = sorted({str(item[4][0]) for item in found})
    except (OSError, TimeoutError, UnicodeError):
        addresses = []
    return judge_external(host, addresses, own_addresses(), socket.gethostname())


def _bare(host: str) -> str:
    return host.strip().strip("[]").rstrip(".").lower()


def own_addresses() -> set[str]:
    """The addresses of this machine, as far as a connection without packets shows them."""
    own: set[str] = set()
    for family, there in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((there, 9))
                own.add(str(probe.getsockname()[0]))
        except OSError:
            continue
    return own


def judge_external(host: str, addresses: list[str], own: set[str], hostname: str) -> Check:
    """Refuse a database that lives in or on a management node: it would die with that node."""
    bare = _bare(host)
    fix = "Use a MySQL or MariaDB server on a machine of its own, by a name or address that all management nodes reach"
    why = ""
    if bare.startswith("/") or bare.endswith(".sock"):
        why = "is a socket of this machine"
    elif bare in _LOCAL_NAMES or bare.endswith(".localhost") or any(map(_is_local, [bare, *addresses])):
        why = "is this machine itself"
    elif bare in (hostname.lower(), hostname.lower().split(".")[0]) or own.intersection([bare, *addresses]):
        why = "is this management node"
    if why:
        message = f"The database host {host!r} {why}; a cluster must not lose its database with one of its nodes"
        return Check("external", False, message, fix)
    return Check("external", True, f"The database is on another machine ({host})")


def _is_local(text: str) -> bool:
    try:
        address: Any = ipaddress.ip_address(text.split("%")[0])
    except ValueError:
        try:
            address = ipaddress.ip_address(socket.inet_aton(text))  # 127.1, 0x7f000001, 2130706433
        except (OSError, ValueError):
            return False
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return bool(address.is_loopback or address.is_unspecified)


# -- what the server says of itself


def _look(cx: sa.Connection, target: Target, nodes: int) -> list[Check]:
    trips = []
    for _ in range(5):
        start = time.perf_counter()
        cx.exec_driver_sql("SELECT 1").scalar_one()
        trips.append(time.perf_counter() - start)
    names = (
        "version",
        "max_connections",
        "innodb_flush_log_at_trx_commit",
        "wsrep_on",
        "read_only",
        "max_user_connections",
    )
    rows = cx.exec_driver_sql(f"SHOW VARIABLES WHERE Variable_name IN {names!r}")
    variables = {str(row[0]).lower(): str(row[1]) for row in rows}
    charset = cx.exec_driver_sql(
        "SELECT default_character_set_name FROM information_schema.schemata WHERE schema_name = %s", (target.name,)
    ).scalar_one_or_none()
    grants = [str(row[0]) for row in cx.exec_driver_sql("SHOW GRANTS")]
    return [
        judge_version(variables.get("version", "")),
        judge_charset(str(charset or ""), target.name),
        judge_grants(grants, target.name, target.user),
        judge_connections(variables, nodes),
        judge_writable(variables),
        judge_durability(variables),
        judge_round_trip(sorted(trips)[2] * 1000),
    ]


def judge_version(version: str) -> Check:
    """MySQL 5.7 or MariaDB 10.3 and newer."""
    match = re.search(r"(\d+)\.(\d+)", version.removeprefix("5.5.5-"))
    number = (int(match[1]), int(match[2])) if match else (0, 0)
    maria = "mariadb" in version.lower()
    least = (10, 3) if maria else (5, 7)
    product = "MariaDB" if maria else "MySQL"
    if number >= least:
        return Check("version", True, f"{product} {version}")
    wanted = f"{product} {least[0]}.{least[1]}"
    return Check(
        "version", False, f"{product} {version} is too old; at least {wanted} is needed", f"Upgrade to {wanted}"
    )


def judge_charset(charset: str, name: str) -> Check:
    """``utf8`` and ``utf8mb4`` will do; our tables say ``utf8mb4`` for themselves."""
    if charset.lower() in ("utf8mb4", "utf8", "utf8mb3"):
        return Check("charset", True, f"The character set of the database is {charset}")
    return Check(
        "charset",
        False,
        f"The character set of the database is {charset or 'not known'}, it has to be utf8 or utf8mb4",
        f"ALTER DATABASE `{name}` CHARACTER SET utf8mb4;",
    )


def judge_grants(grants: list[str], name: str, user: str) -> Check:
    """Does any GRANT that covers this database hold all that is needed? Roles count as unknown and pass."""
    held: set[str] = set()
    for grant in grants:
        match = re.match(r"GRANT (.+?) ON (?:TABLE )?(\S+)\.(\S+) TO ", grant, re.IGNORECASE)
        if match is None:
            continue
        scope = match[2].strip("`\"'").replace("\\_", "_").replace("\\%", "%")
        if match[3] == "*" and (scope == "*" or _like(scope, name)):
            held |= {item.strip().upper() for item in match[1].split(",")}
    missing = [privilege for privilege in NEEDED if privilege not in held]
    if not missing or held & {"ALL", "ALL PRIVILEGES"}:
        return Check("grants", True, "The database user has the privileges it needs")
    wanted = ", ".join(NEEDED)
    return Check(
        "grants",
        False,
        f"The database user {user} lacks {', '.join(missing)} on {name}",
        f"GRANT {wanted} ON `{name}`.* TO '{user}'@'%';",
    )


def _like(pattern: str, name: str) -> bool:
    expression = re.escape(pattern).replace("%", ".*").replace("_", ".")
    return re.fullmatch(expression, name, re.IGNORECASE) is not None


def judge_connections(variables: dict[str, str], nodes: int) -> Check:
    """Every server may open :data:`MAX_POOL` connections."""
    wanted, have = MAX_POOL * nodes, int(variables.get("max_connections", "0") or 0)
    per_user = int(variables.get("max_user_connections", "0") or 0)
    if per_user:
        have = min(have, per_user)
    if have >= wanted:
        return Check("connections", True, f"{have} connections are allowed, {nodes} servers use at most {wanted}")
    return Check(
        "connections",
        False,
        f"Only {have} connections are allowed, but {nodes} servers may use {wanted} (50 each)",
        f"SET GLOBAL max_connections = {wanted + 50}; and the same in the server's configuration file",
    )


def judge_writable(variables: dict[str, str]) -> Check:
    """A replica will not do."""
    if variables.get("read_only", "OFF").upper() in ("OFF", "0"):
        return Check("writable", True, "The database accepts writes")
    return Check(
        "writable",
        False,
        "The database server is read only; it may be a replica",
        "Give the address of the primary server",
    )


def judge_durability(variables: dict[str, str]) -> Check:
    """A Galera node that does not flush may lose committed changes when all nodes lose power."""
    galera = variables.get("wsrep_on", "OFF").upper() == "ON"
    flush = variables.get("innodb_flush_log_at_trx_commit", "1")
    if flush == "1":
        return Check("durability", True, "Commits are flushed to disk" + (" (Galera)" if galera else ""))
    where = "every Galera node" if galera else "the server"
    return Check(
        "durability",
        False,
        f"innodb_flush_log_at_trx_commit is {flush}: committed changes may be lost in a power cut",
        f"On {where}: SET GLOBAL innodb_flush_log_at_trx_commit = 1; and the same in the configuration file",
        warning=True,
    )


def judge_round_trip(milliseconds: float) -> Check:
    """A write takes about six round trips while it holds the lock that orders commits."""
    if milliseconds <= SLOW_MILLISECONDS:
        return Check("latency", True, f"A round trip to the database takes {milliseconds:.1f} ms")
    return Check(
        "latency",
        False,
        f"A round trip to the database takes {milliseconds:.0f} ms; changes will be slow",
        f"Put the database into the same region as the management nodes (at most {SLOW_MILLISECONDS} ms)",
        warning=True,
    )
