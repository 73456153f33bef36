"""The ``ha`` room as the API knows it (:class:`remuda.ports.cluster.Cluster`), with this server's database and keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from remuda.adapters.crypto.keyring import FileKeyring
from remuda.adapters.sql.preflight import check_database
from remuda.core.model import HaGeneration
from remuda.ha import script
from remuda.ha.config import HaConfig, HaInput, validate
from remuda.ha.script import HaSecrets
from remuda.ports.cluster import Draft, Problem
from remuda.run.settings import Database

IMAGE = "remuda/server"


class HaCluster:
    """Makes generations and scripts for the database that this server runs on."""

    def __init__(self, database: Database, keyring: FileKeyring, image: str = IMAGE) -> None:
        self._database, self._keyring, self._image = database, keyring, image

    @property
    def db_host(self) -> str:
        """Where the database is."""
        return self._database.host or "localhost"

    async def checks(self, cluster_size: int) -> list[dict[str, Any]]:
        """Judge the database."""
        if not self._database.host:
            return [
                {
                    "id": "embedded",
                    "ok": False,
                    "warning": False,
                    "message": "This server runs on its embedded database, which one machine cannot share with others.",
                    "fix": "Start it on an external MySQL or MariaDB: docker run -d -p 8080:8080 "
                    "-e CATTLE_DB_CATTLE_MYSQL_HOST=<host> -e CATTLE_DB_CATTLE_MYSQL_PORT=3306 "
                    "-e CATTLE_DB_CATTLE_MYSQL_NAME=<name> -e CATTLE_DB_CATTLE_USERNAME=<user> "
                    f"-e CATTLE_DB_CATTLE_PASSWORD=<password> {self._image}",
                }
            ]
        database = self._database
        found = await check_database(
            host=database.host,
            port=database.port,
            name=database.name,
            user=database.user,
            password=database.password,
            nodes=cluster_size,
        )
        return [msgspec.to_builtins(check) for check in found]

    def judge(self, values: dict[str, Any]) -> tuple[dict[str, Any] | None, list[Problem]]:
        """Judge the input."""
        config, problems = validate(_input(values), datetime.now(UTC))
        told = [Problem(field=p.field, code=p.code, message=p.message, severity=p.severity) for p in problems]
        return (None if config is None else msgspec.to_builtins(config)), told

    def draft(self, values: dict[str, Any], previous: HaGeneration | None, *, rotate: bool) -> Draft:
        """Make a generation."""
        given = _input(values)
        now = datetime.now(UTC)
        config, problems = validate(given, now)
        if config is None:
            raise ValueError(problems[0].message)
        kept = None if previous is None or rotate else self._secrets(previous)
        # rows of the shared database are sealed under this server's root key: every node must have it, rotated or not
        secrets = script.new_secrets(config, given, now=now, secret_key=self._keyring.root, previous=kept)
        sealed = self._keyring.seal(msgspec.json.encode(secrets).decode(), "ha-generation")
        return Draft(config=msgspec.to_builtins(config), fingerprint=script.fingerprint(config, secrets), sealed=sealed)

    def script(self, generation: HaGeneration) -> bytes:
        """Render the script."""
        config = msgspec.convert(generation.config, HaConfig)
        database = self._database
        return script.render(
            config,
            self._secrets(generation),
            script.Database(
                host=database.host,
                port=database.port,
                name=database.name,
                username=database.user,
                password=database.password,
            ),
            self._image,
            generation.number,
        )

    def _secrets(self, generation: HaGeneration) -> HaSecrets:
        return msgspec.json.decode(self._keyring.unseal(generation.sealed, "ha-generation"), type=HaSecrets)


def _input(values: dict[str, Any]) -> HaInput:
    return msgspec.convert({k: v for k, v in values.items() if v is not None}, HaInput)
