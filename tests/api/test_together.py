"""Several at the same moment: names stay unique, changes are not lost, the administrator is made once. And nobody at all:
then the server does nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.services import MariaDb, mariadb

from remuda.adapters.memory.clock import SystemClock
from remuda.adapters.sql.store import SqlStore
from remuda.api.entry import plant
from remuda.core.model import Account
from remuda.ports.store import ALIVE, Unavailable

from .conftest import PASSWORD, Installation, eventually, installation
from .people import person

MANY = 12


@pytest.fixture(scope="module")
def database() -> Iterator[MariaDb]:
    with mariadb() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.real)])
async def bare(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Installation]:
    """A server that nobody has set up, on each kind of database with real concurrency."""
    if request.param == "mariadb":
        store = await SqlStore.mysql(**request.getfixturevalue("database").database(), clock=SystemClock())
    else:
        store = SqlStore.sqlite(str(tmp_path / "remuda.db"), clock=SystemClock())
    async with installation(tmp_path, store) as one:
        yield one


async def test_a_name_is_given_once_however_many_ask(bare: Installation) -> None:
    await bare.set_up()
    async with bare.admin() as http:
        made = await asyncio.gather(*[http.post("/environments", json={"name": "same"}) for _ in range(MANY)])
        assert sorted(a.status_code for a in made) == [201] + [422] * (MANY - 1)
        assert {a.json()["code"] for a in made if a.status_code != 201} == {"NotUnique"}
        stack = next(a.json() for a in made if a.status_code == 201)
        body = {"name": "web", "environmentId": stack["id"], "launchConfig": {"imageUuid": "docker:x"}}
        made = await asyncio.gather(*[http.post("/services", json=body) for _ in range(MANY)])
        assert sorted(a.status_code for a in made) == [201] + [422] * (MANY - 1)
        files = {"dockerCompose": "db:\n  image: x\n"}
        applied = await asyncio.gather(*[http.post(stack["actions"]["apply"], json=files) for _ in range(MANY)])
        assert {a.status_code for a in applied} == {202}
        assert sorted(s["name"] for s in (await http.get("/services")).json()["data"]) == ["db", "web"]
        others = [(await http.post("/environments", json={"name": f"s{n}"})).json() for n in range(4)]
        renamed = await asyncio.gather(*[http.put(o["links"]["self"], json={"name": "one"}) for o in others])
        assert sorted(a.status_code for a in renamed) == [200, 422, 422, 422]


async def test_a_username_is_given_once_however_many_ask(bare: Installation) -> None:
    await bare.set_up()
    async with bare.admin(None) as http:
        body = {"username": "ann", "password": PASSWORD}
        made = await asyncio.gather(*[http.post("/accounts", json=body) for _ in range(6)])
        assert sorted(a.status_code for a in made) == [201] + [422] * 5
        assert {a.json()["fieldName"] for a in made if a.status_code == 422} == {"username"}


async def test_the_administrator_is_made_once(bare: Installation) -> None:
    secret = await bare.api.setup_secret()
    async with bare.client() as http:
        # 'admin' is also the name that the row has already
        names = ["admin", *(f"me{n}" for n in range(5))]
        bodies = [{"secret": secret, "username": n, "password": PASSWORD, "name": "admin"} for n in names]
        made = await asyncio.gather(*[http.post("/setup", json=b) for b in bodies])
        assert sorted(a.status_code for a in made) == [201] + [409] * 5


async def test_changes_to_one_row_at_once_are_all_made(bare: Installation) -> None:
    await bare.set_up()
    async with bare.admin() as http:
        stack = (await http.post("/environments", json={"name": "a"})).json()
        url = stack["links"]["self"]
        changes: list[dict[str, Any]] = [{"description": "d"}, {"group": "g"}, {"externalId": "e"}, {"name": "b"}]
        answers = await asyncio.gather(*[http.put(url, json=c) for c in changes])
        assert {a.status_code for a in answers} == {200}
        now = (await http.get(url)).json()
        assert {k: now[k] for c in changes for k in c} == {k: v for c in changes for k, v in c.items()}


async def test_settings_changed_at_once_end_as_one_row(bare: Installation) -> None:
    await bare.set_up()
    async with bare.admin(None) as http:
        values = [f"http://lb{n}" for n in range(6)]
        answers = await asyncio.gather(*[http.put("/settings/api.host", json={"value": v}) for v in values])
        assert {a.status_code for a in answers} == {200}
        assert (await http.get("/settings/api.host")).json()["value"] in values


@pytest.mark.real
async def test_servers_that_start_at_once_on_an_empty_database_agree_on_the_first_rows(database: MariaDb) -> None:
    arguments = database.database()
    stores = [await SqlStore.mysql(**arguments, clock=SystemClock()) for _ in range(3)]
    try:
        for store in stores:
            await store.migrate()
        await asyncio.gather(*[plant(store) for store in stores])
        rows = await stores[0].read(lambda tx: tx.find(Account, ALIVE))
        assert [(r.id, r.name) for r in rows] == [
            (1, "admin"),
            (2, "system"),
            (3, "superadmin"),
            (4, "token"),
            (5, "Default"),
        ]
    finally:
        for store in stores:
            await store.close()


async def test_an_idle_server_neither_writes_nor_reads_nor_computes(server: Installation) -> None:
    await asyncio.sleep(0.3)  # what the set-up left to do
    asked = {"read": 0, "write": 0}
    store = server.api.store
    for name in asked:
        original = getattr(store, name)

        def counting(unit: Any, *, _name: str = name, _original: Any = original, **more: Any) -> Any:
            asked[_name] += 1
            return _original(unit, **more)

        setattr(store, name, counting)
    cpu = time.process_time()
    await asyncio.sleep(3)
    assert asked == {"read": 0, "write": 0}
    assert time.process_time() - cpu < 0.15


async def test_settings_and_rights_are_read_again_after_an_outage(server: Installation) -> None:
    account, headers = await person(server, "ann")
    store = server.api.store
    reading = store.read

    async def broken(unit: Any) -> Any:
        raise Unavailable("the database is away")

    async with server.admin(None) as admin, server.client(headers=headers) as ann:
        assert (await ann.get("/projects")).status_code == 200
        store.read = broken  # type: ignore[method-assign]
        server.api.settings.reload_soon()
        server.api.auth.forget()
        refused = await admin.get("/projects")
        assert (refused.status_code, refused.json()["code"]) == (503, "DatabaseUnavailable")
        await asyncio.sleep(0.05)
        server.api.settings._stored = {"api.host": "http://stale"}
        store.read = reading  # type: ignore[method-assign]

        async def fresh() -> bool:
            return server.api.settings.get("api.host") == ""

        await eventually(fresh)
        assert (await ann.get("/projects")).status_code == 200
        await admin.post(f"/accounts/{account}?action=deactivate")

        async def out() -> bool:
            return bool((await ann.get("/projects")).status_code == 401)

        await eventually(out)
