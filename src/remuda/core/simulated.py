"""Simulated hosts in values: how one is asked for, what its machine is like, and what containers order it to do.

The words are those of the simulator of 1.x, which programs that test against a server rely on. Nothing here runs anything; who
plays such a host is in :mod:`remuda.run.simulated`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from remuda.core.wire import HostFacts

SCHEME = "sim://"
"""Beginning of the ``uri`` of a simulated agent; what follows names it."""
IMAGE = "sim:"
"""Beginning of the image of a container that only a simulated host can run."""
KIND = "sim"
"""Kind of the hosts."""
KNOBS = "AgentConnectionSimulator"
"""Last word of the key under which an agent's ``data`` says what its machine is like."""
DISCONNECTED = "disconnected"
"""Key of an agent's ``data``: its machine is there and cannot be reached."""
CONSOLE = {"kind": "fake", "url": "http://localhost/console"}
"""What stands for the console of a simulated container."""

ACTIVATE, DEACTIVATE, REMOVE = "compute.instance.activate", "compute.instance.deactivate", "compute.instance.remove"
PULL = "storage.image.activate"
"""What 1.x called the orders to a host, as the words of failures name them."""

DOCKER_VERSION, KERNEL = "1.12.6", "4.9.0"
MEBI, GIBI = 1024**2, 1024**3

_FAIL = re.compile(r"([a-z]+(?:\.[a-z]+)+)::fail")
_SHUTDOWN = re.compile(r"simShutdownAfter[^0-9]{1,4}(\d{1,6})")
_ANOTHER = re.compile(r"simCreateAnother_([A-Za-z0-9_.-]{1,128})")


class Knobs(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an agent's data may say of its machine. Pools and machines of their own are accepted, and are always one."""

    external_id: str = ""
    hosts: int = 1
    storage_pools_per_host: int = 1
    add_physical_host: bool = True
    milli_cpu: int = 4000
    memory: int = 8 * GIBI
    local_storage_mb: int = 100_000
    ip_address: str = "192.168.0.21"


class Orders(NamedTuple):
    """What a container orders its host to do."""

    failing: frozenset[str] = frozenset()
    """The orders of the server that are to be refused."""
    shutdown_after: float | None = None
    """It ends so many seconds after its start."""
    forget: bool = False
    """It is gone as soon as it was started."""
    disconnect: bool = False
    """The host cannot be reached from its start on."""
    another: str = ""
    """A container with this id is there beside it that nobody asked for."""


def is_simulated(uri: str) -> bool:
    """Does an agent with this ``uri`` speak for a simulated host?"""
    return uri.startswith(SCHEME)


def knobs(data: Mapping[str, Any]) -> Knobs:
    """The machine that an agent's data describes. Raises ValueError with the knob that cannot be."""
    found: Any = next((v for k, v in data.items() if str(k).rpartition(".")[2] == KNOBS), {})
    try:
        told = msgspec.convert(found or {}, Knobs, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"{KNOBS}: {error}") from None
    if told.hosts != 1:
        raise ValueError(f"{KNOBS}: an agent speaks for one host here: make {told.hosts} agents, or leave 'hosts' out")
    if min(told.milli_cpu, told.memory, told.local_storage_mb) <= 0:
        raise ValueError(f"{KNOBS}: milliCpu, memory and localStorageMb are greater than 0")
    return told


def facts(uuid: str, told: Knobs) -> HostFacts:
    """What the machine says of itself."""
    cores = max(1, round(told.milli_cpu / 1000))
    disk = {"total": told.local_storage_mb, "used": 0, "free": told.local_storage_mb}
    memory = told.memory // MEBI
    return HostFacts(
        hostname=f"testhost-{uuid}",
        agent_ip=told.ip_address,
        docker_version=DOCKER_VERSION,
        kernel=KERNEL,
        info={
            "cpuInfo": {
                "count": cores,
                "mhz": 1000.0,
                "modelName": "Simulated",
                "cpuCoresPercentages": [0.0] * cores,
                "loadAvg": [0.0, 0.0, 0.0],
            },
            "memoryInfo": {"memTotal": memory, "memFree": memory, "memAvailable": memory},
            "diskInfo": {"mountPoints": {"/": disk}, "dockerStorageDriver": "memory"},
            "osInfo": {
                "operatingSystem": "Simulated",
                "kernelVersion": KERNEL,
                "dockerVersion": f"Docker version {DOCKER_VERSION}",
            },
        },
    )


def orders(text: str) -> Orders:
    """The orders in what a host is told of a container (JSON): in its name, labels, environment or command."""
    if "::fail" not in text and "sim" not in text:
        return Orders()
    shutdown, another = _SHUTDOWN.search(text), _ANOTHER.search(text)
    return Orders(
        failing=frozenset(_FAIL.findall(text)),
        shutdown_after=float(shutdown[1]) if shutdown else None,
        forget="simForgetImmediately" in text,
        disconnect="simDisconnectAgent" in text,
        another=another[1] if another else "",
    )
