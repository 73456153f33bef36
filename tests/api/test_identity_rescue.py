"""The way back in from the server's machine, when the configured provider lets nobody in any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from remuda.adapters.memory.clock import SystemClock
from remuda.adapters.sql.store import SqlStore
from remuda.api.entry import plant
from remuda.core.model import AuthProvider, Setting
from remuda.run import admin

NAME = "api.auth.provider.configured"


async def prepared(folder: Path) -> None:
    """An installation whose people log in with GitHub."""
    store = SqlStore.sqlite(str(folder / "remuda.db"), clock=SystemClock())
    await store.migrate()
    await plant(store)
    await store.write(lambda tx: tx.insert(AuthProvider(kind="githubconfig", name="githubconfig")))
    await store.write(lambda tx: tx.insert(Setting(name=NAME, kind="setting", value="githubconfig")))
    await store.close()


async def in_force(folder: Path) -> tuple[str, str]:
    store = SqlStore.sqlite(str(folder / "remuda.db"), clock=SystemClock())
    told = await store.read(lambda tx: (tx.find(Setting)[0].value, tx.find(AuthProvider)[0].desired))
    await store.close()
    return told


def test_passwords_are_in_force_again_once_an_administrator_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import asyncio
    import io

    asyncio.run(prepared(tmp_path))
    told = ["--data", str(tmp_path)]
    assert admin.main([*told, "local-auth"]) == 1
    assert "No administrator has a password" in capsys.readouterr().err
    assert asyncio.run(in_force(tmp_path)) == ("githubconfig", "active"), "nothing half done"
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse\n"))
    assert admin.main([*told, "init", "--password-stdin"]) == 0
    assert admin.main([*told, "local-auth"]) == 0
    assert asyncio.run(in_force(tmp_path)) == ("localauthconfig", "inactive")
