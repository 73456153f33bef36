"""Rows that 1.x kept in tables of their own: they say what is so, can be searched, and cannot be written."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from .conftest import Installation, eventually

FILES = {
    "name": "shop",
    "dockerCompose": "version: '2'\nservices:\n  web:\n    image: nginx\n    ports: ['8080:80']\n    labels: {tier: front}\n"
    "  db:\n    image: pg\n    labels: {tier: back}\n",
}


async def rows(http: httpx2.AsyncClient, path: str) -> list[dict[str, Any]]:
    answer = await http.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]  # type: ignore[no-any-return]


async def shop(http: httpx2.AsyncClient) -> dict[str, dict[str, Any]]:
    """The containers of a small stack, by name, once they run."""
    answer = await http.post("/environments", json=FILES)
    assert answer.status_code == 201, answer.text

    async def running() -> dict[str, dict[str, Any]] | None:
        found = await rows(http, "/containers?state=running")
        return {c["name"]: c for c in found} if len(found) == 2 else None

    return await eventually(running)  # type: ignore[no-any-return]


PROGRAM = "_role=superadmin"
"""As a program of the installation asks, which sees what people do not."""


async def test_a_published_port_is_a_row_of_its_container(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http:
        web = (await shop(http))["shop_web_1"]
        (port,) = await rows(http, "/ports")
        assert (port["privatePort"], port["publicPort"], port["protocol"]) == (80, 8080, "tcp")
        assert (port["instanceId"], port["state"], port["transitioning"]) == (web["id"], "active", "no")
        assert (await http.get(port["links"]["self"])).json() == port
        assert (await http.get(port["links"]["instance"])).json()["id"] == web["id"]
        assert await rows(http, f"/ports?instanceId={web['id']}") == [port]
        assert await rows(http, f"/containers/{web['id']}/ports") == [port]
        assert await rows(http, "/ports?publicPort_gt=8080") == []


async def test_labels_are_told_with_who_has_them(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http:
        containers = await shop(http)
        found = {(row["key"], row["value"]): row for row in await rows(http, "/labels?key=tier&sort=value")}
        assert list(found) == [("tier", "back"), ("tier", "front")]
        assert {row["state"] for row in found.values()} == {"created"}
        front = found["tier", "front"]
        assert (await http.get(f"/labels/{front['id']}")).json()["value"] == "front"
    async with server.admin(None) as http:
        maps = await rows(http, f"/instancelabelmaps?labelId={front['id']}&{PROGRAM}")
        assert [row["instanceId"] for row in maps] == [containers["shop_web_1"]["id"]]


async def test_a_host_s_new_label_leaves_the_numbers_of_its_others_alone(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http:
        host = (await rows(http, "/hosts"))[0]
        await http.put(f"/hosts/{host['id']}", json={"labels": {"m": "1", "z": "1"}})
    async with server.admin(None) as looks, server.admin() as http:
        before = await rows(looks, f"/hostlabelmaps?hostId={host['id']}&{PROGRAM}")
        await http.put(f"/hosts/{host['id']}", json={"labels": {"a": "1", "m": "1", "z": "1"}})
        after = await rows(looks, f"/hostlabelmaps?hostId={host['id']}&{PROGRAM}")
        assert len(after) == len(before) + 1
        assert {row["id"] for row in before} < {row["id"] for row in after}


async def test_an_image_is_one_row_however_many_containers_are_made_of_it(server: Installation) -> None:
    async with server.admin() as http:
        for name in ("a", "b"):
            await http.post("/containers", json={"name": name, "imageUuid": "docker:nginx"})
        assert [row["name"] for row in await rows(http, "/images")] == ["nginx"]


async def test_a_link_names_the_container_that_it_leads_to(server: Installation) -> None:
    async with server.admin() as http:
        target = (await http.post("/containers", json={"name": "db", "imageUuid": "docker:pg"})).json()
        links = {"instanceLinks": {"store": "db", "other": "nobody"}}
        source = (await http.post("/containers", json={"name": "web", "imageUuid": "docker:nginx", **links})).json()
        found = {row["linkName"]: row for row in await rows(http, f"/instancelinks?instanceId={source['id']}")}
        assert found["store"]["targetInstanceId"] == target["id"]
        assert found["other"]["targetInstanceId"] is None


async def test_networks_hosts_and_agents_have_their_further_rows(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http:
        containers = await shop(http)
        host = (await rows(http, "/hosts"))[0]
        machine = (await http.get(f"/physicalhosts/{host['physicalHostId']}")).json()
        assert (machine["name"], machine["state"]) == (host["hostname"], "active")
        assert (await http.get(host["links"]["physicalHost"])).json() == machine
    async with server.admin(None) as http:
        (subnet,) = await rows(http, f"/subnets?{PROGRAM}")
        told = (subnet["networkAddress"], subnet["cidrSize"], subnet["startAddress"], subnet["endAddress"])
        assert told == ("10.42.0.0", 16, "10.42.0.1", "10.42.255.254")
        nics = {row["instanceId"]: row for row in await rows(http, f"/nics?{PROGRAM}")}
        assert set(nics) == {c["id"] for c in containers.values()}
        assert {row["subnetId"] for row in nics.values()} == {subnet["id"]}
        (zone,) = await rows(http, f"/zones?{PROGRAM}")
        assert (zone["id"], zone["name"]) == ("1z1", "zone1")
        (status,) = await rows(http, "/configitemstatuses")
        assert status["appliedVersion"] == status["requestedVersion"] > 0


async def test_rows_end_with_what_they_come_from(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http:
        web = (await shop(http))["shop_web_1"]
        (port,) = await rows(http, "/ports")
        await http.delete((await rows(http, "/environments"))[0]["links"]["self"])

        async def gone() -> bool:
            return not await rows(http, "/ports")

        await eventually(gone)
        assert (await http.get(f"/ports/{port['id']}")).json()["state"] == "removed"
        assert [r["id"] for r in await rows(http, f"/ports?instanceId={web['id']}&removed_notnull=1")] == [port["id"]]


async def test_another_environment_s_rows_are_not_seen(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http, server.admin(None) as admin:
        await shop(http)
        port = (await rows(http, "/ports"))[0]
        other = (await admin.post("/projects", json={"name": "other"})).json()["id"]
    async with server.admin(other) as http:
        for path in ("/ports", "/labels", "/images", "/physicalhosts"):
            assert await rows(http, path) == []
        read = await http.get(f"/ports/{port['id']}", headers={"X-API-Project-Id": other})
        assert read.status_code in (200, 404)


@pytest.mark.parametrize("sort", ["publicPort", "instanceId", "name"])
async def test_pages_of_them_are_like_other_pages(server: Installation, sort: str) -> None:
    await server.agent()
    async with server.admin() as http:
        ports = [f"{n}:80/tcp" for n in range(9000, 9005)]
        await http.post("/containers", json={"name": "many", "imageUuid": "docker:nginx", "ports": ports})

        async def given() -> bool:
            return len(await rows(http, "/ports")) == 5

        await eventually(given)
        first = (await http.get(f"/ports?limit=3&sort={sort}&order=desc")).json()
        second = (await http.get(first["pagination"]["next"])).json()
        numbers = [row["publicPort"] for row in (*first["data"], *second["data"])]
        assert (len(first["data"]), sorted(numbers)) == (3, list(range(9000, 9005)))
        assert second["pagination"]["next"] is None
        if sort == "publicPort":
            assert numbers == sorted(numbers, reverse=True)


async def test_they_cannot_be_written_and_say_why(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http:
        await shop(http)
        port = (await rows(http, "/ports"))[0]
        answer = await http.put(port["links"]["self"], json={"publicPort": 81})
        assert answer.status_code == 422
        assert "worked out from" in answer.json()["message"]
