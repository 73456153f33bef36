"""Volumes as clients see them: made, used, found again, refused while in use, and gone when asked."""

from __future__ import annotations

from typing import Any

import httpx2

from .conftest import Installation, eventually


async def row(http: httpx2.AsyncClient, name: str, state: str, **more: Any) -> dict[str, Any]:
    """The volume once it is in this state."""

    async def there() -> dict[str, Any] | None:
        found = (await http.get(f"/volumes?name={name}&removed_null=true")).json()["data"]
        fitting = [v for v in found if v["state"] == state and all(v[k] == value for k, value in more.items())]
        return fitting[0] if fitting else None

    return await eventually(there)  # type: ignore[no-any-return]


async def running(http: httpx2.AsyncClient, name: str) -> dict[str, Any]:
    async def there() -> dict[str, Any] | None:
        found = (await http.get("/containers")).json()["data"]
        return next((c for c in found if c["name"] == name and c["state"] == "running"), None)

    return await eventually(there)  # type: ignore[no-any-return]


async def run(http: httpx2.AsyncClient, name: str, *binds: str, **more: Any) -> dict[str, Any]:
    body = {"name": name, "imageUuid": "docker:pg", "dataVolumes": list(binds), **more}
    answer = await http.post("/containers", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def test_a_volume_is_made_where_a_container_first_uses_it_and_outlives_it(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        made = await http.post("/volumes", json={"name": "data", "driver": "local", "driverOpts": {"type": "tmpfs"}})
        assert made.status_code == 201, made.text
        assert (made.json()["state"], made.json()["hostId"], made.json()["id"][:2]) == ("inactive", None, "1v")
        assert agent.disks == {}
        container = await run(http, "db", "data:/var/lib/pg:ro")
        active = await row(http, "data", "active")
        assert agent.disks["data"].options == {"type": "tmpfs"}
        assert active["hostId"] == (await running(http, "db"))["hostId"]
        assert active["uri"] == "local:///disks/data"
        (entry,) = active["mounts"]
        assert (entry["instanceId"], entry["instanceName"], entry["path"]) == (container["id"], "db", "/var/lib/pg")
        (mount,) = (await http.get(f"/volumes/{active['id']}/mounts")).json()["data"]
        assert (mount["permissions"], mount["state"], mount["instanceId"]) == ("ro", "active", container["id"])
        (same,) = (await http.get(f"/containers/{container['id']}/mounts")).json()["data"]
        assert same["id"] == mount["id"]
        await http.delete(f"/containers/{container['id']}")
        assert (await row(http, "data", "detached"))["mounts"] == []
        assert "data" in agent.disks
        assert (await http.get(f"/mounts/{mount['id']}")).json()["state"] == "removed"


async def test_a_volume_in_use_is_kept_and_its_user_is_named(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        await http.post("/volumes", json={"name": "data", "driver": "local"})
        container = await run(http, "db", "data:/var/lib/pg")
        volume = await row(http, "data", "active")
        refused = await http.delete(f"/volumes/{volume['id']}")
        assert refused.status_code == 422
        assert "in use by db" in refused.json()["message"]
        await http.delete(f"/containers/{container['id']}")
        await row(http, "data", "detached")
        assert (await http.delete(f"/volumes/{volume['id']}")).json()["state"] == "removing"

        async def removed() -> bool:
            return (await http.get(f"/volumes/{volume['id']}")).json()["state"] == "removed"  # type: ignore[no-any-return]

        await eventually(removed)
        assert agent.disks == {}
        again = await http.post("/volumes", json={"name": "data", "driver": "local"})
        assert again.status_code == 201, again.text


async def test_a_volume_that_no_container_used_is_gone_at_once(server: Installation) -> None:
    async with server.admin() as http:
        made = (await http.post("/volumes", json={"name": "data", "driver": "local"})).json()
        assert (await http.delete(f"/volumes/{made['id']}")).json()["state"] == "removed"


async def test_a_volume_can_be_made_on_a_certain_host_before_it_is_used(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        host = (await http.get("/hosts")).json()["data"][0]["id"]
        made = await http.post("/volumes", json={"name": "data", "driver": "local", "hostId": host})
        assert made.json()["state"] == "activating"
        found = await row(http, "data", "detached", hostId=host)
        assert "data" in agent.disks
        (pool,) = (await http.get(f"/volumes/{found['id']}/storagepools")).json()["data"]
        assert (pool["volumeIds"], pool["hostIds"]) == ([found["id"]], [host])


async def test_containers_go_where_the_data_lies(server: Installation) -> None:
    agents = [await server.agent(f"machine-{n}") for n in (1, 2, 3)]
    async with server.admin() as http:
        await http.post("/volumes", json={"name": "data", "driver": "local"})
        for n in range(6):
            await run(http, f"db{n}", "data:/x")
        places = {(await running(http, f"db{n}"))["hostId"] for n in range(6)}
        assert places == {(await row(http, "data", "active"))["hostId"]}
        assert sum("data" in agent.disks for agent in agents) == 1
        other = next(h["id"] for h in (await http.get("/hosts")).json()["data"] if h["id"] not in places)
        wrong = await run(http, "lost", "data:/x", requestedHostId=other)

        async def told() -> str:
            return str((await http.get(f"/containers/{wrong['id']}")).json()["transitioningMessage"])

        async def refused() -> bool:
            return "does not have the volume data" in await told()

        await eventually(refused)


async def test_names_that_nobody_declared_are_shown_where_they_are(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http:
        container = await run(http, "web", "cache:/x", "/etc:/etc", "/nameless")
        volume = await row(http, "cache", "active")
        assert [v["name"] for v in (await http.get("/volumes")).json()["data"]] == ["cache"]
        taken = await http.post("/volumes", json={"name": "cache", "driver": "local"})
        assert (taken.status_code, taken.json()["fieldName"]) == (422, "name")
        assert "already is a volume 'cache' on host host-1" in taken.json()["message"]
        await http.delete(f"/containers/{container['id']}")
        await row(http, "cache", "detached", id=volume["id"])


async def test_bad_wishes_name_their_field(server: Installation) -> None:
    async with server.admin() as http:
        for body, field in (
            ({"driver": "local"}, "name"),
            ({"name": "data"}, "driver"),
            ({"name": "../etc", "driver": "local"}, "name"),
            ({"name": "data", "driver": "local", "hostId": "1h99"}, "hostId"),
        ):
            answer = await http.post("/volumes", json=body)
            assert (answer.status_code, answer.json()["fieldName"]) == (422, field), answer.text


async def test_what_there_is_not_says_why(server: Installation) -> None:
    async with server.admin() as http:
        volume = (await http.post("/volumes", json={"name": "data", "driver": "local"})).json()
        assert set(volume["actions"]) == {"remove"}
        answer = await http.post(f"/volumes/{volume['id']}/?action=snapshot", json={"name": "s"})
        assert (answer.status_code, answer.json()["code"]) == (422, "ActionNotAvailable")
        assert "take no snapshots" in answer.json()["message"]
        assert (await http.get("/snapshots")).json()["data"] == []
        answer = await http.post("/backuptargets", json={"name": "t", "nfsConfig": {"server": "s", "share": "/x"}})
        assert (answer.status_code, "no snapshots" in answer.json()["message"]) == (405, True)


STACK = {
    "name": "shop",
    "dockerCompose": """
version: '2'
services:
  db:
    image: pg
    volumes: ['data:/var', 'own:/own', 'nfs:/nfs']
volumes:
  data: {driver_opts: {type: tmpfs}}
  own: {per_container: true}
  nfs: {driver: rancher-nfs, driver_opts: {host: n1}}
""",
    "rancherCompose": "db: {scale: 2}",
}


async def test_volumes_of_a_stack_carry_its_name_and_its_wishes(server: Installation) -> None:
    agents = [await server.agent(f"machine-{n}") for n in (1, 2)]
    async with server.admin() as http:
        made = await http.post("/environments", json=STACK)
        assert made.status_code == 201, made.text
        for n in (1, 2):
            await running(http, f"shop_db_{n}")
        templates = (await http.get(f"/environments/{made.json()['id']}/volumetemplates")).json()["data"]
        assert {t["name"]: t["perContainer"] for t in templates} == {"data": False, "own": True, "nfs": False}
        await row(http, "shop_own_db_1", "active")
        await row(http, "shop_own_db_2", "active")
        for agent in agents:
            assert agent.disks["shop_data"].options == {"type": "tmpfs"}
            assert agent.disks["shop_nfs"].driver == "rancher-nfs"
            assert sum(name.startswith("shop_own_db_") for name in agent.disks) == 1
        shared = (await http.get("/volumes?name=shop_nfs")).json()["data"]
        assert [(v["driver"], v["accessMode"]) for v in shared] == [("rancher-nfs", "multiHostRW")]
        drivers = (await http.get("/storagedrivers")).json()["data"]
        assert [d["name"] for d in drivers] == ["local", "rancher-nfs"]


async def test_an_external_volume_must_be_there(server: Installation) -> None:
    await server.agent()
    files = {"name": "shop", "dockerCompose": "version: '2'\nservices:\n  db: {image: pg, volumes: ['data:/var']}\n"
             "volumes:\n  data: {external: true}\n"}  # fmt: skip
    async with server.admin() as http:
        refused = await http.post("/environments", json=files)
        assert (refused.status_code, refused.json()["fieldName"]) == (422, "dockerCompose")
        assert "no volume 'data'" in refused.json()["message"]
        await http.post("/volumes", json={"name": "data", "driver": "local"})
        assert (await http.post("/environments", json=files)).status_code == 201
        await row(http, "data", "active")
