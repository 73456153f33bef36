"""Stacks, services and containers through the API, down to an agent that speaks the wire."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
import websockets

from .conftest import Installation, eventually

FILES = {
    "name": "shop",
    "dockerCompose": "version: '2'\nservices:\n  web:\n    image: nginx\n    ports: ['8080:80']\n  db:\n    image: pg\n",
    "rancherCompose": "version: '2'\nservices:\n  db:\n    scale: 1\n",
}


async def services(http: Any) -> dict[str, dict[str, Any]]:
    return {s["name"]: s for s in (await http.get("/services")).json()["data"]}


async def until_active(http: Any) -> dict[str, dict[str, Any]]:
    async def check() -> dict[str, dict[str, Any]] | None:
        found = await services(http)
        return found if found and all(s["state"] == "active" for s in found.values()) else None

    return await eventually(check)  # type: ignore[no-any-return]


async def test_a_stack_runs_and_says_where(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        answer = await http.post("/environments", json=FILES)
        assert answer.status_code == 201, answer.text
        found = await until_active(http)
        assert len(agent.assigned) == 2
        assert found["web"]["publicEndpoints"][0]["ipAddress"] == "10.0.0.1"
        containers = (await http.get("/containers?sort=name")).json()["data"]
        assert [c["name"] for c in containers] == ["shop_db_1", "shop_web_1"]
        assert {c["state"] for c in containers} == {"running"}
        host = (await http.get("/hosts")).json()["data"][0]
        assert sorted(host["instanceIds"]) == sorted(c["id"] for c in containers)


async def test_without_a_host_the_service_says_what_it_waits_for(server: Installation) -> None:
    async with server.admin() as http:
        await http.post("/environments", json=FILES)

        async def blocked() -> Any:
            found = (await services(http)).get("web")
            return found if found and found["transitioning"] == "error" else None

        web = await eventually(blocked)
        assert "host" in web["transitioningMessage"].lower()


async def test_apply_creates_updates_and_never_deletes(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http:
        stack = (await http.post("/environments", json=FILES)).json()
        await until_active(http)
        plan = (await http.post("/composeplans", json={**FILES, "environmentId": stack["id"]})).json()
        assert {s["name"]: s["change"] for s in plan["services"]} == {"web": "same", "db": "same"}
        files = {"dockerCompose": "web:\n  image: nginx:2\n  ports: ['8080:80']\ncache:\n  image: redis\n"}
        answer = await http.post(stack["actions"]["apply"], json=files)
        assert answer.status_code == 202, answer.text

        async def rolled() -> Any:
            found = await services(http)
            images = {c["imageUuid"] for c in (await http.get("/containers")).json()["data"]}
            return found if "docker:nginx:2" in images and "docker:nginx" not in images else None

        found = await eventually(rolled)
        assert set(found) == {"web", "db", "cache"}
        assert found["web"]["revision"] == 2
        assert found["db"]["revision"] == 1


async def test_bad_files_are_refused_with_their_place(server: Installation) -> None:
    async with server.admin() as http:
        body = {"name": "bad", "dockerCompose": "web:\n  image: nginx\n  ports: ['x:y:z:1']\n"}
        answer = await http.post("/environments", json=body)
        assert (answer.status_code, answer.json()["fieldName"]) == (422, "dockerCompose")
        assert "docker-compose.yml:3:" in answer.json()["message"]
        assert (await http.get("/environments")).json()["data"] == []
        plan = (await http.post("/composeplans", json=body)).json()
        assert plan["valid"] is False
        assert plan["problems"][0]["line"] == 3


async def test_scaling_stopping_and_starting(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        await http.post("/environments", json={"name": "s", "dockerCompose": "w:\n  image: x\n"})
        service = (await until_active(http))["w"]
        await http.put(service["links"]["self"], json={"scale": 3})

        async def scaled() -> bool:
            return (await services(http))["w"]["currentScale"] == 3

        await eventually(scaled)
        await http.post(service["links"]["self"] + "/?action=deactivate")

        async def stopped() -> bool:
            return (await services(http))["w"]["state"] == "inactive"

        await eventually(stopped)
        assert {a.desired for a in agent.assigned.values()} == {"stopped"}
        await http.post(service["links"]["self"] + "/?action=activate")
        await until_active(http)


async def test_removing_a_stack_takes_everything_with_it(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        stack = (await http.post("/environments", json=FILES)).json()
        await until_active(http)
        await http.delete(stack["links"]["self"])

        async def gone() -> bool:
            paths = ("/environments", "/services", "/containers")
            return not any([(await http.get(p)).json()["data"] for p in paths])

        await eventually(gone)
        assert {a.desired for a in agent.assigned.values()} == {"removed"}
        assert (await http.get(stack["links"]["self"])).json()["state"] == "removed"


async def test_a_standalone_container_lives_its_life(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http:
        made = await http.post("/containers", json={"name": "solo", "imageUuid": "docker:x", "command": ["sleep", "9"]})
        assert made.status_code == 201, made.text
        url = made.json()["links"]["self"]

        async def state(wanted: str) -> None:
            async def check() -> bool:
                return bool((await http.get(url)).json()["state"] == wanted)

            await eventually(check)

        await state("running")
        await http.post(url + "/?action=stop")
        await state("stopped")
        await http.post(url + "/?action=start")
        await state("running")
        await http.post(url + "/?action=restart")
        await state("running")
        await http.delete(url)
        await state("removed")


async def test_subscribers_hear_of_changes_and_can_resume(server: Installation) -> None:
    url = f"{server.base.replace('http', 'ws')}/v1/projects/1a5/subscribe?eventNames=resource.change"
    headers = {"Authorization": f"Bearer {server.jwt}"}
    async with server.admin() as http:
        async with websockets.connect(url, additional_headers=headers) as socket:
            first = json.loads(await socket.recv())
            assert first["name"] == "ping"
            await http.post("/environments", json={"name": "one"})
            frame = await asyncio.wait_for(socket.recv(), 5)
            told = json.loads(frame)
            assert (told["name"], told["resourceType"]) == ("resource.change", "environment")
            assert told["data"]["resource"]["name"] == "one"
        await http.post("/environments", json={"name": "two"})
        async with websockets.connect(f"{url}&resume={told['seq']}", additional_headers=headers) as socket:
            await socket.recv()
            missed = json.loads(await asyncio.wait_for(socket.recv(), 5))
            assert missed["data"]["resource"]["name"] == "two"
        async with websockets.connect(f"{url}&resume=999999", additional_headers=headers) as socket:
            await socket.recv()
            assert json.loads(await asyncio.wait_for(socket.recv(), 5)) == {"name": "resync"}


async def test_strangers_cannot_subscribe_or_pose_as_agents(server: Installation) -> None:
    for path in ("subscribe", "agentsession", "exec/?token=x"):
        try:
            async with websockets.connect(f"{server.base.replace('http', 'ws')}/v1/{path}") as socket:
                await socket.recv()
        except (websockets.InvalidStatus, websockets.ConnectionClosed):
            continue
        raise AssertionError(f"{path} let a stranger in")


async def test_logs_and_exec_come_in_the_documented_frames(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        made = (await http.post("/containers", json={"name": "solo", "imageUuid": "docker:x"})).json()
        url = made["links"]["self"]

        async def runs() -> bool:
            return bool((await http.get(url)).json()["state"] == "running")

        await eventually(runs)
        access = (await http.post(url + "/?action=logs", json={"follow": False})).json()
        async with websockets.connect(f"{access['url']}?token={access['token']}") as socket:
            lines = [frame async for frame in socket]
        assert lines == ["01 first line", "01 second line"]
        access = (await http.post(url + "/?action=execute", json={"command": ["ls"], "tty": False})).json()
        async with websockets.connect(f"{access['url']}?token={access['token']}&exit=true") as socket:
            frames = [frame async for frame in socket]
        assert b"".join(base64.b64decode(f) for f in frames[:-1]) == b"first line\nsecond line\n"
        assert frames[-1] == ":exit:3"
        assert [s.kind for s in agent.streams] == ["logs", "exec"]


async def test_a_stream_to_a_host_that_is_away_ends_with_the_reason(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http:
        made = (await http.post("/containers", json={"name": "solo", "imageUuid": "docker:x"})).json()
        url = made["links"]["self"]

        async def runs() -> bool:
            return bool((await http.get(url)).json()["state"] == "running")

        await eventually(runs)
        access = (await http.post(url + "/?action=logs", json={})).json()
        await server.close()

        async def away() -> bool:
            return not server.api.plane.hub.session(1)

        await eventually(away)
        async with websockets.connect(f"{access['url']}?token={access['token']}") as socket:
            with pytest.raises(websockets.ConnectionClosedError, match="not connected to any server"):
                await socket.recv()
