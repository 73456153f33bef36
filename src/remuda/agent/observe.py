"""What Docker says of a container, as a small value. Pure.

Two sources: the list (one call for all, tells what exists and in which state) and inspect (all details, asked only for
containers that changed). Plans are made from these values; reports to the server too.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from remuda.core import labels
from remuda.core.model import Port
from remuda.core.wire import ContainerReport

AGENT_UUID = "io.remuda.agent.uuid"
"""Which agent made a container: what another agent made on the same engine is none of our business."""

RUNNING_STATES = frozenset({"running", "paused", "restarting"})
GONE_STATES = frozenset({"removing", "dead"})


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """One container on this engine. ``state`` is Docker's: created, running, paused, restarting, exited, removing, dead."""

    id: str
    name: str = ""
    state: str = "created"
    uuid: str = ""
    """The instance it was made for by this agent; empty for everything else (native)."""
    image: str = ""
    labels: dict[str, str] = {}
    exit_code: int | None = None
    started: int | None = None
    created: int = 0
    address: str = ""
    addresses: dict[str, str] = {}
    """Docker's network -> address, while it runs."""
    network: str = ""
    """Docker's network mode; ``container:<id>`` when it lives in another one's."""
    ports: tuple[Port, ...] = ()
    error: str = ""
    oom: bool = False
    engine: dict[str, Any] = {}

    @property
    def running(self) -> bool:
        """Does its process live (perhaps frozen)?"""
        return self.state in RUNNING_STATES

    @property
    def ended(self) -> bool:
        """Did it run and come to an end?"""
        return self.state in ("exited", "dead")

    @property
    def system(self) -> bool:
        """Part of Remuda itself: shown, never touched."""
        return not self.uuid and self.labels.get(labels.CONTAINER_SYSTEM, "").strip().lower() not in ("", "false")


def owned_uuid(container_labels: dict[str, str], agent: str) -> str:
    """The instance uuid if this agent (or one from before agents signed their work) made the container."""
    maker = container_labels.get(AGENT_UUID, agent)
    return container_labels.get(labels.CONTAINER_UUID, "") if maker == agent else ""


def from_inspect(document: dict[str, Any], agent: str) -> Container:
    """A container out of ``GET /containers/<id>/json``."""
    state, config = document.get("State") or {}, document.get("Config") or {}
    host, network = document.get("HostConfig") or {}, document.get("NetworkSettings") or {}
    own_labels = config.get("Labels") or {}
    status = str(state.get("Status") or "created")
    ended = status in ("exited", "dead")
    return Container(
        id=str(document["Id"]),
        name=str(document.get("Name", "")).lstrip("/"),
        state=status,
        uuid=owned_uuid(own_labels, agent),
        image=str(config.get("Image", "")),
        labels=own_labels,
        exit_code=int(state.get("ExitCode", 0)) if ended else None,
        started=milliseconds(str(state.get("StartedAt", ""))),
        created=milliseconds(str(document.get("Created", ""))) or 0,
        address=_address(network),
        addresses={
            name: str(attached["IPAddress"])
            for name, attached in (network.get("Networks") or {}).items()
            if attached and attached.get("IPAddress")
        },
        network=str(host.get("NetworkMode") or ""),
        ports=_ports(network.get("Ports") or {}),
        error=str(state.get("Error", "")),
        oom=bool(state.get("OOMKilled")),
        engine=_facts(document, state, config, host),
    )


def milliseconds(stamp: str) -> int | None:
    """Docker's time stamps (nanoseconds, ``0001-01-01`` for never) as milliseconds since 1970."""
    if not stamp or stamp.startswith("0001-"):
        return None
    whole, _, rest = stamp.partition(".")
    digits = rest.rstrip("Z").split("+")[0] if rest else ""
    try:
        moment = datetime.strptime(whole.rstrip("Z")[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) * 1000 + int((digits[:3] or "0").ljust(3, "0"))


def report(container: Container, *, uuid: str = "", native: bool | None = None) -> ContainerReport:
    """The report of a container as Docker has it; the runtime adds what it knows of its own work."""
    is_native = not container.uuid if native is None else native
    return ContainerReport(
        uuid=uuid or container.uuid or f"docker:{container.id}",
        external_id=container.id,
        name=container.name,
        observed=_word(container.state),
        exit_code=container.exit_code,
        started=container.started,
        address=container.address,
        ports=list(container.ports),
        image=container.image,
        labels=container.labels,
        engine=container.engine,
        message=_message(container),
        native=is_native,
        system=container.system,
    )


def _word(state: str) -> str:
    if state in RUNNING_STATES:
        return "running"
    return "created" if state == "created" else "exited"


def _message(container: Container) -> str:
    if container.state == "paused":
        return "Paused on its host"
    if container.ended and container.oom:
        return "Ended for lack of memory: its limit was reached"
    return container.error


def _address(network: dict[str, Any]) -> str:
    if network.get("IPAddress"):
        return str(network["IPAddress"])
    for attached in (network.get("Networks") or {}).values():
        if attached and attached.get("IPAddress"):
            return str(attached["IPAddress"])
    return ""


def _ports(bound: dict[str, Any]) -> tuple[Port, ...]:
    found: set[tuple[int, int, str, str]] = set()
    for key, bindings in bound.items():
        private, _, protocol = key.partition("/")
        for binding in bindings or ():
            address = str(binding.get("HostIp", ""))
            # Docker lists "all addresses" once per IP family; a person means one port.
            bind = "" if address in ("0.0.0.0", "::") else address  # noqa: S104 - compared, not bound
            found.add((int(private), int(binding.get("HostPort") or 0), protocol or "tcp", bind))
    return tuple(Port(private=a, public=b, protocol=c, bind=d) for a, b, c, d in sorted(found))


def _facts(
    document: dict[str, Any], state: dict[str, Any], config: dict[str, Any], host: dict[str, Any]
) -> dict[str, Any]:
    """The part of inspect that people ask for. The environment stays out: it is where passwords live."""
    return {
        "Id": document.get("Id", ""),
        "Created": document.get("Created", ""),
        "Image": document.get("Image", ""),
        "Driver": document.get("Driver", ""),
        "Health": str((state.get("Health") or {}).get("Status", "")) if state.get("Health") else "",
        "State": {key: state.get(key) for key in ("Status", "Pid", "ExitCode", "StartedAt", "FinishedAt", "OOMKilled")},
        "Config": {key: config.get(key) for key in ("Hostname", "User", "Cmd", "Entrypoint", "WorkingDir", "Tty")},
        "HostConfig": {key: host.get(key) for key in ("NetworkMode", "Privileged", "Memory", "CpuShares")},
        "Mounts": [
            {key: mount.get(key) for key in ("Type", "Name", "Source", "Destination", "RW")}
            for mount in document.get("Mounts") or ()
        ],
    }
