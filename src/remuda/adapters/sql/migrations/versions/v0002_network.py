"""The managed network: addresses, health, balancing rules, certificates."""

from __future__ import annotations

from remuda.adapters.sql.migrations.steps import add_field, flag, number, record_table, short, text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add what the network needs."""
    _fields()
    _network()
    _address()
    _health_observation()
    _certificate()


def _fields() -> None:
    for name in ("network_ip", "tunnel_ip", "network"):
        add_field("host", short(name), "")
    add_field("host", text("network_message"), "")
    add_field("host", number("link_mtu"), 0)
    add_field("service", flag("retain_ip"), False)
    for name in ("selector_link", "selector_container", "fqdn", "vip"):
        add_field("service", text(name), "")
    add_field("service", short("hostname"), "")
    add_field("service", text("external_ips"), "[]")
    for name in ("health_check", "lb_config"):
        add_field("service", text(name), "null")
    for name in ("managed_ip", "mac"):
        add_field("instance", short(name), "")
    add_field("instance", text("health_because"), "")
    add_field("instance", text("published"), "[]")


def _network() -> None:
    record_table(
        "network",
        short("subnet"),
        short("encryption"),
        number("mtu"),
        short("default_policy_action"),
        text("policy"),
        number("port_first"),
        number("port_last"),
        number("rotate"),
        number("mtu_in_use"),
        number("cursor"),
        number("tunnel_cursor"),
        number("key_generation"),
        number("rotated"),
        text("sealed_keys"),
        unique=(("account_id", "name"),),
    )


def _address() -> None:
    record_table(
        "address",
        short("pool"),
        number("number"),
        short("owner"),
        unique=(("pool", "number"),),
        index=(("owner",),),
    )


def _health_observation() -> None:
    record_table(
        "health_observation",
        number("instance_id"),
        number("host_id"),
        number("start"),
        short("seen"),
        text("message"),
        number("latency"),
        number("since"),
        unique=(("instance_id", "host_id"),),
        index=(("host_id",),),
    )


def _certificate() -> None:
    record_table(
        "certificate",
        text("cert"),
        text("chain"),
        text("sealed_key"),
        short("common_name"),
        text("alternative_names"),
        text("issuer"),
        short("algorithm"),
        short("fingerprint"),
        number("key_size"),
        number("issued_at"),
        number("expires_at"),
        index=(("account_id",),),
    )
