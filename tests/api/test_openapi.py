"""What the server answers is what its OpenAPI document says that it answers."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

from .conftest import Installation


async def test_answers_are_as_the_document_says(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http:
        stack = (await http.post("/environments", json={"name": "shop"})).json()
        config = {"imageUuid": "docker:nginx", "networkMode": "bridge", "labels": {"a": "b"}}
        body = {"name": "web", "environmentId": stack["id"], "scale": 2, "launchConfig": config}
        assert (await http.post("/services", json=body)).status_code == 201
        document: dict[str, Any] = (await http.get("/openapi.json")).json()
        assert document["openapi"] == "3.1.0"
        assert document["servers"][0]["url"].endswith("/v1/projects/1a5")
        seen, odd = 0, set[str]()
        for path, operations in document["paths"].items():
            if "{id}" in path or "get" not in operations:
                continue
            answer = await http.get(path)
            assert answer.status_code == 200, (path, answer.text)
            for row in answer.json()["data"]:
                schema = {"$ref": f"#/components/schemas/{row['type']}", "components": document["components"]}
                wrong = [
                    f"{'.'.join(map(str, e.path))}: {e.message}" for e in Draft202012Validator(schema).iter_errors(row)
                ]
                odd |= {f"{path} {one}" for one in wrong}
                seen += 1
        assert seen > 10
        assert not odd, sorted(odd)


async def test_strangers_are_told_nothing(server: Installation) -> None:
    async with server.client() as http:
        assert (await http.get("/openapi.json")).status_code == 401
