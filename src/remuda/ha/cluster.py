"""The cluster's rows in the database: nodes that beat, slots, the ensemble. Units of work and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from remuda.core.membership import Claim, Ensemble, Node
from remuda.core.model import ClusterNode, HaGeneration, Setting
from remuda.ports.store import Tx, eq

ENSEMBLE = "ha.ensemble"
GIVEN_UP = "ha.given.up"
LOST_AFTER = "ha.node.lost.seconds"
DEFAULT_LOST_AFTER = 60.0


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A node as the others see it."""

    uuid: str
    slot: int | None
    address: str
    beat: int
    hostname: str = ""
    version: str = ""
    generation: int = 0
    fingerprint: str = ""
    parts: dict[str, Any] = {}

    @property
    def node(self) -> Node:
        """What the rules of membership look at."""
        return Node(self.uuid, self.slot, self.address, self.beat)


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster as the database showed it last."""

    members: list[Member] = []
    ensemble: Ensemble | None = None
    given_up: list[str] = []
    lost_after: float = DEFAULT_LOST_AFTER
    newest_generation: int = 0
    newest_fingerprint: str = ""
    beat_before: int = 0
    """The beat of this node's row before it was raised: who else raised it?"""

    def me(self, uuid: str) -> Member | None:
        """The row of the node ``uuid``."""
        return next((member for member in self.members if member.uuid == uuid), None)

    @property
    def nodes(self) -> list[Node]:
        """All nodes, for the rules."""
        return [member.node for member in self.members]


def beat(me: Member) -> Callable[[Tx], View]:
    """Say that this node lives, and read what there is. A node that is not entered yet is entered."""

    def unit(tx: Tx) -> View:
        facts: dict[str, Any] = {
            "address": me.address,
            "hostname": me.hostname,
            "name": me.hostname or me.address,
            "node_version": me.version,
            "generation": me.generation,
            "fingerprint": me.fingerprint,
            "parts": me.parts,
        }
        row = tx.first(ClusterNode, eq("uuid", me.uuid))
        before = row.beat if row else 0
        if row is None:
            tx.insert(ClusterNode(uuid=me.uuid, kind="clusterNode", beat=1, **facts))
        else:
            tx.update(row, beat=row.beat + 1, removed=None, **facts)
        return msgspec.structs.replace(_view(tx), beat_before=before)

    return unit


def read(tx: Tx) -> View:
    """Only read."""
    return _view(tx)


def _view(tx: Tx) -> View:
    members = [
        Member(
            uuid=row.uuid, slot=row.slot, address=row.address, beat=row.beat, hostname=row.hostname, version=row.node_version,
            generation=row.generation, fingerprint=row.fingerprint, parts=row.parts,
        )
        for row in tx.find(ClusterNode)
    ]  # fmt: skip
    newest = _newest(tx)
    settings = {row.name: row.value for row in tx.find(Setting) if row.name in (ENSEMBLE, GIVEN_UP, LOST_AFTER)}
    return View(
        members=members,
        ensemble=msgspec.json.decode(settings[ENSEMBLE], type=Ensemble) if settings.get(ENSEMBLE) else None,
        given_up=msgspec.json.decode(settings[GIVEN_UP], type=list[str]) if settings.get(GIVEN_UP) else [],
        lost_after=_seconds(settings.get(LOST_AFTER, "")),
        newest_generation=newest.number if newest else 0,
        newest_fingerprint=newest.fingerprint if newest else "",
    )


def _newest(tx: Tx) -> HaGeneration | None:
    found = tx.find(HaGeneration, order=("-number",), limit=1)
    return found[0] if found else None


def _seconds(text: str) -> float:
    try:
        return max(float(text), 5.0)
    except ValueError:
        return DEFAULT_LOST_AFTER


def claim(me: str, plan: Claim, seen_beat: int | None) -> Callable[[Tx], bool]:
    """Take the slot, if its holder has not moved since it was judged. False: somebody was faster, or it lives after all."""

    def unit(tx: Tx) -> bool:
        mine = tx.first(ClusterNode, eq("uuid", me))
        holder = tx.first(ClusterNode, eq("slot", plan.slot))
        if mine is None or mine.slot is not None:
            return False
        if holder is not None:
            if holder.uuid != plan.evict or holder.beat != seen_beat:
                return False
            tx.update(holder, slot=None)
        tx.update(mine, slot=plan.slot)
        given_up = tx.first(Setting, eq("name", GIVEN_UP))
        if plan.evict and given_up and plan.evict in given_up.value:
            rest = [uuid for uuid in msgspec.json.decode(given_up.value, type=list[str]) if uuid != plan.evict]
            tx.update(given_up, value=msgspec.json.encode(rest).decode())
        return True

    return unit


def release(uuid: str) -> Callable[[Tx], None]:
    """Give back a slot beyond the cluster's size (the cluster became smaller)."""

    def unit(tx: Tx) -> None:
        row = tx.first(ClusterNode, eq("uuid", uuid))
        if row is not None:
            tx.update(row, slot=None)

    return unit


def forget(uuid: str, seen_beat: int) -> Callable[[Tx], None]:
    """Take out the row of a node that is gone for good: no slot, and not moved since."""

    def unit(tx: Tx) -> None:
        row = tx.first(ClusterNode, eq("uuid", uuid))
        if row is not None and row.slot is None and row.beat == seen_beat:
            tx.delete(row)

    return unit


def found(ensemble: Ensemble) -> Callable[[Tx], None]:
    """Write the first list of voters. Raises ``Duplicate`` when somebody did before: there is one first list for ever."""

    def unit(tx: Tx) -> None:
        tx.insert(Setting(name=ENSEMBLE, value=msgspec.json.encode(ensemble).decode()))

    return unit


def rewrite(old: Ensemble, new: Ensemble) -> Callable[[Tx], bool]:
    """Replace the list, if it still is ``old``."""

    def unit(tx: Tx) -> bool:
        row = tx.first(Setting, eq("name", ENSEMBLE))
        if row is None or msgspec.json.decode(row.value, type=Ensemble) != old:
            return False
        tx.update(row, value=msgspec.json.encode(new).decode())
        return True

    return unit


def give_up(uuid: str) -> Callable[[Tx], bool]:
    """The operator says that a node will not return: a spare need not wait. False when there is no such node."""

    def unit(tx: Tx) -> bool:
        if tx.first(ClusterNode, eq("uuid", uuid)) is None:
            return False
        row = tx.first(Setting, eq("name", GIVEN_UP))
        known = msgspec.json.decode(row.value, type=list[str]) if row and row.value else []
        text = msgspec.json.encode(sorted({*known, uuid})).decode()
        if row is None:
            tx.insert(Setting(name=GIVEN_UP, value=text))
        else:
            tx.update(row, value=text)
        return True

    return unit
