"""The Python client of 1.x, unchanged, through the life of what it is used for. It blocks: it runs beside the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import cattle
import gdapi
import pytest

from .conftest import Installation

VERSIONS = ("v1", "v2-beta")


async def client(server: Installation, version: str = "v1", path: str = "/projects/1a5") -> Any:
    """A client with an API key of the environment."""
    async with server.admin() as http:
        key = (await http.post("/apikeys", json={"name": "client"})).json()
    url = f"{server.base}/{version}{path}/schemas"
    return await asyncio.to_thread(
        lambda: cattle.Client(url=url, access_key=key["publicValue"], secret_key=key["secretValue"], cache=False)
    )


async def run(work: Callable[[], Any]) -> Any:
    """In a thread, because the client blocks."""
    return await asyncio.to_thread(work)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_stack_and_a_service_live_their_life(server: Installation, version: str) -> None:
    await server.agent()
    api = await client(server, version)

    def life() -> None:
        create = api.create_environment if version == "v1" else api.create_stack
        stack = api.wait_success(create(name="shop"))
        assert stack.type == ("environment" if version == "v1" else "stack")
        assert stack.id.startswith("1e" if version == "v1" else "1st")
        owner = {"environmentId" if version == "v1" else "stackId": stack.id}
        service = api.create_service(
            name="web", scale=2, launchConfig={"imageUuid": "docker:nginx", "networkMode": "bridge"}, **owner
        )
        service = api.wait_success(service)
        assert service.state == "inactive"
        service = api.wait_success(service.activate())
        assert service.state == "active"
        assert getattr(service, next(iter(owner))) == stack.id
        assert [found.id for found in api.list_service(name="web", **owner)] == [service.id]
        assert api.list_service(name="other", **owner).data == []
        mine = api.list_container(serviceId=service.id).data
        assert {c.state for c in mine} == {"running"}
        assert len(service.instances().data) == 2
        assert {m.instanceId for m in service.serviceExposeMaps().data} == {c.id for c in mine}
        back = service.environment() if version == "v1" else service.stack()
        assert back.id == stack.id
        service = api.wait_success(api.update(service, scale=1))
        assert service.scale == 1
        assert api.by_id_service(service.id).id == service.id
        assert api.by_id_service("1s999") is None
        service = api.wait_success(service.deactivate())
        assert service.state == "inactive"
        service = api.wait_success(service.activate())
        exported = stack.exportconfig()
        assert "nginx" in exported.dockerComposeConfig
        api.delete(stack)
        api.wait_success(api.reload(stack))
        assert api.reload(stack).state == "removed"
        assert api.list_service(**owner).data == []

    await run(life)


async def test_links_of_services_are_read_as_rows(server: Installation) -> None:
    api = await client(server)

    def linked() -> None:
        stack = api.create_environment(name="shop")
        config = {"imageUuid": "docker:nginx"}
        web, db = (
            api.create_service(name=n, environmentId=stack.id, scale=0, launchConfig=config) for n in ("web", "db")
        )
        web.setservicelinks(serviceLinks=[{"serviceId": db.id, "name": "store"}])
        (found,) = api.list_serviceConsumeMap(serviceId=web.id).data
        assert (found.consumedServiceId, found.name, found.state) == (db.id, "store", "active")
        assert api.by_id_serviceConsumeMap(found.id).serviceId == web.id
        assert api.list_serviceConsumeMap(serviceId=db.id).data == []
        assert len(api.list_serviceConsumeMap(consumedServiceId=db.id).data) == 1
        assert found.consumedService().name == "db"

    await run(linked)


async def test_a_container_is_started_stopped_and_removed(server: Installation) -> None:
    await server.agent()
    api = await client(server)

    def life() -> None:
        made = api.create_container(imageUuid="docker:nginx", name="alone", networkMode="bridge")
        made = api.wait_success(made)
        assert made.state == "running"
        (host,) = made.hosts().data
        assert host.state == "active"
        (joined,) = host.instanceHostMaps().data
        assert (joined.instanceId, joined.hostId) == (made.id, host.id)
        assert api.by_id_instanceHostMap(joined.id).id == joined.id
        made = api.wait_success(made.stop())
        assert made.state == "stopped"
        made = api.wait_success(made.start())
        made = api.wait_success(made.restart())
        access = made.logs(follow=False, lines=10)
        assert access.url.startswith("ws://")
        assert access.token
        api.delete(made)
        assert api.wait_success(api.reload(made)).state == "removed"

    await run(life)


async def test_what_is_refused_arrives_as_the_clients_error(server: Installation) -> None:
    api = await client(server)

    def refused() -> None:
        with pytest.raises(gdapi.ApiError) as missing:
            api.create_service(name="web")
        assert (missing.value.error.status, missing.value.error.code) == (422, "MissingRequired")
        assert missing.value.error.fieldName == "environmentId"
        with pytest.raises(gdapi.ApiError) as unknown:
            api.create_service(name="web", environmentId="1e77", launchConfig={"imageUuid": "docker:a"})
        assert unknown.value.error.code == "InvalidReference"
        api.create_environment(name="twice")
        with pytest.raises(gdapi.ApiError) as twice:
            api.create_environment(name="twice")
        assert twice.value.error.code == "NotUnique"

    await run(refused)


async def test_hosts_tokens_keys_certificates_and_settings(server: Installation) -> None:
    await server.agent()
    api = await client(server)

    def look() -> None:
        (host,) = api.list_host().data
        host = api.wait_success(host.deactivate())
        assert host.state == "inactive"
        host = api.wait_success(host.activate())
        host = api.update(host, labels={"disk": "ssd"})
        assert api.wait_success(host).labels.disk == "ssd"
        token = api.wait_success(api.create_registrationToken())
        assert token.registrationUrl in token.command
        assert api.by_id_setting("rancher.server.version").value
        key = api.create_apiKey(name="more")
        assert key.secretValue
        assert api.reload(key).secretValue is None
        api.delete(key)
        assert [p.id for p in api.list_project().data] == ["1a5"]
        network = api.list_network().data[0]
        assert network.subnet == "10.42.0.0/16"

    await run(look)


async def test_pages_are_followed_to_the_end(server: Installation) -> None:
    api = await client(server)

    def pages() -> None:
        for number in range(7):
            api.create_environment(name=f"s{number}")
        page = api.list_environment(limit=3, sort="name", order="desc")
        seen = [s.name for s in page.data]
        while page.pagination is not None and page.pagination.next is not None:
            page = page.next()
            seen += [s.name for s in page.data]
        assert seen == sorted((f"s{n}" for n in range(7)), reverse=True)

    await run(pages)


async def test_a_service_is_upgraded_finished_rolled_back_and_stopped_halfway(server: Installation) -> None:
    agent = await server.agent()
    api = await client(server)

    def images() -> set[str]:
        return {a.spec.image for a in agent.assigned.values() if a.desired == "running"}

    def life() -> None:
        stack = api.create_environment(name="shop")
        config = {"imageUuid": "docker:nginx:1", "networkMode": "bridge"}
        service = api.create_service(
            name="web", environmentId=stack.id, scale=3, launchConfig=config, startOnCreate=True
        )
        service = api.wait_success(service)
        assert service.upgrade is None
        assert not hasattr(service.actions, "finishupgrade")

        second = {**config, "imageUuid": "docker:nginx:2"}
        service = service.upgrade_action(
            inServiceStrategy={"launchConfig": second, "batchSize": 2, "intervalMillis": 100}
        )
        assert service.state == "upgrading"
        service = api.wait_success(service)
        assert service.state == "upgraded"
        assert images() == {"nginx:2"}
        assert service.upgrade.inServiceStrategy.previousLaunchConfig.imageUuid == "docker:nginx:1"
        assert service.launchConfig.imageUuid == "docker:nginx:2"
        service = api.wait_success(service.finishupgrade())
        assert (service.state, service.upgrade) == ("active", None)

        third = {**config, "imageUuid": "docker:nginx:3"}
        service = api.wait_success(service.upgrade_action(inServiceStrategy={"launchConfig": third}))
        service = service.rollback()
        assert service.state == "rolling-back"
        service = api.wait_success(service)
        assert service.state == "active"
        assert images() == {"nginx:2"}

        with pytest.raises(gdapi.ApiError) as wrong:
            service.upgrade_action(inServiceStrategy={"launchConfig": third, "batchSize": 0})
        assert (wrong.value.error.code, wrong.value.error.fieldName) == (
            "MinLimitExceeded",
            "inServiceStrategy.batchSize",
        )
        with pytest.raises(gdapi.ApiError) as empty:
            service.upgrade_action()
        assert empty.value.error.fieldName == "inServiceStrategy"

    await run(life)


@pytest.mark.parametrize("version", VERSIONS)
async def test_registries_credentials_secrets_and_pull_tasks(server: Installation, version: str) -> None:
    await server.agent()
    api = await client(server, version)

    def life() -> None:
        registry = api.wait_success(api.create_registry(serverAddress="registry.example.com", name="ours"))
        assert (registry.state, registry.serverAddress) == ("active", "registry.example.com")
        login = api.wait_success(
            api.create_registry_credential(
                registryId=registry.id, publicValue="joe", secretValue="hidden", email="joe@example.com"
            )
        )
        assert (login.publicValue, login.secretValue) == ("joe", None)
        assert [one.id for one in registry.credentials().data] == [login.id]
        assert login.registry().id == registry.id
        login = api.wait_success(api.update(login, publicValue="jane", secretValue="other"))
        assert login.publicValue == "jane"
        login = api.wait_success(login.deactivate())
        assert login.state == "inactive"
        assert api.wait_success(login.activate()).state == "active"
        api.delete(registry)
        assert api.wait_success(api.reload(registry)).state == "removed"
        task = api.wait_success(api.create_pull_task(image="nginx", labels={"zone": "nowhere"}))
        assert (task.mode, task.transitioning) == ("all", "no")
        if version == "v2-beta":
            secret = api.wait_success(api.create_secret(name="pass", value="eA=="))
            assert (secret.state, secret.value) == ("active", None)
            api.delete(secret)
            assert api.wait_success(api.reload(secret)).state == "removed"

    await run(life)
