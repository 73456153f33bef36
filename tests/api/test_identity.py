"""People log in by somebody else's word: GitHub and OpenID Connect, spoken to the letter by servers of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from joserfc.jwk import RSAKey
from tests.support.issuers import SECRET, Issuers, issuers

from .conftest import PASSWORD, Installation
from .people import bearer, login, members, person


@pytest.fixture
async def world() -> AsyncIterator[Issuers]:
    async with issuers() as both:
        yield both


async def saved(http: httpx2.AsyncClient, kind: str, body: dict[str, Any], status: int = 201) -> dict[str, Any]:
    answer = await http.post(f"/{kind}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def enable_github(server: Installation, world: Issuers, who: str = "ann", **more: Any) -> None:
    async with server.admin(None) as admin:
        await saved(admin, "githubconfig", world.github(enabled=True, code=world.consent(who), **more))


async def by_github(server: Installation, world: Issuers, who: str) -> httpx2.Response:
    async with server.client() as http:
        return await http.post("/token", json={"code": world.consent(who)})


async def begun(http: httpx2.AsyncClient, world: Issuers, who: str, kind: str = "") -> dict[str, Any]:
    """What a browser brings back from the issuer."""
    told = (await http.get("/token", params={"authProvider": kind} if kind else {})).json()
    query = httpx2.URL(told["redirectUrl"]).params
    return {"code": world.consent(who, told["redirectUrl"]), "state": query["state"], "authProvider": "oidcconfig"}


async def enable_oidc(server: Installation, world: Issuers, **more: Any) -> None:
    async with server.admin(None) as admin:
        await saved(admin, "oidcconfig", world.oidc(**more))
        tried = await admin.post("/token", json=await begun(admin, world, "ann", "oidcconfig"))
        assert tried.status_code == 201, tried.text
        await saved(admin, "oidcconfig", world.oidc(**more, enabled=True))


# ---- GitHub


async def test_github_is_saved_tried_and_enabled_as_clients_of_1x_do_it(server: Installation, world: Issuers) -> None:
    async with server.admin(None) as admin:
        first = await saved(admin, "githubconfig", world.github())
        assert (first["enabled"], first["clientSecret"], first["clientId"]) == (False, None, "remuda")
        too_early = await admin.post("/githubconfig", json=world.github(enabled=True))
        assert (too_early.status_code, too_early.json()["fieldName"]) == (422, "enabled")
        tried = await admin.post("/token", json={"code": world.consent("ann")})
        assert tried.status_code == 201
        who = tried.json()["userIdentity"]
        assert (who["externalIdType"], who["externalId"], who["login"]) == ("github_user", "11", "ann")
        assert tried.json()["accountId"] == "1a1", "the administrator who tried it is who they are there"
        # the secret is not told, so clients send it as null: it stays
        done = await saved(admin, "githubconfig", world.github(enabled=True, clientSecret=None))
        assert done["enabled"] is True
        assert (await admin.get("/settings/api.auth.provider.configured")).json()["value"] == "githubconfig"
    state = (await server.client().get("/token")).json()
    assert (state["authProvider"], state["clientId"], state["hostname"]) == ("githubconfig", "remuda", world.host)
    assert state["redirectUrl"].startswith(f"{world.base}/login/oauth/authorize?client_id=remuda&scope=read%3Aorg")
    back = await by_github(server, world, "ann")
    assert (back.json()["accountId"], back.json()["userType"]) == ("1a1", "admin")


async def test_who_github_vouches_for_gets_an_account_and_an_environment_once(
    server: Installation, world: Issuers
) -> None:
    await enable_github(server, world)
    first, again = await by_github(server, world, "bob"), await by_github(server, world, "bob")
    assert first.status_code == 201, first.text
    assert (first.json()["userType"], first.json()["user"]) == ("user", "bob")
    assert first.json()["accountId"] == again.json()["accountId"] != "1a1"
    async with server.client(headers=bearer(first.json()["jwt"])) as bob:
        assert [p["name"] for p in (await bob.get("/projects")).json()["data"]] == ["bob-Default"]
        me = (await bob.get("/identities")).json()["data"]
        assert [i["id"] for i in me] == ["github_user:12"]


async def test_a_code_works_once_and_a_made_up_one_never(server: Installation, world: Issuers) -> None:
    await enable_github(server, world)
    code = world.consent("bob")
    async with server.client() as http:
        assert (await http.post("/token", json={"code": code})).status_code == 201
    async with server.client() as http:
        for bad in (code, "made up", "admin:" + PASSWORD):
            assert (await http.post("/token", json={"code": bad})).status_code == 401


async def test_a_wrong_secret_is_refused_where_it_is_written(server: Installation, world: Issuers) -> None:
    async with server.admin(None) as admin:
        body = world.github(enabled=True, code=world.consent("ann"), clientSecret="wrong")
        answer = await admin.post("/githubconfig", json=body)
        assert answer.status_code == 503
        assert "incorrect_client_credentials" in answer.json()["message"]
        assert "wrong" not in answer.text
        assert (await admin.get("/githubconfig/githubconfig")).json()["enabled"] is False


async def test_teams_and_organisations_are_members_of_environments(server: Installation, world: Issuers) -> None:
    ann = await person(server, "someone")
    await enable_github(server, world)
    async with server.admin(None) as admin:
        project = (await admin.post("/projects", json={"name": "team", "members": [
            {"externalId": "1a1", "externalIdType": "rancher_id", "role": "owner"},
            {"externalId": "90", "externalIdType": "github_org", "role": "readonly"},
            {"externalId": "189", "externalIdType": "github_team", "role": "member"},
            {"externalId": "12", "externalIdType": "github_user", "role": "restricted"},
        ]})).json()  # fmt: skip
        assert {m["externalIdType"] for m in project["members"]} == {
            "rancher_id",
            "github_org",
            "github_team",
            "github_user",
        }
        await server.api.store.write(lambda tx: _as_user(tx, ann[0]))  # ann's login is an ordinary account from now on
    logged = await by_github(server, world, "ann")
    assert logged.json()["accountId"] == ann[0]
    stack = {"name": "shop", "dockerCompose": "web:\n  image: nginx\n"}
    async with server.client(headers=bearer(logged.json()["jwt"])) as http:
        assert project["id"] in [p["id"] for p in (await http.get("/projects")).json()["data"]]
        assert (await http.post(f"/projects/{project['id']}/environments", json=stack)).status_code == 201, (
            "the 120th team makes her a member, which is more than the reader that her organisation makes"
        )
    async with server.client(headers=bearer((await by_github(server, world, "bob")).json()["jwt"])) as http:
        assert (await http.get(f"/projects/{project['id']}/stacks")).status_code == 200
        refused = await http.post(f"/projects/{project['id']}/registrationtokens")
        assert refused.status_code == 404, "those who are restricted do not know of it"


def _as_user(tx: Any, public: str) -> None:
    from remuda.core import ids
    from remuda.core.model import Account

    admin, other = tx.get(Account, 1), tx.get(Account, ids.number(public) or 0)
    assert admin is not None
    assert other is not None
    tx.update(other, external_id=admin.external_id, external_id_type=admin.external_id_type)
    tx.update(admin, external_id="", external_id_type="", data={})


async def test_access_modes_let_in_whom_they_say(server: Installation, world: Issuers) -> None:
    await enable_github(server, world, accessMode="required")
    assert (await by_github(server, world, "bob")).status_code == 401
    assert (await by_github(server, world, "ann")).status_code == 201, "administrators are never locked out"
    async with server.admin(None) as admin:
        bob = [{"externalIdType": "github_user", "externalId": "12", "type": "identity"}]
        kept = world.github(enabled=True, clientSecret=None, accessMode="required")
        await saved(admin, "githubconfig", {**kept, "allowedIdentities": bob})
        inside = await by_github(server, world, "bob")
        assert inside.status_code == 201
        async with server.client(headers=bearer(inside.json()["jwt"])) as http:
            assert (await http.get("/projects")).status_code == 200
            await saved(admin, "githubconfig", kept)
            assert (await http.get("/projects")).status_code == 401, "who is not named any more is seen out"
        await saved(admin, "githubconfig", {**kept, "accessMode": "restricted"})
        assert (await by_github(server, world, "bob")).status_code == 401
        member = {"projectId": "1a5", "externalId": "12", "externalIdType": "github_user", "role": "member"}
        assert (await admin.post("/projectmembers", json=member)).status_code == 201
        assert (await by_github(server, world, "bob")).status_code == 201


async def test_passwords_of_ours_stay_the_way_back_for_administrators_only(
    server: Installation, world: Issuers
) -> None:
    _, before = await person(server, "carl")
    await enable_github(server, world)
    async with server.client() as http:
        assert (await http.get("/projects", headers=before)).status_code == 401, (
            "logins of others end with their provider"
        )
        told = {"authProvider": "localauthconfig"}
        assert (await http.post("/token", json={**told, "code": f"carl:{PASSWORD}"})).status_code == 401
        assert (await http.post("/token", json={**told, "code": f"admin:{PASSWORD}"})).status_code == 201
    logged = (await by_github(server, world, "bob")).json()["jwt"]
    async with server.admin(None) as admin:
        off = await admin.put("/githubconfig/githubconfig", json={"enabled": False})
        assert off.json()["enabled"] is False
        assert off.json()["hostname"] == world.host, "what was not sent stays"
    async with server.client() as http:
        assert (await http.get("/projects", headers=bearer(logged))).status_code == 401
    await login(server, "carl")


async def test_somebody_elses_identity_is_not_taken_over(server: Installation, world: Issuers) -> None:
    await enable_github(server, world)
    assert (await by_github(server, world, "bob")).status_code == 201
    async with server.admin(None) as admin:
        await admin.put("/githubconfig/githubconfig", json={"enabled": False})
        body = world.github(enabled=True, code=world.consent("bob"), scheme="http://")
        answer = await admin.post("/githubconfig", json=body)
        assert answer.status_code == 422
        assert "no administrator" in answer.json()["message"]
        assert (await admin.get("/githubconfig/githubconfig")).json()["enabled"] is False


async def test_names_are_looked_up_at_github_by_those_who_choose_members(server: Installation, world: Issuers) -> None:
    await enable_github(server, world)
    async with server.admin(None) as admin:
        found = (await admin.get("/identities", params={"name": "acme"})).json()["data"]
        assert [(i["id"], i["name"]) for i in found] == [("github_org:90", "Acme")]
        assert (await admin.get("/identities", params={"name": "nobody"})).json()["data"] == []
        assert (await admin.get("/identities/github_user:12")).json()["login"] == "bob"
        assert (await admin.get("/identities/github_user:99")).status_code == 404


async def test_only_administrators_see_or_change_how_people_log_in(server: Installation, world: Issuers) -> None:
    await enable_github(server, world)
    async with server.client(headers=bearer((await by_github(server, world, "bob")).json()["jwt"])) as bob:
        for kind in ("githubconfig", "ldapconfig", "openldapconfig", "oidcconfig", "azureadconfig", "localauthconfig"):
            assert (await bob.get(f"/{kind}")).status_code == 403
            assert (await bob.post(f"/{kind}", json=world.github())).status_code == 403


async def test_secrets_are_in_no_answer_log_or_row(server: Installation, world: Issuers) -> None:
    await enable_github(server, world)
    async with server.admin(None) as admin:
        told = [(await admin.get(path)).text for path in ("/githubconfig", "/auditlogs?limit=1000", "/settings")]
    from remuda.core.model import RECORDS

    rows = await server.api.store.read(lambda tx: [repr(row) for record in RECORDS for row in tx.find(record)])
    assert not [text for text in (*told, *rows) if SECRET in text]
    assert any("remuda1:" in row for row in rows), "it is there, sealed"


async def test_azure_says_what_to_use_and_nonsense_names_its_field(server: Installation, world: Issuers) -> None:
    async with server.admin(None) as admin:
        azure = await admin.post("/azureadconfig", json={"tenantId": "t"})
        assert (azure.status_code, "oidcconfig" in azure.json()["message"]) == (422, True)
        for kind, body, field in (
            ("githubconfig", world.github(hostname="a b"), "hostname"),
            ("githubconfig", world.github(accessMode="open"), "accessMode"),
            ("githubconfig", world.github(clientSecret=None), "clientSecret"),
            ("githubconfig", world.github(allowedIdentities=[{"externalId": "1"}]), "allowedIdentities[0]"),
            ("oidcconfig", world.oidc(issuer="http://login.example.com"), "issuer"),
            ("oidcconfig", world.oidc(certificate="x"), "certificate"),
            ("ldapconfig", {"server": "a", "serviceAccountUsername": "b", "serviceAccountPassword": "c"}, "domain"),
        ):
            answer = await admin.post(f"/{kind}", json=body)
            assert (answer.status_code, answer.json()["fieldName"]) == (422, field), answer.text


# ---- OpenID Connect


async def test_openid_connect_from_the_redirect_to_the_session(server: Installation, world: Issuers) -> None:
    await enable_oidc(server, world)
    async with server.client() as http:
        logged = await http.post("/token", json=await begun(http, world, "bob"))
        assert logged.status_code == 201, logged.text
        who = logged.json()["userIdentity"]
        assert (who["id"], who["login"]) == ("oidc_user:sub-bob", "bob")
    async with server.client() as http:
        again = await http.post("/token", json=await begun(http, world, "ann"))
        assert [i["id"] for i in again.json()["identities"]] == [
            "oidc_user:sub-ann",
            "oidc_group:builders",
            "oidc_group:staff",
        ]
    async with server.admin(None) as admin:
        found = (await admin.get("/identities", params={"name": "bob"})).json()["data"]
        assert [i["id"] for i in found] == ["oidc_user:sub-bob", "oidc_group:bob"]


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        ({"claims": {"aud": "another"}}, "another client"),
        ({"claims": {"iss": "https://evil"}}, "another issuer"),
        ({"claims": {"exp": 1}}, "earlier time"),
        ({"claims": {"nonce": "of somebody else"}}, "another login"),
        ({"claims": {"sub": ""}}, "nobody"),
        ({"signed with": RSAKey.generate_key(2048)}, "not signed"),
        ({"shared": True}, "not signed"),
    ],
    ids=lambda value: "" if isinstance(value, str) else ",".join(f"{k}" for k in value.get("claims", value)),
)
async def test_an_id_token_is_believed_only_if_all_of_it_is_right(
    server: Installation, world: Issuers, lie: dict[str, Any], why: str
) -> None:
    await enable_oidc(server, world)
    world.lies = lie
    async with server.client() as http:
        answer = await http.post("/token", json=await begun(http, world, "bob"))
    assert answer.status_code == 401
    assert why in answer.json()["message"]


async def test_a_login_ends_only_in_the_browser_in_which_it_began(server: Installation, world: Issuers) -> None:
    await enable_oidc(server, world)
    async with server.client() as attacker, server.client() as victim:
        brought = await begun(attacker, world, "bob")
        await victim.get("/token")
        for cookies in (victim, server.client()):
            answer = await cookies.post("/token", json=brought)
            assert (answer.status_code, answer.json()["fieldName"]) == (422, "state")
        assert (await attacker.post("/token", json={**brought, "state": brought["state"] + "x"})).status_code == 422
        assert (await attacker.post("/token", json={**brought, "state": ""})).status_code == 401
        assert (await attacker.post("/token", json=brought)).status_code == 201


async def test_an_issuer_that_is_away_leaves_the_door_for_administrators(server: Installation, world: Issuers) -> None:
    await enable_oidc(server, world)
    server.api.logins._opened.clear()
    world.lies = {"discovery": {"issuer": "https://evil"}}
    async with server.client() as http:
        state = (await http.get("/token")).json()
        assert state["redirectUrl"] is None
        assert "calls itself" in state["message"]
        local = {"code": f"admin:{PASSWORD}", "authProvider": "localauthconfig"}
        assert (await http.post("/token", json=local)).status_code == 201


async def test_who_logs_in_for_the_first_time_and_belongs_nowhere_gets_an_environment(server: Installation) -> None:
    async def environments(name: str) -> list[str]:
        async with server.client(headers=await login(server, name)) as http:
            return [row["name"] for row in (await http.get("/projects")).json()["data"]]

    await person(server, "ann")
    assert await environments("ann") == ["ann-Default"]
    assert await environments("ann") == ["ann-Default"], "once"
    async with server.admin(None) as admin:
        for name in ("bea", "cleo"):
            body = {"username": name, "password": PASSWORD, "name": name, "kind": "user"}
            made = (await admin.post("/accounts", json=body)).json()
            if name == "bea":
                await members(server, "1a5", {made["id"]: "member"})
            else:
                await admin.put("/settings/project.create.default", json={"value": "false"})
    assert await environments("bea") == ["Default"], "there is one already"
    assert await environments("cleo") == [], "the setting says no"
