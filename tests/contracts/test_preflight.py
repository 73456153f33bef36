"""The checks of a database for a cluster: the sentences as values, and a real MariaDB."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.support.faultproxy import FaultProxy
from tests.support.services import MariaDb, free_port

from remuda.adapters.sql.preflight import (
    Check,
    check_database,
    judge_charset,
    judge_connections,
    judge_durability,
    judge_external,
    judge_grants,
    judge_round_trip,
    judge_version,
    judge_writable,
)


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("localhost", []),
        ("LOCALHOST.", []),
        ("db.localhost", []),
        ("127.0.0.1", []),
        ("127.8.9.10", []),
        ("127.1", []),
        ("2130706433", []),
        ("0x7f000001", []),
        ("0.0.0.0", []),
        ("::1", []),
        ("[::1]", []),
        ("::", []),
        ("0:0:0:0:0:0:0:1", []),
        ("::ffff:127.0.0.1", []),
        ("/var/run/mysqld/mysqld.sock", []),
        ("", []),
        ("ip6-localhost", []),
        ("database.example", ["127.0.1.1"]),
        ("node1", []),
        ("node1.example.com", []),
        ("10.0.0.7", []),
        ("database.example", ["10.0.0.7"]),
    ],
)
def test_a_database_on_a_management_node_is_refused(host: str, addresses: list[str]) -> None:
    check = judge_external(host, addresses, {"10.0.0.7", "2001:db8::7"}, "node1.example.com")
    assert not check.ok
    assert check.fix


@pytest.mark.parametrize(("host", "addresses"), [("10.0.0.8", []), ("db.example", ["10.0.0.8"]), ("2001:db8::8", [])])
def test_a_database_elsewhere_is_fine(host: str, addresses: list[str]) -> None:
    assert judge_external(host, addresses, {"10.0.0.7"}, "node1").ok


def test_versions() -> None:
    for good in ("8.0.36", "5.7.44-log", "10.11.6-MariaDB", "5.5.5-10.6.2-MariaDB", "11.4.2-MariaDB-log", "9.1.0"):
        assert judge_version(good).ok, good
    for bad in ("5.6.51", "5.5.68-MariaDB", "10.1.48-MariaDB", "", "strange"):
        assert not judge_version(bad).ok, bad


def test_the_fix_of_a_character_set_is_the_statement() -> None:
    assert judge_charset("utf8mb4", "x").ok
    assert judge_charset("utf8mb3", "x").ok
    assert judge_charset("latin1", "my db").fix == "ALTER DATABASE `my db` CHARACTER SET utf8mb4;"


@pytest.mark.parametrize(
    "grants",
    [
        ["GRANT USAGE ON *.* TO `u`@`%`", "GRANT ALL PRIVILEGES ON `cattle`.* TO `u`@`%`"],
        ["GRANT ALL PRIVILEGES ON *.* TO 'root'@'%' WITH GRANT OPTION"],
        ["GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER ON `ca%`.* TO `u`@`%`"],
    ],
)
def test_enough_privileges(grants: list[str]) -> None:
    assert judge_grants(grants, "cattle", "u").ok


def test_missing_privileges_are_named_and_the_fix_is_the_statement() -> None:
    check = judge_grants(
        ["GRANT SELECT, INSERT ON `cattle`.* TO `u`@`%`", "GRANT ALL ON `other`.* TO `u`@`%`"], "cattle", "u"
    )
    assert not check.ok
    assert "UPDATE" in check.message
    assert "SELECT" not in check.message
    assert check.fix.startswith("GRANT SELECT, INSERT, UPDATE")
    assert check.fix.endswith("ON `cattle`.* TO 'u'@'%';")


def test_connections_writability_durability_and_distance() -> None:
    assert judge_connections({"max_connections": "151"}, 3).ok
    assert "SET GLOBAL max_connections = 200" in judge_connections({"max_connections": "100"}, 3).fix
    assert not judge_connections({"max_connections": "500", "max_user_connections": "10"}, 3).ok
    assert not judge_writable({"read_only": "ON"}).ok
    assert judge_writable({}).ok
    galera = judge_durability({"wsrep_on": "ON", "innodb_flush_log_at_trx_commit": "0"})
    assert not galera.ok
    assert galera.warning
    assert "every Galera node" in galera.fix
    assert judge_round_trip(3).ok
    assert judge_round_trip(80).warning


def by_id(checks: list[Check]) -> dict[str, Check]:
    return {check.id: check for check in checks}


@pytest.mark.real
async def test_a_real_database(database: MariaDb) -> None:
    arguments: dict[str, Any] = database.database(charset="latin1")
    checks = by_id(await check_database(**arguments, nodes=5))
    assert checks["reachable"].ok
    assert checks["version"].ok
    assert checks["grants"].ok
    assert checks["connections"].ok
    assert checks["latency"].ok
    assert not checks["external"].ok
    assert not checks["charset"].ok
    database.sql(checks["charset"].fix)
    name = arguments["name"]
    database.sql(f"REVOKE ALL ON {name}.* FROM remuda@'%'; GRANT SELECT ON {name}.* TO remuda@'%'")
    checks = by_id(await check_database(**arguments))
    assert checks["charset"].ok
    assert not checks["grants"].ok
    database.sql(checks["grants"].fix)
    assert by_id(await check_database(**arguments))["grants"].ok


@pytest.mark.real
async def test_a_database_that_cannot_be_reached(database: MariaDb) -> None:
    arguments: dict[str, Any] = database.database()
    for change, word in (
        ({"password": "wrong"}, "password"),
        ({"port": free_port()}, "reached"),
        ({"host": "no-such-host.invalid"}, "reached"),
    ):
        reachable = (await check_database(**{**arguments, **change}))[0]
        assert not reachable.ok
        assert word in reachable.message
        assert reachable.fix
        assert arguments["password"] not in reachable.message + reachable.fix
    async with FaultProxy(database.port) as silent:
        silent.freeze()
        start = time.monotonic()
        assert not (await check_database(**{**arguments, "port": silent.port}))[0].ok
        assert time.monotonic() - start < 20
