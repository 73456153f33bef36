"""The truth in SQL: SQLite for one node, MySQL or MariaDB (Galera with one writer) for a cluster. See :mod:`.store`."""

from remuda.adapters.sql.store import SqlStore

__all__ = ["SqlStore"]
