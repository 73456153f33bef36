"""What is known of one service while its keys are being read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from remuda.compose.model import SecretSpec, VolumeSpec
from remuda.compose.mounts import Mounts
from remuda.compose.nodes import Node, Report
from remuda.compose.values import Values


@dataclass(slots=True)
class Draft:
    """``launch`` becomes the launch configuration, ``top`` the service; the rest waits for the other services to be known."""

    name: str
    node: Node
    report: Report
    values: Values
    mounts: Mounts
    declared: dict[str, VolumeSpec] = field(default_factory=dict)
    launch: dict[str, Any] = field(default_factory=dict)
    top: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    log_driver: str = ""
    log_options: dict[str, str] = field(default_factory=dict)
    links: list[tuple[str, str, Node]] = field(default_factory=list)
    external_links: list[tuple[str, str, Node]] = field(default_factory=list)
    depends_on: list[tuple[str, Node, bool]] = field(default_factory=list)
    volumes_from: list[tuple[str, Node]] = field(default_factory=list)
    network_from: tuple[str, Node] | None = None
    container_name: str = ""
    secrets: dict[str, SecretSpec] = field(default_factory=dict)

    def put(self, field_name: str, value: Any) -> None:
        """Set a field of the launch configuration, unless the value could not be read."""
        if value is not None:
            self.launch[field_name] = value

    def put_top(self, field_name: str, value: Any) -> None:
        """Set a field of the service, unless the value could not be read."""
        if value is not None:
            self.top[field_name] = value

    def volume_name(self, bind: str, node: Node) -> str:
        """A bind with the name of a declared volume replaced by the one that the engine knows."""
        source, colon, rest = bind.partition(":")
        volume = self.declared.get(source)
        if not colon or source.startswith("/") or volume is None:
            return bind
        return f"{volume.docker_name}:{rest}"
