"""Everybody who may talk to an installation, with the headers that prove it."""

from __future__ import annotations

import base64
from typing import Any

import httpx2

from .conftest import PASSWORD, Installation

MEMBERS = ("owner", "member", "restricted", "readonly")
STACK = {"name": "shop", "dockerCompose": "web:\n  image: nginx\n"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(user: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()}


async def person(server: Installation, name: str, kind: str = "user") -> tuple[str, dict[str, str]]:
    """A new account: its id and headers."""
    async with server.admin(None) as admin:
        body = {"username": name, "password": PASSWORD, "name": name, "kind": kind}
        made = await admin.post("/accounts", json=body)
        assert made.status_code == 201, made.text
    return made.json()["id"], await login(server, name)


async def login(server: Installation, name: str) -> dict[str, str]:
    async with server.client() as http:
        answer = await http.post("/token", json={"code": f"{name}:{PASSWORD}"})
        assert answer.status_code == 201, answer.text
        return bearer(answer.json()["jwt"])


async def members(server: Installation, project: str, roles: dict[str, str]) -> None:
    """Set who belongs to an environment: account id -> role (the administrator stays an owner)."""
    wanted = [{"externalId": "1a1", "role": "owner"}, *({"externalId": k, "role": v} for k, v in roles.items())]
    async with server.admin(None) as admin:
        answer = await admin.post(f"/projects/{project}/?action=setmembers", json={"members": wanted})
        assert answer.status_code == 202, answer.text


async def key(server: Installation, project: str = "1a5") -> dict[str, str]:
    """An environment key."""
    async with server.admin(project) as admin:
        made = (await admin.post("/apikeys", json={"name": "ci"})).json()
    return basic(made["publicValue"], made["secretValue"])


async def everybody(server: Installation) -> dict[str, dict[str, str]]:
    """Headers by role in environment 1a5, and of those who have none."""
    people = {name: await person(server, name) for name in (*MEMBERS, "user", "away")}
    await members(server, "1a5", {people[name][0]: name for name in MEMBERS})
    found = {name: headers for name, (_, headers) in people.items()}
    found["readAdmin"] = (await person(server, "looker", "readAdmin"))[1]
    async with server.admin(None) as admin:
        token = (await admin.post("/projects/1a5/registrationtokens")).json()["token"]
        await admin.post(f"/accounts/{people['away'][0]}/?action=deactivate")
    async with server.client(headers=basic("registrationToken", token)) as http:
        pair = (await http.post("/register", json={"key": "a-machine-of-the-matrix"})).json()
    return {
        **found,
        "admin": bearer(server.jwt),
        "environment key": await key(server),
        "agent": basic(pair["accessKey"], pair["secretKey"]),
        "register": basic("registrationToken", token),
        "stranger": {},
        "forger": basic(pair["accessKey"], "wrong"),
    }


async def ask(http: httpx2.AsyncClient, method: str, path: str, body: Any = None) -> httpx2.Response:
    return await http.request(method, path, json=body) if body is not None else await http.request(method, path)
