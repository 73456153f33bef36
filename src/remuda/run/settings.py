"""What a server is started with: flags over environment over defaults. Names of the environment are those that 1.x
operators know, plus ``REMUDA_*`` for what is new. Read once, at the start; the product's own settings live in the database.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

DEFAULT_DATA = Path("/var/lib/remuda")


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """An external database. ``host`` empty: SQLite in the data folder."""

    host: str = ""
    port: int = 3306
    name: str = "cattle"
    user: str = "cattle"
    password: str = ""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides how one server process runs."""

    data: Path = DEFAULT_DATA
    listen_host: str = "0.0.0.0"  # noqa: S104 - a server
    listen_port: int = 8080
    database: Database = Database()
    node: str = ""
    node_address: str = ""
    zookeeper: str = ""
    redis: tuple[str, ...] = ()
    peers_file: Path | None = None
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    secret_key_file: Path | None = None
    ca_file: Path | None = None
    host_registration_url: str = ""
    agent_image: str = ""
    log: str = "text"
    local_agent: bool = False
    simulated_hosts: bool = False

    @property
    def key_file(self) -> Path:
        """Where the root key is."""
        return self.secret_key_file or self.data / "secret.key"


class SettingsError(Exception):
    """A setting cannot be used; the message names it."""


def from_environment(environment: Mapping[str, str] = os.environ) -> ServerSettings:
    """Read the environment."""
    host, port = _listen(environment.get("REMUDA_LISTEN", ""))
    return ServerSettings(
        data=Path(environment.get("REMUDA_DATA") or DEFAULT_DATA),
        listen_host=host,
        listen_port=port,
        database=Database(
            host=environment.get("CATTLE_DB_CATTLE_MYSQL_HOST", "").strip(),
            port=_number("CATTLE_DB_CATTLE_MYSQL_PORT", environment.get("CATTLE_DB_CATTLE_MYSQL_PORT") or "3306"),
            name=environment.get("CATTLE_DB_CATTLE_MYSQL_NAME") or "cattle",
            user=environment.get("CATTLE_DB_CATTLE_USERNAME") or "cattle",
            password=environment.get("CATTLE_DB_CATTLE_PASSWORD", ""),
        ),
        node=environment.get("REMUDA_NODE", ""),
        node_address=environment.get("REMUDA_NODE_ADDRESS", ""),
        zookeeper=environment.get("REMUDA_ZOOKEEPER", ""),
        redis=tuple(u for u in environment.get("REMUDA_REDIS", "").split(",") if u),
        peers_file=_path(environment.get("REMUDA_PEERS_FILE")),
        tls_ca=environment.get("REMUDA_TLS_CA", ""),
        tls_cert=environment.get("REMUDA_TLS_CERT", ""),
        tls_key=environment.get("REMUDA_TLS_KEY", ""),
        secret_key_file=_path(environment.get("REMUDA_SECRET_KEY_FILE")),
        ca_file=_path(environment.get("REMUDA_CA_FILE")),
        host_registration_url=environment.get("REMUDA_HOST_REGISTRATION_URL", ""),
        agent_image=environment.get("REMUDA_AGENT_IMAGE") or environment.get("CATTLE_BOOTSTRAP_REQUIRED_IMAGE", ""),
        log=environment.get("REMUDA_LOG") or "text",
        simulated_hosts=environment.get("REMUDA_SIMULATED_HOSTS", "") not in ("", "0", "false"),
    )


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _number(name: str, text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise SettingsError(f"{name} must be a port (1-65535), not {text!r}")
    return int(text)


def _listen(text: str) -> tuple[str, int]:
    if not text:
        return "0.0.0.0", 8080  # noqa: S104
    host, separator, port = text.rpartition(":")
    if not separator:
        host, port = "0.0.0.0", text  # noqa: S104
    return host.strip("[]") or "0.0.0.0", _number("REMUDA_LISTEN", port)  # noqa: S104
