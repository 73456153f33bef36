"""Who belongs to the cluster: slots for nodes, voters of the ensemble, and when one may take another's place.

Two things are kept apart. A *slot* (1..N) is a node's right to be one of the N; it is a row under a unique constraint. A
*voter* is one ZooKeeper server with a number that is never used again; the list of voters changes one step at a time:

1. a slot holder without a voter becomes ``joining`` under a new number (written down before anything is started);
2. its server starts, and when it answers, ONE change of the ensemble lets it in and a voter that nobody stands behind out;
3. what the ensemble then says of itself is written down.

Stopped after any step, the same rules go on from there, whoever applies them. There is one ensemble for ever, because its
first list of voters is one row that only one writer can insert; everybody later gets in through step 2.

Time comes in as seconds that only grow, measured by the observer: nobody's clock is ever compared with another's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

SIZES = (1, 3, 5)
BEAT_EVERY = 2.0
LONGEST_STEP = 3 * BEAT_EVERY
"""More silence than this is never counted between two looks: then it was the observer who slept, or the database."""


class Node(msgspec.Struct, frozen=True):
    """A management node as these rules see it."""

    uuid: str
    slot: int | None
    address: str
    beat: int = 0


class Voter(msgspec.Struct, frozen=True):
    """One ZooKeeper server: its number, the node it runs on, and the address it was entered with."""

    id: int
    node: str
    address: str


class Ensemble(msgspec.Struct, frozen=True):
    """The voters, the one that is on its way in, and the next number to give."""

    voters: tuple[Voter, ...]
    joining: Voter | None = None
    next_id: int = 1
    epoch: int = 1
    """Raised when all servers must take this list from here instead of from each other (see :func:`readdress`)."""

    @property
    def known(self) -> tuple[Voter, ...]:
        """Voters and the joining one."""
        return self.voters + ((self.joining,) if self.joining else ())


def majority(count: int) -> int:
    """How many of ``count`` make a decision."""
    return count // 2 + 1


def may_fail(count: int) -> int:
    """How many of ``count`` may be away."""
    return count - majority(count)


# ---------------------------------------------------------------- silence


class Look(msgspec.Struct, frozen=True):
    """What one observer remembers of one node: its last beat, and for how long it has not moved."""

    beat: int
    silent: float = 0.0


class Watch(msgspec.Struct, frozen=True):
    """What one observer remembers of all nodes, and when (by its own growing seconds) it looked last."""

    at: float = 0.0
    looks: dict[str, Look] = {}

    def look(self, nodes: Iterable[Node], now: float) -> Watch:
        """Look again. A beat that moved means alive, whatever number it shows."""
        step = min(max(now - self.at, 0.0), LONGEST_STEP)
        looks: dict[str, Look] = {}
        for node in nodes:
            before = self.looks.get(node.uuid)
            same = before is not None and before.beat == node.beat
            looks[node.uuid] = Look(node.beat, before.silent + step if same and before else 0.0)
        return Watch(now, looks)

    def silent(self, uuid: str) -> float:
        """Seconds of counted silence."""
        look = self.looks.get(uuid)
        return look.silent if look else 0.0

    def alive(self, uuid: str) -> bool:
        """Did it beat within the last few looks?"""
        return uuid in self.looks and self.looks[uuid].silent < 3 * BEAT_EVERY


# ---------------------------------------------------------------- slots


class Claim(msgspec.Struct, frozen=True):
    """Take ``slot``; from ``evict`` (a node's uuid) if it is not free."""

    slot: int
    evict: str | None
    because: str


class Stay(msgspec.Struct, frozen=True):
    """Nothing to claim."""

    because: str


def plan_slot(
    me: str, nodes: Sequence[Node], size: int, watch: Watch, lost_after: float, given_up: Collection[str] = ()
) -> Claim | Stay:
    """May the node ``me`` take a slot? ``given_up`` are nodes that the operator said will not return."""
    mine = next((node for node in nodes if node.uuid == me), None)
    if mine is not None and mine.slot is not None and mine.slot <= size:
        return Stay(f"this node holds place {mine.slot} of {size}")
    taken = {node.slot: node for node in nodes if node.slot is not None}
    for slot in range(1, size + 1):
        if slot not in taken:
            return Claim(slot, None, f"place {slot} of {size} is free")
    waiting: list[str] = []
    for slot in range(1, size + 1):
        other = taken[slot]
        silent = watch.silent(other.uuid)
        if other.uuid in given_up and not watch.alive(other.uuid):
            return Claim(slot, other.uuid, f"the operator gave up the node at {other.address}, which held place {slot}")
        if silent > lost_after:
            return Claim(slot, other.uuid, f"the node at {other.address} (place {slot}) is silent for {silent:.0f} s")
        if not watch.alive(other.uuid):
            waiting.append(f"{other.address} is silent for {silent:.0f} s of {lost_after:.0f}")
    if waiting:
        return Stay(f"all {size} places are taken; this spare takes over soon: {', '.join(waiting)}")
    return Stay(
        f"all {size} places are taken by live nodes; this node is a spare and takes over if one of them is lost"
    )


# ---------------------------------------------------------------- the first ensemble


def bootstrap(nodes: Sequence[Node], size: int, watch: Watch, waited: float, patience: float) -> Ensemble | str:
    """The first list of voters, or one sentence on what is missing.

    All places taken: at once. A majority alive but the rest missing for longer than ``patience``: with those; the others join
    later. The caller stores the answer with an insert that fails if the row exists, so two answers can never both count.
    """
    holders = sorted((n for n in nodes if n.slot is not None and n.slot <= size), key=lambda n: n.slot or 0)
    alive = [node for node in holders if watch.alive(node.uuid)]
    missing = [slot for slot in range(1, size + 1) if slot not in {node.slot for node in alive}]
    if missing and (len(alive) < majority(size) or waited < patience):
        have = ", ".join(node.address for node in alive) or "none yet"
        more = "s" if len(missing) > 1 else ""
        return (
            f"waiting for {len(missing)} more node{more} of {size} (here: {have}); "
            "run the same remuda-ha.sh on the others, and see that all nodes reach the database"
        )
    voters = tuple(Voter(number, node.uuid, node.address) for number, node in enumerate(alive, 1))
    return Ensemble(voters, None, len(voters) + 1)


# ---------------------------------------------------------------- changes of the ensemble


class Write(msgspec.Struct, frozen=True):
    """Write this down (if nobody wrote since), then plan again."""

    ensemble: Ensemble
    because: str


class Change(msgspec.Struct, frozen=True):
    """One change of the running ensemble, whole or not at all."""

    join: Voter | None
    leave: int | None
    because: str


class Rest(msgspec.Struct, frozen=True):
    """Nothing to do, or nothing that can be done now."""

    because: str
    state: Literal["well", "waiting"] = "well"


def plan_ensemble(
    ensemble: Ensemble, nodes: Sequence[Node], size: int, actual: Collection[int] | None, ready: Collection[int]
) -> Write | Change | Rest:
    """The next step.

    ``actual``: numbers that the running ensemble names as its voters, None when it has no quorum to say so. ``ready``:
    numbers of servers that answer (a joining one answers as soon as it follows the leader).
    """
    if actual is not None:
        settled = _adopt(ensemble, actual)
        if settled != ensemble:
            return Write(settled, "the ensemble has changed; noting what it says of itself")
    holders = {n.uuid: n for n in nodes if n.slot is not None and n.slot <= size}
    joining = ensemble.joining
    if joining is not None:
        node = holders.get(joining.node)
        if node is None or node.address != joining.address:
            return Write(msgspec.structs.replace(ensemble, joining=None), f"{joining.address} is no longer to join")
    current = {voter.node for voter in ensemble.voters if _stands(voter, holders)}
    if joining is None:
        for node in sorted(holders.values(), key=lambda n: n.slot or 0):
            if node.uuid not in current:
                voter = Voter(ensemble.next_id, node.uuid, node.address)
                grown = msgspec.structs.replace(ensemble, joining=voter, next_id=ensemble.next_id + 1)
                return Write(grown, f"{node.address} holds place {node.slot} and is to vote as server {voter.id}")
        return _shrink(ensemble, holders, size, actual, ready)
    if actual is None:
        need = majority(len(ensemble.voters))
        message = f"{joining.address} cannot be let in before {need} of the {len(ensemble.voters)} old voters are back"
        return Rest(message, "waiting")
    if joining.id not in ready:
        return Rest(f"waiting for ZooKeeper on {joining.address} (server {joining.id}) to follow the leader", "waiting")
    idle = [voter for voter in ensemble.voters if not _stands(voter, holders)]
    leave = idle[0].id if idle else None
    after = {v.id for v in ensemble.voters if v.id != leave} | {joining.id}
    up = after & set(ready)
    if len(up) < majority(len(after)):
        return Rest(
            f"only {len(up)} of the {len(after)} voters of the new list answer; a change would lose quorum", "waiting"
        )
    out = f", server {leave} goes" if leave is not None else ""
    return Change(joining, leave, f"{joining.address} joins the ensemble as server {joining.id}{out}")


def _shrink(
    ensemble: Ensemble, holders: Mapping[str, Node], size: int, actual: Collection[int] | None, ready: Collection[int]
) -> Change | Rest:
    """A cluster that became smaller lets servers go that nobody stands behind, one by one."""
    idle = [voter for voter in ensemble.voters if not _stands(voter, holders)]
    if actual is None or not idle or len(ensemble.voters) <= size:
        return Rest(f"all {len(ensemble.voters)} voters are in place")
    gone = idle[-1]
    after = {voter.id for voter in ensemble.voters if voter.id != gone.id}
    if len(after & set(ready)) < majority(len(after)):
        return Rest(f"server {gone.id} is to go, but too few of the others answer", "waiting")
    return Change(None, gone.id, f"the cluster is to have {size} voters: server {gone.id} ({gone.address}) goes")


def _stands(voter: Voter, holders: Mapping[str, Node]) -> bool:
    node = holders.get(voter.node)
    return node is not None and node.address == voter.address


def _adopt(ensemble: Ensemble, actual: Collection[int]) -> Ensemble:
    """What is written, brought in line with what runs; unknown numbers are left alone (they are not ours to judge)."""
    voters = tuple(voter for voter in ensemble.known if voter.id in actual)
    if not voters:
        return ensemble
    joining = ensemble.joining if ensemble.joining and ensemble.joining.id not in actual else None
    return msgspec.structs.replace(ensemble, voters=voters, joining=joining)


def readdress(ensemble: Ensemble, nodes: Sequence[Node], watch: Watch) -> Ensemble | None:
    """The same voters at their nodes' new addresses, when so many moved that no change could ever be agreed upon.

    Safe because a node runs one server only: whichever majority answers at new addresses, it is made of the very servers
    (numbers and data) that made the old one. None while a majority still is where the list says, or not all movers are alive.
    """
    by_uuid = {node.uuid: node for node in nodes if node.slot is not None}
    moved = [v for v in ensemble.voters if v.node in by_uuid and by_uuid[v.node].address != v.address]
    if len(ensemble.voters) - len(moved) >= majority(len(ensemble.voters)):
        return None
    if sum(watch.alive(v.node) for v in ensemble.voters) < majority(len(ensemble.voters)):
        return None
    voters = tuple(
        Voter(v.id, v.node, by_uuid[v.node].address if v.node in by_uuid else v.address) for v in ensemble.voters
    )
    return Ensemble(voters, None, ensemble.next_id, ensemble.epoch + 1)


def refound(ensemble: Ensemble, nodes: Sequence[Node], size: int, watch: Watch) -> Ensemble | None:
    """A new ensemble of the nodes that are there, when so many voters are gone for good that the old one cannot answer.

    Gone for good means what it means for a place: silent so long that another node took it. All places must be held by live
    nodes, and no voter that lost its place may be alive. A part of the old ensemble that still runs where nobody sees it
    cannot do harm: it has no way to the database either, and what its servers may have been granted is outnumbered.
    """
    holders = sorted((n for n in nodes if n.slot is not None and n.slot <= size), key=lambda n: n.slot or 0)
    if len(holders) < size or not all(watch.alive(node.uuid) for node in holders):
        return None
    by_uuid = {node.uuid: node for node in holders}
    standing = [voter for voter in ensemble.voters if voter.node in by_uuid]
    if len(standing) >= majority(len(ensemble.voters)):
        return None
    if any(watch.alive(voter.node) for voter in ensemble.voters if voter.node not in by_uuid):
        return None
    first = ensemble.next_id
    voters = tuple(Voter(first + index, node.uuid, node.address) for index, node in enumerate(holders))
    return Ensemble(voters, None, first + len(voters), ensemble.epoch + 1)


# ---------------------------------------------------------------- stopping a node on purpose


def may_stop(ensemble: Ensemble, node: str, answering: Collection[int]) -> str:
    """Empty when the node may be stopped (upgraded, restarted) without losing quorum, else why not."""
    after = {v.id for v in ensemble.voters if v.node != node} & set(answering)
    need = majority(len(ensemble.voters))
    if len(ensemble.voters) == 1 or len(after) >= need:
        return ""
    left = f"{len(after)} of {len(ensemble.voters)} voters"
    return f"stopping this node would leave {left} and {need} are needed; bring the others up first"


def check_invariants(ensemble: Ensemble, size: int) -> list[str]:
    """What must hold whatever happened; an empty list when it does."""
    ids = [voter.id for voter in ensemble.known]
    wrong: list[str] = []
    if len(set(ids)) != len(ids):
        wrong.append("two servers share a number")
    if ids and ensemble.next_id <= max(ids):
        wrong.append("a number could be given twice")
    if not ensemble.voters:
        wrong.append("there is no voter")
    if len(ensemble.voters) > size:
        wrong.append(f"{len(ensemble.voters)} voters in a cluster of {size}")
    places = [(voter.node, voter.address) for voter in ensemble.known]
    if len(set(places)) != len(places):
        wrong.append("one node is entered twice with the same address")
    return wrong
