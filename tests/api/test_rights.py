"""Every role x verb x type x action is allowed or refused as the declared rights say; nothing else may decide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from remuda.schema.fields import ResourceType
from remuda.schema.registry import TYPES, rights

from .conftest import Installation, eventually
from .people import STACK, ask, everybody

ROLES = {"environment key": "member", "stranger": "anonymous", "forger": "anonymous", "away": "anonymous"}
"""Where the role is not the name."""
OUTSIDE = {"user", "agent", "register", "stranger", "forger", "away"}
ROWS = [t for t in TYPES.values() if t.record is not None and t.id not in ("haConfig", "setting")]
NOBODY = (401, 403, 404)


def verbs(kind: ResourceType, row: str) -> Iterator[tuple[str, str, Any, str, bool]]:
    """(method, path, body, letter, is it offered at all) of everything that can be asked of a type."""
    base = f"/{kind.plural_name.lower()}"
    yield "GET", base, None, "r", "GET" in kind.methods
    yield "POST", base, {}, "c", "POST" in kind.methods
    yield "GET", f"{base}/{row}", None, "r", "GET" in kind.methods
    yield "PUT", f"{base}/{row}", {}, "u", "PUT" in kind.methods
    for link in kind.links:
        if kind.id != "account":
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

        async def runs() -> bool:
            found = (await http.get("/containers")).json()["data"]
            return bool(found) and found[0]["state"] == "running"

        await eventually(runs)
        found = {}
        for kind in ROWS:
            data = (await http.get(f"/{kind.plural_name.lower()}?limit=1")).json()["data"]
            found[kind.id] = data[0]["id"] if data else "1x1"
    found["project"] = "1a5"
    return found


async def picture(server: Installation) -> dict[str, Any]:
    """What the environment holds, without what moves by itself."""
    async with server.admin() as http:
        out = {}
        for kind in ROWS:
            if kind.id in ("auditLog", "serviceLog", "clusterNode", "host"):
                continue
            data = (await http.get(f"/{kind.plural_name.lower()}")).json()["data"]
            out[kind.id] = [(d["id"], d["name"], d["description"], d["state"], d["removed"]) for d in data]
        return out


@pytest.mark.timeout(240)
async def test_every_role_verb_and_type_is_allowed_or_refused_as_the_rights_say(server: Installation) -> None:
    people = await everybody(server)
    rows = await furnish(server)
    before = await picture(server)
    wrong = []
    for name, headers in people.items():
        role = ROLES.get(name, name)
        async with server.client(headers=headers) as http:
            for kind in ROWS:
                row, prefix = rows[kind.id], "/projects/1a5" if kind.scope != "installation" else ""
                for method, path, body, letter, offered in verbs(kind, row):
                    status = (await ask(http, method, prefix + path, body)).status_code
                    may = letter in rights(kind, role) and not (name in OUTSIDE and prefix)
                    fine = status in ((200, 201, 404, 422) if offered else (405,)) if may else status in (*NOBODY, 405)
                    if not fine:
                        wrong.append((name, method, path, status))
                for method, path, body, letter in destructive(kind, row):
                    may = letter in rights(kind, role) and not (name in OUTSIDE and prefix)
                    if may and method != "GET":
                        continue  # allowed, and would change what the others are asked about
                    status = (await ask(http, method, prefix + path, body)).status_code
                    seen = (200, 404) if kind.id == "account" else (200,)  # that of another is not there
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
