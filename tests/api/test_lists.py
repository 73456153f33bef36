"""Lists that are asked for again and again: the same answer while nothing changed, another one at once when something did."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Installation, eventually


async def furnish(server: Installation) -> dict[str, Any]:
    async with server.admin() as http:
        stack = (await http.post("/environments", json={"name": "shop"})).json()
        config = {"imageUuid": "docker:nginx", "networkMode": "bridge"}
        body = {"name": "web", "environmentId": stack["id"], "scale": 1, "launchConfig": config, "startOnCreate": True}
        return (await http.post("/services", json=body)).json()  # type: ignore[no-any-return]


async def test_who_has_the_newest_answer_is_told_so(server: Installation) -> None:
    service = await furnish(server)
    async with server.admin() as http:

        async def settled() -> bool:
            first = (await http.get("/services")).headers["etag"]
            return first == (await http.get("/services")).headers["etag"]

        await eventually(settled)
        first = await http.get("/services")
        tag = {"If-None-Match": first.headers["ETag"]}
        again = await http.get("/services", headers=tag)
        assert (again.status_code, again.content) == (304, b"")
        assert (await http.get("/services?limit=1", headers=tag)).status_code == 200, "another question"
        await http.put(f"/services/{service['id']}", json={"description": "changed"})
        changed = await http.get("/services", headers=tag)
        assert changed.status_code == 200
        assert changed.json()["data"][0]["description"] == "changed"


async def test_nobody_is_given_anothers_answer(server: Installation) -> None:
    await furnish(server)
    async with server.admin() as http, server.admin(project=None) as everywhere, server.client() as stranger:
        mine = await http.get("/services")
        assert len(mine.json()["data"]) == 1
        other = (await everywhere.post("/projects", json={"name": "other"})).json()
        async with server.admin(project=other["id"]) as elsewhere:
            tag = {"If-None-Match": mine.headers["ETag"]}
            answer = await elsewhere.get("/services", headers=tag)
            assert (answer.status_code, answer.json()["data"]) == (200, [])
            assert f"/projects/{other['id']}/" in answer.json()["links"]["self"]
        assert (await stranger.get("/services")).status_code == 401


@pytest.mark.parametrize("path", ["/services", "/containers", "/environments", "/loadbalancerservices"])
async def test_a_change_by_the_control_plane_shows_at_once(server: Installation, path: str) -> None:
    agent = await server.agent()
    await furnish(server)
    async with server.admin() as http:

        async def running() -> bool:
            await http.get(path)
            found = (await http.get("/containers")).json()["data"]
            services = (await http.get("/services")).json()["data"]
            # when both are there nothing changes any more between the two questions below
            return bool(found) and found[0]["state"] == "running" and services[0]["state"] == "active"

        await eventually(running)
        assert agent.assigned
        found = (await http.get("/services")).json()["data"][0]
        alone = (await http.get(f"/services/{found['id']}")).json()
        assert found == alone, "a list shows what the row itself shows"


async def test_what_changes_elsewhere_leaves_an_answer_as_it_is(server: Installation) -> None:
    await furnish(server)
    async with server.admin() as http, server.admin(project=None) as everywhere:

        async def settled() -> bool:
            found = await http.get("/services")
            return bool(found.json()["data"][0]["transitioning"] != "yes" or "host" in found.text)

        await eventually(settled)
        first = await http.get("/services")
        tag = {"If-None-Match": first.headers["ETag"]}
        other = (await everywhere.post("/projects", json={"name": "other"})).json()
        async with server.admin(project=other["id"]) as elsewhere:
            stack = (await elsewhere.post("/environments", json={"name": "theirs"})).json()
            config = {"imageUuid": "docker:nginx", "networkMode": "bridge"}
            body = {"name": "web", "environmentId": stack["id"], "scale": 0, "launchConfig": config}
            await elsewhere.post("/services", json=body)
        again = await http.get("/services", headers=tag)
        assert again.status_code == 304, "another environment's service is none of ours"
        assert again.headers["ETag"] != first.headers["ETag"], "newer changes were looked at"
        assert (await http.get("/services", headers=tag)).status_code == 304, (
            "the older tag still stands for the answer"
        )
        assert (await http.get("/services")).content == first.content


async def test_an_old_tag_does_not_stand_for_an_answer_that_has_changed_since(server: Installation) -> None:
    service = await furnish(server)
    async with server.admin() as http:
        tags = []
        for number in range(3):
            await http.put(f"/services/{service['id']}", json={"description": str(number)})
            tags.append((await http.get("/services")).headers["ETag"])
        for tag in tags[:-1]:
            answer = await http.get("/services", headers={"If-None-Match": tag})
            assert answer.status_code == 200
            assert answer.json()["data"][0]["description"] == "2"


async def test_each_caller_is_given_documents_of_their_own(server: Installation) -> None:
    await furnish(server)
    async with server.admin() as http, server.admin(project=None) as everywhere:
        plain = (await http.get("/services")).json()["data"][0]
        renamed = (await http.get("/services", headers={"X-API-Action-Links": "true"})).json()["data"][0]
        assert renamed["actionLinks"] == plain["actions"]
        assert "actions" not in renamed
        later = (await http.get(f"{server.base}/v2-beta/projects/1a5/services")).json()["data"][0]
        assert later["stackId"].startswith("1st")
        assert "/v2-beta/" in later["links"]["self"]
        for role, may in (("superadmin", True), ("readAdmin", False)):
            shown = (await everywhere.get(f"/services?_role={role}")).json()["data"][0]
            assert (bool(shown["actions"]), shown["name"]) == (may, "web")
        moved = await http.get("/services", headers={"X-Forwarded-Proto": "https", "X-Forwarded-Host": "example.org"})
        assert moved.json()["data"][0]["links"]["self"] != plain["links"]["self"]
        assert (await http.get("/services")).json()["data"][0] == plain
