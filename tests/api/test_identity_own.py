"""What belongs to people themselves: passwords and preferences."""

from __future__ import annotations

from .conftest import PASSWORD, Installation
from .people import person


async def test_preferences_are_everybodys_own(server: Installation) -> None:
    (_, ann), (_, bob) = await person(server, "ann"), await person(server, "bob")
    async with server.client(headers=ann) as http, server.client(headers=bob) as other:
        made = await http.post("/userpreferences", json={"name": "theme", "value": "dark"})
        assert made.status_code == 201, made.text
        row = made.json()["id"]
        assert (await http.post("/userpreferences", json={"name": "theme", "value": "x"})).status_code == 422
        assert (await other.post("/userpreferences", json={"name": "theme", "value": "light"})).status_code == 201
        assert (await http.put(f"/userpreferences/{row}", json={"value": "light"})).json()["value"] == "light"
        assert [p["id"] for p in (await http.get("/userpreferences")).json()["data"]] == [row]
        assert (await other.get(f"/userpreferences/{row}")).status_code == 404
    async with server.admin(None) as admin:
        assert (await admin.get("/userpreferences")).json()["data"] == []
        assert len((await admin.get("/userpreferences?all=true")).json()["data"]) == 2


async def test_changing_a_password_needs_the_old_one_and_ends_other_sessions(server: Installation) -> None:
    _, first = await person(server, "ann")
    async with server.client() as http:
        answer = await http.post("/token", json={"code": f"ann:{PASSWORD}"})
        second = {"Authorization": f"Bearer {answer.json()['jwt']}"}
    async with server.client(headers=first) as http, server.client(headers=second) as elsewhere:
        mine = (await http.get("/passwords")).json()["data"]
        assert [(p["publicValue"], p["secretValue"]) for p in mine] == [("ann", None)]
        url = f"/passwords/{mine[0]['id']}/?action=changesecret"
        wrong = await http.post(url, json={"oldSecret": "wrong", "newSecret": "another horse"})
        assert (wrong.status_code, wrong.json()["fieldName"]) == (422, "oldSecret")
        done = await http.post(url, json={"oldSecret": PASSWORD, "newSecret": "another horse"})
        assert (done.status_code, done.json()["newSecret"]) == (200, None)
        assert (await http.get("/passwords")).status_code == 200
        assert (await elsewhere.get("/passwords")).status_code == 401
    async with server.client() as http:
        assert (await http.post("/token", json={"code": f"ann:{PASSWORD}"})).status_code == 401
        assert (await http.post("/token", json={"code": "ann:another horse"})).status_code == 201


async def test_the_last_administrators_password_stays(server: Installation) -> None:
    async with server.admin(None) as admin:
        mine = (await admin.get("/passwords?accountId=1a1")).json()["data"][0]["id"]
        refused = await admin.delete(f"/passwords/{mine}")
        assert (refused.status_code, "last" in refused.json()["message"]) == (422, True)
        other, _ = await person(server, "second", "admin")
        assert (await admin.delete(f"/passwords/{mine}")).status_code == 200
        again = {"publicValue": "admin", "secretValue": "a new password"}
    async with server.client() as http:
        assert (await http.post("/token", json={"code": f"admin:{PASSWORD}"})).status_code == 401
        code = (await http.post("/token", json={"code": f"second:{PASSWORD}"})).json()["jwt"]
    async with server.client(headers={"Authorization": f"Bearer {code}"}) as second:
        made = await second.post("/passwords", json={**again, "accountId": "1a1"})
        assert made.status_code == 201, made.text
        assert (made.json()["publicValue"], made.json()["accountId"]) == ("admin", "1a1")
        assert (await second.post("/passwords", json={**again, "accountId": other})).status_code == 422
