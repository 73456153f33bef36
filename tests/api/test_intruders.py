"""What a member of one environment, or a stranger, tries in order to reach what is not theirs."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest
import websockets

from .conftest import PASSWORD, Installation, eventually
from .people import STACK, basic, bearer, everybody, key, login, members, person


async def own_project(http: httpx2.AsyncClient) -> str:
    return str((await http.get("/projects")).json()["data"][0]["id"])


@pytest.fixture
async def ann(server: Installation) -> tuple[str, dict[str, str], str]:
    """Somebody with an environment of her own who may only look at 1a5: account, headers, own environment."""
    account, headers = await person(server, "ann")
    async with server.client(headers=headers) as http:
        own = await own_project(http)
    await members(server, "1a5", {account: "readonly"})
    return account, headers, own


async def test_owning_one_environment_gives_no_power_over_another(
    server: Installation, ann: tuple[str, dict[str, str], str]
) -> None:
    account, headers, own = ann
    takeover = {"members": [{"externalId": account, "role": "owner"}]}
    async with server.client(headers=headers) as http:
        for path in (f"/projects/{own}/projects/1a5", "/projects/1a5", "/projects/1a5/projects/1a5"):
            assert (await http.post(f"{path}?action=setmembers", json=takeover)).status_code == 403, path
            assert (await http.post(f"{path}?action=deactivate")).status_code == 403, path
            assert (await http.put(path, json={"name": "mine"})).status_code == 403, path
            assert (await http.delete(path)).status_code == 403, path
        # and with the environment named by header or query instead
        for extra in ({"headers": {**headers, "X-API-Project-Id": own}}, {"params": {"projectId": own}}):
            answer = await http.put("/projects/1a5", json={"name": "mine"}, **extra)  # type: ignore[arg-type]
            assert answer.status_code == 403


async def test_including_links_shows_nothing_of_other_environments(
    server: Installation, ann: tuple[str, dict[str, str], str]
) -> None:
    _, headers, own = ann
    async with server.admin() as admin:
        token = (await admin.post("/registrationtokens")).json()["token"]
        await admin.post("/environments", json=STACK)
    async with server.client(headers=headers) as http:
        for link in ("registrationTokens", "environments", "services", "containers", "hosts"):
            for path in (f"/projects/{own}/projects", "/projects"):
                assert token not in (await http.get(f"{path}?include={link}")).text
                shown = {p["id"]: p.get(link) for p in (await http.get(f"{path}?include={link}")).json()["data"]}
                assert not shown["1a5"], (path, link)
            linked = await http.get(f"/projects/{own}/projects/1a5/{link.lower()}")
            assert linked.status_code in (403, 404) or linked.json()["data"] == [], link
        mine = (await http.get("/accounts?include=apiKeys")).json()["data"][0]
        assert mine["apiKeys"] == []  # and not the session and the password behind it


async def test_references_to_rows_of_another_environment_do_not_exist(server: Installation) -> None:
    _, headers = await person(server, "eve")
    await server.agent()
    async with server.admin() as admin:
        stack = (await admin.post("/environments", json=STACK)).json()
        service = (await admin.get("/services")).json()["data"][0]
        host = (await admin.get("/hosts")).json()["data"][0]
        await admin.get("/containers")
    async with server.client(headers=headers) as root:
        own = await own_project(root)
    url = f"{server.base}/v1/projects/{own}"
    async with httpx2.AsyncClient(base_url=url, headers=headers) as http:
        mine = (await http.post("/environments", json={"name": "mine"})).json()
        image = {"imageUuid": "docker:x"}
        tries: list[tuple[str, dict[str, Any]]] = [
            ("/services", {"name": "s", "environmentId": stack["id"], "launchConfig": image}),
            (
                "/services",
                {"name": "s", "environmentId": mine["id"], "launchConfig": {**image, "requestedHostId": host["id"]}},
            ),
            (
                "/services",
                {
                    "name": "s",
                    "environmentId": mine["id"],
                    "launchConfig": image,
                    "secondaryLaunchConfigs": [{"name": "b", **image, "requestedHostId": host["id"]}],
                },
            ),
            ("/containers", {"name": "c", **image, "requestedHostId": host["id"]}),
            ("/composeplans", {"dockerCompose": STACK["dockerCompose"], "environmentId": stack["id"]}),
        ]
        for somebody in ("1a1", "1a5"):  # whose key it is is not theirs to say
            assert (await http.post("/apikeys", json={"accountId": somebody})).json()["accountId"] == own
        for path, body in tries:
            answer = await http.post(path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (422, "InvalidReference"), (path, body)
        for path in (f"/environments/{stack['id']}", f"/services/{service['id']}", f"/hosts/{host['id']}"):
            assert (await http.get(path)).status_code == 404
            assert (await http.put(path, json={"description": "x"})).status_code == 404
            assert (await http.post(f"{path}?action=remove")).status_code == 404
            assert (await http.get(f"{path}/instances")).status_code == 404
        child = await http.post(f"/environments/{stack['id']}/services", json={"name": "s", "launchConfig": image})
        assert child.status_code == 422
        for probe in (
            f"accountId={stack['accountId']}",
            "accountId_ne=1a0",
            "name_like=%25",
            "id_notnull=1",
            "removed_null=1",
        ):
            assert [s["id"] for s in (await http.get(f"/environments?{probe}")).json()["data"]] in ([], [mine["id"]])
        assert (await http.get(f"/servicelogs?resourceType=service&resourceId={service['id']}")).json()["data"] == []
        exported = await http.post(mine["actions"]["exportconfig"], json={"serviceIds": [service["id"]]})
        assert "nginx" not in exported.text


async def test_administrators_enter_environments_only(server: Installation) -> None:
    for number in ("1a1", "1a99999"):
        async with server.admin(number) as http:
            assert (await http.get("/hosts")).status_code == 403
            assert (await http.post("/environments", json={"name": "nowhere"})).status_code == 403


async def test_a_removed_or_deactivated_environment_is_closed(server: Installation) -> None:
    _, headers = await person(server, "ann")
    async with server.client(headers=headers) as http:
        own = await own_project(http)
        async with server.admin(own) as admin:
            made = (await admin.post("/apikeys", json={})).json()
        pair = basic(made["publicValue"], made["secretValue"])
        assert (await http.post(f"/projects/{own}?action=deactivate")).status_code == 202
        refused = await http.get(f"/projects/{own}/hosts")
        assert (refused.status_code, "deactivated" in refused.json()["message"]) == (403, True)
        assert (await http.get("/hosts", headers=pair)).status_code == 401
        assert (await http.post(f"/projects/{own}?action=activate")).status_code == 202
        assert (await http.get(f"/projects/{own}/hosts")).status_code == 200
        assert (await http.get("/hosts", headers=pair)).status_code == 200
        assert (await http.delete(f"/projects/{own}")).status_code == 200
        assert (await http.get(f"/projects/{own}/hosts")).status_code == 403
        assert (await http.get("/hosts", headers=pair)).status_code == 401


async def test_an_environment_key_does_not_choose_members(server: Installation) -> None:
    people = await everybody(server)
    me = {"members": [{"externalId": "1a1", "role": "owner"}]}
    async with server.client(headers=people["member"]) as http:
        made = (await http.post("/projects/1a5/apikeys", json={"accountId": "1a5"})).json()
    async with server.client(headers=basic(made["publicValue"], made["secretValue"])) as http:
        assert (await http.get("/environments")).status_code == 200
        assert (await http.post("/environments", json={"name": "by-key"})).status_code == 201
        assert (await http.post("/projects/1a5?action=setmembers", json=me)).status_code == 403
        assert (await http.put("/projects/1a5", json={"name": "x"})).status_code == 403


async def test_accounts_are_made_and_promoted_by_administrators_only(server: Installation) -> None:
    account, headers = await person(server, "ann")
    body = {"username": "eve", "password": PASSWORD, "kind": "admin"}
    async with server.client(headers=headers) as http:
        assert (await http.post("/accounts", json=body)).status_code == 403
        unchanged = (await http.put(f"/accounts/{account}", json={"kind": "admin"})).json()
        assert unchanged["kind"] == "user"
        assert [a["id"] for a in (await http.get("/accounts")).json()["data"]] == [account]
        assert (await http.get("/accounts/1a1")).status_code == 404
        assert (await http.get("/accounts?kind=admin")).json()["data"] == []
    async with server.admin(None) as admin:
        assert (await admin.delete("/accounts/1a5")).status_code == 404  # environments have rules of their own
        assert (await admin.post("/accounts", json={"username": "a:b", "password": PASSWORD})).status_code == 422
        twice = await admin.post("/accounts", json={"username": "ann", "password": PASSWORD})
        assert (twice.status_code, twice.json()["fieldName"]) == (422, "username")


async def test_no_document_shows_a_secret(server: Installation) -> None:
    people = await everybody(server)
    paths = [
        f"/projects/1a5/{p}"
        for p in ("apikeys", "registrationtokens", "accounts", "projects", "projectmembers", "hosts")
    ]
    paths += [
        "/accounts",
        "/accounts?include=apiKeys",
        "/apikeys",
        "/settings",
        "/auditlogs?limit=1000",
        "/haconfigs",
        "/token",
    ]
    for name, headers in people.items():
        async with server.client(headers=headers) as http:
            for path in paths:
                text = (await http.get(path)).text
                for secret in ("$argon2", "secretHash", "secret_hash", "sealed", "remuda1:", PASSWORD):
                    assert secret not in text, (name, path, secret)


async def test_execute_is_asked_by_those_who_may_act_and_never_by_get(server: Installation) -> None:
    people = await everybody(server)
    await server.agent()
    async with server.admin() as admin:
        made = (await admin.post("/containers", json={"name": "c", "imageUuid": "docker:x"})).json()
        url = made["links"]["self"]

        async def runs() -> bool:
            return bool((await admin.get(url)).json()["state"] == "running")

        await eventually(runs)
        assert (await admin.get(f"{url}/execute")).status_code == 404
    async with server.client(headers=people["readonly"]) as http:
        assert (await http.get(f"{url}/execute")).status_code == 404
        assert (await http.post(f"{url}?action=execute", json={"command": ["sh"]})).status_code == 403
        assert (await http.post(f"{url}?action=logs", json={})).status_code == 200


async def closes(socket: websockets.ClientConnection, seconds: float = 5) -> tuple[int, list[Any]]:
    frames = []
    async with asyncio.timeout(seconds):
        try:
            while True:
                frames.append(json.loads(await socket.recv()))
        except websockets.ConnectionClosed as end:
            return end.rcvd.code if end.rcvd else 0, frames


def subscribe(server: Installation, headers: dict[str, str], project: str = "1a5", **more: Any) -> Any:
    url = f"{server.base.replace('http', 'ws')}/v1/projects/{project}/subscribe?eventNames=resource.change"
    return websockets.connect(url, additional_headers=headers, **more)


async def test_subscribers_leave_when_their_rights_end(server: Installation) -> None:
    account, headers = await person(server, "ann")
    await members(server, "1a5", {account: "member"})
    async with server.admin(None) as admin, server.client(headers=headers) as http:
        mine = (await http.post("/apikeys", json={})).json()
        pair = basic(mine["publicValue"], mine["secretValue"])
        async with subscribe(server, pair) as socket:
            await socket.recv()
            await members(server, "1a5", {account: "readonly"})
            code, frames = await closes(socket)
            assert (code, [f for f in frames if f["name"] == "logout"]) == (1012, [])
        async with subscribe(server, pair) as socket:
            await socket.recv()
            await admin.post(f"/accounts/{account}?action=deactivate")
            code, frames = await closes(socket)
            assert (code, frames[-1]["name"]) == (1000, "logout")


async def test_subscribers_hear_nothing_of_other_peoples_accounts_and_environments(server: Installation) -> None:
    people = {name: await person(server, name) for name in ("ann", "bob")}
    await members(server, "1a5", {account: "member" for account, _ in people.values()})
    async with subscribe(server, people["ann"][1]) as ann, subscribe(server, people["bob"][1]) as bob:
        await ann.recv()
        await bob.recv()
        async with server.client(headers=people["ann"][1]) as http:
            own = next(p["id"] for p in (await http.get("/projects")).json()["data"] if p["id"] != "1a5")
            await http.put(f"/projects/{own}", json={"description": "private"})
        async with server.admin() as admin:
            await admin.put(f"/accounts/{people['ann'][0]}", json={"description": "about ann"})
            await admin.post("/environments", json={"name": "last"})

        async def until_last(socket: websockets.ClientConnection) -> str:
            heard = ""
            async with asyncio.timeout(5):
                while '"last"' not in heard:
                    heard += str(await socket.recv())
            return heard

        assert "private" in await until_last(ann)
        heard = await until_last(bob)
        assert "private" not in heard
        assert "about ann" not in heard


async def test_machines_do_not_subscribe_and_people_only_where_they_belong(server: Installation) -> None:
    people = await everybody(server)
    for name in ("agent", "register", "stranger", "forger", "away", "user"):
        with pytest.raises((websockets.InvalidStatus, websockets.ConnectionClosed)):
            async with subscribe(server, people[name]) as socket:
                await socket.recv()


async def test_a_stream_token_ends_with_the_rights_of_who_asked_for_it(server: Installation) -> None:
    account, headers = await person(server, "ann")
    await members(server, "1a5", {account: "member"})
    await server.agent()
    async with server.client(headers=headers) as http:
        made = (await http.post("/projects/1a5/containers", json={"name": "c", "imageUuid": "docker:x"})).json()
        url = made["links"]["self"]

        async def runs() -> bool:
            return bool((await http.get(url)).json()["state"] == "running")

        await eventually(runs)
        logs = (await http.post(f"{url}?action=logs", json={"follow": False})).json()
        # for another stream than it was made for, and as a login
        assert (await http.get(f"/hosts?token={logs['token']}", headers={"Authorization": ""})).status_code == 401
        wrong = logs["url"].replace("/logs/", "/exec/")
        for dial in (f"{wrong}?token={logs['token']}", f"{logs['url']}?token={headers['Authorization'].split()[1]}"):
            with pytest.raises((websockets.InvalidStatus, websockets.ConnectionClosed)):
                async with websockets.connect(dial) as socket:
                    await socket.recv()
        await members(server, "1a5", {})

        async def shut() -> bool:
            try:
                async with websockets.connect(f"{logs['url']}?token={logs['token']}") as socket:
                    await socket.recv()
            except (websockets.InvalidStatus, websockets.ConnectionClosed):
                return True
            return False

        await eventually(shut)


async def test_revoking_is_not_undone_by_a_lookup_that_was_under_way(server: Installation) -> None:
    headers = await key(server)
    auth = server.api.auth
    public = next(iter(headers.values()))
    reading = server.api.store.read
    try:

        async def slow(unit: Any) -> Any:
            found = await reading(unit)
            auth.forget()  # the change log speaks between our reading and our remembering
            return found

        server.api.store.read = slow  # type: ignore[method-assign]
        async with server.client(headers={"Authorization": public}) as http:
            await http.get("/hosts")
        assert auth._known == {}
    finally:
        server.api.store.read = reading  # type: ignore[method-assign]


async def test_what_is_changed_beside_the_server_is_seen_soon(
    server: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, headers = await person(server, "ann")
    async with server.client(headers=headers) as http:
        assert (await http.get("/projects")).status_code == 200
        listeners = server.api.plane.feed._listeners
        heard = set(listeners)
        listeners.clear()  # as if another process had written: no word of it reaches us
        async with server.admin(None) as admin:
            await admin.post(f"/accounts/{account}?action=deactivate")
        assert (await http.get("/projects")).status_code == 200
        monkeypatch.setattr("remuda.api.auth._FRESH_SECONDS", 0.0)
        assert (await http.get("/projects")).status_code == 401
        listeners.update(heard)


async def test_sessions_end_with_the_account_and_old_ones_are_forgotten(server: Installation) -> None:
    account, headers = await person(server, "ann")
    again = await login(server, "ann")
    async with server.admin(None) as admin, server.client() as http:
        await admin.put(f"/accounts/{account}", json={"password": "another horse"})
        for old in (headers, again):
            assert (await http.get("/projects", headers=old)).status_code == 401
        assert (await http.get("/projects", headers=bearer(server.jwt))).status_code == 200
