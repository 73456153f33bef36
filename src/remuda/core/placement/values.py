"""The words placement speaks: who asks, which hosts there are, and what already lives on them.

Only values; they are built from records by whoever holds the records, so that placement never needs a database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from remuda.core import labels as names
from remuda.core.model import ACTIVE, REMOVED, Host, Instance, Port
from remuda.core.simulated import KIND
from remuda.core.spec import LaunchConfig
from remuda.core.volumes import NOTHING, Holdings

ANY_ADDRESS = frozenset({"", "0.0.0.0", "::", "*"})  # noqa: S104 - compared with, never bound
DYNAMIC = "running"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A container that lives on a host (or is on its way there or away): it holds its ports until it is gone."""

    uuid: str
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    service_id: int | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A host as placement sees it. ``unfit`` says why nothing new may go there now; empty when it may."""

    id: int
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    tenants: Sequence[Tenant] = ()
    unfit: str = ""
    no_network: str = ""
    """Why a container of the managed network cannot go there; empty when it can."""
    simulated: bool = False
    """It runs nothing."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be placed: all the containers of one deployment unit together (one for a stand-alone container).

    ``stack``, ``service`` and ``project`` fill the macros of the scheduling labels. ``avoid`` are hosts that failed it before.
    """

    specs: tuple[LaunchConfig, ...]
    service_id: int | None = None
    requested_host: int | None = None
    stack: str = ""
    service: str = ""
    project: str = ""
    uuids: frozenset[str] = frozenset()
    avoid: frozenset[int] = frozenset()
    data: Holdings = NOTHING
    """Where the volumes lie that it names."""


def parse_port(text: str) -> Port | None:
    """Read ``[ip:][public:]private[/proto]``; None when it is not a single port (such text is refused at the API)."""
    rest, _, protocol = text.strip().partition("/")
    bind = ""
    if rest.startswith("["):
        bind, _, rest = rest[1:].partition("]")
        rest = rest.removeprefix(":")
    parts = rest.split(":")
    if not bind and len(parts) == 3:
        bind, parts = parts[0], parts[1:]
    if len(parts) > 2 or not parts[-1].isdecimal() or any(part and not part.isdecimal() for part in parts):
        return None
    public = int(parts[0]) if len(parts) == 2 and parts[0] else 0
    return Port(private=int(parts[-1]), public=public, protocol=(protocol or "tcp").lower(), bind=bind)


def public_ports(specs: Iterable[LaunchConfig]) -> tuple[Port, ...]:
    """The ports that these containers take on their host."""
    parsed = (parse_port(text) for spec in specs for text in spec.ports)
    return tuple(port for port in parsed if port is not None and port.public)


def clash(one: Port, other: Port) -> bool:
    """Would both want the same socket?"""
    if one.public != other.public or one.protocol != other.protocol:
        return False
    return one.bind == other.bind or one.bind in ANY_ADDRESS or other.bind in ANY_ADDRESS


def port_addresses(labels: Mapping[str, str]) -> list[str]:
    """The addresses of a host that managed containers' ports may be published on; empty = all that it has."""
    text = labels.get(names.SCHEDULER_IPS, "")
    return [part.strip() for part in text.split(",") if part.strip()]


def free_at(port: Port, used: Iterable[Port], places: Sequence[str]) -> bool:
    """Is a port free on a host? One without an address needs only one of ``places`` (empty: all addresses of the host)."""
    taken = list(used)
    choices = [port.bind] if port.bind or not places else places
    return any(not any(clash(msgspec.structs.replace(port, bind=bind), other) for other in taken) for bind in choices)


def lowered(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels as rules compare them: key and value in lower case."""
    return {key.lower(): value.lower() for key, value in labels.items()}


def tenant(instance: Instance) -> Tenant:
    """An instance as its host's other containers meet it."""
    if instance.native:
        ports = tuple(port for port in instance.bound if port.public) if instance.observed == DYNAMIC else ()
    else:
        ports = tuple(port for port in instance.published if port.public) or public_ports((instance.spec,))
    return Tenant(instance.uuid, instance.name, lowered(instance.spec.labels), ports, instance.service_id)


def candidate(host: Host, tenants: Sequence[Tenant] = ()) -> Candidate:
    """A host record as placement sees it."""
    no_network = host.network_message or "the network does not work there" if host.network == "error" else ""
    return Candidate(host.id, name_of(host), host.all_labels, tenants, unfit(host), no_network, host.kind == KIND)


def name_of(host: Host) -> str:
    """What people call this host."""
    return host.name or host.hostname or f"1h{host.id}"


def unfit(host: Host) -> str:
    """Why nothing new may go to this host now, as the end of "1 is ..."; empty when it may."""
    if host.removed is not None or host.desired == REMOVED:
        return "being removed"
    if host.connection != "connected":
        return "not connected"
    if host.desired != ACTIVE:
        return "deactivated"
    if host.docker != "up":
        return "without a working Docker"
    return ""
