"""What clients of 1.x send along with a request, beside the request itself."""

from __future__ import annotations

from .conftest import Installation
from .people import STACK, basic, key, members, person


async def test_actions_are_called_action_links_for_those_who_ask(server: Installation) -> None:
    async with server.admin() as http:
        made = (await http.post("/environments", json=STACK)).json()
        for _ in range(2):  # the second answer may be one that was kept
            told = (await http.get("/environments", headers={"X-API-Action-Links": "true"})).json()
            assert "actionLinks" in told["data"][0]
            assert "actions" not in told["data"][0]
            assert "actions" in (await http.get("/environments")).json()["data"][0]
        one = (await http.get(f"/environments/{made['id']}", headers={"X-API-Action-Links": "true"})).json()
        assert one["actionLinks"] == made["actions"]


async def test_lists_can_be_sorted_by_following_links(server: Installation) -> None:
    async with server.admin() as http:
        for name in ("b", "c", "a"):
            await http.post("/environments", json={"name": name})
        first = (await http.get("/environments?limit=100")).json()
        up = (await http.get(first["sortLinks"]["name"])).json()
        assert [s["name"] for s in up["data"]] == ["a", "b", "c"]
        down = (await http.get(up["sortLinks"]["name"])).json()
        assert [s["name"] for s in down["data"]] == ["c", "b", "a"]
        assert down["sort"]["reverse"] == down["sortLinks"]["name"]
        assert "data" not in first["sortLinks"]


async def test_a_list_below_something_says_what_its_new_rows_have(server: Installation) -> None:
    async with server.admin() as http:
        stack = (await http.post("/environments", json=STACK)).json()
        assert (await http.get(stack["links"]["services"])).json()["createDefaults"] == {"environmentId": stack["id"]}
        assert (await http.get("/services")).json()["createDefaults"] == {}


async def test_administrators_may_look_through_the_eyes_of_others(server: Installation) -> None:
    _, ann = await person(server, "ann")
    async with server.admin(None) as http:
        shown = {s["id"] for s in (await http.get("/schemas?_role=readonly")).json()["data"]}
        assert "container" in shown
        assert "registrationToken" not in shown
        assert (await http.post("/settings?_role=user", json={"name": "x", "value": "y"})).status_code == 403
        assert (await http.post("/projects/1a5/environments?_role=readonly", json=STACK)).status_code == 403
        unknown = await http.get("/schemas?_role=king")
        assert (unknown.status_code, unknown.json()["fieldName"]) == (422, "_role")
    async with server.client(headers=ann) as http:
        assert (await http.get("/clusternodes?_role=admin")).status_code == 404


async def test_an_administrator_acts_for_the_owner_of_a_key(server: Installation) -> None:
    pair = await key(server)
    access = (await _access(server, pair)).partition(":")[0]
    async with server.admin(None) as http:
        answer = await http.get("/projects", headers={"X-API-Client-Access-Key": access})
        assert (answer.headers["x-api-account-id"], answer.headers["x-api-account-kind"]) == ("1a5", "project")
        refused = await http.get("/projects", headers={"X-API-Client-Access-Key": "NOBODY"})
        assert refused.status_code == 403
    _, ann = await person(server, "ann")
    async with server.client(headers=ann) as http:
        answer = await http.get("/projects", headers={"X-API-Client-Access-Key": access})
        assert answer.headers["x-api-account-kind"] == "user", "it is for administrators only"


async def _access(server: Installation, pair: dict[str, str]) -> str:
    import base64

    return base64.b64decode(pair["Authorization"].removeprefix("Basic ")).decode()


async def test_without_access_control_everybody_is_the_administrator_unless_they_insist(server: Installation) -> None:
    async with server.admin(None) as http:
        assert (await http.put("/settings/api.security.enabled", json={"value": "false"})).status_code == 200
    for headers in ({}, basic("nobody", "wrong")):
        async with server.client(headers=headers) as http:
            assert (await http.get("/accounts")).status_code == 200
            made = await http.post("/registrationtokens?projectId=1a5")
            assert made.status_code == 201
            assert (await http.get("/accounts", headers={"X-ENFORCE-AUTHENTICATION": "true"})).status_code == 401


async def test_the_account_of_an_environment_is_the_environment(server: Installation) -> None:
    async with server.admin() as http:
        stack = (await http.post("/environments", json=STACK)).json()
        shown = (await http.get(stack["links"]["account"])).json()
        assert (shown["id"], shown["type"]) == ("1a5", "project")


async def test_owners_add_members_one_by_one(server: Installation) -> None:
    ann, as_ann = await person(server, "ann")
    bob, as_bob = await person(server, "bob")
    await members(server, "1a5", {ann: "owner"})
    new = {"externalId": bob, "externalIdType": "rancher_id", "role": "readonly"}
    async with server.client(headers=as_bob) as http:
        refused = await http.post("/projects/1a5/projectmembers", json=new)
        assert refused.status_code == 422, "for bob there is no such environment"
    async with server.client(headers=as_ann) as http:
        made = await http.post("/projects/1a5/projectmembers", json=new)
        assert made.status_code == 201, made.text
        assert made.json()["role"] == "readonly"
        again = await http.post("/projects/1a5/projectmembers", json=new)
        assert (again.status_code, again.json()["code"]) == (422, "NotUnique")
        king = await http.post("/projects/1a5/projectmembers", json={**new, "role": "king"})
        assert (king.status_code, king.json()["fieldName"]) == (422, "role")
        nobody = await http.post("/projects/1a5/projectmembers", json={**new, "externalId": "1a999"})
        assert (nobody.status_code, nobody.json()["fieldName"]) == (422, "externalId")
        listed = (await http.get("/projects/1a5/projectmembers")).json()["data"]
        assert {m["role"] for m in listed} == {"owner", "readonly"}
    async with server.client(headers=as_bob) as http:
        assert (await http.get("/projects/1a5/hosts")).status_code == 200
        assert (await http.post("/projects/1a5/environments", json=STACK)).status_code == 403


async def test_administrators_make_settings_of_their_own(server: Installation) -> None:
    async with server.admin(None) as http:
        made = await http.post("/settings", json={"name": "ui.pl", "value": "ours"})
        assert (made.status_code, made.json()["activeValue"], made.json()["inDb"]) == (201, "ours", True)
        assert (await http.post("/settings", json={"value": "x"})).json()["fieldName"] == "name"
        active = (await http.get("/activesettings/ui.pl")).json()
        assert (active["type"], active["activeValue"]) == ("activeSetting", "ours")
    async with server.admin() as http:
        assert (await http.post("/settings", json={"name": "ui.pl", "value": "x"})).status_code == 403
        told = (await http.get("/typedocumentations/service")).json()
        assert "scale" in told["description"]


async def test_what_has_no_meaning_here_is_kept_and_told_again(server: Installation) -> None:
    async with server.admin() as http:
        stack = (await http.post("/environments", json={"name": "shop", "outputs": {"url": "x"}})).json()
        assert stack["outputs"] == {"url": "x"}
        config = {"imageUuid": "docker:nginx"}
        body = {"name": "web", "environmentId": stack["id"], "launchConfig": config, "scale": 0, "externalId": "abc"}
        service = (await http.post("/services", json=body)).json()
        assert (service["externalId"], service["vip"]) == ("abc", None)
        changed = await http.put(stack["links"]["self"], json={"previousExternalId": "catalog://1"})
        assert (changed.json()["previousExternalId"], changed.json()["outputs"]) == ("catalog://1", {"url": "x"})
        assert "data" not in changed.json()
    async with server.admin(None) as http:
        assert (await http.get("/environments")).json()["data"][0]["data"]["fields"]["outputs"] == {"url": "x"}
