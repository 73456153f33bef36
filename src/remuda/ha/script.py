"""``remuda-ha.sh``: one generation of a cluster, as a script that is run unchanged on every node.

Rendering is pure: the same generation, database and image give the same bytes, whoever asks and however often. Everything
random is made once, by :func:`new_secrets`, and kept sealed with the generation. Nothing here is stored, logged or dialled.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets as chance
from datetime import datetime
from typing import Any

import jinja2
import msgspec

from remuda.ha.certificates import FRONT_DAYS, Pair, issue, new_ca, trust_anchor
from remuda.ha.config import HaConfig, HaInput
from remuda.ha.sealing import seal

SCRIPT_NAME = "remuda-ha.sh"


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """The external database that all nodes share."""

    host: str
    port: int = 3306
    name: str = "cattle"
    username: str = "cattle"
    password: str = ""


class HaSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """The secret part of a generation. Kept sealed; leaves the server only inside the script."""

    secret_key: str
    """32 bytes, base64: seals secrets in the database and the database password in the script, signs tokens."""
    cluster_ca: Pair
    redis_password: str
    zookeeper_super: str
    front: Pair
    front_chain: str = ""
    front_ca: Pair | None = None
    """The CA of a self-signed front certificate; None when the operator brought a certificate."""
    anchor: str = ""
    """The CA certificate that hosts must trust, PEM; empty when the front certificate is under a public root."""


def new_secrets(
    config: HaConfig, given: HaInput, *, now: datetime, secret_key: bytes = b"", previous: HaSecrets | None = None
) -> HaSecrets:
    """Make the secrets of a new generation.

    ``secret_key``: the key under which the generating server already sealed rows in the shared database; all nodes must
    have it. With ``previous`` (same cluster, other settings) nothing is replaced that need not be, so that nodes of both
    generations understand each other; without it everything is new: that is a rotation.
    """
    key = base64.b64encode(secret_key or chance.token_bytes(32)).decode()
    if previous is not None:
        key = previous.secret_key
    front, chain, front_ca, anchor = _front(config, given, now, previous)
    return HaSecrets(
        secret_key=key,
        cluster_ca=previous.cluster_ca if previous else new_ca("Remuda cluster CA", now),
        redis_password=previous.redis_password if previous else chance.token_hex(24),
        zookeeper_super=previous.zookeeper_super if previous else chance.token_hex(24),
        front=front,
        front_chain=chain,
        front_ca=front_ca,
        anchor=anchor,
    )


def _front(
    config: HaConfig, given: HaInput, now: datetime, previous: HaSecrets | None
) -> tuple[Pair, str, Pair | None, str]:
    if config.certificate is not None:
        cert, chain, key = (_file(text) for text in (given.cert, given.cert_chain, given.key))
        return Pair(cert, key), chain, None, trust_anchor(cert, chain)
    ca = previous.front_ca if previous and previous.front_ca else new_ca("Remuda front CA", now)
    return front_pair(ca, config.host, now), "", ca, ca.cert


def front_pair(ca: Pair, host: str, now: datetime) -> Pair:
    """A server certificate for the registration URL's host under the generation's own CA."""
    return issue(ca, host, [host, "localhost", "127.0.0.1"], now, FRONT_DAYS)


def fingerprint(config: HaConfig, secrets: HaSecrets) -> str:
    """SHA-256 over the canonical form of the whole generation: equal on every node that may work together."""
    text = msgspec.json.encode([msgspec.to_builtins(config), msgspec.to_builtins(secrets)], order="sorted")
    return hashlib.sha256(text).hexdigest()


def super_digest(password: str) -> str:
    """ZooKeeper's form of the super user's password (SHA-1 is its choice, not ours)."""
    digest = hashlib.sha1(f"super:{password}".encode(), usedforsecurity=False).digest()
    return f"super:{base64.b64encode(digest).decode()}"


def render(config: HaConfig, secrets: HaSecrets, database: Database, image: str, number: int = 1) -> bytes:
    """The bytes of ``remuda-ha.sh``. ``image`` is what runs unless the operator names another as first argument."""
    mark = fingerprint(config, secrets)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("remuda.ha", "."),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - the result is a shell script; every value is quoted by shell_quote
    )
    environment.filters["quote"] = shell_quote
    text = environment.get_template("template.sh.j2").render(
        config=config,
        image=image,
        number=number,
        fingerprint=mark,
        files=_files(config, secrets, database, number, mark),
        end=f"REMUDA-{mark[:24]}",
    )
    return text.encode()


def _files(
    config: HaConfig, secrets: HaSecrets, database: Database, number: int, mark: str
) -> list[tuple[str, str, str]]:
    """(name, why it is there, content) of each file of the generation."""
    files = [
        ("cluster.conf", "Settings of the cluster and of its database, as shell assignments.",
         _settings(config, secrets, database, number, mark)),
        ("secret.key", "The cluster's key: opens the database password above, seals secrets, signs tokens.",
         secrets.secret_key + "\n"),
        ("cluster-ca.crt", "The CA that nodes trust among themselves.", secrets.cluster_ca.cert),
        ("cluster-ca.key", "Its key: each node issues its own certificate.", secrets.cluster_ca.key),
        ("redis.password", "What servers tell Redis.", secrets.redis_password + "\n"),
        ("zookeeper.super", "What lets a supervisor change ZooKeeper's ensemble.", secrets.zookeeper_super + "\n"),
        ("server.crt", "What browsers and hosts are shown.", secrets.front.cert),
        ("server.key", "Its key.", secrets.front.key),
    ]  # fmt: skip
    if secrets.front_chain:
        files.append(("server-chain.crt", "Its chain, from the issuer upwards.", secrets.front_chain))
    if secrets.front_ca is not None:
        files.append(("front-ca.key", "The key of the private CA: renews the certificate above.", secrets.front_ca.key))
    if secrets.anchor:
        files.append(("ca.crt", "The CA that hosts must trust.", secrets.anchor))
    return files


def _settings(config: HaConfig, secrets: HaSecrets, database: Database, number: int, mark: str) -> str:
    ports = config.ports
    values: dict[str, Any] = {
        "REMUDA_HA_GENERATION": number,
        "REMUDA_HA_FINGERPRINT": mark,
        "CATTLE_HA_CLUSTER_SIZE": config.cluster_size,
        "CATTLE_HA_HOST_REGISTRATION_URL": config.host_registration_url,
        "CATTLE_HA_PORT_HTTP": ports.http_port,
        "CATTLE_HA_PORT_HTTPS": ports.https_port,
        "CATTLE_HA_PORT_PP_HTTP": ports.pp_http_port,
        "CATTLE_HA_PORT_PP_HTTPS": ports.pp_https_port,
        "CATTLE_HA_PORT_REDIS": ports.redis_port,
        "CATTLE_HA_PORT_SWARM": ports.swarm_port,
        "CATTLE_HA_PORT_ZK_CLIENT": ports.zookeeper_client_port,
        "CATTLE_HA_PORT_ZK_QUORUM": ports.zookeeper_quorum_port,
        "CATTLE_HA_PORT_ZK_LEADER": ports.zookeeper_leader_port,
        "CATTLE_HA_HTTP_ENABLED": str(config.http_enabled).lower(),
        "CATTLE_HA_SWARM_ENABLED": str(config.swarm_enabled).lower(),
        "CATTLE_DB_CATTLE_MYSQL_HOST": database.host,
        "CATTLE_DB_CATTLE_MYSQL_PORT": database.port,
        "CATTLE_DB_CATTLE_MYSQL_NAME": database.name,
        "CATTLE_DB_CATTLE_USERNAME": database.username,
        "CATTLE_DB_CATTLE_PASSWORD": seal(base64.b64decode(secrets.secret_key), database.password),
    }
    return "".join(f"export {name}={shell_quote(str(value))}\n" for name, value in values.items())


def shell_quote(text: str) -> str:
    """A word for the shell: bare when harmless, else in single quotes; a line break would end the script's line."""
    if "\0" in text or "\n" in text or "\r" in text:
        raise ValueError("a setting may not contain line breaks")
    return text if re.fullmatch(r"[A-Za-z0-9_./:@%+=,-]+", text) else "'" + text.replace("'", "'\\''") + "'"


def _file(text: str | None) -> str:
    """An uploaded PEM as it goes into a file: byte-equal, but for line ends of other systems and a missing last one."""
    clean = (text or "").replace("\r\n", "\n").replace("\r", "\n")
    return clean if not clean or clean.endswith("\n") else clean + "\n"
