"""The grammar of the API: schemas, lists, filters, paging, errors, scopes."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from remuda.schema.registry import TYPES

from .conftest import PASSWORD, Installation

STACK = {"name": "one", "dockerCompose": "web:\n  image: nginx\n"}


async def make(server: Installation, *names: str) -> list[dict[str, Any]]:
    async with server.admin() as http:
        return [(await http.post("/environments", json={"name": n})).json() for n in names]


async def test_every_answer_names_the_schemas_of_its_scope(server: Installation) -> None:
    async with server.admin() as http:
        for path in ("/hosts", "/services", "/nothing"):
            assert (await http.get(path)).headers["x-api-schemas"].endswith("/v1/projects/1a5/schemas")


async def test_the_schema_document_describes_every_listable_type(server: Installation) -> None:
    async with server.admin() as http:
        found = {s["id"]: s for s in (await http.get("/schemas")).json()["data"]}
        for kind in TYPES.values():
            if "l" in kind.rights.get("projectadmin", "") and "GET" in kind.methods:
                assert found[kind.id]["links"]["collection"].endswith(kind.plural_name.lower())
                assert (await http.get(found[kind.id]["links"]["collection"])).status_code == 200
        assert found["service"]["resourceFields"]["scale"]["min"] == 0


async def test_lists_are_paged_by_marker_and_say_what_is_next(server: Installation) -> None:
    await make(server, "a", "b", "c", "d", "e")
    async with server.admin() as http:
        names, url = [], "/environments?limit=2&sort=name&order=desc"
        while url:
            page = (await http.get(url)).json()
            names += [s["name"] for s in page["data"]]
            assert page["pagination"]["limit"] == 2
            url = page["pagination"]["next"]
        assert names == ["e", "d", "c", "b", "a"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=web", ["web"]),
        ("name_ne=web", ["api", "work"]),
        ("name_prefix=w", ["web", "work"]),
        ("name_like=%25e%25", ["web"]),
        ("name_ne=web&name_ne=api", ["work"]),
        ("state=active&name=api", ["api"]),
        ("removed_null=1", ["web", "api", "work"]),
        ("nonsense=1", ["web", "api", "work"]),
        ("limit=-2", ["web", "api", "work"]),
        ("id=1e2", ["api"]),
        ("id=rubbish", []),
    ],
)
async def test_filters(server: Installation, query: str, expected: list[str]) -> None:
    await make(server, "web", "api", "work")
    async with server.admin() as http:
        data = (await http.get(f"/environments?{query}")).json()["data"]
    assert [s["name"] for s in data] == expected


@pytest.mark.parametrize(
    ("path", "body", "code", "field"),
    [
        ("/environments", {}, "MissingRequired", "name"),
        ("/environments", {"name": ""}, "MissingRequired", "name"),
        ("/environments", {"name": "x" * 64}, "MaxLengthExceeded", "name"),
        ("/environments", {"name": "with space"}, "InvalidCharacters", "name"),
        ("/environments", {"name": ["x"]}, "InvalidFormat", "name"),
        ("/environments", {"name": "x", "environment": "y"}, "InvalidFormat", "environment"),
        ("/services", {"name": "s"}, "MissingRequired", "environmentId"),
        ("/services", {"name": "s", "environmentId": "1e99"}, "InvalidReference", "environmentId"),
        ("/services", {"name": "s", "environmentId": "1e1", "scale": -1}, "MinLimitExceeded", "scale"),
        ("/services", {"name": "s", "environmentId": "1e1", "scale": "many"}, "InvalidFormat", "scale"),
        ("/services", {"name": "s", "environmentId": "1e1"}, "MissingRequired", "launchConfig.imageUuid"),
        (
            "/services",
            {"name": "s", "environmentId": "1e1", "launchConfig": {"imageUuid": "docker:x", "ports": 80}},
            "InvalidFormat",
            "launchConfig.ports",
        ),
        ("/containers", {"name": "c"}, "MissingRequired", "imageUuid"),
    ],
)
async def test_bad_input_names_its_field_and_changes_nothing(
    server: Installation, path: str, body: dict[str, Any], code: str, field: str
) -> None:
    await make(server, "there")
    async with server.admin() as http:
        before = (await http.get("/environments")).json()["data"], (await http.get("/services")).json()["data"]
        answer = await http.post(path, json=body)
        assert answer.status_code == 422
        error = answer.json()
        assert (error["type"], error["code"], error["fieldName"]) == ("error", code, field)
        assert (
            (await http.get("/environments")).json()["data"],
            (await http.get("/services")).json()["data"],
        ) == before


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"x"', b"\xff\xfe", b"{" * 5000])
async def test_a_body_that_is_no_object_is_refused(server: Installation, body: bytes) -> None:
    async with server.admin() as http:
        answer = await http.post("/environments", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidBodyContent")


async def test_json_is_read_whatever_the_content_type_says(server: Installation) -> None:
    async with server.admin() as http:
        for n, kind in enumerate(("", "text/plain", "application/x-www-form-urlencoded")):
            headers = {"Content-Type": kind} if kind else {}
            answer = await http.post("/environments", content=f'{{"name":"s{n}"}}'.encode(), headers=headers)
            assert answer.status_code == 201, kind


async def test_names_are_unique_among_living_stacks(server: Installation) -> None:
    (stack,) = await make(server, "one")
    async with server.admin() as http:
        again = await http.post("/environments", json={"name": "one"})
        assert (again.status_code, again.json()["code"]) == (422, "NotUnique")
        assert (await http.delete(stack["links"]["self"])).status_code == 200


async def test_actions_that_do_not_fit_the_state_are_refused_with_it(server: Installation) -> None:
    async with server.admin() as http:
        await http.post("/environments", json=STACK)
        service = (await http.get("/services")).json()["data"][0]
        assert "activate" not in service["actions"]
        answer = await http.post(service["links"]["self"] + "/?action=activate")
        assert (answer.status_code, answer.json()["code"]) == (422, "ActionNotAvailable")
        unknown = await http.post(service["links"]["self"] + "/?action=dance")
        assert unknown.json()["code"] == "InvalidAction"


async def test_what_belongs_to_another_environment_does_not_exist(server: Installation) -> None:
    (stack,) = await make(server, "mine")
    async with server.admin(None) as admin:
        person = await admin.post("/accounts", json={"username": "ann", "password": PASSWORD, "name": "Ann"})
        assert person.status_code == 201, person.text
    async with server.client() as http:
        login = await http.post("/token", json={"code": f"ann:{PASSWORD}"})
        ann = {"Authorization": "Bearer " + login.json()["jwt"]}
        http.cookies.clear()
        projects = (await http.get("/projects", headers=ann)).json()["data"]
        assert [p["name"] for p in projects] == ["ann-Default"]
        own = projects[0]["id"]
        assert (await http.get(f"/projects/{own}/environments", headers=ann)).json()["data"] == []
        assert (await http.get(f"/projects/{own}/environments/{stack['id']}", headers=ann)).status_code == 404
        assert (await http.get(f"/projects/1a5/environments/{stack['id']}", headers=ann)).status_code == 403
        assert (await http.get("/accounts", headers=ann)).json()["data"][0]["username"] == "ann"
        assert (await http.get("/auditlogs", headers=ann)).json()["data"] == []
        assert (await http.get("/clusternodes", headers=ann)).status_code == 404


@pytest.mark.parametrize(
    ("role", "may"), [("owner", True), ("member", True), ("restricted", True), ("readonly", False)]
)
async def test_roles_decide_who_may_deploy(server: Installation, role: str, may: bool) -> None:
    async with server.admin(None) as admin:
        ann = (await admin.post("/accounts", json={"username": "ann", "password": PASSWORD})).json()
        members = [{"externalId": "1a1", "role": "owner"}, {"externalId": ann["id"], "role": role}]
        answer = await admin.post("/projects/1a5/?action=setmembers", json={"members": members})
        assert answer.status_code == 202, answer.text
    async with server.client() as http:
        login = await http.post("/token", json={"code": f"ann:{PASSWORD}"})
        http.cookies.clear()
        headers = {"Authorization": "Bearer " + login.json()["jwt"]}
        answer = await http.post("/projects/1a5/environments", json={"name": "x"}, headers=headers)
        assert answer.status_code == (201 if may else 403)
        assert (await http.get("/projects/1a5/environments", headers=headers)).status_code == 200


async def test_an_environment_key_works_in_its_environment_only(server: Installation) -> None:
    async with server.admin() as http:
        key = (await http.post("/apikeys", json={"name": "ci"})).json()
        assert key["secretValue"]
        again = (await http.get(key["links"]["self"])).json()
        assert not again["secretValue"]
    async with server.client(auth=(key["publicValue"], key["secretValue"])) as http:
        assert (await http.get("/hosts")).status_code == 200
        assert (await http.get("/projects/1a1/hosts")).status_code == 403
    async with server.client(auth=(key["publicValue"], "wrong")) as http:
        assert (await http.get("/hosts")).status_code == 401
    async with server.admin() as http:
        await http.post(key["links"]["self"] + "/?action=deactivate")
    async with server.client(auth=(key["publicValue"], key["secretValue"])) as http:
        assert (await http.get("/hosts")).status_code == 401


async def test_the_audit_log_knows_every_change_and_no_secret(server: Installation) -> None:
    await make(server, "one")
    async with server.admin(None) as admin:
        await admin.post("/accounts", json={"username": "ann", "password": "hush hush hush"})
        entries = (await admin.get("/auditlogs?sort=id&order=desc")).json()["data"]
        events = [e["eventType"] for e in entries]
        assert events[:2] == ["api.account.create", "api.environment.create"]
        assert "hush" not in (await admin.get("/auditlogs")).text


async def test_links_lead_where_they_say(server: Installation) -> None:
    async with server.admin() as http:
        stack = (await http.post("/environments", json=STACK)).json()
        services = (await http.get(stack["links"]["services"])).json()["data"]
        assert [s["name"] for s in services] == ["web"]
        assert (await http.get(services[0]["links"]["environment"])).json()["id"] == stack["id"]
        included = (await http.get("/environments?include=services")).json()["data"][0]
        assert included["services"][0]["id"] == services[0]["id"]


async def test_forwarded_headers_shape_the_urls(server: Installation) -> None:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Port": "443", "Host": "remuda.example.com:80"}
    async with server.admin() as http:
        links = (await http.get("/hosts", headers=headers)).json()["links"]
    assert links["self"] == "https://remuda.example.com/v1/projects/1a5/hosts"


async def test_without_quorum_writes_are_refused_with_the_reason_and_reads_served(server: Installation) -> None:
    await make(server, "one")
    server.cluster.cut("one")
    async with server.admin() as http:
        refused = await http.post("/environments", json={"name": "two"})
        assert (refused.status_code, refused.json()["code"]) == (503, "NoQuorum")
        assert "quorum" in refused.json()["message"]
        assert [s["name"] for s in (await http.get("/environments")).json()["data"]] == ["one"]
        server.cluster.heal("one")
        assert (await http.post("/environments", json={"name": "two"})).status_code == 201


async def test_high_availability_needs_an_external_database(server: Installation) -> None:
    async with server.admin(None) as http:
        shown = (await http.get("/haconfigs/haconfig")).json()
        assert shown["database"]["ok"] is False
        assert "CATTLE_DB_CATTLE_MYSQL_HOST" in shown["database"]["checks"][0]["fix"]
        answer = await http.post("/haconfigs/haconfig?action=createscript", json={"hostRegistrationUrl": "https://lb"})
        assert (answer.status_code, answer.json()["fieldName"]) == (422, "database")


async def test_settings_have_defaults_and_can_be_reset(server: Installation) -> None:
    async with server.admin(None) as http:
        bad = await http.put("/settings/api.host", json={"value": "lb.example.com"})
        assert (bad.status_code, bad.json()["fieldName"]) == (422, "value")
        good = (await http.put("/settings/api.host", json={"value": "http://lb:8080"})).json()
        assert (good["activeValue"], good["source"]) == ("http://lb:8080", "Database")
        token = (await http.post("/projects/1a5/registrationtokens")).json()
        assert token["registrationUrl"].startswith("http://lb:8080/v1/scripts/")
        assert token["links"]["registrationUrl"] == token["registrationUrl"]
        await http.delete("/settings/api.host")
        assert (await http.get("/settings/api.host")).json()["source"] == "Default"
        assert (await http.put("/settings/rancher.server.version", json={"value": "x"})).status_code == 422


async def test_metrics_say_whether_there_is_quorum_and_who_is_connected(server: Installation) -> None:
    await server.agent()
    async with server.client() as http:
        text = (await http.get(server.base + "/metrics")).text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(lines["remuda_quorum"]) == 1
    assert float(lines["remuda_agents"]) == 1


async def test_schemas_give_a_usable_collection_for_all_that_is_listed_or_made(server: Installation) -> None:
    for client in (server.admin(), server.admin(None), server.client()):
        async with client as http:
            for schema in (await http.get("/schemas")).json()["data"]:
                url = schema["links"].get("collection")
                assert bool(url) == bool(schema["collectionMethods"]), schema["id"]
                if "GET" in schema["collectionMethods"] and schema["id"] not in ("subscribe", "apiVersion"):
                    assert (await http.get(url)).status_code == 200, url
                assert (await http.get(schema["links"]["self"])).json()["id"] == schema["id"]
            again = await http.get("/schemas/schemas")
            assert again.status_code == 200
            assert again.headers["x-api-schemas"].endswith("/schemas")


async def test_paths_forgive_slashes_and_case(server: Installation) -> None:
    (stack,) = await make(server, "one")
    headers = {"Authorization": f"Bearer {server.jwt}"}
    async with httpx2.AsyncClient(base_url=server.base, headers=headers) as http:
        for path in (
            "/v1/projects/1a5/environments/1e1", "/v1/projects/1a5/environments/1e1/", "/v1//projects//1a5/environments/1e1",
            "//v1/projects/1a5/stacks/1e1", "/v1/Projects/1A5/Environments/1E1", "/v1/project/1a5/stack/1st1",
        ):  # fmt: skip
            answer = await http.get(server.base + path)
            assert (answer.status_code, answer.json()["id"]) == (200, stack["id"]), path
            assert answer.json()["links"]["self"] == stack["links"]["self"]
            head = await http.head(server.base + path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["x-api-schemas"] == answer.headers["x-api-schemas"]
        page = await http.get("/v1?_format=json", headers={"Accept": "text/html,*/*", "User-Agent": "Mozilla/5.0"})
        assert page.headers["content-type"].startswith("application/json")
        assert page.json()["links"]["self"] == f"{server.base}/v1"
        listed = (await http.get("/v1/projects/1a5/stacks")).json()
        assert listed["createTypes"] == {"environment": f"{server.base}/v1/projects/1a5/environments"}


async def test_settings_go_by_name_and_by_their_long_id(server: Installation) -> None:
    async with server.admin(None) as http:
        for key in ("api.host", "1as!api.host"):
            assert (await http.get(f"/settings/{key}")).json()["name"] == "api.host"
        assert (await http.get("/settings/no.such")).status_code == 404
        assert (await http.delete("/settings/no.such")).status_code == 404
        for path in ("/setup", "/haconfigs/haconfig", "/schemas", "/", "/settings"):
            assert (await http.request("DELETE", path)).status_code == 405, path


async def test_children_are_made_below_their_parents_only_where_that_means_something(server: Installation) -> None:
    (stack,) = await make(server, "one")
    body = {"name": "web", "launchConfig": {"imageUuid": "docker:x"}}
    async with server.admin() as http:
        made = await http.post(stack["links"]["services"], json=body)
        assert (made.status_code, made.json()["environmentId"]) == (201, stack["id"])
        lost = await http.post(made.json()["links"]["instances"], json={"name": "c", "imageUuid": "docker:x"})
        assert lost.status_code == 405


async def test_identities_name_oneself_and_for_owners_others_by_their_exact_name(server: Installation) -> None:
    async with server.admin(None) as admin:
        ann = (await admin.post("/accounts", json={"username": "ann", "password": PASSWORD, "name": "Ann"})).json()
        mine = (await admin.get("/identities")).json()["data"]
        assert [i["externalId"] for i in mine] == ["1a1"]
        found = (await admin.get("/identities?name=ann")).json()["data"]
        assert [(i["externalId"], i["externalIdType"]) for i in found] == [(ann["id"], "rancher_id")]
        assert (await admin.get("/identities?name=an%25")).json()["data"] == []


async def test_an_id_that_is_none_is_refused_as_json_whatever_is_in_it(server: Installation) -> None:
    async with server.admin() as http:
        for text in ("%0A", "1s1%0A", "%00", "%F0%9F%92%A9", "..%2F..", "1s" + "9" * 300):
            answer = await http.get(f"/services/{text}")
            assert (answer.status_code, answer.json()["type"]) == (404, "error"), text


@pytest.mark.parametrize("name", ["created", "created_lt", "scale_gt", "limit", "marker", "id", "serviceId"])
async def test_what_only_looks_like_a_number_finds_nothing(server: Installation, name: str) -> None:
    async with server.admin() as http:
        for text in ("²", "٣", "1e9", "--1", "9" * 40):
            answer = await http.get("/services", params={name: text})
            assert answer.status_code == 200, (text, answer.text)


async def test_null_is_what_a_field_is_when_nobody_says_anything(server: Installation) -> None:
    async with server.admin() as http:
        network = (await http.get("/networks")).json()["data"][0]
        rules = [{"action": "allow", "within": "stack"}]
        assert (await http.put(f"/networks/{network['id']}", json={"policy": rules})).json()["policy"] != []
        changed = await http.put(
            f"/networks/{network['id']}", json={"policy": None, "subnet": None, "portFirst": 50000}
        )
        assert changed.status_code == 200, changed.text
        again = (await http.get(f"/networks/{network['id']}")).json()
        assert (again["policy"], again["subnet"], again["portFirst"]) == ([], "10.42.0.0/16", 50000)
        stack = (
            await http.post("/environments", json={"name": "shop", "description": None, "environment": None})
        ).json()
        assert (stack["description"], stack["environment"]) == ("", {})


@pytest.mark.parametrize("name", ["machines", "machine", "virtualMachines", "kubernetesServices", "machineDrivers"])
async def test_what_will_never_be_there_says_why(server: Installation, name: str) -> None:
    async with server.admin() as http:
        assert (await http.get(f"/{name}")).json()["data"] == []
        assert (await http.get(f"/{name}/1x1")).status_code == 404
        refused = await http.post(f"/{name}", json={"name": "x"})
        assert refused.status_code in (403, 405)
        if refused.status_code == 405:
            assert "Remuda" in refused.json()["message"]
