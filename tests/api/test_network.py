"""Ports that change under running containers, and why a packet passes or not, as clients see it."""

from __future__ import annotations

from typing import Any

import httpx2

from .conftest import Installation, eventually

FILES = {"name": "shop", "dockerCompose": "web:\n  image: nginx\n  ports: ['8080:80', '443']\ndb:\n  image: pg\n"}


async def containers(http: httpx2.AsyncClient, service: str) -> list[dict[str, Any]]:
    """The containers of a service, once all that there is runs."""

    async def running() -> list[dict[str, Any]]:
        found = (await http.get("/containers")).json()["data"]
        return [c for c in found if c["name"].startswith(f"shop_{service}_") and c["state"] == "running"]

    return await eventually(running)  # type: ignore[no-any-return]


def ends(container: dict[str, Any]) -> dict[int, int]:
    return {end["privatePort"]: end["port"] for end in container["publicEndpoints"]}


async def test_ports_change_and_the_container_stays(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http:
        await http.post("/environments", json={**FILES})
        (before,) = await containers(http, "web")
        given = ends(before)
        assert given[80] == 8080
        assert 49153 <= given[443] <= 65535
        web = next(s for s in (await http.get("/services")).json()["data"] if s["name"] == "web")
        config = {**web["launchConfig"], "ports": ["9090:80", "443"]}
        answer = await http.put(f"/services/{web['id']}", json={"launchConfig": config})
        assert answer.status_code == 200, answer.text

        async def changed() -> bool:
            (now,) = await containers(http, "web")
            return ends(now) == {80: 9090, 443: given[443]}

        await eventually(changed)
        (after,) = await containers(http, "web")
        assert (after["id"], after["externalId"]) == (before["id"], before["externalId"])


async def test_a_port_that_somebody_has_is_told_and_the_old_one_stays(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http:
        files = FILES["dockerCompose"].replace("image: pg", "image: pg\n  ports: ['9090:5432']")
        await http.post("/environments", json={**FILES, "dockerCompose": files})
        (before,) = await containers(http, "web")
        await containers(http, "db")
        web = next(s for s in (await http.get("/services")).json()["data"] if s["name"] == "web")
        config = {**web["launchConfig"], "ports": ["9090:80", "443"]}
        await http.put(f"/services/{web['id']}", json={"launchConfig": config})

        async def told() -> bool:
            return "9090/tcp is taken" in str((await http.get(f"/services/{web['id']}")).json())

        await eventually(told)
        (after,) = await containers(http, "web")
        assert ends(after) == ends(before)


async def test_why_a_packet_does_not_pass(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http:
        await http.post("/environments", json={**FILES})
        (web,), (db,) = await containers(http, "web"), await containers(http, "db")
        network = (await http.get("/networks")).json()["data"][0]
        url = f"/networks/{network['id']}"

        async def why(**asked: Any) -> dict[str, Any]:
            answer = await http.post(f"{url}/?action=explain", json=asked)
            assert answer.status_code == 200, answer.text
            return answer.json()  # type: ignore[no-any-return]

        said = await why(source=db["name"], target=web["id"], port=80)
        assert said["passes"] is True
        assert any("port 8080/tcp of" in step["text"] for step in said["steps"])
        await http.put(url, json={"defaultPolicyAction": "deny"})
        said = await why(source=db["id"], target=web["id"])
        assert said["passes"] is False
        assert said["because"] == "It does not pass: No rule fits, and the default is deny"
        answer = await http.post(f"{url}/?action=explain", json={"source": "nobody", "target": web["id"]})
        assert (answer.status_code, answer.json()["fieldName"]) == (422, "source")


async def test_an_environment_says_from_which_range_ports_are_drawn(server: Installation) -> None:
    async with server.admin(None) as http:
        shown = (await http.get("/projects/1a5")).json()["servicesPortRange"]
        assert shown == {"startPort": 49153, "endPort": 65535}
        made = await http.post(
            "/projects", json={"name": "low", "servicesPortRange": {"startPort": 2000, "endPort": 2100}}
        )
        assert made.json()["servicesPortRange"] == {"startPort": 2000, "endPort": 2100}
        url = made.json()["links"]["self"]
        changed = await http.put(url, json={"servicesPortRange": {"startPort": 3000, "endPort": 3000}})
        assert changed.json()["servicesPortRange"] == {"startPort": 3000, "endPort": 3000}
        network = (await http.get(f"/projects/{made.json()['id']}/networks")).json()["data"][0]
        assert (network["portFirst"], network["portLast"]) == (3000, 3000)
        for wrong, field in (
            ({"startPort": 9, "endPort": 8}, "servicesPortRange.startPort"),
            ({"startPort": 0, "endPort": 8}, "servicesPortRange.startPort"),
            ({"startPort": 9}, "servicesPortRange.endPort"),
            ({"startPort": 9, "endPort": 70000}, "servicesPortRange.endPort"),
        ):
            refused = await http.put(url, json={"servicesPortRange": wrong})
            assert (refused.status_code, refused.json()["fieldName"]) == (422, field)
