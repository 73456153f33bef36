"""Secrets of compose files: there they have names, here ids. What the environment does not have is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from remuda import compose
from remuda.api.errors import ApiError
from remuda.core import ids
from remuda.core.model import Secret
from remuda.core.spec import LaunchConfig
from remuda.ports.store import ALIVE, Tx, Where, eq


def known(tx: Tx, account_id: int, project: compose.Project, *, strict: bool = True) -> compose.Project:
    """The project with ids in place of names. ``strict``: refuse what is not there, else leave its name."""
    if not any(c.secrets for c in _configs(project.services)):
        return project
    rows = {
        row.name: ids.public("secret", row.id) or "" for row in tx.find(Secret, eq("account_id", account_id), ALIVE)
    }
    sources = {one.secret: one for one in project.secrets}

    def number(service: str, name: str) -> str:
        if name not in rows and strict:
            raise ApiError(
                422,
                "InvalidReference",
                f"service '{service}': {_absent(name, sources.get(name))}",
                field="dockerCompose",
            )
        return rows.get(name, name)

    return msgspec.structs.replace(project, services=[renamed(s, number) for s in project.services])


def named(tx: Tx, specs: list[compose.ServiceSpec]) -> list[compose.ServiceSpec]:
    """Services with names in place of ids, as a file says them."""
    numbers = {ids.number(r.secret_id) or 0 for c in _configs(specs) for r in c.secrets}
    rows = {row.id: row.name for row in tx.find(Secret, Where("id", "in", sorted(numbers)))} if numbers else {}
    return (
        [renamed(s, lambda _service, public: rows.get(ids.number(public) or 0, public)) for s in specs]
        if rows
        else specs
    )


def renamed(spec: compose.ServiceSpec, name: Callable[[str, str], str]) -> compose.ServiceSpec:
    """A service whose references to secrets say something else: ``name(service, what they say)``."""

    def again(config: LaunchConfig) -> LaunchConfig:
        if not config.secrets:
            return config
        found = []
        for reference in config.secrets:
            told = name(spec.name, reference.secret_id)
            found.append(msgspec.structs.replace(reference, secret_id=told, name=reference.name or told))
        return msgspec.structs.replace(config, secrets=found)

    return msgspec.structs.replace(
        spec, launch_config=again(spec.launch_config), sidekicks=[again(one) for one in spec.sidekicks]
    )


def _configs(specs: Iterable[compose.ServiceSpec]) -> Iterable[LaunchConfig]:
    return (config for spec in specs for config in (spec.launch_config, *spec.sidekicks))


def _absent(name: str, source: compose.SecretSpec | None) -> str:
    sentence = f"there is no secret '{name}' in this environment."
    if source is not None and source.file:
        return f"{sentence} Deploy with `remuda up`, which makes it from {source.file}, or make it first."
    return f"{sentence} Make it first: `remuda secrets create {name} FILE`."
