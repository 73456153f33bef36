"""The root key is changed: nothing is lost wherever it is interrupted, and the old key opens nothing afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from remuda.adapters.crypto import keyfile
from remuda.adapters.crypto.keyring import FileKeyring
from remuda.adapters.memory.clock import SystemClock
from remuda.adapters.sql.store import SqlStore
from remuda.api.entry import plant
from remuda.control.streams.tickets import Tickets
from remuda.core.model import RECORDS, Credential, HaGeneration
from remuda.run.rotation import DIGESTS, keep_digests, rotate

MANY = 250
PURPOSE = "registration"


async def furnish(folder: Path) -> FileKeyring:
    """An installation with many secrets."""
    store = SqlStore.sqlite(str(folder / "remuda.db"), clock=SystemClock())
    await store.migrate()
    await plant(store)
    keyring = FileKeyring.load(folder / "secret.key")

    def fill(tx: object) -> None:
        for n in range(MANY):
            sealed = keyring.seal(f"secret {n}", PURPOSE)
            tx.insert(Credential(kind="registrationToken", account_id=5, public_value=f"t{n}", sealed=sealed))  # type: ignore[attr-defined]

    await store.write(fill)
    await store.close()
    return keyring


def sealed(folder: Path) -> list[tuple[str, str]]:
    """Name and sealed text of each, read beside whoever else has the database open."""
    with contextlib.closing(sqlite3.connect(folder / "remuda.db", timeout=10)) as db:
        return db.execute("select public_value, sealed from credential where kind = 'registrationToken'").fetchall()


def command(folder: Path) -> subprocess.Popen[bytes]:

    told = [sys.executable, "-m", "remuda.run.main", "admin", "--data", str(folder), "rotate-key"]
    return subprocess.Popen(told, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.mark.timeout(180)
async def test_killed_halfway_nothing_is_lost_and_the_next_run_finishes(tmp_path: Path) -> None:
    before = await furnish(tmp_path)
    digest = before.digest("a key of a program")
    process = command(tmp_path)
    deadline = time.monotonic() + 90
    while sum(before.stale(text, PURPOSE) for _, text in sealed(tmp_path)) < 3:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    half = sum(before.stale(text, PURPOSE) for _, text in sealed(tmp_path))
    assert 3 <= half < MANY, "it was killed in the middle"
    between = FileKeyring.load(tmp_path / "secret.key")
    assert sorted(between.unseal(text, PURPOSE) for _, text in sealed(tmp_path)) == sorted(
        f"secret {n}" for n in range(MANY)
    )

    store = SqlStore.sqlite(str(tmp_path / "remuda.db"), clock=SystemClock())
    said: list[str] = []
    assert await rotate(store, tmp_path / "secret.key", said.append, settle=0) >= MANY - half
    assert "Going on" in said[0]
    after = FileKeyring.load(tmp_path / "secret.key")
    await keep_digests(store, after)
    await store.close()
    assert keyfile.read(tmp_path / "secret.key")[1] == b"", "the old key is forgotten"
    assert {name: after.unseal(text, PURPOSE) for name, text in sealed(tmp_path)} == {
        f"t{n}": f"secret {n}" for n in range(MANY)
    }
    for _, text in sealed(tmp_path):
        with pytest.raises(ValueError, match="cannot be opened"):
            FileKeyring(before.root).unseal(text, PURPOSE)
    assert after.digest("a key of a program") == digest, "keys of programs go on working"
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.glob(".secret*")] == []


async def test_a_server_that_runs_meanwhile_follows_the_key(tmp_path: Path) -> None:
    running = await furnish(tmp_path)
    login = running.sign({"use": "login"}, 60)
    old = running.root
    store = SqlStore.sqlite(str(tmp_path / "remuda.db"), clock=SystemClock())
    await rotate(store, tmp_path / "secret.key", lambda _text: None, settle=0)
    assert running.unseal(sealed(tmp_path)[0][1], PURPOSE) == "secret 0"
    assert not FileKeyring.load(tmp_path / "secret.key").stale(running.seal("new", PURPOSE), PURPOSE)
    assert running.root != old
    assert running.verify(login) is None, "logins end"
    await rotate(store, tmp_path / "secret.key", lambda _text: None, settle=0)
    kept = await store.read(lambda tx: tx.find(Credential))
    assert len([row for row in kept if row.kind == DIGESTS]) == 1
    await store.close()


async def test_the_key_of_a_cluster_is_left_alone(tmp_path: Path) -> None:
    before = await furnish(tmp_path)
    store = SqlStore.sqlite(str(tmp_path / "remuda.db"), clock=SystemClock())
    await store.write(lambda tx: tx.insert(HaGeneration(number=1)))
    with pytest.raises(ValueError, match="cluster"):
        await rotate(store, tmp_path / "secret.key", lambda _text: None, settle=0)
    await store.close()
    assert keyfile.read(tmp_path / "secret.key") == (before.root, b"")


def test_every_record_says_for_which_purpose_it_seals() -> None:
    for record in RECORDS:
        names = {name for name in record.__struct_fields__ if name.startswith("sealed")}
        assert names == set(record.SEALED), f"{record.__name__}: rotate-key must know of it"


async def test_what_neither_key_opens_is_named_and_no_key_is_thrown_away(tmp_path: Path) -> None:
    await furnish(tmp_path)
    store = SqlStore.sqlite(str(tmp_path / "remuda.db"), clock=SystemClock())
    strange = FileKeyring(b"s" * 32).seal("strange", PURPOSE)
    await store.write(lambda tx: tx.insert(Credential(kind="registrationToken", public_value="x", sealed=strange)))
    with pytest.raises(ValueError, match="opened by neither key: credential"):
        await rotate(store, tmp_path / "secret.key", lambda _text: None, settle=0)
    await store.close()
    assert len(keyfile.read(tmp_path / "secret.key")[1]) == keyfile.SIZE


async def test_keys_of_streams_and_of_digests_are_sealed_anew_too(tmp_path: Path) -> None:
    before = await furnish(tmp_path)
    store = SqlStore.sqlite(str(tmp_path / "remuda.db"), clock=SystemClock())
    ticket = await Tickets(store, before, store.write).issue("exec", {"host": "1"})
    await rotate(store, tmp_path / "secret.key", lambda _text: None, settle=0)
    found = await store.read(lambda tx: tx.find(Credential))
    after = FileKeyring.load(tmp_path / "secret.key")
    kept = {row.kind: after.unseal(row.sealed, row.purpose("sealed")) for row in found if row.sealed}
    told = await Tickets(store, after, store.write).read("exec", ticket)
    await store.close()
    assert told is not None, "what was let in before is let in still"
    assert told["host"] == "1"
    assert kept[DIGESTS] == before.digesting
