"""The same rows under the names of each API version, the way clients of the later one walk through them."""

from __future__ import annotations

import json

import httpx2
import websockets

from .conftest import Installation


def later(server: Installation) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {server.jwt}"}
    return httpx2.AsyncClient(base_url=f"{server.base}/v2-beta/projects/1a5", headers=headers, timeout=10)


async def test_programs_are_told_which_versions_there_are(server: Installation) -> None:
    async with httpx2.AsyncClient(base_url=server.base) as http:
        told = (await http.get("/", headers={"Accept": "application/json"})).json()
        assert [version["id"] for version in told["data"]] == ["v1", "v2-beta"]
        assert told["links"]["latest"] == f"{server.base}/v2-beta"
        page = await http.get("/", headers={"Accept": "text/html", "User-Agent": "Mozilla/5.0"})
        assert "application/json" not in page.headers["content-type"]


async def test_the_command_line_of_1x_finds_its_way_in(server: Installation) -> None:
    async with server.client(headers={"Authorization": f"Bearer {server.jwt}"}) as http:
        root = await http.get(f"{server.base}/v2-beta")
        assert root.json()["id"] == "v2-beta"
        schemas = root.headers["X-API-Schemas"]
        assert schemas == f"{server.base}/v2-beta/schemas"
        project = (await http.get(root.json()["links"]["projects"])).json()["data"][0]
        # it asks for the schemas below the schemas
        odd = await http.get(f"{server.base}/v2-beta/projects/{project['id']}/schemas/schemas")
        assert odd.status_code == 200
        found = {schema["id"]: schema for schema in (await http.get(odd.headers["X-API-Schemas"])).json()["data"]}
        assert found["stack"]["links"]["collection"] == f"{server.base}/v2-beta/projects/{project['id']}/stacks"
        assert "environment" not in found
        assert found["service"]["resourceFields"]["stackId"]["type"] == "reference[stack]"
        assert "stackId" in found["service"]["collectionFilters"]
        asked = "limit=-2&removed_null=1&state_ne=inactive&state_ne=stopped&state_ne=removing&system=false"
        assert (await http.get(f"{found['stack']['links']['collection']}?{asked}")).status_code == 200


async def test_a_stack_is_an_environment_of_the_earlier_version(server: Installation) -> None:
    async with later(server) as http, server.admin() as old:
        stack = (await http.post("/stacks", json={"name": "shop", "environment": {"A": "b"}})).json()
        assert (stack["type"], stack["baseType"]) == ("stack", "stack")
        number = stack["id"].removeprefix("1st")
        assert stack["links"]["self"] == f"{http.base_url}".rstrip("/") + f"/stacks/{stack['id']}"
        same = (await old.get(f"/environments/1e{number}")).json()
        assert (same["uuid"], same["environment"]) == (stack["uuid"], {"A": "b"})
        config = {"imageUuid": "docker:nginx"}
        made = await http.post("/services", json={"name": "web", "stackId": stack["id"], "launchConfig": config})
        service = made.json()
        assert service["stackId"] == stack["id"]
        assert "environmentId" not in service
        assert service["links"]["stack"] == stack["links"]["self"]
        assert (await http.get(service["links"]["stack"])).json()["id"] == stack["id"]
        assert (await old.get(f"/services/{service['id']}")).json()["environmentId"] == f"1e{number}"
        listed = (await http.get(f"/services?stackId={stack['id']}")).json()
        assert [one["id"] for one in listed["data"]] == [service["id"]]
        assert listed["filters"]["stackId"][0]["value"] == stack["id"]
        with_services = (await http.get(f"/stacks/{stack['id']}?include=services")).json()
        assert [one["id"] for one in with_services["services"]] == [service["id"]]
        below = await http.post(f"/stacks/{stack['id']}/services", json={"name": "more", "launchConfig": config})
        assert below.json()["stackId"] == stack["id"]
        refused = await http.post("/services", json={"name": "x", "stackId": "1st999", "launchConfig": config})
        assert (refused.json()["code"], refused.json()["fieldName"]) == ("InvalidReference", "stackId")
        assert "'stackId'" in refused.json()["message"]


async def test_changes_come_under_the_version_that_was_subscribed_to(server: Installation) -> None:
    async with later(server) as http:
        url = f"{server.base}/v2-beta/projects/1a5/subscribe?eventNames=resource.change".replace("http", "ws")
        header = {"Authorization": f"Bearer {server.jwt}"}
        async with websockets.connect(url, additional_headers=header) as socket:
            assert json.loads(await socket.recv())["name"] == "ping"
            stack = (await http.post("/stacks", json={"name": "shop"})).json()
            while True:
                frame = json.loads(await socket.recv())
                if frame["name"] == "resource.change" and frame["resourceId"] == stack["id"]:
                    break
            assert frame["resourceType"] == "stack"
            assert frame["data"]["resource"]["type"] == "stack"


async def test_a_container_of_docker_becomes_a_launch_configuration(server: Installation) -> None:
    shown = {"Name": "/web", "Config": {"Image": "nginx"}, "HostConfig": {"NetworkMode": "default"}}
    async with later(server) as http:
        for path in ("/scripts/transform", f"{server.base}/v2-beta/scripts/transform"):
            told = (await http.post(path, content=json.dumps(shown))).json()  # the client sends no content type
            assert (told["type"], told["kind"], told["imageUuid"]) == ("container", "container", "docker:nginx")
            assert told["logConfig"] == {"driver": "", "config": {}}
            assert (told["labels"], told["ports"], told["environment"]) == ({}, [], {})
        for wrong in (
            {},
            {"Config": 7},
            {"Config": {"Image": "a", "Env": 7}},
            {"Config": {"Image": "a", "Tty": "maybe"}},
        ):
            refused = await http.post("/scripts/transform", json=wrong)
            assert refused.status_code == 400, refused.text
        assert (await http.get("/scripts/transform")).status_code == 405
    async with server.client() as stranger:
        assert (await stranger.post("/scripts/transform", json=shown)).status_code == 401


async def test_a_version_that_there_is_not_is_no_page_for_programs(server: Installation) -> None:
    async with httpx2.AsyncClient(base_url=server.base) as http:
        for path in ("/v3/hosts", "/v2/stacks", "/latest/hosts", "/v1-auth"):
            answer = await http.get(path)
            assert (answer.status_code, answer.json()["type"]) == (404, "error"), path
            assert answer.headers["X-API-Schemas"] == f"{server.base}/v2-beta/schemas"
        assert (await http.get("/healthcheck")).text == "pong"


async def test_answers_say_who_was_recognised(server: Installation) -> None:
    async with server.admin() as within, server.admin(project=None) as outside:
        told = (await within.get("/hosts")).headers
        assert (told["X-API-USER-ID"], told["X-API-ACCOUNT-ID"], told["X-API-ACCOUNT-KIND"]) == (
            "1a1",
            "1a5",
            "project",
        )
        told = (await outside.get("/projects")).headers
        assert (told["X-API-USER-ID"], told["X-API-ACCOUNT-ID"], told["X-API-ACCOUNT-KIND"]) == ("1a1", "1a1", "admin")


async def test_what_a_row_refers_to_is_embedded_and_parameters_are_part_of_a_body(server: Installation) -> None:
    async with later(server) as http:
        stack = (await http.post("/stacks?name=shop", json={"description": "of parameters"})).json()
        assert (stack["name"], stack["description"]) == ("shop", "of parameters")
        config = {"imageUuid": "docker:nginx"}
        body = {"name": "web", "stackId": stack["id"], "scale": 0, "launchConfig": config}
        service = (await http.post("/services?name=other", json=body)).json()
        assert service["name"] == "web", "the body counts"
        for path in ("/services?include=stack", f"/services/{service['id']}?include=Stack"):
            told = (await http.get(path)).json()
            row = told["data"][0] if "data" in told else told
            assert row["stack"]["id"] == stack["id"], path
        assert (await http.post("/services/1s999?action=nope", json={})).status_code == 404
        assert (await http.post(f"/services/{service['id']}?action=nope", json={})).json()["code"] == "InvalidAction"
