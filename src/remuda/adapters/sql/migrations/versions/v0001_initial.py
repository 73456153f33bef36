"""The first schema."""

from __future__ import annotations

from remuda.adapters.sql.migrations.steps import flag, insert_once, key, number, record_table, short, table, text

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    _account()
    _project_member()
    _credential()
    _setting()
    _agent()
    _host()
    _stack()
    _service()
    _instance()
    _event()
    _audit_log()
    _ha_generation()
    _cluster_node()
    _changes()


def _account() -> None:
    record_table(
        "account",
        short("external_id"),
        short("external_id_type"),
        unique=(("uuid",),),
    )


def _project_member() -> None:
    record_table(
        "project_member",
        short("external_id"),
        short("external_id_type"),
        short("role"),
        index=(
            ("account_id",),
            ("external_id",),
        ),
    )


def _credential() -> None:
    record_table(
        "credential",
        short("public_value"),
        text("secret_hash"),
        text("sealed"),
        unique=(("public_value",),),
        index=(("account_id",),),
    )


def _setting() -> None:
    record_table(
        "setting",
        text("value"),
        unique=(("name",),),
    )


def _agent() -> None:
    record_table(
        "agent",
        number("key_account_id"),
        number("host_id", null=True),
        unique=(("uuid",),),
    )


def _host() -> None:
    record_table(
        "host",
        number("agent_id"),
        short("hostname"),
        text("labels"),
        text("observed_labels"),
        text("info"),
        short("agent_ip"),
        short("agent_version"),
        short("docker"),
        text("docker_message"),
        short("connection"),
        short("session_id"),
        short("session_server"),
        number("assign_seq"),
        number("applied_seq"),
        index=(
            ("account_id",),
            ("session_server",),
        ),
    )


def _stack() -> None:
    record_table(
        "stack",
        text("docker_compose"),
        text("rancher_compose"),
        text("environment"),
        short("external_id"),
        flag("start_on_create"),
        short("group"),
        flag("system"),
        short("health_state"),
        index=(("account_id",),),
    )


def _service() -> None:
    record_table(
        "service",
        number("stack_id"),
        number("scale"),
        text("launch_config"),
        text("secondary_launch_configs"),
        text("links"),
        text("depends_on"),
        text("metadata"),
        flag("start_on_create"),
        number("on_host_lost"),
        flag("system"),
        number("current_scale"),
        number("revision"),
        number("create_index"),
        short("health_state"),
        text("because"),
        flag("blocked"),
        index=(
            ("account_id",),
            ("stack_id",),
        ),
    )


def _instance() -> None:
    record_table(
        "instance",
        number("service_id", null=True),
        number("stack_id", null=True),
        text("spec"),
        text("launch_config"),
        short("unit"),
        number("ordinal"),
        number("create_index"),
        number("revision"),
        number("restart_token"),
        number("requested_host_id", null=True),
        flag("native"),
        flag("system"),
        number("host_id", null=True),
        number("assign_seq"),
        text("because"),
        flag("blocked"),
        short("external_id"),
        short("observed"),
        number("exit_code", null=True),
        number("started", null=True),
        number("restarts"),
        short("address"),
        text("bound"),
        text("engine"),
        text("message"),
        number("progress", null=True),
        number("applied_seq"),
        short("health_state"),
        unique=(("uuid",),),
        index=(
            ("account_id",),
            ("service_id",),
            (
                "host_id",
                "assign_seq",
            ),
            ("stack_id",),
        ),
    )


def _event() -> None:
    record_table(
        "event",
        short("resource_type"),
        number("resource_id"),
        short("level"),
        index=(
            ("account_id",),
            (
                "resource_type",
                "resource_id",
            ),
        ),
    )


def _audit_log() -> None:
    record_table(
        "audit_log",
        short("event_type"),
        short("resource_type"),
        number("resource_id"),
        number("authenticated_as"),
        short("auth_type"),
        short("client_ip"),
        number("response_code"),
        text("request"),
        index=(
            ("account_id",),
            ("created",),
        ),
    )


def _ha_generation() -> None:
    record_table(
        "ha_generation",
        number("number"),
        short("fingerprint"),
        text("config"),
        text("sealed"),
        unique=(("number",),),
    )


def _cluster_node() -> None:
    record_table(
        "cluster_node",
        number("slot", null=True),
        short("address"),
        short("hostname"),
        short("node_version"),
        number("generation"),
        short("fingerprint"),
        number("beat"),
        text("parts"),
        unique=(
            ("uuid",),
            ("slot",),
        ),
    )


def _changes() -> None:
    table(
        "change_log",
        key(number("seq")),
        short("kind"),
        number("record_id"),
        number("account_id"),
        number("version"),
        short("token"),
    )
    table("change_counter", key(number("id")), number("seq"), number("probes"))
    table("lease_fence", key(short("name")), number("fence"), number("uses"))
    insert_once("change_counter", "id", {"id": 1, "seq": 0, "probes": 0})
