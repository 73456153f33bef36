"""Docker's side of the managed network: one bridge network, to which containers are attached under addresses that were given.

Docker does the attaching, so it costs what Docker's own bridge costs, and a container keeps its address while Docker, the agent
and the servers come and go. Docker never picks an address itself but from a small range that is never given.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterator
from typing import NamedTuple

from remuda.agent.network.state import BRIDGE, DOCKER_NETWORK, SERVICE_ADDRESS, Local
from remuda.core.labels import CONTAINER_SYSTEM
from remuda.core.network.addressing import RESERVED_LAST
from remuda.core.network.mtu import container_mtu
from remuda.core.network.scene import MANAGED, Scene, SceneHost
from remuda.ports.engine import Document, Engine, EngineDown, EngineError

log = logging.getLogger("remuda.agent.network")

SUBNET_LABEL, GATEWAY_LABEL = "io.remuda.network.subnet", "io.remuda.network.gateway"
MTU_OPTION = "com.docker.network.driver.mtu"
DNS_OPTIONS = ["ndots:1", "timeout:2", "attempts:3"]


class Join(NamedTuple):
    """A container that somebody started by hand and that is to be attached."""

    external_id: str
    address: str
    before: str
    """The address that Docker gave it on the network, empty when it is not attached."""


def document(scene: Scene, host: SceneHost) -> Document:
    """Docker's document for the network of this host."""
    network = scene.network
    assert network is not None
    subnet = ipaddress.IPv4Network(network.subnet)
    own = subnet[-RESERVED_LAST]
    prefix = 32 - (RESERVED_LAST - 1).bit_length()
    return {
        "Name": DOCKER_NETWORK,
        "CheckDuplicate": True,
        "Driver": "bridge",
        "IPAM": {
            "Config": [{"Subnet": network.subnet, "Gateway": host.ip, "IPRange": f"{own}/{prefix}"}],
        },
        "Options": {
            "com.docker.network.bridge.name": BRIDGE,
            "com.docker.network.bridge.enable_icc": "true",
            "com.docker.network.bridge.enable_ip_masquerade": "true",
            MTU_OPTION: str(network.mtu or container_mtu(0, network.encryption)),
        },
        "Labels": {CONTAINER_SYSTEM: "network", SUBNET_LABEL: network.subnet, GATEWAY_LABEL: host.ip},
    }


def fits(found: Document, wanted: Document) -> bool:
    """Has Docker's network the addresses that are wanted?"""
    labels, wish = found.get("Labels") or {}, wanted["Labels"]
    return all(labels.get(key) == wish[key] for key in (SUBNET_LABEL, GATEWAY_LABEL))


def same_mtu(found: Document, wanted: Document) -> bool:
    """Do containers get the MTU that is wanted?"""
    return bool((found.get("Options") or {}).get(MTU_OPTION) == wanted["Options"][MTU_OPTION])


async def ensure(engine: Engine, scene: Scene, host: SceneHost) -> str:
    """Make Docker's network; the reason as a sentence when it cannot be what is wanted.

    One with wrong addresses is made anew as soon as no container uses it. So is one with another MTU, but it goes on being used
    until then: its containers would lose their network for a figure. Raises :class:`EngineDown` when there is nobody to ask.
    """
    wanted = document(scene, host)
    try:
        found = await engine.network(DOCKER_NETWORK)
        if found is not None:
            users = len(found.get("Containers") or ())
            if fits(found, wanted) and (users or same_mtu(found, wanted)):
                return ""
            if users:
                return (
                    f"Docker's network {DOCKER_NETWORK} was made for other addresses and {users} containers use it; remove them, "
                    f"then it is made anew"
                )
            log.info("Docker's network %s is made anew: it had other addresses, or another MTU", DOCKER_NETWORK)
            await engine.remove_network(DOCKER_NETWORK)
        await engine.create_network(wanted)
    except EngineDown:
        raise
    except EngineError as error:
        return f"Docker does not make the network {DOCKER_NETWORK} ({wanted['Labels'][SUBNET_LABEL]}): {error}"
    return ""


async def join(engine: Engine, wish: Join) -> None:
    """Attach a container that somebody started by hand, also one that Docker attached under an address of its own choice."""
    if wish.before:
        await engine.disconnect_network(DOCKER_NETWORK, wish.external_id)
    await engine.connect_network(DOCKER_NETWORK, wish.external_id, wish.address)


def endpoint(address: str, mac: str) -> Document:
    """The parts of a create document that attach a container."""
    return {
        "MacAddress": mac,
        "NetworkingConfig": {
            "EndpointsConfig": {DOCKER_NETWORK: {"IPAMConfig": {"IPv4Address": address}, "MacAddress": mac}}
        },
    }


def resolver(search: list[str]) -> Document:
    """The parts of a host configuration that lead a container's questions to us, and to nobody else.

    Resolvers that its user gave are asked by us: some C libraries ask all that they are given at once and believe the first,
    and no other resolver knows our names.
    """
    return {"Dns": [SERVICE_ADDRESS], "DnsSearch": search, "DnsOptions": DNS_OPTIONS}


def to_join(scene: Scene, host_id: int, local: dict[str, Local]) -> Iterator[Join]:
    """Containers of this host that were started by hand, ask for the network, and are not attached under their address."""
    for container in scene.containers.values():
        if not container.native or container.host_id != host_id or container.network != MANAGED or not container.ip:
            continue
        here = local.get(container.uuid)
        if here is not None and here.running and here.ip != container.ip:
            yield Join(here.external_id, container.ip, here.ip)
