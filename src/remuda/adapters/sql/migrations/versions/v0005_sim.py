"""Simulated hosts: the address under which an agent is known."""

from __future__ import annotations

from remuda.adapters.sql.migrations.steps import add_field, create_index, short

revision = "0005_sim"
down_revision = "0004_storage"


def upgrade() -> None:
    """Add what tells simulated agents from real ones."""
    add_field("agent", short("uri"), "")
    create_index("agent", ("uri",))
