"""Compose files, read: docker-compose (version 1, 2, the Compose Specification) with rancher-compose merged onto it.

:func:`load` never raises for what a file says: every complaint is a :class:`Problem` with the file, line and column it is
about and what to do. It reads nothing itself; the contents of other files come through ``files``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from remuda.compose.documents import Document, extend, merge_services, open_document
from remuda.compose.dump import dump
from remuda.compose.interpolate import Interpolation
from remuda.compose.model import ERROR, WARNING, Problem, Project, SecretSpec, ServiceSpec, UpgradeStrategy, VolumeSpec
from remuda.compose.nodes import Node, Report
from remuda.compose.project import Builder, parse_env

__all__ = [
    "ERROR", "WARNING", "Problem", "Project", "SecretSpec", "ServiceSpec", "UpgradeStrategy", "VolumeSpec", "dump", "load",
    "parse_env",
]  # fmt: skip


def load(
    docker_compose: str,
    rancher_compose: str = "",
    *,
    environment: Mapping[str, str] | None = None,
    stack_name: str = "",
    files: Callable[[str], str] | None = None,
    base_dir: str | None = None,
    names: tuple[str, str] = ("docker-compose.yml", "rancher-compose.yml"),
    overrides: Sequence[tuple[str, str]] = (),
) -> Project:
    """What the files describe.

    ``environment`` fills variables. ``files`` gives the text of an ``env_file`` or an extended file by the name written in
    the compose file and may raise OSError; without it such references are errors. ``base_dir`` makes relative folders
    absolute; without it they are errors. ``overrides`` are further docker-compose files (name, text), merged in order;
    ``names`` are what to call the two files in problems.
    """
    report = Report()
    known = dict(environment or {})
    if stack_name:
        known.setdefault("COMPOSE_PROJECT_NAME", stack_name)
    fill = Interpolation(known, report)
    builder = Builder(report, fill, stack_name, files, base_dir)
    try:
        project = _load(docker_compose, rancher_compose, fill, builder, names, overrides)
    except RecursionError:
        report.error(Node(None, names[0], 1, 1), "the file is nested too deeply")
        project = Project()
    asked = [name for name in fill.used if name != "COMPOSE_PROJECT_NAME" or name in (environment or {})]
    if "COMPOSE_PROFILES" in known:
        asked.append("COMPOSE_PROFILES")
    return msgspec.structs.replace(project, problems=list(report.ordered()), variables=asked)


def _load(
    docker_compose: str,
    rancher_compose: str,
    fill: Interpolation,
    builder: Builder,
    names: tuple[str, str],
    overrides: Sequence[tuple[str, str]],
) -> Project:
    report = fill.report
    base = open_document(docker_compose, names[0], fill)
    services, volumes, secrets = base.services, dict(base.volumes), dict(base.secrets)
    for name, text in overrides:
        more = open_document(text, name, fill)
        services = merge_services(services, more.services)
        volumes |= more.volumes
        secrets |= more.secrets
        builder.local = True
    opened: dict[str, Document | None] = {}

    def other(file: str, asking: Node) -> Document | None:
        if file not in opened:
            opened[file] = _other(file, asking, fill, builder)
        return opened[file]

    services = extend(services, other, report)
    if rancher_compose.strip():
        extra = open_document(rancher_compose, names[1], fill, rancher=True)
        services = merge_services(services, extra.services)
        volumes = {**volumes, **{name: node for name, node in extra.volumes.items() if name not in volumes}}
        secrets = {**extra.secrets, **secrets}
    if not services and not report.failed:
        report.error(Node(None, names[0], 1, 1), "there are no services in the file, so there is nothing to run")
    return builder.build(services, volumes, secrets)


def _other(file: str, asking: Node, fill: Interpolation, builder: Builder) -> Document | None:
    if builder.files is None:
        fill.report.error(asking, f"the file {file} is not here: deploy with `remuda up`, which reads it")
        return None
    builder.local = True
    try:
        text = builder.files(file)
    except (OSError, UnicodeError, KeyError) as error:
        fill.report.error(asking, f"extends {file}: {getattr(error, 'strerror', None) or 'it cannot be read'}")
        return None
    return open_document(text, file, fill)
