"""Which other host is asked next, and what is said of it: reachable, reachable for small packets only, or not at all. Pure.

One lost packet says nothing, so a state changes after three in a row. However many hosts there are, the work of a second stays
the same: each is asked again only after all others had their turn.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from remuda.core.network.overlay import IPSEC
from remuda.core.network.scene import SceneHost

UP, SMALL, DOWN = "up", "small", "down"
SETTLED_SECONDS, DOUBTED_SECONDS = 5.0, 1.0
"""How soon a host is asked again: one whose state is settled, and one that is about to change it."""
IN_A_ROW, NEWCOMER = 3, 10
"""Checks in a row that change a state; a host that never answered is complained about only after so many: it may be starting."""
NAMED = 3
"""How many hosts a sentence names."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of another host. ``misses`` and ``shorts``: checks in a row without any answer, and without one to a packet
    of full size; both end a state only when there are :data:`IN_A_ROW`."""

    state: str = ""
    latency_ms: float = 0.0
    misses: int = 0
    shorts: int = 0

    @property
    def doubted(self) -> bool:
        """Is this state about to change, or not known yet?"""
        return self.state == "" or 0 < self.misses < IN_A_ROW or 0 < self.shorts < IN_A_ROW


def judge(before: Finding, round_trip: float | None, full: bool) -> Finding:
    """What a check adds. ``round_trip`` of a small packet in seconds, None when it was lost; ``full``: a large one came back."""
    if round_trip is None:
        misses = before.misses + 1
        return replace(before, misses=misses, state=DOWN if misses >= IN_A_ROW else before.state)
    latency = _steady(before.latency_ms, round_trip * 1000)
    if full:
        return Finding(UP, latency)
    shorts = before.shorts + 1
    return Finding(SMALL if shorts >= IN_A_ROW else before.state, latency, shorts=shorts)


def _steady(shown: float, now: float) -> float:
    """A figure that moves only when it is off by more than half, so that nobody is told news each second."""
    return shown if shown / 1.5 <= now <= shown * 1.5 else round(now, 2)


class Turns:
    """Who is to be asked when."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int]] = []
        self._known: set[int] = set()

    def members(self, hosts: Iterable[int], now: float) -> None:
        """These take part from now on; new ones at once, those that left no more."""
        wanted = set(hosts)
        for number in sorted(wanted - self._known):
            heapq.heappush(self._due, (now, number))
        if self._known - wanted:
            self._due = [turn for turn in self._due if turn[1] in wanted]
            heapq.heapify(self._due)
        self._known = wanted

    def next(self, now: float, most: int) -> list[int]:
        """Those whose turn it is, at most so many. Each must be given back with :meth:`again`."""
        found: list[int] = []
        while self._due and len(found) < most and self._due[0][0] <= now:
            found.append(heapq.heappop(self._due)[1])
        return found

    def again(self, number: int, finding: Finding, now: float) -> None:
        """It was asked; its next turn depends on what was found."""
        if number in self._known:
            heapq.heappush(self._due, (now + (DOUBTED_SECONDS if finding.doubted else SETTLED_SECONDS), number))


def sentence(finding: Finding, host: SceneHost, mtu: int, encryption: str) -> str:
    """What is wrong with the way to a host and what to do; empty when nothing is."""
    if finding.state == DOWN:
        return f"{_name(host)} does not answer over the managed network; {_doors(encryption)}"
    if finding.state == SMALL:
        return (
            f"packets of {mtu} bytes do not reach {_name(host)}, small ones do: something on the way takes less than "
            f"these hosts' links; mend that, or set a smaller MTU for the network and make its containers anew"
        )
    return ""


def complaint(findings: Mapping[int, Finding], hosts: Mapping[int, SceneHost], mtu: int, encryption: str) -> str:
    """What is wrong with the ways to all hosts that the server hears of; those that it does not hear of either are no news."""
    parts = []
    for state in (DOWN, SMALL):
        found = [
            hosts[n]
            for n, finding in sorted(findings.items())
            if finding.state == state and n in hosts and hosts[n].connected and not _starting(finding)
        ]
        if len(found) == 1:
            parts.append(sentence(Finding(state), found[0], mtu, encryption))
        elif found and state == DOWN:
            parts.append(f"{_names(found)} do not answer over the managed network; {_doors(encryption)}")
        elif found:
            parts.append(f"packets of {mtu} bytes do not reach {_names(found)}, small ones do; set a smaller MTU")
    return "; ".join(parts)


def _starting(finding: Finding) -> bool:
    return finding.state == DOWN and not finding.latency_ms and finding.misses < NEWCOMER


def _doors(encryption: str) -> str:
    ports = "500 and 4500" if encryption == IPSEC else "4789"
    return f"let UDP {ports} pass between the hosts, both ways"


def _name(host: SceneHost) -> str:
    return f"{host.name or host.hostname} ({host.agent_ip})"


def _names(hosts: list[SceneHost]) -> str:
    names = ", ".join(_name(host) for host in hosts[:NAMED])
    return names if len(hosts) <= NAMED else f"{names} and {len(hosts) - NAMED} others"
