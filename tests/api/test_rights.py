"""Every role x verb x type x action is allowed or refused as the declared rights say; nothing else may decide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from remuda.core.model import ExternalEvent, HealthObservation
from remuda.schema.fields import ResourceType
from remuda.schema.registry import TYPES, rights

from .conftest import Installation, eventually
from .people import MEMBERS, STACK, ask, everybody
from .test_certificates import body as certificate

ROLES = {
    "admin": "projectadmin",
    "readAdmin": "readonly",
    "environment key": "member",
    "stranger": "anonymous",
    "forger": "anonymous",
    "away": "anonymous",
}
"""Where the role is not the name."""
OUTSIDE_ROLES = {**ROLES, **dict.fromkeys(MEMBERS, "user"), "admin": "admin", "readAdmin": "readAdmin"}
"""The same outside of the environment."""
OUTSIDE = {"user", "agent", "register", "stranger", "forger", "away"}
ROWS = [t for t in TYPES.values() if t.record is not None and t.id not in ("haConfig", "setting")]
WITHIN = [t for t in ROWS if "l" in t.rights.get("projectadmin", "")]
"""What an environment holds."""
TOLD = [t.id for t in TYPES.values() if t.record is ExternalEvent]
"""What an agent tells of its own environment, wherever it asks."""
PERSONAL = ("account", "password", "userPreference")
NOBODY = (401, 403, 404)
KINDS = {
    "name": "kinds",
    "dockerCompose": """
alias: {image: rancher/dns-service}
beyond: {image: rancher/external-service}
front: {image: rancher/lb-service-haproxy, ports: ['80:80'], external_links: [shop/web]}
""",
    "rancherCompose": "beyond: {external_ips: [192.0.2.1]}\nfront: {scale: 0}\n",
}
"""One service of each further kind."""


def verbs(kind: ResourceType, row: str) -> Iterator[tuple[str, str, Any, str, bool]]:
    """(method, path, body, letter, is it offered at all) of everything that can be asked of a type."""
    base = f"/{kind.plural_name.lower()}"
    yield "GET", base, None, "l", "GET" in kind.methods
    yield "POST", base, {}, "c", "POST" in kind.methods
    yield "GET", f"{base}/{row}", None, "r", "GET" in kind.methods
    yield "PUT", f"{base}/{row}", {}, "u", "PUT" in kind.methods
    for link in kind.links:
        if kind.id != "account" and "l" in TYPES[link.type].rights.get("owner", ""):
            yield "GET", f"{base}/{row}/{link.name.lower()}", None, "r", True


def destructive(kind: ResourceType, row: str) -> Iterator[tuple[str, str, Any, str]]:
    base = f"/{kind.plural_name.lower()}/{row}"
    if "DELETE" in kind.methods:
        yield "DELETE", base, None, "d"
    for action in kind.actions:
        yield "POST", f"{base}/?action={action.name}", {}, "r" if action.reads else "a"
        yield "GET", f"{base}/{action.name}", None, "never"
        yield "GET", f"{base}/?action={action.name}", None, "r"
        yield "GET", f"{base}?_method=DELETE", None, "r"


async def furnish(server: Installation) -> dict[str, str]:
    """One row of each type in environment 1a5, by type."""
    await server.agent("machine-of-1a5")
    async with server.admin() as http:
        assert (await http.post("/environments", json=STACK)).status_code == 201
        assert (await http.post("/environments", json=KINDS)).status_code == 201
        assert (await http.post("/certificates", json=certificate())).status_code == 201
        registry = await http.post("/registries", json={"serverAddress": "registry.example.com"})
        for path, wish in {
            "registrycredentials": {"registryId": registry.json()["id"], "publicValue": "joe", "secretValue": "x"},
            "secrets": {"name": "pass", "value": "eA=="},
            "pulltasks": {"image": "nginx", "labels": {"zone": "nowhere"}},
        }.items():
            assert (await http.post(f"/{path}", json=wish)).status_code == 201
        await server.api.store.write(lambda tx: tx.insert(HealthObservation(account_id=5, instance_id=1, host_id=1)))
        volume = await http.post("/volumes", json={"name": "data", "driver": "local"})
        assert volume.status_code == 201, volume.text
        web = await http.post(
            "/containers",
            json={"name": "db", "imageUuid": "docker:pg", "dataVolumes": ["data:/var"], "ports": ["54:54"]},
        )
        assert web.status_code == 201, web.text
        template = {"name": "cache", "environmentId": (await http.get("/environments")).json()["data"][0]["id"]}
        assert (await http.post("/volumetemplates", json=template)).status_code == 201

        async def mounted() -> bool:
            return bool((await http.get("/mounts")).json()["data"])

        await eventually(mounted)
        linked = {"name": "linked", "imageUuid": "docker:nginx", "instanceLinks": {"store": "db"}}
        assert (await http.post("/containers", json=linked)).status_code == 201
        for kind in TOLD:
            await server.api.store.write(lambda tx, k=kind: tx.insert(ExternalEvent(account_id=5, kind=k)))  # type: ignore[misc]

        async def runs() -> bool:
            found = (await http.get("/containers")).json()["data"]
            return bool(found) and found[0]["state"] == "running"

        await eventually(runs)
        found = {kind.id: "1x1" for kind in ROWS}
        for kind in WITHIN:
            data = (await http.get(f"/{kind.plural_name.lower()}?limit=1")).json()["data"]
            found[kind.id] = data[0]["id"] if data else "1x1"
    found["project"] = "1a5"
    return found


async def picture(server: Installation) -> dict[str, Any]:
    """What the environment holds, without what moves by itself."""
    async with server.admin() as http:
        out = {}
        for kind in WITHIN:
            if kind.id in ("auditLog", "serviceLog", "clusterNode", "host"):
                continue
            data = (await http.get(f"/{kind.plural_name.lower()}")).json()["data"]
            out[kind.id] = [tuple(d.get(f) for f in ("id", "name", "description", "state", "removed")) for d in data]
        return out


@pytest.mark.timeout(480)
async def test_every_role_verb_and_type_is_allowed_or_refused_as_the_rights_say(server: Installation) -> None:
    people = await everybody(server)
    rows = await furnish(server)
    before = await picture(server)
    wrong = []
    for name, headers in people.items():
        async with server.client(headers=headers) as http:
            for kind in ROWS:
                row, prefix = rows.get(kind.id, "1x1"), "/projects/1a5" if kind.scope != "installation" else ""
                role = (ROLES if prefix else OUTSIDE_ROLES).get(name, name)
                for method, path, body, letter, offered in verbs(kind, row):
                    status = (await ask(http, method, prefix + path, body)).status_code
                    outside = not prefix or path == "/projectmembers"  # a list of the environment, not within it
                    may = letter in rights(kind, (OUTSIDE_ROLES if outside else ROLES).get(name, name))
                    may = may and (outside or name not in OUTSIDE or name == "agent")
                    if (method, path) == ("POST", "/projectmembers"):
                        may = may and name not in MEMBERS[1:]  # only owners choose members
                    fine = status in ((200, 201, 404, 422) if offered else (405,)) if may else status in (*NOBODY, 405)
                    if not fine:
                        wrong.append((name, method, path, status))
                for method, path, body, letter in destructive(kind, row):
                    may = letter in rights(kind, role) and not (name in OUTSIDE - {"agent"} and prefix)
                    if may and method != "GET":
                        continue  # allowed, and would change what the others are asked about
                    status = (await ask(http, method, prefix + path, body)).status_code
                    # that of another is not there; agents see what is their own, wherever they ask
                    seen = (200, 404) if kind.id in PERSONAL or name == "agent" else (200,)
                    if not (status in (*NOBODY, 405, 422) if not may else status in seen):
                        wrong.append((name, method, path, status))
    assert not wrong, wrong
    after = await picture(server)
    assert {k: v[: len(before[k])] for k, v in after.items()} == before


async def test_offered_actions_are_those_that_work_and_usable_as_given(server: Installation) -> None:
    people = await everybody(server)
    await furnish(server)
    for name in ("owner", "member", "restricted", "readonly", "environment key"):
        async with server.client(headers=people[name]) as http:
            for path in ("environments", "services", "containers", "hosts", "projects"):
                for document in (await http.get(f"/projects/1a5/{path}")).json()["data"]:
                    if path == "projects" and document["id"] != "1a5":
                        continue
                    may = rights(TYPES[document["type"]], ROLES.get(name, name))
                    actions = document["actions"]
                    if "a" not in may:
                        assert set(actions) <= {a.name for a in TYPES[document["type"]].actions if a.reads}, (
                            name,
                            path,
                        )
                    for action, url in actions.items():
                        assert url.endswith(f"?action={action}")
                        assert document["links"]["self"] in url


async def test_owners_manage_their_environment_from_the_list_of_environments(server: Installation) -> None:
    people = await everybody(server)
    for name, status in (("owner", 200), ("member", 403), ("readonly", 403), ("user", 404), ("environment key", 403)):
        async with server.client(headers=people[name]) as http:
            answer = await http.put("/projects/1a5", json={"description": f"by {name}"})
            assert answer.status_code == status, (name, answer.text)
            if name == "owner":
                shown = next(p for p in (await http.get("/projects")).json()["data"] if p["id"] == "1a5")
                assert {"update", "setmembers", "deactivate"} <= set(shown["actions"])
