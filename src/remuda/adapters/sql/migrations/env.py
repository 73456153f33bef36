"""Run by Alembic: use the connection that :mod:`remuda.adapters.sql.migrations` hands over."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
context.run_migrations()
