"""The graph of states as clients read it, and what is on its way in it."""

from __future__ import annotations

from .conftest import Installation, eventually


async def test_the_graph_can_be_read(server: Installation) -> None:
    async with server.admin(None) as http:
        page = (await http.get("/processdefinitions?limit=1000")).json()["data"]
        assert len(page) == 306
        for name in ("host.activate", "1pd!host.activate"):
            one = (await http.get(f"/processdefinitions/{name}")).json()
            assert (one["name"], one["resourceType"]) == ("host.activate", "host")
        steps = [(s["fromState"], s["toState"], s["type"]) for s in one["stateTransitions"]]
        assert ("inactive", "activating", "TRANSITIONING") in steps
        assert ("activating", "active", "DONE") in steps
        assert [p["name"] for p in (await http.get("/processdefinitions?resourceType=label")).json()["data"]] == [
            "label.create",
            "label.remove",
        ]
        assert (await http.get("/processdefinitions/host.dance")).status_code == 404
        assert (await http.get("/resourcedefinitions/service")).json()["name"] == "service"


async def test_what_cannot_go_on_is_a_process_that_says_why(server: Installation) -> None:
    async with server.admin() as http, server.admin(None) as admin:
        web = (await http.post("/containers", json={"name": "web", "imageUuid": "docker:nginx"})).json()

        async def waits() -> list[dict[str, object]]:
            found = (await admin.get(f"/processinstances?resourceId={web['id']}")).json()["data"]
            return [p for p in found if p["phase"] == "WAITING"]

        (one,) = await eventually(waits)
        assert (one["processName"], one["resourceType"], one["resourceId"]) == (
            "instance.create",
            "instance",
            web["id"],
        )
        assert "host" in one["exitReason"].lower()
        assert (await admin.get(one["links"]["self"])).json() == one
        (done,) = (await admin.get(f"/processexecutions?processInstanceId={one['id']}")).json()["data"]
        assert done["processInstanceId"] == one["id"]
        assert isinstance(done["log"]["entries"], list)
        (total,) = (await admin.get("/processsummaries?processName=instance.create")).json()["data"]
        assert (total["running"], total["delay"]) == (0, 1)

        await server.agent()

        async def gone() -> bool:
            return not (await admin.get(f"/processinstances?resourceId={web['id']}")).json()["data"]

        await eventually(gone)


async def test_processes_are_for_administrators(server: Installation) -> None:
    async with server.admin() as http:
        key = (await http.post("/apikeys", json={"name": "ci"})).json()
    async with server.client(auth=(key["publicValue"], key["secretValue"])) as member:
        assert (await member.get("/processinstances")).status_code in (403, 404)
        assert (await member.get("/processdefinitions")).status_code in (403, 404)
