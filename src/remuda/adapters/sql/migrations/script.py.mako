"""${message}"""

from __future__ import annotations

from remuda.adapters.sql.migrations import steps

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Only steps that look whether they are done already."""
