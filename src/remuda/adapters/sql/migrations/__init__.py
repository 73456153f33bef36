"""Bringing the schema up to date, by Alembic run from code, while several servers may start at once.

MySQL cannot roll back DDL: a server killed in the middle leaves half a migration. So every step looks first whether it
is already done (:mod:`.steps`), and the next server carries on. One server at a time does it, under a named lock of the
database server, which lets go of it by itself when its holder dies; on SQLite the exclusive transaction is the lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from remuda.ports.store import StoreError, Unavailable

if TYPE_CHECKING:
    from remuda.adapters.sql.mysql import Target

log = logging.getLogger(__name__)

LOCK = "remuda.migrate"
LOCK_SECONDS = 5
DEADLINE_SECONDS = 300
_FOLDER = Path(__file__).parent


def configuration() -> Config:
    """Alembic's configuration, without a file."""
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade_connection(cx: sa.Connection) -> None:
    """Run what is missing on a connection; its owner holds the lock and commits."""
    config = configuration()
    current = MigrationContext.configure(cx).get_current_revision()
    script = ScriptDirectory.from_config(config)
    newest = script.get_current_head()
    if current == newest:
        return
    if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
        raise StoreError(
            f"The database has schema {current}, which is newer than this server knows ({newest}); start a newer server, "
            f"or restore the database from a backup"
        )
    log.info("database schema: from %s to %s", current or "nothing", newest)
    config.attributes["connection"] = cx
    command.upgrade(config, "head")


async def locked_upgrade(target: Target, apply: Callable[[sa.Connection], None]) -> None:
    """Run ``apply`` on a dedicated connection under the database's migration lock."""
    from remuda.adapters.sql import errors

    engine = target.single()
    lock = f"{LOCK}.{target.name}"[:64]
    try:
        async with asyncio.timeout(DEADLINE_SECONDS), engine.connect() as cx:
            await _lock(cx.run_sync, lock)
            await cx.run_sync(apply)
            await cx.commit()
            await cx.exec_driver_sql("SELECT RELEASE_LOCK(%s)", (lock,))
    except TimeoutError:
        raise Unavailable(
            f"Another server has held the lock for changing the schema for {DEADLINE_SECONDS} seconds; see which one is "
            f"logged as its holder, and end it if it hangs"
        ) from None
    except (sa.exc.SQLAlchemyError, OSError) as error:
        log.warning("schema change failed: %s", type(getattr(error, "orig", error)).__name__, exc_info=True)
        raise Unavailable(
            f"The schema of the database {target.host}:{target.port} could not be brought up to date: "
            f"{errors.judge(error)[1]}"
        ) from None
    finally:
        await engine.dispose()


async def _lock(run: Callable[..., object], lock: str) -> None:
    while True:
        holder = await run(_try_lock, lock)  # type: ignore[misc]
        if holder is None:
            return
        log.info("waiting for the schema of the database: it is being changed by %s", holder)


def _try_lock(cx: sa.Connection, lock: str) -> str | None:
    """None when we got it, else who has it."""
    if cx.exec_driver_sql("SELECT GET_LOCK(%s, %s)", (lock, LOCK_SECONDS)).scalar_one() == 1:
        return None
    owner = cx.exec_driver_sql("SELECT IS_USED_LOCK(%s)", (lock,)).scalar_one_or_none()
    if owner is None:
        return "a server that has just finished"
    row = cx.exec_driver_sql("SELECT host, time FROM information_schema.processlist WHERE id = %s", (owner,)).first()
    return f"database connection {owner}" + (f" from {row[0]}, busy for {row[1]} s" if row else "")
