"""Catalogs as clients of 1.x use them: a real git repository, its templates, a stack made of one and brought further."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cattle
import httpx2
import pytest
from tests.support.catalog import FIRST, SECOND, Repository

from .conftest import Installation, eventually
from .people import everybody
from .test_cattle_client import run


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    made.commit(FIRST)
    return made


def http(server: Installation, headers: Mapping[str, str] | None = None) -> httpx2.AsyncClient:
    told = {"Authorization": f"Bearer {server.jwt}"} if headers is None else dict(headers)
    return httpx2.AsyncClient(base_url=f"{server.base}/v1-catalog", headers=told, timeout=20)


async def added(server: Installation, repository: Repository) -> None:
    """The catalog ``ours``, and all that it offers."""
    async with http(server) as client:
        made = await client.post("/catalogs", json={"name": "ours", "url": repository.url, "branch": "main"})
        assert made.status_code == 201, made.text
        refreshed = await client.post("/catalogs/ours?action=refresh")
        assert refreshed.status_code == 202
        (one,) = refreshed.json()["data"]
        assert (one["state"], one["transitioning"], one["transitioningMessage"]) == ("active", "no", "")


async def shown(client: httpx2.AsyncClient, path: str) -> dict[str, Any]:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def test_templates_are_listed_shown_and_filtered(server: Installation, repository: Repository) -> None:
    await added(server, repository)
    async with http(server) as client:
        listed = await shown(client, "/templates")
        assert [one["id"] for one in listed["data"]] == ["ours:infra*net", "ours:shop"]
        assert [one["id"] for one in (await shown(client, "/templates?category_ne=Networking"))["data"]] == [
            "ours:shop"
        ]
        assert [one["id"] for one in (await shown(client, "/templates?templateBase=kubernetes"))["data"]] == [
            "ours:kubernetes*k"
        ]
        assert "ours:old" in {one["id"] for one in (await shown(client, "/templates?rancherVersion=v1.4.0"))["data"]}
        assert (await shown(client, "/templates?catalogId=theirs"))["data"] == []
        shop = await shown(client, "/templates/ours:shop")
        assert (shop["name"], shop["category"], shop["defaultVersion"]) == ("Shop", "Trade", "v1.0.0")
        assert shop["defaultTemplateVersionId"] == "ours:shop:0"
        icon = await client.get(shop["links"]["icon"])
        assert icon.headers["content-type"] == "image/svg+xml"
        assert "sandbox" in icon.headers["content-security-policy"]
        assert (await client.get(shop["links"]["readme"])).text == "# Shop"
        version = await shown(client, shop["versionLinks"]["v1.0.0"])
        assert [q["variable"] for q in version["questions"]] == ["TAG", "DB"]
        assert set(version["files"]) == {"docker-compose.yml.tpl", "rancher-compose.yml"}
        assert version["externalId"] == "catalog://ours:shop:0"
        assert version["upgradeVersionLinks"] == {}


async def launch(server: Installation, version: dict[str, Any], **answers: str) -> dict[str, Any]:
    files = version["files"]
    docker = next(text for name, text in files.items() if name.startswith("docker-compose"))
    async with server.admin() as admin:
        made = await admin.post(
            "/environments",
            json={"name": "shop", "dockerCompose": docker, "rancherCompose": files["rancher-compose.yml"],
                  "environment": answers, "externalId": version["externalId"], "startOnCreate": True},
        )  # fmt: skip
        assert made.status_code == 201, made.text
        return made.json()  # type: ignore[no-any-return]


async def services(server: Installation, stack: dict[str, Any]) -> dict[str, str]:
    async with server.admin() as admin:
        rows = (await admin.get(f"/services?environmentId={stack['id']}")).json()["data"]
        return {row["name"]: row["launchConfig"]["imageUuid"] for row in rows}


async def test_a_template_becomes_a_stack_with_answers_and_defaults(
    server: Installation, repository: Repository
) -> None:
    await added(server, repository)
    async with http(server) as client:
        version = await shown(client, "/templates/ours:shop:0")
    stack = await launch(server, version, DB="no")
    assert stack["externalId"] == "catalog://ours:shop:0"
    assert await services(server, stack) == {"web": "docker:nginx:1.7"}


async def test_a_new_version_is_seen_and_a_stack_is_brought_to_it(server: Installation, repository: Repository) -> None:
    await server.agent()
    await added(server, repository)
    async with http(server) as client:
        stack = await launch(server, await shown(client, "/templates/ours:shop:0"), DB="no")
        repository.commit(SECOND)
        await client.post("/templates?action=refresh")
        old = await shown(client, "/templateversions/ours:shop:0")
        assert list(old["upgradeVersionLinks"]) == ["v1.1.0"]
        new = await shown(client, old["upgradeVersionLinks"]["v1.1.0"])
        assert (await shown(client, "/templates/ours:shop"))["defaultTemplateVersionId"] == "ours:shop:1"
    async with server.admin() as admin:

        async def state(wanted: str) -> bool:
            return (await admin.get(f"/environments/{stack['id']}")).json()["state"] == wanted  # type: ignore[no-any-return]

        await eventually(lambda: state("active"))
        body = {"dockerCompose": new["files"]["docker-compose.yml"], "rancherCompose": new["files"]["rancher-compose.yml"],
                "environment": {}, "externalId": new["externalId"]}  # fmt: skip
        answer = await admin.post(f"/environments/{stack['id']}/?action=upgrade", json=body)
        assert answer.status_code == 202, answer.text
        await eventually(lambda: state("upgraded"))
        await admin.post(f"/environments/{stack['id']}/?action=finishupgrade")
        await eventually(lambda: state("active"))
        assert (await admin.get(f"/environments/{stack['id']}")).json()["externalId"] == "catalog://ours:shop:1"
    assert await services(server, stack) == {"web": "docker:nginx:2"}


async def test_a_repository_that_cannot_be_reached_says_so_and_keeps_what_it_had(
    server: Installation, repository: Repository
) -> None:
    await added(server, repository)
    repository.place.rename(repository.place.with_name("elsewhere"))
    async with http(server) as client:
        await client.post("/catalogs?action=refresh")
        one = await shown(client, "/catalogs/ours")
        assert one["transitioning"] == "error"
        assert "repository" in one["transitioningMessage"]
        assert (await shown(client, "/templates/ours:shop"))["name"] == "Shop"


async def test_catalogs_follow_the_setting_without_being_asked(server: Installation, repository: Repository) -> None:
    async with http(server) as client, server.admin(None) as admin:
        told = {"value": f"library={repository.url}"}
        assert (await admin.put("/settings/catalog.url", json=told)).status_code == 200

        async def there() -> bool:
            return (await client.get("/templates/library:shop")).status_code == 200

        await eventually(there, 20)
        assert (await client.delete("/catalogs/library")).status_code == 200
        assert (await client.get("/catalogs/library")).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "https://example.test/x.git"}, "name"),
        ({"name": "a/b", "url": "https://example.test/x.git"}, "name"),
        ({"name": "a"}, "url"),
        ({"name": "a", "url": "ext::sh -c id"}, "url"),
        ({"name": "a", "url": "--upload-pack=id"}, "url"),
        ({"name": "a", "url": "https://joe:hidden@example.test/x.git"}, "url"),
        ({"name": "a", "url": "https://example.test/x.git", "branch": "--x"}, "branch"),
    ],
)
async def test_what_can_be_no_catalog_is_refused_at_its_field(
    server: Installation, body: dict[str, str], field: str
) -> None:
    async with http(server) as client:
        answer = await client.post("/catalogs", json=body)
        assert (answer.status_code, answer.json()["fieldName"]) == (422, field), answer.text
        assert "hidden" not in answer.text
        assert (await shown(client, "/catalogs"))["data"] == []


async def test_all_members_read_and_only_administrators_choose(server: Installation, repository: Repository) -> None:
    await added(server, repository)
    for name, headers in (await everybody(server)).items():
        async with http(server, headers) as client:
            seen = (await client.get("/templates")).status_code
            assert seen == (401 if name in ("stranger", "forger", "agent", "register", "away") else 200), name
            tried = await client.post("/catalogs", json={"name": "more", "url": repository.url})
            assert (tried.status_code == 201) == (name == "admin"), name
            if tried.status_code == 201:
                await client.delete("/catalogs/more")


async def test_the_python_client_reads_the_schemas_and_finds_its_way(
    server: Installation, repository: Repository
) -> None:
    await added(server, repository)
    async with server.admin(None) as admin:
        key = (await admin.post("/apikeys", json={"name": "client"})).json()

    def look() -> None:
        api = cattle.Client(
            url=f"{server.base}/v1-catalog", access_key=key["publicValue"], secret_key=key["secretValue"], cache=False
        )
        shop = api.by_id_template("ours:shop")
        assert shop.name == "Shop"
        assert {one.id for one in api.list_template(category="Trade").data} == {"ours:shop"}
        assert api.by_id_templateVersion("ours:shop:0").version == "v1.0.0"
        assert api.by_id_template("ours:nothing") is None

    await run(look)


async def test_no_link_in_a_repository_leads_out_of_it(server: Installation, repository: Repository) -> None:
    (repository.place / "templates/shop/0/README.md").symlink_to("/etc/passwd")
    (repository.place / "templates/shop/catalogIcon-a.svg").symlink_to("/etc/passwd")
    repository.commit({})
    await added(server, repository)
    async with http(server) as client:
        for path in ("/templates/ours:shop:0?readme", "/templates/ours:shop?image", "/templates/ours:shop:0"):
            assert "root:" not in (await client.get(path)).text
        for path in ("/templates/../../etc/passwd", "/templates/ours:shop:..%2f..%2fetc"):
            assert (await client.get(path)).status_code == 404
