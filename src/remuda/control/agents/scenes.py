"""What hosts are told of their environment: one scene per environment on this server, told to all its sessions as it changes.

Worked out and encoded once, however many hosts there are; and the more there are, the more changes wait for each other, so that
telling never takes more than a part of this server's time. An agent that comes back says up to which change it knows the scene;
it gets what changed since when the change log still has it, else all of it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from remuda.control.agents.session import Session
from remuda.control.reconcile.feed import Feed, Resync
from remuda.control.reconcile.snapshot import by_ids
from remuda.core.model import Account, Change, Host, Instance, Network, Record, Service, Stack
from remuda.core.network.digest import Digest
from remuda.core.network.scene import (
    Entry,
    Gone,
    Scene,
    SceneNetwork,
    container_entry,
    host_entry,
    network_entry,
    service_entry,
    stack_entry,
)
from remuda.core.wire import SceneUpdate, encode
from remuda.ports.store import ALIVE, Store, Tx, eq

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
MERGE_SECONDS = 0.02
"""Changes wait so long for company: a container that starts is written several times."""
TELL_SECONDS = 0.00025
"""For each frame the next ones of its environment wait so long: four thousand a second, a fifth of what can be sent."""
REST_SECONDS = 0.5
"""However many hosts there are, they hear of a change in this time."""
ENTRIES: dict[type[Record], tuple[str, Callable[[Any], Entry | None]]] = {
    Host: ("hosts", host_entry),
    Stack: ("stacks", stack_entry),
    Service: ("services", service_entry),
    Instance: ("containers", container_entry),
}
KINDS: dict[str, type[Record]] = {kind.TABLE: kind for kind in ENTRIES} | {k.TABLE: k for k in (Network, Account)}


class _Cast:
    """The scene of one environment, and who is told of it."""

    def __init__(self) -> None:
        self.scene: Scene | None = None
        self.digest = Digest()
        self.audience: dict[str, Session] = {}
        self.joining: dict[str, tuple[Session, int]] = {}
        self.dirty: dict[type[Record], set[int]] = {}
        self.through = 0
        self.rests_until = 0.0
        self._whole = b""

    def show(self, scene: Scene) -> None:
        """This is the scene from now on."""
        self.scene, self._whole = scene, b""

    def whole(self) -> bytes:
        """All of it, as a message: encoded when first asked for, and the same for all who ask."""
        if not self._whole and self.scene is not None:
            self._whole = encode(SceneUpdate(scene=self.scene, complete=True, digest=self.digest.value))
        return self._whole

    def rest(self, frames: int) -> None:
        """So many were sent."""
        self.rests_until = asyncio.get_running_loop().time() + min(frames * TELL_SECONDS, REST_SECONDS)


class Scenes:
    """All environments that have sessions on this server."""

    def __init__(self, store: Store, feed: Feed) -> None:
        self._store, self._feed = store, feed
        self._casts: dict[int, _Cast] = {}
        self._wake = asyncio.Event()

    def join(self, session: Session, known: int) -> None:
        """A session began; its agent knows the scene up to change ``known`` (0: not at all)."""
        cast = self._casts.setdefault(session.account_id, _Cast())
        cast.audience.pop(session.token, None)
        cast.joining[session.token] = (session, known)
        self._wake.set()

    def leave(self, session: Session) -> None:
        """A session ended; the scene of an environment without sessions is forgotten."""
        cast = self._casts.get(session.account_id)
        if cast is None:
            return
        cast.audience.pop(session.token, None)
        cast.joining.pop(session.token, None)
        if not (cast.audience or cast.joining):
            del self._casts[session.account_id]

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._serve())

    async def _listen(self) -> None:
        with self._feed.listen() as listener:
            while True:
                try:
                    self._note(await listener.next())
                except Resync:
                    for cast in self._casts.values():
                        cast.scene = None
                self._wake.set()

    def _note(self, changes: Iterable[Change]) -> None:
        for change in changes:
            kind = KINDS.get(change.kind)
            cast = self._casts.get(change.record_id if kind is Account else change.account_id)
            if cast is not None and kind is not None:
                cast.dirty.setdefault(kind, set()).add(change.record_id)
                cast.through = max(cast.through, change.seq)

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(MERGE_SECONDS)
            self._wake.clear()
            now = asyncio.get_running_loop().time()
            for account_id, cast in list(self._casts.items()):
                if cast.rests_until > now:
                    asyncio.get_running_loop().call_at(cast.rests_until, self._wake.set)
                    continue
                try:
                    await self._bring_up(account_id, cast)
                except Exception as error:
                    log.warning(
                        "the scene of environment 1a%d cannot be told and is tried again: %s", account_id, error
                    )
                    asyncio.get_running_loop().call_later(RETRY_SECONDS, self._wake.set)

    async def _bring_up(self, account_id: int, cast: _Cast) -> None:
        frames = 0
        if cast.scene is None:
            frames += await self._build(account_id, cast)
        elif cast.dirty:
            frames += await self._update(account_id, cast)
        if cast.joining:
            frames += await self._welcome(account_id, cast)
        cast.rest(frames)

    async def _build(self, account_id: int, cast: _Cast) -> int:
        """Read everything; those who were told before are told all of it again. Returns how many were told."""
        cast.dirty = {}
        scene = await self._store.read(lambda tx: read_scene(tx, account_id))
        cast.digest, cast.through = Digest(scene), scene.through
        cast.show(scene)
        return _send(cast.audience.values(), cast.whole()) if cast.audience else 0

    async def _update(self, account_id: int, cast: _Cast) -> int:
        dirty, cast.dirty = cast.dirty, {}
        through = cast.through
        try:
            found = await self._store.read(lambda tx: _read(tx, account_id, dirty))
        except BaseException:
            for kind, ids in dirty.items():
                cast.dirty.setdefault(kind, set()).update(ids)
            raise
        assert cast.scene is not None
        update, gone = difference(cast.scene, *found, through=through)
        if empty(update, gone):
            return 0
        cast.show(cast.scene.after(update, gone))
        cast.digest.take(update, gone)
        return _send(cast.audience.values(), encode(SceneUpdate(scene=update, gone=gone, digest=cast.digest.value)))

    async def _welcome(self, account_id: int, cast: _Cast) -> int:
        """Send all new sessions what they lack; those that lack the same get the same bytes. Returns how many were told."""
        joining = dict(cast.joining)
        known = sorted({number for _, number in joining.values() if number > 0})
        first, changes = await self._since(known)
        scene = cast.scene
        assert scene is not None
        messages: dict[int, bytes] = {}
        for number, touched in since_each(changes, account_id, [n for n in known if n >= first]):
            update, gone = excerpt(scene, touched)
            messages[number] = encode(SceneUpdate(scene=update, gone=gone, digest=cast.digest.value))
        for token, (session, number) in joining.items():
            if cast.joining.get(token) == (session, number):  # it may have ended meanwhile, or asked for more
                del cast.joining[token]
                cast.audience[token] = session
                session.send(messages.get(number) or cast.whole())
        return len(joining)

    async def _since(self, known: Iterable[int]) -> tuple[int, list[Change]]:
        """The lowest of these numbers after which the change log has everything, and what it has; else none is so low."""
        for number in known:
            with suppress(Resync):
                return number, await self._feed.since(number)
        return sys.maxsize, []


def _send(sessions: Collection[Session], message: bytes) -> int:
    for session in sessions:
        session.send(message)
    return len(sessions)


def since_each(
    changes: Sequence[Change], account_id: int, known: Sequence[int]
) -> Iterator[tuple[int, dict[str, set[int]]]]:
    """What changed in an environment after each of these (rising) numbers: by kind of entry, the ids. The highest comes first.

    ``changes`` are all after the lowest. A number that is higher than the newest is of another history, and is left out.
    """
    newest = changes[-1].seq if changes else min(known, default=0)
    touched: dict[str, set[int]] = {}
    left = len(changes)
    for number in reversed([n for n in known if n <= newest]):
        while left and changes[left - 1].seq > number:
            left -= 1
            kind = KINDS.get(changes[left].kind)
            if kind in ENTRIES and changes[left].account_id == account_id:
                touched.setdefault(ENTRIES[kind][0], set()).add(changes[left].record_id)
        yield number, touched


def read_scene(tx: Tx, account_id: int) -> Scene:
    """The whole scene of an environment, true for the newest change of this transaction."""
    through = tx.last_change()
    entries: dict[str, dict[int, Any]] = {}
    for kind, (field, make) in ENTRIES.items():
        rows = tx.find(kind, eq("account_id", account_id), ALIVE)
        entries[field] = {entry.id: entry for row in rows if (entry := make(row)) is not None}
    return Scene(through=through, network=_network(tx, account_id), **entries)


def _network(tx: Tx, account_id: int) -> SceneNetwork | None:
    network = tx.first(Network, eq("account_id", account_id), ALIVE)
    account = tx.get(Account, account_id)
    if network is None or account is None:
        return None
    return network_entry(network, account.name, account.uuid)


def _read(
    tx: Tx, account_id: int, dirty: Mapping[type[Record], set[int]]
) -> tuple[dict[str, dict[int, Entry | None]], SceneNetwork | None]:
    found: dict[str, dict[int, Entry | None]] = {}
    for kind, (field, make) in ENTRIES.items():
        ids = dirty.get(kind, set())
        rows = {row.id: row for row in by_ids(tx, kind, ids)}
        found[field] = {number: make(rows[number]) if number in rows else None for number in ids}
    network = _network(tx, account_id) if Network in dirty or Account in dirty else None
    return found, network


def difference(
    scene: Scene, found: Mapping[str, Mapping[int, Entry | None]], network: SceneNetwork | None, *, through: int
) -> tuple[Scene, Gone]:
    """What of ``found`` is new for a scene: entries that changed, and those that are no more."""
    changed: dict[str, dict[int, Any]] = {}
    gone: dict[str, list[int]] = {}
    for field, entries in found.items():
        known: Mapping[int, Entry] = getattr(scene, field)
        changed[field] = {n: e for n, e in entries.items() if e is not None and known.get(n) != e}
        gone[field] = sorted(n for n, e in entries.items() if e is None and n in known)
    fresh = network if network is not None and network != scene.network else None
    return Scene(through=through, network=fresh, **changed), Gone(**gone)


def excerpt(scene: Scene, touched: Mapping[str, Iterable[int]]) -> tuple[Scene, Gone]:
    """The entries of a scene with these ids, as an update; those that it lacks are gone."""
    entries: dict[str, dict[int, Any]] = {}
    gone: dict[str, list[int]] = {}
    for field, ids in touched.items():
        known: Mapping[int, Entry] = getattr(scene, field)
        entries[field] = {n: known[n] for n in ids if n in known}
        gone[field] = sorted(n for n in ids if n not in known)
    return Scene(through=scene.through, network=scene.network, **entries), Gone(**gone)


def empty(update: Scene, gone: Gone) -> bool:
    """Does this update say nothing?"""
    return gone == Gone() and update == Scene(through=update.through)


__all__ = ["Scenes", "difference", "excerpt", "read_scene"]
