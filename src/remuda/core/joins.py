"""Rows that 1.x kept in tables of their own and that Remuda works out from others: ports, labels, links, cards, subnets.

Pure functions from records to rows. Nothing is stored for them, so nothing can be out of step; what they say changes with the row
they come from. A row has the same number whenever it is worked out: the number of its source and a digest of what tells it from
the source's others.
"""

from __future__ import annotations

import hashlib
import ipaddress
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from remuda.core.model import ACTIVE, REMOVED, Host, Instance, Network, Record
from remuda.core.network.addressing import text

SPACE = 1_000_000
"""So many rows may come from one: what is taken off their numbers to find their source."""
WIDE = 10**15
"""Numbers of rows that come from many others."""
CREATED = "created"
_UUIDS = uuid.UUID("5d0f3c1e-6c43-4d3c-9a55-6f0c3f0f7a51")
R = TypeVar("R", bound="Made")


class Made(Record, frozen=True, kw_only=True):
    """What is worked out. Never given to the store."""

    TABLE: ClassVar[str] = ""


class PlaceRow(Made, frozen=True, kw_only=True):
    """Which host a container is on."""

    TABLE: ClassVar[str] = "instance_host_map"
    instance_id: int = 0
    host_id: int = 0


class ExposeRow(Made, frozen=True, kw_only=True):
    """Which service a container belongs to."""

    TABLE: ClassVar[str] = "service_expose_map"
    instance_id: int = 0
    service_id: int = 0
    ip_address: str = ""
    managed: bool = True


class PortRow(Made, frozen=True, kw_only=True):
    """A published port of a container."""

    TABLE: ClassVar[str] = "port"
    instance_id: int = 0
    private_port: int = 0
    public_port: int | None = None
    protocol: str = "tcp"
    bind_address: str = ""


class LinkRow(Made, frozen=True, kw_only=True):
    """A link of one container to another one of its environment."""

    TABLE: ClassVar[str] = "instance_link"
    instance_id: int = 0
    link_name: str = ""
    target_instance_id: int | None = None


class LabelRow(Made, frozen=True, kw_only=True):
    """A label that something in the environment has."""

    TABLE: ClassVar[str] = "label"
    key: str = ""
    value: str = ""


class LabelMapRow(Made, frozen=True, kw_only=True):
    """Which container, or which host, has which label."""

    TABLE: ClassVar[str] = "label_map"
    instance_id: int | None = None
    host_id: int | None = None
    label_id: int = 0


class ImageRow(Made, frozen=True, kw_only=True):
    """An image that a container of the environment is made of."""

    TABLE: ClassVar[str] = "image"


class MachineRow(Made, frozen=True, kw_only=True):
    """The machine that a host is."""

    TABLE: ClassVar[str] = "physical_host"


class NicRow(Made, frozen=True, kw_only=True):
    """A container's place on the managed network."""

    TABLE: ClassVar[str] = "nic"
    instance_id: int = 0
    network_id: int | None = None
    subnet_id: int | None = None
    mac_address: str = ""
    device_number: int = 0


class SubnetRow(Made, frozen=True, kw_only=True):
    """The addresses of a managed network."""

    TABLE: ClassVar[str] = "subnet"
    network_id: int = 0
    network_address: str = ""
    cidr_size: int = 0
    start_address: str = ""
    end_address: str = ""


class ConfigRow(Made, frozen=True, kw_only=True):
    """How far a host's agent is with what it was told."""

    TABLE: ClassVar[str] = "config_item_status"
    agent_id: int = 0
    requested_version: int = 0
    applied_version: int = 0


class ItemRow(Made, frozen=True, kw_only=True):
    """Something that agents are told in numbered steps."""

    TABLE: ClassVar[str] = "config_item"


class ZoneRow(Made, frozen=True, kw_only=True):
    """The one zone."""

    TABLE: ClassVar[str] = "zone"


def place(key: str, space: int = SPACE) -> int:
    """Where in a space of numbers something of this name is, from 1 on."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) % (space - 1) + 1


def _of(made: type[R], source: Record, number: int, /, *, key: str, state: str = ACTIVE, **more: Any) -> R:
    """A row that lives and ends with its source."""
    gone = source.removed is not None
    ending = source.desired == REMOVED and not gone
    return made(
        id=number,
        uuid=str(uuid.uuid5(_UUIDS, f"{made.TABLE}/{source.uuid}/{key}")),
        account_id=source.account_id,
        state="removed" if gone else "removing" if ending else state,
        transitioning="yes" if ending else "no",
        created=source.created,
        removed=source.removed,
        **more,
    )


def _numbered(source: Record, keys: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Each of the source's parts with its number. Where two would get the same one, the later moves on."""
    taken: set[int] = set()
    for key in keys:
        at = place(key)
        while at in taken:
            at = at % (SPACE - 1) + 1
        taken.add(at)
        yield key, source.id * SPACE + at


def placed(instance: Instance) -> list[PlaceRow]:
    """Where a container is, once it has a host."""
    if instance.host_id is None:
        return []
    return [
        _of(PlaceRow, instance, instance.id, key="", kind="instanceHostMap", name=instance.name,
            instance_id=instance.id, host_id=instance.host_id)
    ]  # fmt: skip


def exposed(instance: Instance) -> list[ExposeRow]:
    """Whose a container is, if it is a service's."""
    if instance.service_id is None:
        return []
    return [
        _of(ExposeRow, instance, instance.id, key="", kind="serviceExposeMap", name=instance.name,
            instance_id=instance.id, service_id=instance.service_id, ip_address=instance.managed_ip)
    ]  # fmt: skip


def ports(instance: Instance) -> list[PortRow]:
    """The ports of a container that can be reached from outside: as they were given, else as its engine has them."""
    told = {f"{p.bind}:{p.public}:{p.private}/{p.protocol}": p for p in instance.published or instance.bound}
    return [
        _of(
            PortRow, instance, number, key=key, kind="userPort", instance_id=instance.id, private_port=port.private,
            public_port=port.public or None, protocol=port.protocol, bind_address=port.bind,
        )
        for key, number in _numbered(instance, told)
        if (port := told[key])
    ]  # fmt: skip


def links(instance: Instance, named: Mapping[tuple[int, str], int]) -> list[LinkRow]:
    """The links that a container was made with. ``named``: containers by environment and name."""
    wanted = instance.spec.instance_links
    return [
        _of(
            LinkRow, instance, number, key=alias, kind="instanceLink", name=alias, link_name=alias,
            instance_id=instance.id, target_instance_id=named.get((instance.account_id, wanted[alias])),
        )
        for alias, number in _numbered(instance, sorted(wanted))
    ]  # fmt: skip


def label_number(account_id: int, key: str, value: str) -> int:
    """The number of a label, which all that have it share."""
    return place(f"{account_id}/{key}={value}", WIDE)


def labels_of(source: Instance | Host) -> dict[str, str]:
    """The labels of a container or a host."""
    return source.spec.labels if isinstance(source, Instance) else source.all_labels


def label_maps(source: Instance | Host) -> list[LabelMapRow]:
    """The labels of one container or host, as rows between it and them."""
    told = labels_of(source)
    end: dict[str, Any] = {"instance_id" if isinstance(source, Instance) else "host_id": source.id}
    kind = "instanceLabelMap" if isinstance(source, Instance) else "hostLabelMap"
    return [
        _of(
            LabelMapRow, source, number, key=key, kind=kind, state=CREATED,
            label_id=label_number(source.account_id, key, told[key]), **end,
        )
        for key, number in _numbered(source, sorted(told))
    ]  # fmt: skip


def labels(sources: Iterable[Instance | Host]) -> list[LabelRow]:
    """Each label that any of these has, once."""
    found: dict[int, LabelRow] = {}
    for source in sources:
        for key, value in labels_of(source).items():
            number = label_number(source.account_id, key, value)
            if number not in found:
                found[number] = LabelRow(
                    id=number, uuid=str(uuid.uuid5(_UUIDS, f"label/{number}")), account_id=source.account_id, name=key,
                    kind="hostLabel" if isinstance(source, Host) else "instanceLabel", state=CREATED,
                    created=source.created, key=key, value=value,
                )  # fmt: skip
    return list(found.values())


def images(instances: Iterable[Instance]) -> list[ImageRow]:
    """Each image that any of these is made of, once per environment."""
    found: dict[int, ImageRow] = {}
    for instance in instances:
        name = instance.spec.image_uuid
        number = place(f"{instance.account_id}/{name}", WIDE)
        if name and number not in found:
            found[number] = ImageRow(
                id=number, uuid=str(uuid.uuid5(_UUIDS, f"image/{number}")), account_id=instance.account_id,
                name=name.removeprefix("docker:"), kind=name.partition(":")[0], state=ACTIVE, created=instance.created,
            )  # fmt: skip
    return list(found.values())


def machine(host: Host) -> list[MachineRow]:
    """The machine of a host. It is there as long as the host is, heard of or not."""
    return [_of(MachineRow, host, host.id, key="", kind="physicalHost", name=host.hostname or host.name)]


def nics(instance: Instance, networks: Mapping[int, Network]) -> list[NicRow]:
    """Where a container is on its managed network, if it is. ``networks`` by environment."""
    if not instance.managed_ip:
        return []
    network = networks.get(instance.account_id)
    number = network.id if network else None
    return [
        _of(
            NicRow, instance, instance.id, key="", kind="nic", instance_id=instance.id, mac_address=instance.mac,
            network_id=number, subnet_id=number,
        )
    ]  # fmt: skip


def subnet(network: Network) -> list[SubnetRow]:
    """The addresses of a managed network."""
    told = ipaddress.IPv4Network(network.subnet)
    first, last = int(told.network_address) + 1, int(told.broadcast_address) - 1
    return [
        _of(
            SubnetRow, network, network.id, key="", kind="subnet", name=network.subnet, network_id=network.id,
            network_address=str(told.network_address), cidr_size=told.prefixlen, start_address=text(first),
            end_address=text(last),
        )
    ]  # fmt: skip


CONFIG_ITEMS = ("assignments",)
"""What agents are told in numbered steps."""


def config(host: Host) -> list[ConfigRow]:
    """How far the agent of a host is."""
    return [
        _of(
            ConfigRow, host, host.id, key="", kind="configItemStatus", name=CONFIG_ITEMS[0], agent_id=host.agent_id,
            requested_version=host.assign_seq, applied_version=host.applied_seq,
        )
    ]  # fmt: skip
