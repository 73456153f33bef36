"""Simulated hosts as programs of 1.x ask for them: by registration, by an agent of their own, with their task and account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.api.conftest import Installation, eventually, installation

from remuda.core.simulated import KNOBS
from remuda.run.simulated import simulator


@pytest.fixture
async def off(tmp_path: Path) -> AsyncIterator[Installation]:
    """A server as operators run it."""
    async with installation(tmp_path) as one:
        await one.set_up()
        yield one


@pytest.fixture
async def server(off: Installation) -> AsyncIterator[Installation]:
    """A server that was started with --simulated-hosts."""
    off.api.simulated_hosts = True
    playing = asyncio.create_task(simulator(off.api.plane).run())
    yield off
    playing.cancel()
    await asyncio.gather(playing, return_exceptions=True)


async def _register(server: Installation, key: str, form: str | None = "sim://%s") -> httpx2.Response:
    async with server.admin() as http, server.client() as machine:
        token = (await http.post("/registrationtokens")).json()["token"]
        body = {"key": key} | ({"agentUriFormat": form} if form else {})
        return await machine.post("/register", auth=("registrationToken", token), json=body)


async def _super(server: Installation) -> httpx2.AsyncClient:
    """The account superadmin, activated by an administrator and given a key."""
    async with server.admin(None) as http:
        (account,) = (await http.get("/accounts", params={"uuid": "superadmin"})).json()["data"]
        assert account["state"] == "inactive"
        assert (await http.post(account["actions"]["activate"])).json()["state"] == "active"
        key = (await http.post("/apikeys?_role=superadmin", json={"accountId": account["id"]})).json()
    return server.client(auth=httpx2.BasicAuth(key["publicValue"], key["secretValue"]))


async def _agent(http: httpx2.AsyncClient, uri: str, state: str) -> dict[str, Any]:
    async def there() -> Any:
        found = (await http.get("/agents", params={"uri": uri})).json()["data"]
        return found[0] if found and found[0]["state"] == state else None

    return dict(await eventually(there))


async def test_registering_with_the_format_of_simulated_agents_makes_a_host_that_runs_containers(
    server: Installation,
) -> None:
    answer = await _register(server, "machine-7")
    assert answer.status_code == 201
    assert answer.json()["accessKey"]
    async with server.admin(None) as top, server.admin() as http:
        agent = await _agent(top, "sim://machine-7", "active")
        (host,) = (await top.get(f"/agents/{agent['id']}/hosts")).json()["data"]
        assert (host["hostname"], host["kind"], host["agentIpAddress"]) == ("testhost-machine-7", "sim", "192.168.0.21")
        made = (await http.post("/containers", json={"name": "c", "imageUuid": "sim:x"})).json()

        async def runs() -> Any:
            now = (await http.get(f"/containers/{made['id']}")).json()
            return now if now["state"] == "running" else None

        container = await eventually(runs)
        assert len(container["externalId"]) == 36
        assert container["hostId"] == host["id"]
        console = (await http.post(container["actions"]["console"])).json()
        assert (console["kind"], console["url"]) == ("fake", "http://localhost/console")


async def test_the_ports_of_a_service_are_told_by_it_by_its_container_and_by_its_host(server: Installation) -> None:
    assert (await _register(server, "machine-7")).status_code == 201
    async with server.admin() as http:
        stack = (await http.post("/environments", json={"name": "shop"})).json()
        config = {"imageUuid": "sim:x", "ports": ["8080:80"]}
        wish = {"name": "web", "environmentId": stack["id"], "launchConfig": config, "startOnCreate": True}
        service = (await http.post("/services", json=wish)).json()

        async def runs() -> Any:
            now = (await http.get(f"/services/{service['id']}")).json()
            return now if now["state"] == "active" else None

        found = (await eventually(runs))["publicEndpoints"]
        assert [(end["ipAddress"], end["port"], end["privatePort"]) for end in found] == [("192.168.0.21", 8080, 80)]
        (container,) = (await http.get(f"/services/{service['id']}/instances")).json()["data"]
        (host,) = (await http.get("/hosts")).json()["data"]
        assert container["publicEndpoints"] == host["publicEndpoints"] == found


async def test_where_simulated_hosts_are_off_asking_for_one_says_how_to_turn_them_on(off: Installation) -> None:
    answer = await _register(off, "machine-7")
    assert answer.status_code == 422
    assert answer.json()["fieldName"] == "agentUriFormat"
    assert "--simulated-hosts" in answer.text
    async with await _super(off) as http:
        answer = await http.post("/agents", json={"uri": "sim://a", "accountId": "1a5"})
        assert answer.status_code == 422
        assert answer.json()["fieldName"] == "uri"
        assert "--simulated-hosts" in answer.text
        assert (await http.get("/agents")).json()["data"] == []


async def test_another_format_is_refused_and_that_of_real_agents_is_not(server: Installation) -> None:
    refused = await _register(server, "machine-7", "test://%s")
    assert (refused.status_code, refused.json()["fieldName"]) == (422, "agentUriFormat")
    for form in (None, "event://%s"):
        assert (await _register(server, "machine-8", form)).status_code == 201
    assert (await _register(server, "machine-8")).json()["fieldName"] == "key", "a real machine does not become another"


async def test_the_superadmin_makes_agents_with_machines_as_their_data_says(server: Installation) -> None:
    data = {f"io.cattle.platform.agent.connection.simulator.{KNOBS}": {"memory": 2 * 1024**3, "ipAddress": "10.9.9.9"}}
    async with await _super(server) as http:
        made = await http.post("/agents", json={"uri": "sim://big", "accountId": "1a5", "data": data})
        assert made.status_code == 201
        agent = await _agent(http, "sim://big", "active")
        (host,) = (await http.get(f"/agents/{agent['id']}/hosts")).json()["data"]
        assert host["agentIpAddress"] == "10.9.9.9"
        assert host["info"]["memoryInfo"]["memTotal"] == 2048


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"uri": "http://a", "accountId": "1a5"}, "uri"),
        ({"uri": "sim://", "accountId": "1a5"}, "uri"),
        ({"accountId": "1a5"}, "uri"),
        ({"uri": "sim://taken", "accountId": "1a5"}, "uri"),
        ({"uri": "sim://a"}, "accountId"),
        ({"uri": "sim://a", "accountId": "1a1"}, "accountId"),
        ({"uri": "sim://a", "accountId": "1a5", "data": {KNOBS: {"hosts": 2}}}, "data"),
        ({"uri": "sim://a", "accountId": "1a5", "data": {KNOBS: {"memory": "much"}}}, "data"),
        ({"uri": "sim://a", "accountId": "1a5", "data": {KNOBS: {"milliCpu": 0}}}, "data"),
    ],
)
async def test_what_cannot_be_a_simulated_agent_is_refused_with_its_field(
    server: Installation, body: dict[str, Any], field: str
) -> None:
    async with await _super(server) as http:
        assert (await http.post("/agents", json={"uri": "sim://taken", "accountId": "1a5"})).status_code == 201
        answer = await http.post("/agents", json=body)
        assert answer.status_code == 422
        assert answer.json()["fieldName"] == field
        assert len((await http.get("/agents")).json()["data"]) == 1


async def test_an_agent_is_disconnected_and_reconnected_by_its_actions(server: Installation) -> None:
    await _register(server, "machine-7")
    async with server.admin(None) as http:
        agent = await _agent(http, "sim://machine-7", "active")
        await http.post(agent["actions"]["disconnect"])
        await _agent(http, "sim://machine-7", "reconnecting")
        await http.post(agent["actions"]["reconnect"])
        await _agent(http, "sim://machine-7", "active")


async def test_agents_of_real_machines_cannot_be_disconnected_by_hand(server: Installation) -> None:
    await server.agent("machine-1")
    async with server.admin(None) as http:
        (agent,) = (await http.get("/agents")).json()["data"]
        assert agent["uri"] in ("", None)
        answer = await http.post(agent["actions"]["disconnect"])
        assert answer.status_code == 422
        assert "machine of its own" in answer.text


async def test_nobody_else_speaks_for_a_simulated_host(server: Installation) -> None:
    keys = (await _register(server, "machine-7")).json()
    async with server.admin(None) as http:
        await _agent(http, "sim://machine-7", "active")
    import websockets

    auth = httpx2.BasicAuth(keys["accessKey"], keys["secretKey"])
    header = next(auth.auth_flow(httpx2.Request("GET", server.base))).headers["authorization"]
    url = server.base.replace("http", "ws") + "/v1/agentsession"
    with pytest.raises(websockets.InvalidStatus):
        async with websockets.connect(url, additional_headers={"Authorization": header}):
            pass


async def test_the_task_that_pings_agents_is_for_administrators(server: Installation) -> None:
    async with server.admin(None) as http:
        (task,) = (await http.get("/tasks", params={"name": "agent.ping"})).json()["data"]
        assert task["name"] == "agent.ping"
        answer = await http.post(task["actions"]["execute"])
        assert (answer.status_code, answer.json()["type"]) == (202, "task")
        assert (await http.get("/tasks", params={"name": "other"})).json()["data"] == []
        assert (await http.get(f"/tasks/{task['id']}")).json()["id"] == task["id"]
        assert (await http.get("/tasks/1ta99")).status_code == 404
        assert (await http.post("/tasks")).status_code == 405
    async with server.admin() as http:
        assert (await http.get("/tasks")).status_code == 404, "not of an environment"
    async with server.client() as http:
        assert (await http.get("/tasks")).status_code in (401, 404)


async def test_administrators_look_at_agents_and_make_none(server: Installation) -> None:
    async with server.admin(None) as http:
        assert (await http.post("/agents", json={"uri": "sim://a", "accountId": "1a5"})).status_code in (403, 405)
