"""Logging in by other means than passwords of ours, and what people like."""

from __future__ import annotations

from remuda.adapters.sql.migrations.steps import create_index, record_table, text

revision = "0007_identity"
down_revision = "0006_views"


def upgrade() -> None:
    """Add providers of logins and preferences."""
    record_table(
        "auth_provider",
        text("access_mode"),
        text("allowed"),
        text("config"),
        text("sealed"),
        text("proven"),
        unique=(("kind",),),
    )
    record_table("user_preference", text("value"), index=(("account_id",),))
    create_index("account", ("external_id",))
