"""Change the root key of an installation: seal everything anew under a new one, then forget the old one.

The new key is written into the key file above the old one before anything is sealed with it, so whoever is killed at any line
leaves rows that can all be opened, and the same command goes on where it ended. A server that runs meanwhile follows the file.
The old key is forgotten only after a whole round found nothing under it, begun later than any unit of work that knew it could
last. Logins end: they were signed with it. Keys of programs and agents are digests, which cannot be made anew; their key is no
way back to the root key, and is kept, sealed.

Nodes of a cluster have the key from their start-up script, so a cluster is refused here.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from remuda.adapters.crypto import keyfile
from remuda.adapters.crypto.keyring import FileKeyring
from remuda.core.model import RECORDS, ClusterNode, Credential, HaGeneration, Record
from remuda.ports.store import ALIVE, Conflict, Store, Tx, Where, eq

DIGESTS = "digestKey"
"""The kind of credential that keeps the key of digests."""
SETTLE_SECONDS = 10.0
"""Longer than any unit of work that sealed something with the old key can take to commit."""
_BATCH = 100


async def keep_digests(store: Store, keyring: FileKeyring) -> None:
    """Use the key of digests that a change of the root key left behind; every server does this at its start."""
    row = await store.read(lambda tx: tx.first(Credential, eq("kind", DIGESTS), ALIVE))
    if row is not None:
        keyring.digest_with(keyring.unseal(row.sealed, row.purpose("sealed")))


async def rotate(store: Store, path: Path, say: Callable[[str], None], settle: float = SETTLE_SECONDS) -> int:
    """Do it, or go on with it. Returns how many secrets were sealed anew by this call."""
    await store.read(_refuse_clusters)
    keyring = FileKeyring.load(path)
    await keep_digests(store, keyring)
    await store.write(lambda tx: _note_digests(tx, keyring))
    root, previous = keyfile.read(path)
    if previous:
        say("Going on with a change of the key that was begun before.")
    else:
        keyfile.replace(path, secrets.token_bytes(keyfile.SIZE), root)
        keyring = FileKeyring.load(path)
    begun, total = time.monotonic(), 0
    while True:
        settled = time.monotonic() - begun >= settle
        done, unreadable = await _round(store, keyring)
        total += done
        if done:
            say(f"{total} secrets are sealed with the new key.")
        elif settled:
            break
        else:
            await asyncio.sleep(min(1.0, settle))
    if unreadable:  # perhaps with a key that somebody else knows to use: what may be needed is not thrown away
        raise ValueError(
            f"{len(unreadable)} secrets are opened by neither key: {', '.join(unreadable)}. Remove these rows and run this again;"
            " until then the key file keeps both keys"
        )
    keyfile.replace(path, keyfile.read(path)[0])
    say("The old key is forgotten. Everybody has to log in again; keys of programs and agents go on working.")
    return total


def _refuse_clusters(tx: Tx) -> None:
    if tx.count(ClusterNode, ALIVE) or tx.count(HaGeneration, ALIVE):
        raise ValueError(
            "a start-up script for management nodes was generated, and it carries the key: the key of a cluster cannot be"
            " changed while it runs"
        )


def _note_digests(tx: Tx, keyring: FileKeyring) -> None:
    if tx.first(Credential, eq("kind", DIGESTS), ALIVE) is None:
        row = Credential(kind=DIGESTS, name=DIGESTS, public_value=DIGESTS)
        sealed = keyring.seal(keyring.digesting, row.purpose("sealed"))
        tx.insert(msgspec.structs.replace(row, sealed=sealed))


async def _round(store: Store, keyring: FileKeyring) -> tuple[int, list[str]]:
    """One look at every secret: how many were sealed anew, and which rows nothing opens."""
    done, unreadable = 0, []
    for kind in RECORDS:
        for attribute in kind.SEALED:
            for row in await _stale(store, keyring, kind, attribute):
                purpose = row.purpose(attribute)
                try:
                    plain = keyring.unseal(getattr(row, attribute), purpose)
                except ValueError:
                    unreadable.append(f"{kind.TABLE} {row.id}")
                    continue
                done += await _anew(store, row, attribute, keyring.seal(plain, purpose))
    return done, unreadable


async def _stale(store: Store, keyring: FileKeyring, kind: type[Record], attribute: str) -> list[Record]:
    found: list[Record] = []
    last = 0
    while True:
        after = last
        rows = await store.read(lambda tx: tx.find(kind, Where("id", "gt", after), limit=_BATCH))  # noqa: B023
        for row in rows:
            sealed = getattr(row, attribute)
            if sealed and keyring.stale(sealed, row.purpose(attribute)):
                found.append(row)
        if len(rows) < _BATCH:
            return found
        last = rows[-1].id


async def _anew(store: Store, row: Record, attribute: str, sealed: str) -> int:
    def unit(tx: Tx) -> None:
        tx.update(row, **{attribute: sealed})

    try:
        await store.write(unit)
    except Conflict:  # it was changed meanwhile: the next round looks at it again
        return 1
    return 1
