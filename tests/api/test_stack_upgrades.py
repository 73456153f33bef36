"""A stack gets other files: upgraded, then finished, rolled back, or stopped halfway; and services restart a batch at a time."""

from __future__ import annotations

from typing import Any

import httpx2

from .conftest import FakeAgent, Installation, eventually

OLD = "web:\n  image: nginx:1\n  scale: 2\ndb:\n  image: mysql:5\n"
NEW = "web:\n  image: nginx:2\n  scale: 2\ndb:\n  image: mysql:5\ncache:\n  image: redis\n"


async def deployed(server: Installation, http: httpx2.AsyncClient) -> dict[str, Any]:
    made = await http.post("/environments", json={"name": "shop", "dockerCompose": OLD, "externalId": "catalog://1"})
    assert made.status_code == 201, made.text
    await settled(http)
    return made.json()  # type: ignore[no-any-return]


async def stack_of(http: httpx2.AsyncClient) -> dict[str, Any]:
    return (await http.get("/environments?name=shop")).json()["data"][0]  # type: ignore[no-any-return]


async def becomes(http: httpx2.AsyncClient, state: str) -> dict[str, Any]:
    async def there() -> dict[str, Any] | None:
        found = await stack_of(http)
        return found if found["state"] == state else None

    return await eventually(there)  # type: ignore[no-any-return]


async def settled(http: httpx2.AsyncClient) -> None:
    async def quiet() -> bool:
        return all(s["transitioning"] == "no" for s in (await http.get("/services")).json()["data"])

    await eventually(quiet)


async def ask(http: httpx2.AsyncClient, action: str, body: Any = None) -> dict[str, Any]:
    stack = await stack_of(http)
    answer = await http.post(stack["actions"][action], json=body or {})
    assert answer.status_code == 202, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def services(http: httpx2.AsyncClient) -> dict[str, tuple[str, str]]:
    found = (await http.get("/services")).json()["data"]
    return {s["name"]: (s["launchConfig"]["imageUuid"], s["state"]) for s in found}


def images(agent: FakeAgent) -> set[str]:
    return {a.spec.image for a in agent.assigned.values() if a.desired == "running"}


async def test_an_upgrade_of_a_stack_is_finished(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        await deployed(server, http)
        begun = await ask(http, "upgrade", {"dockerCompose": NEW, "externalId": "catalog://2"})
        assert (begun["state"], begun["transitioning"], begun["externalId"]) == ("upgrading", "yes", "catalog://2")
        done = await becomes(http, "upgraded")
        assert {"finishupgrade", "rollback"} <= set(done["actions"])
        assert "upgrade" not in done["actions"]
        now = await services(http)
        assert now["web"] == ("docker:nginx:2", "upgraded")
        assert now["db"] == ("docker:mysql:5", "active"), "what the files do not change is left alone"
        assert "cache" in now
        await ask(http, "finishupgrade")
        await becomes(http, "active")
        assert (await services(http))["web"][1] == "active"
        assert images(agent) == {"nginx:2", "mysql:5", "redis"}


async def test_an_upgrade_of_a_stack_is_rolled_back(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        await deployed(server, http)
        await ask(http, "upgrade", {"dockerCompose": NEW, "externalId": "catalog://2"})
        await becomes(http, "upgraded")
        back = await ask(http, "rollback")
        assert (back["state"], back["externalId"]) == ("rolling-back", "catalog://1")
        stack = await becomes(http, "active")
        assert stack["dockerCompose"] == OLD
        assert images(agent) == {"nginx:1", "mysql:5"}
        assert set(await services(http)) == {"web", "db"}, "what the upgrade added is gone"


async def test_an_upgrade_of_a_stack_with_bad_files_changes_nothing(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http:
        await deployed(server, http)
        stack = await stack_of(http)
        bad = await http.post(stack["actions"]["upgrade"], json={"dockerCompose": "web:\n  image: [1]\n"})
        assert (bad.status_code, bad.json()["fieldName"]) == (422, "dockerCompose")
        assert (await stack_of(http))["state"] == "active"
        early = await http.post(f"{stack['links']['self']}/?action=finishupgrade")
        assert (early.status_code, early.json()["code"]) == (422, "ActionNotAvailable")


async def test_an_upgrade_of_a_stack_is_stopped_halfway_and_goes_back(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        await deployed(server, http)
        await ask(http, "upgrade", {"dockerCompose": NEW})
        stack = await stack_of(http)
        if "cancelupgrade" in stack["actions"]:
            await ask(http, "cancelupgrade")
            await becomes(http, "canceled-upgrade")
        await ask(http, "rollback")
        await becomes(http, "active")
        assert images(agent) == {"nginx:1", "mysql:5"}


async def test_outputs_are_added_one_after_the_other(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http:
        await deployed(server, http)
        await ask(http, "addoutputs", {"outputs": {"url": "http://a"}})
        told = await ask(http, "addoutputs", {"outputs": {"key": "b"}})
        assert told["outputs"] == {"url": "http://a", "key": "b"}


async def test_a_service_restarts_a_batch_at_a_time(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        await deployed(server, http)
        web = next(s for s in (await http.get("/services")).json()["data"] if s["name"] == "web")
        strategy = {"rollingRestartStrategy": {"batchSize": 1, "intervalMillis": 100}}
        asked = await http.post(web["actions"]["restart"], json=strategy)
        assert (asked.status_code, asked.json()["state"]) == (202, "restarting")

        async def again() -> bool:
            tokens = [a.restart_token for a in agent.assigned.values() if a.spec.image == "nginx:1"]
            return tokens == [1, 1] and (await services(http))["web"][1] == "active"

        await eventually(again)
        bad = await http.post(web["actions"]["restart"], json={"rollingRestartStrategy": {"batchSize": 0}})
        assert (bad.status_code, bad.json()["fieldName"]) == (422, "rollingRestartStrategy.batchSize")


async def test_a_restart_without_a_strategy_goes_one_by_one(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        await deployed(server, http)
        web = next(s for s in (await http.get("/services")).json()["data"] if s["name"] == "web")
        for content in (b"null", b"", b'{"rollingRestartStrategy": {}}'):
            asked = await http.post(web["actions"]["restart"], content=content)
            assert asked.status_code == 202, asked.text

        async def again() -> bool:
            tokens = {a.restart_token for a in agent.assigned.values() if a.spec.image == "nginx:1"}
            return len(tokens) == 1 and 0 not in tokens and (await services(http))["web"][1] == "active"

        await eventually(again)
