"""What the Rancher CLI 0.6, rancher-compose 0.12 and the Terraform provider ask, in their order, and read as strictly."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.catalog import FIRST, SECOND, Repository
from tests.support.goclient import Fatal, GoClient

from .conftest import Installation, eventually
from .people import basic

LS = {"limit": "-2", "removed_null": "1", "state_ne": ["inactive", "stopped", "removing"], "system": "false"}
"""How the CLI lists what is there and runs."""


async def account_key(server: Installation) -> dict[str, str]:
    async with server.admin(None) as http:
        made = (await http.post("/apikeys", json={"name": "cli"})).json()
    return basic(made["publicValue"], made["secretValue"])


async def program(server: Installation, path: str = "/v2-beta/projects/1a5/schemas") -> GoClient:
    """A client as the CLI opens it once an environment was chosen."""
    return await GoClient(server.base + path, await account_key(server)).open()


async def settled(go: GoClient, thing: dict[str, Any], state: str) -> dict[str, Any]:
    """Poll as they do, until it is in no transition and in this state."""

    async def there() -> dict[str, Any] | None:
        found = await go.by_id(thing["type"], thing["id"])
        assert found is not None
        return found if (found["state"], found["transitioning"]) == (state, "no") else None

    return await eventually(there)  # type: ignore[no-any-return]


async def a_stack(go: GoClient, name: str = "shop", scale: int = 1) -> tuple[dict[str, Any], dict[str, Any]]:
    stack = await go.create("stack", {"name": name})
    config = {"imageUuid": "docker:nginx", "networkMode": "managed", "tty": True, "stdinOpen": True}
    service = await go.create(
        "service",
        {"name": "web", "stackId": stack["id"], "scale": scale, "startOnCreate": True, "launchConfig": config},
    )
    return stack, service


async def test_the_cli_is_configured_and_finds_its_environment(server: Installation) -> None:
    headers = await account_key(server)
    account = await GoClient(f"{server.base}/v2-beta", headers).open()
    projects = await account.list("project", limit="-2")
    assert [p["id"] for p in projects] == ["1a5"]
    # it remembers .../schemas, and asks for schemas below that
    async with httpx2.AsyncClient(headers=headers) as http:
        odd = await http.get(f"{server.base}/v2-beta/projects/1a5/schemas/schemas")
        assert odd.status_code == 200
        assert odd.headers["x-api-schemas"] == f"{server.base}/v2-beta/projects/1a5/schemas"
    inside = await program(server)
    assert inside.collection("stack") == f"{server.base}/v2-beta/projects/1a5/stacks"


async def test_environments_are_listed_made_switched_and_removed(server: Installation) -> None:
    go = await GoClient(f"{server.base}/v2-beta", await account_key(server)).open()
    await go.list("projectTemplate", name="cattle", removed_null="1")
    made = await go.create("project", {"name": "staging", "projectTemplateId": None})
    assert [p["name"] for p in await go.list("project", all="true", limit="-2")] == ["Default", "staging"]
    made = await go.act(made, "deactivate")
    made = await settled(go, made, "inactive")
    made = await go.act(made, "activate")
    made = await settled(go, made, "active")
    gone = await go.delete(made)
    assert gone["state"] in ("removing", "removed")


async def test_run_ps_scale_stop_start_restart_and_remove(server: Installation) -> None:
    await server.agent()
    go = await program(server)
    stack = await go.create("stack", {"name": "Default"})
    service = await go.create("service", {
        "name": "web", "scale": 1, "stackId": stack["id"], "startOnCreate": True,
        "launchConfig": {"imageUuid": "docker:nginx", "networkMode": "managed", "labels": {"a": "b"}, "ports": ["80/tcp"]},
    })  # fmt: skip
    service = await settled(go, service, "active")
    # ps
    assert [s["name"] for s in await go.list("stack", **LS)] == ["Default"]
    assert [s["id"] for s in await go.list("service", **LS)] == [service["id"]]
    containers = await go.list("container", **LS)
    assert [c["state"] for c in containers] == ["running"]
    assert isinstance(containers[0]["labels"], dict)
    assert (await go.lookup("service", "web"))["id"] == service["id"]  # type: ignore[index]
    assert await go.lookup("service", "nothing") is None
    # scale, then the verbs
    service = await settled(go, await go.update(service, {"scale": 2}), "active")
    assert len(await go.link(service, "instances")) == 2
    service = await settled(go, await go.act(service, "deactivate"), "inactive")
    service = await settled(go, await go.act(service, "activate"), "active")
    strategy = {"rollingRestartStrategy": {"batchSize": 1, "intervalMillis": 2000}}
    service = await settled(go, await go.act(service, "restart", strategy), "active")
    await go.delete(service)

    async def gone() -> bool:
        return await go.list("service", name="web", removed_null="1") == []

    await eventually(gone)


async def test_containers_are_stopped_started_and_removed_one_by_one(server: Installation) -> None:
    await server.agent()
    go = await program(server)
    made = await go.create("container", {"name": "one", "imageUuid": "docker:busybox", "networkMode": "managed"})
    made = await settled(go, made, "running")
    assert made["externalId"]
    assert made["primaryIpAddress"]
    made = await settled(go, await go.act(made, "stop", {"timeout": 1}), "stopped")
    made = await settled(go, await go.act(made, "start"), "running")
    access = await go.act(made, "execute", {"attachStdin": True, "attachStdout": True, "command": ["sh"], "tty": True})
    assert access["url"].startswith("ws")
    assert access["token"]
    shown = await go.act(made, "logs", {"follow": False, "lines": 100, "since": "", "timestamps": True})
    assert shown["type"] == "hostAccess"
    await go.delete(made)


async def test_hosts_are_listed_labelled_and_switched(server: Installation) -> None:
    await server.agent()
    go = await program(server)
    (host,) = await go.list("host", limit="-2", removed_null="1")
    changed = await go.update(host, {"labels": {"zone": "a"}, "name": "first"})
    assert changed["labels"] == {"zone": "a"}
    assert (await go.lookup("host", "first"))["id"] == host["id"]  # type: ignore[index]
    host = await settled(go, await go.act(changed, "deactivate"), "inactive")
    await settled(go, await go.act(host, "activate"), "active")


async def test_a_stack_is_exported_inspected_and_removed(server: Installation) -> None:
    await server.agent()
    go = await program(server)
    stack, service = await a_stack(go)
    await settled(go, service, "active")
    exported = await go.act(stack, "exportconfig")  # the body is null
    assert "nginx" in exported["dockerComposeConfig"]
    for kind in (
        "stack",
        "service",
        "container",
        "host",
        "project",
        "setting",
        "network",
        "registrationToken",
        "auditLog",
    ):
        for one in await go.list(kind, limit="-2"):
            assert await go.by_id(kind, one["id"]) is not None, kind
    await go.delete(stack)
    await eventually(lambda: _no(go, "stack"))


async def _no(go: GoClient, kind: str) -> bool:
    return await go.list(kind, limit="-2") == []


async def test_compose_up_makes_a_stack_and_its_services_and_upgrades_them(server: Installation) -> None:
    await server.agent()
    go = await program(server, "/v2-beta/projects/1a5")
    await go.by_id("setting", "rancher.compose.version")
    assert await go.list("stack", name="shop", removed_null="<nil>") == []
    stack = await go.create("stack", {"name": "shop"})
    inspect = {
        "Name": "web", "Config": {"Image": "nginx", "Cmd": ["nginx"], "Env": ["A=b"], "Labels": {"io.rancher.service.hash": "1"}},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "80"}]}, "RestartPolicy": {"Name": "always"}},
    }  # fmt: skip
    async with httpx2.AsyncClient(headers=await account_key(server)) as http:
        url = f"{server.base}/v2-beta/projects/1a5/scripts/transform"
        transformed = (await http.post(url, json=inspect)).json()
    assert transformed["logConfig"] is not None, "the client dies of it"
    assert isinstance(transformed["labels"], dict)
    assert all(transformed[name] is not None for name in ("dataVolumes", "ports", "capAdd", "dns", "devices"))
    config = {k: v for k, v in transformed.items() if k not in ("links", "actions", "type", "kind")}
    assert await go.list("service", name="web", stackId=stack["id"], removed_null="<nil>") == []
    made = await go.create("service", {"name": "web", "stackId": stack["id"], "launchConfig": config, "scale": 1,
                                       "startOnCreate": False, "metadata": {"a": {"b": 1}}})  # fmt: skip
    made = await settled(go, made, "inactive")
    await go.act(made, "setservicelinks", {"serviceLinks": []})
    made = await settled(go, await go.act(made, "activate"), "active")
    assert made["launchConfig"]["labels"]["io.rancher.service.hash"] == "1"
    other = {**config, "imageUuid": "docker:nginx:2"}
    strategy = {
        "inServiceStrategy": {"batchSize": 1, "intervalMillis": 2000, "startFirst": False, "launchConfig": other}
    }
    upgraded = await settled(go, await go.act(made, "upgrade", strategy), "upgraded")
    assert upgraded["upgrade"]["inServiceStrategy"]["previousLaunchConfig"]["imageUuid"] == "docker:nginx"
    confirmed = await settled(go, await go.act(upgraded, "finishupgrade"), "active")
    assert confirmed["upgrade"] is None
    strategy["inServiceStrategy"] |= {"launchConfig": config}
    upgraded = await settled(go, await go.act(confirmed, "upgrade", strategy), "upgraded")
    await settled(go, await go.act(upgraded, "rollback"), "active")
    await go.update(stack, {"name": "shop", "environment": {"A": "b"}})


async def test_compose_up_makes_services_of_every_kind(server: Installation) -> None:
    await server.agent()
    go = await program(server, "/v2-beta/projects/1a5")
    stack, web = await a_stack(go)
    under = {"stackId": stack["id"], "startOnCreate": True}
    rules = [{"sourcePort": 80, "targetPort": 80, "protocol": "http", "serviceId": web["id"]}]
    front = await go.create(
        "loadBalancerService", {"name": "front", "scale": 1, "lbConfig": {"portRules": rules}, **under}
    )
    alias = await go.create("dnsService", {"name": "alias", **under})
    outside = await go.create("externalService", {"name": "outside", "externalIpAddresses": ["192.0.2.1"], **under})
    for one, kind in ((front, "loadBalancerService"), (alias, "dnsService"), (outside, "externalService")):
        assert one["type"] == kind
        assert await go.by_id(kind, one["id"]) is not None
    await go.act(alias, "setservicelinks", {"serviceLinks": [{"serviceId": web["id"], "name": "web"}]})
    assert [m["consumedServiceId"] for m in await go.list("serviceConsumeMap", serviceId=alias["id"])] == [web["id"]]
    assert front["lbConfig"]["portRules"][0]["serviceId"] == web["id"]


async def test_terraform_manages_environments_stacks_and_tokens(server: Installation) -> None:
    account = await GoClient(f"{server.base}/v2-beta", await account_key(server)).open()
    project = await account.create("project", {"name": "tf", "description": "made by a plan"})
    identities = await account.list("identity")
    owner = {"externalId": identities[0]["externalId"], "externalIdType": "rancher_id", "role": "owner"}
    await account.act(project, "setmembers", {"members": [owner]})
    go = await program(server, f"/v2-beta/projects/{project['id']}/schemas")
    token = await go.create("registrationToken", {"name": "tf", "description": "for hosts"})
    token = await settled(go, token, "active")
    assert token["registrationUrl"].startswith(server.base)
    assert token["command"].endswith(token["registrationUrl"])
    stack = await go.create("stack", {
        "name": "app", "dockerCompose": "version: '2'\nservices:\n  web: {image: nginx}\n", "rancherCompose": "version: '2'\n",
        "environment": {"K": "v"}, "startOnCreate": True, "externalId": "catalog://community:app:1",
    })  # fmt: skip
    again = await go.by_id("stack", stack["id"])
    assert again is not None
    assert (again["environment"], again["externalId"]) == ({"K": "v"}, "catalog://community:app:1")
    up = await go.act(again, "upgrade", {"dockerCompose": "version: '2'\nservices:\n  web: {image: nginx:2}\n"})
    assert up["state"] == "upgrading"
    await go.delete(again)


async def test_careless_paths_and_bodies_are_understood(server: Installation) -> None:
    headers = await account_key(server)
    async with httpx2.AsyncClient(headers=headers) as http:
        for path in (
            "/v2-beta//projects/",
            "/v2-beta/projects/1a5/Stacks/",
            "/v2-beta/projects/1a5//loadBalancerServices",
        ):
            assert (await http.get(server.base + path)).status_code == 200, path
        for body in (b"null", b"", b"{}"):
            made = await http.post(f"{server.base}/v2-beta/projects/1a5/registrationtokens", content=body)
            assert made.status_code == 201, body
        listed = (await http.get(f"{server.base}/v2-beta/projects/1a5/stacks?limit=-2&removed_null=<nil>")).json()
        assert listed["pagination"]["limit"] == 3000


async def test_events_are_awaited_as_the_cli_does(server: Installation) -> None:
    import websockets

    await server.agent()
    go = await program(server)
    token = base64.b64decode((await account_key(server))["Authorization"].removeprefix("Basic "))
    url = (
        f"{server.base}/v2-beta/projects/1a5/subscribe?eventNames=resource.change&eventNames=service.kubernetes.change"
    )
    auth = {"Authorization": "Basic " + base64.b64encode(token).decode()}
    async with websockets.connect(url.replace("http", "ws"), additional_headers=auth) as socket:
        stack, _ = await a_stack(go)
        import json

        for _ in range(200):
            frame = json.loads(await socket.recv())
            if frame["name"] == "ping":
                continue
            assert frame["name"] == "resource.change"
            if frame["data"]["resource"]["id"] == stack["id"]:
                go.read(frame["data"]["resource"])
                break
        else:
            pytest.fail("the stack was never told of")


async def test_what_the_client_cannot_hold_is_noticed(server: Installation) -> None:
    go = await program(server)
    with pytest.raises(Fatal, match="scale"):
        go.read({"type": "service", "links": {}, "actions": {}, "scale": "5"})
    with pytest.raises(Fatal, match="labels"):
        go.read({"type": "container", "links": {}, "actions": {}, "labels": []})


async def test_catalog_ls_show_install_and_upgrade(server: Installation, tmp_path: Path) -> None:
    await server.agent()
    repository = Repository(tmp_path / "repository")
    repository.commit(FIRST)
    headers = await account_key(server)
    async with httpx2.AsyncClient(headers=headers, timeout=20) as http:
        catalogs = f"{server.base}/v1-catalog/catalogs"
        assert (await http.post(catalogs, json={"name": "library", "url": repository.url})).status_code == 201
        await http.post(f"{catalogs}?action=refresh")
    account = await GoClient(f"{server.base}/v2-beta", headers).open()
    version = await account.by_id("setting", "rancher.server.version")
    assert version is not None
    # ls
    shop = await GoClient(f"{server.base}/v1-catalog", {**headers, "X-API-Project-Id": "1a5"}).open()
    listed = await shop.list("template", rancherVersion=version["value"], category_ne="infra")
    template = next(one for one in listed if one["id"] == "library:shop")
    # show
    chosen = await shop.by_id("templateVersion", template["defaultTemplateVersionId"])
    assert chosen is not None
    assert chosen["version"] == "v1.0.0"
    # install
    go = await program(server)
    files = chosen["files"]
    stack = await go.create("stack", {
        "name": "store", "externalId": f"catalog://{chosen['id']}", "startOnCreate": True, "environment": {"DB": "no"},
        "dockerCompose": files["docker-compose.yml.tpl"], "rancherCompose": files["rancher-compose.yml"],
    })  # fmt: skip
    stack = await settled(go, stack, "active")
    # upgrade
    repository.commit(SECOND)
    async with httpx2.AsyncClient(headers=headers, timeout=20) as http:
        await http.post(f"{server.base}/v1-catalog/templates?action=refresh")
        now = await shop.by_id("templateVersion", chosen["id"])
        assert now is not None
        newer = (await http.get(now["upgradeVersionLinks"]["v1.1.0"])).json()
    body = {
        "externalId": f"catalog://{newer['id']}", "environment": {}, "dockerCompose": newer["files"]["docker-compose.yml"],
        "rancherCompose": newer["files"]["rancher-compose.yml"],
    }  # fmt: skip
    stack = await settled(go, await go.act(stack, "upgrade", body), "upgraded")
    stack = await settled(go, await go.act(stack, "finishupgrade"), "active")
    assert stack["externalId"] == "catalog://library:shop:1"


async def test_a_service_is_upgraded_to_another_as_rancher_compose_does_it(server: Installation) -> None:
    await server.agent()
    go = await program(server)
    stack, old = await a_stack(go, scale=2)
    old = await settled(go, old, "active")
    config = {"imageUuid": "docker:nginx:2", "networkMode": "managed"}
    new = await go.create("service", {"name": "web2", "stackId": stack["id"], "scale": 1, "launchConfig": config})
    strategy = {"toServiceId": new["id"], "batchSize": 2, "intervalMillis": 100, "finalScale": 2, "updateLinks": False}
    old = await settled(go, await go.act(old, "upgrade", {"toServiceStrategy": strategy}), "upgraded")
    assert old["scale"] == 0
    assert (await settled(go, new, "active"))["scale"] == 2
    old = await settled(go, await go.act(old, "finishupgrade"), "active")
    assert old["upgrade"] is None
