"""Secrets: write-once values that only the hosts of their users hear of."""

from __future__ import annotations

import base64
from typing import Any

import httpx2
import pytest

from remuda.core.model import AuditLog, Instance, Secret, Service

from .conftest import FakeAgent, Installation, eventually

PLAIN = "the-very-secret-value"
VALUE = base64.b64encode(PLAIN.encode()).decode()


async def add_secret(http: httpx2.AsyncClient, name: str = "db-password") -> dict[str, Any]:
    made = await http.post("/secrets", json={"name": name, "value": VALUE})
    assert made.status_code == 201, made.text
    return dict(made.json())


async def add_service(http: httpx2.AsyncClient, name: str, *references: dict[str, Any]) -> httpx2.Response:
    stacks = (await http.get("/environments", params={"name": "shop"})).json()["data"]
    stack = stacks[0] if stacks else (await http.post("/environments", json={"name": "shop"})).json()
    launch = {"imageUuid": "docker:nginx", "secrets": list(references)}
    body = {"name": name, "environmentId": stack["id"], "launchConfig": launch, "startOnCreate": True}
    return await http.post("/services", json=body)


async def told(agent: FakeAgent) -> dict[str, str]:
    """The secrets of the one container that has some."""

    async def look() -> Any:
        return next((wish for wish in agent.assigned.values() if wish.spec.secrets), None)

    return dict((await eventually(look)).secrets)


async def test_a_value_is_never_shown_nor_stored_nor_logged_in_plain(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        made = await add_secret(http)
        assert made["state"] == "active"
        await add_service(http, "web", {"secretId": made["id"]})
        await told(agent)
        seen = [(await http.get(path)).text for path in (
            f"/secrets/{made['id']}", "/secrets", "/auditlogs", "/services", "/containers",
        )]  # fmt: skip
    rows = await server.api.store.read(
        lambda tx: (tx.find(Secret), tx.find(AuditLog), tx.find(Service), tx.find(Instance))
    )
    for shown in (str(made), *seen, repr(rows)):
        assert VALUE not in shown
        assert PLAIN not in shown
    assert '"value":null' in seen[0].replace(" ", "")


async def test_the_container_gets_it_under_the_name_that_its_service_says(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        one, two = await add_secret(http), await add_secret(http, "tls.key")
        answer = await add_service(
            http, "web", {"secretId": one["id"]}, {"secretId": two["id"], "name": "key", "uid": "1000", "mode": "0400"}
        )
        assert answer.status_code == 201, answer.text
        shown = answer.json()["launchConfig"]["secrets"]
        assert shown[1] == {"secretId": two["id"], "name": "key", "uid": "1000", "mode": "0400"}
        assert await told(agent) == {"db-password": VALUE, "key": VALUE}
        assert {r.name for wish in agent.assigned.values() for r in wish.spec.secrets} == {"db-password", "key"}


async def test_a_secret_in_use_is_kept_and_its_users_are_named(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http:
        made = await add_secret(http)
        service = (await add_service(http, "web", {"secretId": made["id"]})).json()
        body = {"name": "loose", "imageUuid": "docker:nginx", "secrets": [{"secretId": made["id"]}]}
        container = (await http.post("/containers", json=body)).json()
        refused = await http.delete(f"/secrets/{made['id']}")
        assert refused.status_code == 422
        assert "web" in refused.json()["message"]
        assert "loose" in refused.json()["message"]
        await http.delete(f"/services/{service['id']}")
        await http.delete(f"/containers/{container['id']}")

        async def removed() -> bool:
            return (await http.delete(f"/secrets/{made['id']}")).status_code == 200

        await eventually(removed)
    assert [row.sealed for row in await server.api.store.read(lambda tx: tx.find(Secret))] == [""]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "x"}, "value"),
        ({"value": VALUE}, "name"),
        ({"name": "x", "value": "not base64!"}, "value"),
        ({"name": "a/b", "value": VALUE}, "name"),
        ({"name": "..", "value": VALUE}, "name"),
        ({"name": "x", "value": base64.b64encode(b"x" * 512_001).decode()}, "value"),
        ({"name": "taken", "value": VALUE}, "name"),
    ],
)
async def test_what_no_container_could_read_is_refused(server: Installation, body: dict[str, str], field: str) -> None:
    async with server.admin() as http:
        await add_secret(http, "taken")
        answer = await http.post("/secrets", json=body)
        assert (answer.status_code, answer.json()["fieldName"]) == (422, field), answer.text
        assert PLAIN not in answer.text
        assert VALUE not in answer.text


@pytest.mark.parametrize(
    ("reference", "field"),
    [
        ({"secretId": "1se999"}, "secretId"),
        ({}, "secretId"),
        ({"name": "../etc/passwd"}, "name"),
        ({"uid": "root"}, "uid"),
        ({"gid": "-1"}, "gid"),
        ({"mode": "0999"}, "mode"),
    ],
)
async def test_a_reference_that_cannot_be_mounted_names_its_field(
    server: Installation, reference: dict[str, str], field: str
) -> None:
    async with server.admin() as http:
        made = await add_secret(http)
        good = {"secretId": made["id"]} if field != "secretId" else {}
        answer = await add_service(http, "web", {**good, **reference})
        assert answer.status_code == 422, answer.text
        assert answer.json()["fieldName"] == f"launchConfig.secrets[0].{field}"
        loose = {"imageUuid": "docker:nginx", "secrets": [{**good, **reference}]}
        answer = await http.post("/containers", json=loose)
        assert answer.status_code == 422, answer.text
        assert answer.json()["fieldName"] == f"secrets[0].{field}"


async def test_two_secrets_cannot_be_one_file(server: Installation) -> None:
    async with server.admin() as http:
        one, two = await add_secret(http), await add_secret(http, "other")
        answer = await add_service(
            http, "web", {"secretId": one["id"], "name": "x"}, {"secretId": two["id"], "name": "x"}
        )
        assert (answer.status_code, answer.json()["fieldName"]) == (422, "launchConfig.secrets")
        both = [{"secretId": one["id"], "name": "x"}, {"secretId": two["id"], "name": "x"}]
        answer = await http.post("/containers", json={"imageUuid": "docker:nginx", "secrets": both})
        assert (answer.status_code, answer.json()["fieldName"]) == (422, "secrets")


async def test_secrets_of_another_environment_cannot_be_used(server: Installation) -> None:
    async with server.admin(None) as http:
        other = (await http.post("/projects", json={"name": "other"})).json()
    async with server.admin(other["id"]) as http:
        made = await add_secret(http)
    async with server.admin() as http:
        answer = await add_service(http, "web", {"secretId": made["id"]})
        assert (answer.status_code, answer.json()["fieldName"]) == (422, "launchConfig.secrets[0].secretId")


async def test_a_secret_is_the_same_in_both_versions_of_the_api(server: Installation) -> None:
    async with server.admin() as http:
        made = await add_secret(http)
        base = server.base + "/v2-beta/projects/1a5"
        found = (await http.get(f"{base}/secrets/{made['id']}")).json()
        assert (found["id"], found["type"], found["name"]) == (made["id"], "secret", "db-password")
        assert made["id"].startswith("1se")


async def test_a_change_changes_no_value(server: Installation) -> None:
    async with server.admin() as http:
        made = await add_secret(http)
        before = await server.api.store.read(lambda tx: tx.find(Secret))
        other = base64.b64encode(b"something else").decode()
        await http.put(f"/secrets/{made['id']}", json={"name": "other", "value": other})
        assert await server.api.store.read(lambda tx: tx.find(Secret)) == before
