"""The results of reading compose files: plain frozen values that the API, the UI and the CLI can all print or store.

Nothing here knows YAML. Names are those of compose files; :class:`~remuda.core.spec.LaunchConfig` speaks the API's.
"""

from __future__ import annotations

from typing import Any

import msgspec

from remuda.core.spec import HealthCheck, LaunchConfig

ERROR, WARNING = "error", "warning"


class Problem(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One thing to say about a file. ``line`` and ``column`` count from 1; 0 means that no place can be named."""

    severity: str
    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    field: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: " if self.file else ""
        return f"{place}{self.severity}: {self.message}"


class UpgradeStrategy(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How containers are replaced when a launch configuration changes."""

    batch_size: int = 1
    interval_millis: int = 2000
    start_first: bool = False


class VolumeSpec(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A volume declared at the top of a file. ``docker_name`` is what the engine will know it by."""

    name: str
    docker_name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] = {}
    external: bool = False
    per_container: bool = False


class SecretSpec(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A secret declared at the top of a file: ``secret`` is its name in the environment. Its value is that of a file or variable
    of the machine that deploys, unless it is external: then it is there already."""

    name: str
    secret: str = ""
    file: str = ""
    variable: str = ""
    external: bool = False


class ServiceSpec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """One service of a stack. ``scale`` is None where no file says it (a new service then gets 1, an old one keeps its own).

    ``on_host_lost`` is in seconds, -1 = never, None = not said. ``links`` and ``external_links`` are pairs of target
    (``service`` or ``stack/service``) and alias. ``lb_config`` and its kin stay as they were written.
    """

    name: str
    kind: str = "service"
    scale: int | None = None
    launch_config: LaunchConfig = msgspec.field(default_factory=LaunchConfig)
    sidekicks: list[LaunchConfig] = []
    links: list[tuple[str, str]] = []
    external_links: list[tuple[str, str]] = []
    depends_on: list[str] = []
    metadata: dict[str, Any] = {}
    start_on_create: bool = True
    on_host_lost: int | None = None
    retain_ip: bool = False
    upgrade_strategy: UpgradeStrategy | None = None
    extra: dict[str, Any] = {}

    @property
    def health_check(self) -> HealthCheck | None:
        """The health check of the service's own container."""
        return self.launch_config.health_check


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the files say. With an error among ``problems``, ``services`` may be partial: do not deploy it.

    ``variables`` are the names that the files asked the environment for; ``local`` is True when the result depends on
    files or folders of the machine that read it (``env_file``, relative paths, several files), so that the texts alone
    would mean something else elsewhere.
    """

    services: list[ServiceSpec] = []
    volumes: list[VolumeSpec] = []
    secrets: list[SecretSpec] = []
    problems: list[Problem] = []
    variables: list[str] = []
    local: bool = False

    @property
    def valid(self) -> bool:
        """True when nothing stands in the way of deploying."""
        return not self.errors

    @property
    def errors(self) -> list[Problem]:
        """The problems that forbid deploying."""
        return [p for p in self.problems if p.severity == ERROR]
