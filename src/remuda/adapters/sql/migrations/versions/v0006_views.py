"""Events that programs outside tell."""

from __future__ import annotations

from remuda.adapters.sql.migrations.steps import number, record_table, short, text

revision = "0006_views"
down_revision = "0005_sim"


def upgrade() -> None:
    """Add one table."""
    record_table(
        "external_event",
        short("event_type"),
        short("external_id"),
        number("reported_by"),
        number("host_id", null=True),
        number("instance_id", null=True),
        text("facts"),
        index=(("account_id",), ("created",)),
    )
