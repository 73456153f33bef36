"""The hand-written migrations and the tables derived from the records must be the same schema."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from tests.support.services import MariaDb

from remuda.adapters.memory import SystemClock
from remuda.adapters.sql import SqlStore
from remuda.adapters.sql.mysql import Target
from remuda.adapters.sql.sqlite import make_engine
from remuda.adapters.sql.tables import metadata
from remuda.core.model import Host
from remuda.ports.store import StoreError, Unavailable


def differences(cx: sa.Connection) -> list[Any]:
    context = MigrationContext.configure(cx, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


async def test_sqlite_is_migrated_to_what_the_records_need(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    store = SqlStore.sqlite(path, clock=SystemClock())
    await store.migrate()
    await store.close()
    engine = make_engine(path)
    with engine.connect() as cx:
        assert differences(cx) == []
    engine.dispose()


@pytest.mark.real
async def test_mariadb_is_migrated_to_what_the_records_need(database: MariaDb) -> None:
    arguments = database.database(charset="latin1")
    store = await SqlStore.mysql(**arguments, clock=SystemClock())
    await store.migrate()
    await store.close()
    engine = Target(
        arguments["host"], arguments["port"], arguments["name"], arguments["user"], arguments["password"]
    ).single()
    async with engine.connect() as cx:
        assert await cx.run_sync(differences) == []
        charsets = await cx.exec_driver_sql(
            "SELECT DISTINCT character_set_name, collation_name FROM information_schema.columns "
            "WHERE table_schema = %s AND character_set_name IS NOT NULL AND table_name <> 'alembic_version'",
            (arguments["name"],),
        )
        assert [tuple(row) for row in charsets] == [("utf8mb4", "utf8mb4_bin")]
    await engine.dispose()


async def test_a_half_made_schema_is_completed(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    store = SqlStore.sqlite(path, clock=SystemClock())
    await store.migrate()
    await store.close()
    engine = make_engine(path)
    with engine.connect() as cx:
        for statement in ("DROP TABLE lease_fence", "DROP TABLE service", "DELETE FROM change_counter"):
            cx.exec_driver_sql(statement)
        cx.exec_driver_sql("DROP INDEX ix_host__account_id")
        cx.exec_driver_sql("DELETE FROM alembic_version")
        cx.commit()
    store = SqlStore.sqlite(path, clock=SystemClock())
    await store.migrate()
    await store.write(lambda tx: tx.insert(Host()))
    await store.close()
    with engine.connect() as cx:
        assert differences(cx) == []
    engine.dispose()


async def test_a_schema_from_the_future_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    store = SqlStore.sqlite(path, clock=SystemClock())
    await store.migrate()
    await store.write(lambda tx: tx._cx.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'"))  # type: ignore[attr-defined]
    with pytest.raises(StoreError, match="newer than this server knows"):
        await store.migrate()
    await store.close()


MIGRATE = """
import asyncio, sys
from remuda.adapters.memory import SystemClock
from remuda.adapters.sql import SqlStore

async def main():
    store = SqlStore.sqlite(sys.argv[1], clock=SystemClock())
    await store.migrate()
    await store.close()

asyncio.run(main())
"""


async def test_two_processes_may_migrate_one_file_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    both = [subprocess.Popen([sys.executable, "-c", MIGRATE, path]) for _ in range(2)]
    try:
        for process in both:
            assert await asyncio.to_thread(process.wait, 60) == 0
    finally:
        for process in both:
            process.kill()
    store = SqlStore.sqlite(path, clock=SystemClock())
    await store.write(lambda tx: tx.insert(Host()))
    assert await store.read(lambda tx: tx.last_change()) == 1
    await store.close()


async def test_a_database_in_memory_needs_inline() -> None:
    with pytest.raises(StoreError, match="inline"):
        SqlStore.sqlite(":memory:", clock=SystemClock())


async def test_a_file_without_schema_and_a_closed_store_are_refused_with_a_sentence(tmp_path: Path) -> None:
    store = SqlStore.sqlite(str(tmp_path / "a.db"), clock=SystemClock())
    with pytest.raises(Unavailable, match="schema"):
        await store.read(lambda tx: tx.count(Host))
    await store.close()
    with pytest.raises(Unavailable, match="stopping"):
        await store.read(lambda tx: tx.count(Host))
    (tmp_path / "b.db").write_text("this is not a database, but long enough to be taken for one" * 100)
    broken = SqlStore.sqlite(str(tmp_path / "b.db"), clock=SystemClock())
    with pytest.raises(Unavailable, match="damaged"):
        await broken.migrate()
    await broken.close()
