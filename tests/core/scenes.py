"""Small scenes for tests: a shop of two hosts and two stacks, and the pieces to make others."""

from __future__ import annotations

from typing import Any

from remuda.core.model import ServiceLink
from remuda.core.network.scene import (
    Scene,
    SceneContainer,
    SceneHost,
    SceneNetwork,
    SceneService,
    SceneStack,
)


def host(number: int, **changes: Any) -> SceneHost:
    values = {
        "id": number,
        "uuid": f"host-{number}",
        "name": f"h{number}",
        "hostname": f"h{number}.example.com",
        "agent_ip": f"192.0.2.{number}",
        "ip": f"10.42.255.{number}",
        "connected": True,
        **changes,
    }
    return SceneHost(**values)


def stack(number: int, name: str, **changes: Any) -> SceneStack:
    return SceneStack(id=number, uuid=f"stack-{number}", name=name, **changes)


def service(number: int, name: str, stack_id: int = 1, **changes: Any) -> SceneService:
    values = {"id": number, "uuid": f"service-{number}", "name": name, "stack_id": stack_id, **changes}
    return SceneService(**values)


def link(number: int, name: str = "") -> ServiceLink:
    return ServiceLink(service_id=number, name=name)


def container(number: int, name: str = "", **changes: Any) -> SceneContainer:
    """Runs on host 1 under 10.42.0.<number> unless told otherwise."""
    values = {
        "id": number,
        "uuid": f"container-{number}",
        "name": name or f"c{number}",
        "host_id": 1,
        "ip": f"10.42.{number >> 8}.{number & 255}",
        "state": "running",
        "external_id": f"{number:064x}",
        "create_index": number,
        **changes,
    }
    return SceneContainer(**values)


def scene(*entries: Any, **changes: Any) -> Scene:
    """A scene of these entries."""

    def of(kind: type) -> dict[int, Any]:
        return {entry.id: entry for entry in entries if isinstance(entry, kind)}

    network = SceneNetwork(environment="Default", environment_uuid="environment-1", uuid="network-1")
    values: dict[str, Any] = {"through": 7, "network": network, **changes}
    return Scene(
        hosts=of(SceneHost),
        stacks=of(SceneStack),
        services=of(SceneService),
        containers=of(SceneContainer),
        **values,
    )
