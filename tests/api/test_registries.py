"""Registries and their passwords: told to the hosts that pull from there, and to nobody else."""

from __future__ import annotations

import base64
from typing import Any

import httpx2
import msgspec
import pytest

from remuda.core.model import AuditLog, RegistryCredential
from remuda.core.pulls import Pull

from .conftest import FakeAgent, Installation, eventually

PASSWORD = "s3cret-of-the-registry"
PRIVATE = "registry.example.com:5000/team/app:1"


async def add_registry(http: httpx2.AsyncClient, address: str = "registry.example.com:5000") -> dict[str, Any]:
    made = await http.post("/registries", json={"serverAddress": address})
    assert made.status_code == 201, made.text
    return dict(made.json())


async def add_login(http: httpx2.AsyncClient, registry: dict[str, Any], password: str = PASSWORD) -> dict[str, Any]:
    body = {"registryId": registry["id"], "publicValue": "joe", "secretValue": password, "email": "joe@example.com"}
    made = await http.post("/registrycredentials", json=body)
    assert made.status_code == 201, made.text
    return dict(made.json())


async def run(http: httpx2.AsyncClient, image: str, **more: Any) -> dict[str, Any]:
    made = await http.post("/containers", json={"name": "app", "imageUuid": f"docker:{image}", **more})
    assert made.status_code == 201, made.text
    return dict(made.json())


async def login_for(agent: FakeAgent, container: dict[str, Any]) -> dict[str, str]:
    """What the host was told for the image of a container; empty when it was told to pull without a login."""

    async def told() -> Any:
        return agent.assigned.get(container["uuid"])

    wish = await eventually(told)
    auth = wish.registry_auth
    return dict(msgspec.json.decode(base64.urlsafe_b64decode(auth))) if auth else {}


async def test_a_registry_has_one_address_without_scheme(server: Installation) -> None:
    async with server.admin() as http:
        made = await add_registry(http, "HTTPS://Registry.example.com:5000/v2/")
        assert made["serverAddress"] == "registry.example.com:5000"
        assert (made["type"], made["baseType"], made["state"]) == ("registry", "storagePool", "active")
        again = await http.post("/registries", json={"serverAddress": "registry.example.com:5000"})
        assert (again.status_code, again.json()["code"]) == (422, "NotUnique")
        wrong = await http.post("/registries", json={"serverAddress": "no such thing"})
        assert (wrong.status_code, wrong.json()["fieldName"]) == (422, "serverAddress")


async def test_a_password_is_never_shown_nor_stored_nor_logged_in_plain(server: Installation) -> None:
    async with server.admin() as http:
        registry = await add_registry(http)
        made = await add_login(http, registry)
        assert made["publicValue"] == "joe"
        seen = [
            (await http.get(f"/registrycredentials/{made['id']}")).text,
            (await http.get(f"/registries/{registry['id']}/credentials")).text,
            (await http.put(f"/registrycredentials/{made['id']}", json={"secretValue": PASSWORD + "2"})).text,
            (await http.get("/auditlogs")).text,
        ]
    assert all("joe" in text for text in seen[:3])
    assert not any(PASSWORD in text for text in seen)
    rows = await server.api.store.read(lambda tx: (tx.find(RegistryCredential), tx.find(AuditLog)))
    assert PASSWORD not in repr(rows)


async def test_only_images_of_the_registry_are_pulled_with_its_login(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        await add_login(http, await add_registry(http))
        ours, other = await run(http, PRIVATE), await run(http, "nginx:1")
        told = await login_for(agent, ours)
        assert (told["username"], told["password"]) == ("joe", PASSWORD)
        assert told["serveraddress"] == "registry.example.com:5000"
        assert await login_for(agent, other) == {}


async def test_docker_hub_is_known_by_all_its_names(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        await add_login(http, await add_registry(http, "index.docker.io"))
        assert (await login_for(agent, await run(http, "team/private")))["username"] == "joe"


async def test_the_newest_active_login_counts(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        registry = await add_registry(http)
        await add_login(http, registry, "older")
        newer = await add_login(http, registry, "newer")
        assert (await login_for(agent, await run(http, PRIVATE)))["password"] == "newer"
        await http.post(f"/registrycredentials/{newer['id']}?action=deactivate")
        assert (await login_for(agent, await run(http, PRIVATE)))["password"] == "older"
        await http.post(f"/registries/{registry['id']}?action=deactivate")
        assert await login_for(agent, await run(http, PRIVATE)) == {}


async def test_a_corrected_password_reaches_the_host_that_could_not_pull(server: Installation) -> None:
    agent = await server.agent()
    agent.unpullable.add(PRIVATE)
    async with server.admin() as http:
        credential = await add_login(http, await add_registry(http), "wrong")
        container = await run(http, PRIVATE)
        assert (await login_for(agent, container))["password"] == "wrong"
        before = agent.assigned[container["uuid"]].seq
        await http.put(f"/registrycredentials/{credential['id']}", json={"secretValue": "right"})

        async def told_again() -> bool:
            return (await login_for(agent, container))["password"] == "right"

        await eventually(told_again)
        assert agent.assigned[container["uuid"]].seq > before, "an agent that waits tries again at once"


async def test_a_change_without_the_password_keeps_it(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        made = await add_login(http, await add_registry(http))
        await http.put(f"/registrycredentials/{made['id']}", json={"publicValue": "jane", "secretValue": None})
        told = await login_for(agent, await run(http, PRIVATE))
    assert (told["username"], told["password"]) == ("jane", PASSWORD)


async def test_a_removed_registry_takes_its_passwords_along(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        registry = await add_registry(http)
        made = await add_login(http, registry)
        await http.delete(f"/registries/{registry['id']}")
        assert (await http.get(f"/registrycredentials/{made['id']}")).json()["state"] == "removed"
        assert await login_for(agent, await run(http, PRIVATE)) == {}
    assert {row.sealed for row in await server.api.store.read(lambda tx: tx.find(RegistryCredential))} == {""}


async def test_another_environment_has_its_own_logins(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin(None) as http:
        other = (await http.post("/projects", json={"name": "other"})).json()
    async with server.admin(other["id"]) as http:
        await add_login(http, await add_registry(http))
    async with server.admin() as http:
        assert await login_for(agent, await run(http, PRIVATE)) == {}


async def test_a_pull_task_reaches_matching_hosts_with_the_login_and_tells_how_far_it_is(server: Installation) -> None:
    agent = await server.agent()
    agent.pull_answers = [Pull(state="pulling", percent=40, message="Pulling"), Pull(state="done", percent=100)]
    async with server.admin() as http:
        await add_login(http, await add_registry(http))
        made = (await http.post("/pulltasks", json={"image": f"docker:{PRIVATE}", "mode": "all"})).json()
        assert (made["transitioning"], made["state"]) == ("yes", "activating")
        assert made["status"] == {"host-1": "Waiting for the host"}

        async def done() -> Any:
            found = (await http.get(f"/pulltasks/{made['id']}")).json()
            return found if found["transitioning"] == "no" else None

        found = await eventually(done)
    assert (found["state"], found["status"]) == ("active", {"host-1": "Done"})
    assert agent.pulls[0].image == PRIVATE
    assert agent.pulls[0].registry_auth


async def test_a_pull_that_fails_says_where_and_why(server: Installation) -> None:
    agent = await server.agent()
    agent.pull_answers = [Pull(state="failed", message="no basic auth credentials")]
    async with server.admin() as http:
        made = (await http.post("/pulltasks", json={"image": PRIVATE, "mode": "cached"})).json()

        async def ended() -> Any:
            found = (await http.get(f"/pulltasks/{made['id']}")).json()
            return found if found["transitioning"] == "error" else None

        found = await eventually(ended)
    assert found["status"] == {"host-1": "Failed: no basic auth credentials"}
    assert "no basic auth credentials" in found["transitioningMessage"]
    assert agent.pulls[0].cached


async def test_a_pull_task_leaves_hosts_with_other_labels_alone_and_gives_up_on_removed_ones(
    server: Installation,
) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        none = (await http.post("/pulltasks", json={"image": "nginx", "labels": {"zone": "a"}})).json()
        assert (none["status"], none["transitioning"]) == ({}, "no")
        assert "No host" in none["transitioningMessage"]
        host = (await http.get("/hosts")).json()["data"][0]
        await http.put(f"/hosts/{host['id']}", json={"labels": {"zone": "a"}})
        made = (await http.post("/pulltasks", json={"image": "nginx", "labels": {"zone": "a"}})).json()
        assert made["transitioning"] == "yes"

        async def ordered() -> bool:
            return bool(agent.pulls)

        await eventually(ordered)
        await http.delete(f"/hosts/{host['id']}")

        async def ended() -> Any:
            found = (await http.get(f"/pulltasks/{made['id']}")).json()
            return found if found["transitioning"] == "error" else None

        assert "removed" in (await eventually(ended))["transitioningMessage"]


@pytest.mark.parametrize("body", [{}, {"image": ""}, {"image": "nginx", "mode": "some"}])
async def test_a_pull_task_that_says_too_little_is_refused(server: Installation, body: dict[str, str]) -> None:
    async with server.admin() as http:
        answer = await http.post("/pulltasks", json=body)
        assert answer.status_code == 422
        assert answer.json()["fieldName"] in ("image", "mode")


async def test_a_launch_configuration_may_name_the_credential_with_which_its_image_is_pulled(
    server: Installation,
) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        registry = await add_registry(http)
        first, second = (
            await add_login(http, registry, "first-password"),
            await add_login(http, registry, "second-password"),
        )
        told = set()
        for number, login in enumerate((first, second)):
            made = await run(http, PRIVATE, name=f"app{number}", registryCredentialId=login["id"])
            assert made["registryCredentialId"] == login["id"]
            told.add((await login_for(agent, made))["password"])
        assert told == {"first-password", "second-password"}
        stack = (await http.post("/environments", json={"name": "shop"})).json()
        config = {"imageUuid": f"docker:{PRIVATE}", "registryCredentialId": "1c999"}
        wish = {"name": "web", "environmentId": stack["id"], "launchConfig": config}
        refused = await http.post("/services", json=wish)
        assert (refused.status_code, refused.json()["code"]) == (422, "InvalidReference")
        assert refused.json()["fieldName"] == "launchConfig.registryCredentialId"
        wish["launchConfig"] = {**config, "registryCredentialId": second["id"]}
        made = (await http.post("/services", json=wish)).json()
        assert made["launchConfig"]["registryCredentialId"] == second["id"]
