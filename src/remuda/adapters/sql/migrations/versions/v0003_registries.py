"""Registries, their credentials, secrets, and images that users ask hosts to pull."""

from __future__ import annotations

from remuda.adapters.sql.migrations.steps import number, record_table, short, text

revision = "0003_registries"
down_revision = "0002"


def upgrade() -> None:
    """Add their tables."""
    record_table("registry", text("server_address"), index=(("account_id",),))
    record_table(
        "registry_credential",
        number("registry_id"),
        text("username"),
        text("email"),
        text("sealed"),
        index=(("account_id",), ("registry_id",)),
    )
    record_table("secret", text("sealed"), index=(("account_id",),))
    record_table(
        "pull_task",
        text("image"),
        short("mode"),
        text("labels"),
        text("hosts"),
        index=(("account_id",), ("created",)),
    )
