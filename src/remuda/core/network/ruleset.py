"""The rules of a host's packet filter, as one value and as nftables text. Pure.

The whole table is replaced in one step whenever it changes, so there is never a moment with half of the rules; connections that
stand are not touched by that.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

from remuda.core.network.policy import ALLOW, DENY, Filter, Policy
from remuda.core.network.scene import Scene
from remuda.core.placement.values import ANY_ADDRESS

TABLE = "remuda"
PROTOCOLS = ("tcp", "udp")


@dataclass(frozen=True, slots=True, order=True)
class Forward:
    """Packets for a port of this host (``bind`` empty: of any of its addresses) go to a container."""

    protocol: str
    bind: str
    public: int
    address: str
    private: int


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Everything that the filter of one host does for us."""

    bridge: str
    subnet: str
    forwards: tuple[Forward, ...] = field(default_factory=tuple)
    policy: Filter | None = None


def wanted(scene: Scene, host_id: int, bridge: str) -> Ruleset | None:
    """The rules of one host; None while it is not known what they are to be."""
    if scene.network is None or host_id not in scene.hosts:
        return None
    forwards: dict[tuple[str, str, int], Forward] = {}
    for number in sorted(scene.containers):
        container = scene.containers[number]
        if container.host_id != host_id or not container.ip or container.native:
            continue
        for port in container.ports:
            if not port.public or port.protocol not in PROTOCOLS:
                continue
            bind = "" if port.bind in ANY_ADDRESS or not _is_ipv4(port.bind) else port.bind
            key = (port.protocol, bind, port.public)
            if key not in forwards or container.live:
                forwards[key] = Forward(port.protocol, bind, port.public, container.ip, port.private)
    return Ruleset(bridge, scene.network.subnet, tuple(sorted(forwards.values())), Policy(scene).compile(host_id))


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def render(rules: Ruleset) -> str:
    """The table as text for ``nft -f``: an atomic replacement of whatever was there."""
    lines = [f"add table ip {TABLE}", f"delete table ip {TABLE}", f"table ip {TABLE} {{"]
    for protocol in PROTOCOLS:
        lines += _map(f"{protocol}_any", "inet_service", _any(rules.forwards, protocol))
        lines += _map(f"{protocol}_at", "ipv4_addr . inet_service", _at(rules.forwards, protocol))
    lines += [
        "chain publish {",
        *(
            line
            for protocol in PROTOCOLS
            for line in (
                f"dnat ip to ip daddr . {protocol} dport map @{protocol}_at",
                f"dnat ip to {protocol} dport map @{protocol}_any",
            )
        ),
        "}",
        # published ports at 127.0.0.1 need packets of the loopback to cross the bridge; nobody there may send such ones
        "chain guard { type filter hook prerouting priority -305; policy accept;",
        f'iifname "{rules.bridge}" ip daddr 127.0.0.0/8 drop',
        f'iifname "{rules.bridge}" ip saddr 127.0.0.0/8 drop',
        "}",
        "chain prerouting { type nat hook prerouting priority -105; policy accept;",
        "fib daddr type local jump publish",
        "}",
        "chain output { type nat hook output priority -105; policy accept;",
        "fib daddr type local jump publish",
        "}",
        "chain postrouting { type nat hook postrouting priority 95; policy accept;",
        # a container that reaches another one, or itself, through a port of its own host must get the answer from there
        f'ct status dnat oifname "{rules.bridge}" ip saddr {rules.subnet} masquerade',
        f'ct status dnat oifname "{rules.bridge}" ip saddr 127.0.0.0/8 masquerade',
        "}",
        *(_policy(rules.policy, rules) if rules.policy is not None else ()),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _policy(policy: Filter, rules: Ruleset) -> list[str]:
    """A chain for each container of this host, found by its address; sets of the sources that rules speak of."""
    lines = []
    for name, addresses in sorted({**policy.sets, "exempt": policy.exempt}.items()):
        elements = f" elements = {{ {', '.join(sorted(addresses))} }}" if addresses else ""
        lines += [f"set {name} {{ type ipv4_addr;{elements}", "}"]
    for door in policy.doors:
        lines.append(f"chain {_chain(door.address)} {{")
        lines += [f"ip saddr @{name} {'accept' if action == ALLOW else 'drop'}" for name, action in door.steps]
        lines += [*(["drop"] if policy.default == DENY else []), "}"]
    doors = ", ".join(f"{door.address} : jump {_chain(door.address)}" for door in policy.doors)
    lines += [
        "chain guarded { type filter hook forward priority -10; policy accept;",
        # answers pass; what was asked is judged packet by packet, so that a new rule holds for open connections too
        "ct state related accept",
        "ct direction reply accept",
        # from elsewhere than the container network: ports are published to everybody; nobody on it is from elsewhere
        f'iifname != "{rules.bridge}" accept',
        f'oifname != "{rules.bridge}" accept',
        f"ip saddr != {rules.subnet} drop",
        "ip saddr @exempt accept",
        *([f"ip daddr vmap {{ {doors} }}"] if doors else []),
        "}",
    ]
    return lines


def render_guard(rules: Ruleset, overlay: str) -> str:
    """The table of the bridge that holds containers to their addresses, as policy knows them by nothing else.

    What comes by the device ``overlay`` was held to that by its own host.
    """
    lines = [f"add table bridge {TABLE}", f"delete table bridge {TABLE}"]
    if rules.policy is None:
        return "\n".join(lines) + "\n"
    pairs = ", ".join(f"{mac} . {address}" for mac, address in sorted(rules.policy.own))
    macs = ", ".join(sorted({mac for mac, _ in rules.policy.own}))
    lines += [
        f"table bridge {TABLE} {{",
        f"set own {{ type ether_addr . ipv4_addr;{f' elements = {{ {pairs} }}' if pairs else ''}",
        "}",
        f"set macs {{ type ether_addr;{f' elements = {{ {macs} }}' if macs else ''}",
        "}",
        "chain forged { type filter hook prerouting priority -300; policy accept;",
        f'iifname "{overlay}" accept',
        "ether saddr . ip saddr @own accept",
        f"ip saddr {rules.subnet} drop",
        "ether saddr @macs ether type != arp drop",
        "}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _chain(address: str) -> str:
    return "to_" + address.replace(".", "_")


def _map(name: str, key: str, elements: list[str]) -> list[str]:
    body = f" elements = {{ {', '.join(elements)} }}" if elements else ""
    return [f"map {name} {{ type {key} : ipv4_addr . inet_service;{body}", "}"]


def _any(forwards: Iterable[Forward], protocol: str) -> list[str]:
    return [f"{f.public} : {f.address} . {f.private}" for f in forwards if f.protocol == protocol and not f.bind]


def _at(forwards: Iterable[Forward], protocol: str) -> list[str]:
    return [f"{f.bind} . {f.public} : {f.address} . {f.private}" for f in forwards if f.protocol == protocol and f.bind]
