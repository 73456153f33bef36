"""Which ports of a host lead to a container. Pure.

What a user chose is kept; what nobody chose gets a free number of the environment's range. A host may have several addresses for
published ports (label ``io.rancher.scheduler.ips``); a port without an address then goes to the first one where it is free.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import msgspec

from remuda.core.model import Host, Instance, Network, Port
from remuda.core.placement.values import clash, parse_port, port_addresses
from remuda.core.spec import LaunchConfig


def wanted(spec: LaunchConfig) -> list[Port]:
    """The ports that a launch configuration publishes; public 0 where any will do."""
    found = [port for text in spec.ports if (port := parse_port(text)) is not None]
    if spec.publish_all_ports:
        known = {(port.private, port.protocol) for port in found}
        exposed = [port for text in spec.expose if (port := parse_port(text)) is not None]
        found += [Port(p.private, 0, p.protocol) for p in exposed if (p.private, p.protocol) not in known]
    return found


def publish(instance: Instance, host: Host, taken: Iterable[Port], network: Network) -> list[Port]:
    """The ports that a container gets on a host, where ``taken`` are others'. Those it has are kept where they still fit.

    A port for which there is no room is left out; placement sees to it that this does not happen.
    """
    used = list(taken)
    before = {(p.private, p.protocol, p.bind): p for p in instance.published}
    places = port_addresses(host.all_labels)
    given: list[Port] = []
    for port in wanted(instance.spec):
        old = before.get((port.private, port.protocol, port.bind))
        choices = [port.bind] if port.bind or not places else places
        found = None
        if old is not None and not port.public:
            found = _fits(msgspec.structs.replace(port, public=old.public, bind=old.bind), used)
        if found is None:
            found = next((f for bind in choices if (f := _find(port, bind, used, network, instance.uuid))), None)
        if found is not None:
            given.append(found)
            used.append(found)
    return given


def _find(port: Port, bind: str, used: Sequence[Port], network: Network, seed: str) -> Port | None:
    if port.public:
        return _fits(msgspec.structs.replace(port, bind=bind), used)
    size = network.port_last - network.port_first + 1
    start = zlib.crc32(f"{seed}/{port.private}/{port.protocol}".encode()) % size
    for step in range(size):
        public = network.port_first + (start + step) % size
        found = _fits(msgspec.structs.replace(port, public=public, bind=bind), used)
        if found is not None:
            return found
    return None


def _fits(port: Port, used: Sequence[Port]) -> Port | None:
    return None if any(clash(port, other) for other in used) else port
