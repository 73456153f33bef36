"""Who watches whom, and what to think of what they see. Pure.

Observers are chosen by rendezvous hashing: every host and every server works out the same ones from the same scene, and when a
host comes or goes, only the checks that it wins or held move.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from remuda.core.network.scene import Scene, SceneContainer, SceneHost

OBSERVERS = 3


def observers(scene: Scene, container: SceneContainer, watchers: Watchers | None = None) -> list[int]:
    """The hosts that probe a container: up to three others, its own only where there is no other; its own for a command."""
    check = container.health_check
    if check is None or container.host_id is None:
        return []
    if check.command:
        return [container.host_id] if container.host_id in scene.hosts else []
    return (watchers or Watchers(scene.hosts.values())).of(container.uuid, container.host_id)


def choose(uuid: str, own: int, hosts: Iterable[SceneHost]) -> list[int]:
    """The best three of the hosts that can probe."""
    return Watchers(hosts).of(uuid, own)


class Watchers:
    """Who observes what among these hosts. Remembers its answers: thousands are asked for again at every change."""

    def __init__(self, hosts: Iterable[SceneHost]) -> None:
        self._able = able(hosts)
        self._known: dict[tuple[str, int], list[int]] = {}

    def fits(self, hosts: Iterable[SceneHost]) -> bool:
        """Would these hosts give the same answers?"""
        return self._able == able(hosts)

    def of(self, uuid: str, own: int) -> list[int]:
        """The hosts that probe the container ``uuid`` on host ``own``."""
        found = self._known.get((uuid, own))
        if found is None:
            others = [(_score(uuid, name), number) for number, name in self._able if number != own]
            ranked = [number for _, number in sorted(others)[:OBSERVERS]]
            found = ranked or [number for number, _ in self._able if number == own]
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[uuid, own] = found
        return found


_REMEMBERED = 50_000


def able(hosts: Iterable[SceneHost]) -> list[tuple[int, str]]:
    """The hosts that can probe: those that are connected and have an address on the managed network."""
    return sorted((host.id, host.uuid) for host in hosts if host.ip and host.connected)


def _score(uuid: str, host: str) -> bytes:
    return hashlib.blake2b(f"{uuid} {host}".encode(), digest_size=8).digest()


HEALTHY, UNHEALTHY, INITIALIZING, REINITIALIZING = "healthy", "unhealthy", "initializing", "reinitializing"
PASSING, FAILING = "passing", "failing"
WELL = frozenset({"", HEALTHY, "updating-healthy"})
"""Words for a container that may get traffic, as far as health is concerned."""


class Seen(NamedTuple):
    """What one observer last saw: ``host_id`` 0 = the container's own engine (its HEALTHCHECK)."""

    host_id: int
    passing: bool
    message: str = ""


class Verdict(NamedTuple):
    """The word for a container's health, and the sentence behind it."""

    state: str
    because: str


def verdict(before: str, seen: Collection[Seen], watching: Collection[int], *, restarted: bool, waited: float | None,
            limit: float | None) -> Verdict:  # fmt: skip
    """What to think of a running container.

    ``seen``: what live observers saw of this very run of it. ``watching``: the live observers that are to watch it.
    ``restarted``: this is another run than the one that ``before`` was said of. ``waited``: seconds since it began to be
    waited for, and ``limit`` how long that may take; None = for ever.

    It is healthy when one live observer passes. It is unhealthy only when there are live observers and all of them fail, and
    only after it was healthy; before that it is given ``limit``. An observer that is gone says nothing, neither good nor bad.
    """
    passing = [one for one in seen if one.passing]
    failing = [one for one in seen if not one.passing]
    if passing:
        return Verdict(HEALTHY, "")
    state = before
    if restarted or state in ("", REINITIALIZING) or state not in (HEALTHY, UNHEALTHY, INITIALIZING):
        state = REINITIALIZING if before in (HEALTHY, REINITIALIZING, UNHEALTHY) else INITIALIZING
    if state in (INITIALIZING, REINITIALIZING):
        if limit is not None and waited is not None and waited >= limit:
            return Verdict(UNHEALTHY, f"It was not healthy within {limit:.0f} s{_words(failing)}")
        return Verdict(state, f"Not healthy yet{_words(failing)}")
    if state == HEALTHY and failing and {one.host_id for one in failing} >= {*watching}:
        count = len(failing)
        return Verdict(
            UNHEALTHY, f"{'Its observer sees' if count == 1 else f'All {count} observers see'} it fail{_words(failing)}"
        )
    return Verdict(state, "" if state == HEALTHY else f"It fails{_words(failing)}")


MASS = 4
"""Fewer containers that fail are not a calamity: they may well be at fault themselves."""
CALAMITY_SECONDS = 300.0
"""What lasts longer is no cut in the network: then it is made anew after all, one after the other."""


def calamity(hosts: int, away: int, checked: int, unhealthy: int, places: int) -> str:
    """Why nothing that is unhealthy should be made anew just now; empty if nothing speaks against it.

    ``away`` of an environment's ``hosts`` are not connected. ``unhealthy`` of its ``checked`` running containers are, on
    ``places`` different hosts. When most of what there is fails at once, it is not the containers that are broken but what lies
    between them and their observers, and making all of them anew would turn a short cut into a long failure.
    """
    if away > 1 and away * 2 > hosts:
        return f"{away} of {hosts} hosts are out of sight at once"
    if unhealthy >= MASS and unhealthy * 2 > checked and places > 1:
        return f"{unhealthy} of {checked} checked containers of the environment fail at once"
    return ""


def _words(failing: Sequence[Seen]) -> str:
    return f": {failing[0].message}" if failing and failing[0].message else ""
