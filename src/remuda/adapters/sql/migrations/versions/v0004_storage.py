"""Storage: named volumes, the templates of stacks' files, and what is mounted where."""

from __future__ import annotations

from remuda.adapters.sql.migrations.steps import flag, number, record_table, short, text

revision = "0004_storage"
down_revision = "0003_registries"


def upgrade() -> None:
    """Add three tables."""
    record_table(
        "volume",
        short("driver"),
        text("driver_opts"),
        short("external_id"),
        flag("declared"),
        number("requested_host_id", null=True),
        number("host_id", null=True),
        number("stack_id", null=True),
        number("volume_template_id", null=True),
        number("users"),
        number("assign_seq"),
        short("seen"),
        text("mountpoint"),
        text("message"),
        number("applied_seq"),
        unique=(("uuid",),),
        index=(("account_id", "external_id"), ("host_id", "assign_seq")),
    )
    record_table(
        "volume_template",
        number("stack_id"),
        short("driver"),
        text("driver_opts"),
        short("external_id"),
        flag("external"),
        flag("per_container"),
        index=(("account_id",), ("stack_id",)),
    )
    record_table(
        "mount",
        number("instance_id"),
        number("volume_id"),
        text("path"),
        short("permissions"),
        index=(("account_id",), ("instance_id",), ("volume_id",)),
    )
