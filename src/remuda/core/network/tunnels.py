"""Which tunnels a host keeps to which others, under which keys. Pure.

One connection per peer and key generation. While a key is rotated two generations stand side by side: a tunnel of the new one is
up before that of the old one is taken down, so nothing that is under way notices.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from remuda.core.network.scene import SceneHost

LATE_SECONDS, OVERLAP_SECONDS, AGAIN_SECONDS, RARELY_SECONDS = 2.0, 3.0, 2.0, 15.0
"""How long the host with the higher id waits for the other one to begin (it may be behind NAT and must begin itself); how long
an old tunnel stays beside its successor; how long after a beginning the next one is made, twice as long each time up to the last:
a host that comes back begins by itself."""
CONNECTING, IDLE, INSTALLED, CLOSING = "connecting", "idle", "installed", "closing"

UP = "up"
WAITING = "waits for the other host to begin"
REASONS = (
    (
        "AUTHENTICATION_FAILED",
        "refused: one of the two hosts does not have the environment's key, or is not of this environment",
    ),
    ("MAC mismatched", "refused: the other host shows another key than the environment's"),
    ("no shared key found", "refused: the other host's key is not known here"),
    (
        "NO_PROPOSAL_CHOSEN",
        "refused: the other host's strongSwan does not offer AES-GCM with ECP-256; use the same release there",
    ),
    (
        "TS_UNACCEPTABLE",
        "refused: the other host takes another tunnel address for this one's; it is not up to date yet",
    ),
    ("giving up after", "no answer; UDP 500 and 4500 must be open between the hosts"),
    ("Network is unreachable", "no route to the other host's address"),
    ("No route to host", "no route to the other host's address"),
    ("Operation not permitted", "this machine's firewall does not let UDP 500 and 4500 out"),
)
"""Words of charon's log, and what they mean for an operator; the first that fits counts."""


class Connection(NamedTuple):
    """A tunnel as it is to be. Identities carry host and key generation, so that each finds its key."""

    name: str
    peer: int
    generation: int
    remote: str
    local_id: str
    remote_id: str
    local_tunnel: str
    remote_tunnel: str


class Secret(NamedTuple):
    """A key, and a pattern of the identities that it goes with."""

    name: str
    key: str
    owner: str

    def __repr__(self) -> str:
        return f"Secret({self.name!r}, '***', {self.owner!r})"


class Standing(NamedTuple):
    """A tunnel as it is. ``state``: packets pass (``installed``), it is being made, it is there without use (``idle``), or it is
    being taken down."""

    name: str
    state: str
    number: str = ""
    """What the daemon calls it."""


class Times(NamedTuple):
    """Seconds: that a peer has had no tunnel of the generation in use (or newer); since a connection was last begun; that a
    peer has had tunnels of several generations. And how often a connection was begun since it last stood."""

    lacking: Mapping[int, float]
    begun: Mapping[str, float]
    doubled: Mapping[int, float]
    tries: Mapping[str, int]


class Steps(NamedTuple):
    """What to do now, and after how many seconds there will be more. ``terminate`` holds the daemon's own numbers."""

    initiate: tuple[str, ...]
    terminate: tuple[str, ...]
    wake: float | None = None


def identity(uuid: str, generation: int) -> str:
    """A host's name toward others under a key generation."""
    return f"{uuid}.{_realm(generation)}"


def _realm(generation: int) -> str:
    return f"g{generation}.remuda.internal"


def connections(own: SceneHost, peers: Iterable[SceneHost], generations: Iterable[int]) -> dict[str, Connection]:
    """All connections that must be known here, by name."""
    known = sorted(generations)
    found = {}
    for peer in peers:
        if not (peer.tunnel and peer.agent_ip and own.tunnel):
            continue
        for generation in known:
            name = f"p{peer.id}g{generation}"
            found[name] = Connection(
                name, peer.id, generation, peer.agent_ip, identity(own.uuid, generation), identity(peer.uuid, generation),
                own.tunnel, peer.tunnel,
            )  # fmt: skip
    return found


def secrets(keys: Mapping[int, str]) -> dict[str, Secret]:
    """All keys, by name. They go with whole generations, so they change when keys do and not with every host."""
    return {f"k{g}": Secret(f"k{g}", key, f"*.{_realm(g)}") for g, key in keys.items()}


def generations_up(wanted: Mapping[str, Connection], standing: Iterable[Standing]) -> dict[int, set[int]]:
    """For each peer with a tunnel, the key generations of its tunnels."""
    up: dict[int, set[int]] = {}
    for one in standing:
        if one.state == INSTALLED and one.name in wanted:
            up.setdefault(wanted[one.name].peer, set()).add(wanted[one.name].generation)
    return up


def steps(
    own_id: int, wanted: Mapping[str, Connection], standing: Collection[Standing], use: int, times: Times
) -> Steps:
    """The next steps.

    A tunnel of a newer generation than the one in use is as good: the other host has heard of the change first. Only what is
    older than the newest that stands is taken down, so two hosts that know different things never take down each other's.
    """
    up = generations_up(wanted, standing)
    making = {one.name for one in standing if one.state == CONNECTING}
    initiate, terminate = [], []
    waits = [AGAIN_SECONDS] if making else []
    for connection in wanted.values():
        if connection.generation != use or connection.name in making:
            continue
        if max(up.get(connection.peer, ()), default=0) >= use:
            continue
        wait = _pause(own_id, connection, times)
        if wait > 0:
            waits.append(wait)
        else:
            initiate.append(connection.name)
    for one in standing:
        known = wanted.get(one.name)
        if one.state == CLOSING:
            continue
        if known is None:
            terminate.append(one.number)
        elif known.generation < max(up.get(known.peer, ()), default=0):
            wait = OVERLAP_SECONDS - times.doubled.get(known.peer, 0.0)
            if one.state != INSTALLED or wait <= 0:
                terminate.append(one.number)
            else:
                waits.append(wait)
    return Steps(tuple(initiate), tuple(terminate), min(waits, default=None))


def _pause(own_id: int, connection: Connection, times: Times) -> float:
    """Seconds until a connection that does not stand is to be begun."""
    tries = times.tries.get(connection.name, 0)
    again = min(RARELY_SECONDS, AGAIN_SECONDS * 2.0 ** min(tries - 1, 10)) if tries else 0.0
    late = 0.0 if own_id < connection.peer else LATE_SECONDS
    return max(again - times.begun.get(connection.name, again), late - times.lacking.get(connection.peer, 0.0))


def settled(wanted: Mapping[str, Connection], standing: Iterable[Standing], use: int) -> bool:
    """Is every tunnel that stands one of this generation or newer? Then nobody here needs an older key."""
    return all(max(found) >= use for found in generations_up(wanted, standing).values())


def condition(
    own_id: int, wanted: Mapping[str, Connection], standing: Iterable[Standing], reasons: Mapping[int, str]
) -> dict[int, str]:
    """What is said of the tunnel to each peer; ``reasons`` is what was heard of those that are down."""
    up = generations_up(wanted, standing)
    peers = dict.fromkeys(connection.peer for connection in wanted.values())
    return {
        peer: UP if peer in up else f"down: {reasons.get(peer) or ('being made' if own_id < peer else WAITING)}"
        for peer in peers
    }


def reason(line: str) -> str:
    """What a line of the daemon's log says about why there is no tunnel; empty when nothing."""
    return next((meaning for words, meaning in REASONS if words in line), "")
