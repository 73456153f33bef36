"""The Python client of 1.x, unchanged, takes one row of every type that can be made through its whole life.

What a life is comes from the schema that the client was given: created, found, changed, stopped and started where those actions
are offered, removed, purged. A type that somebody may create and that is not here fails the first test.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cattle
import pytest

from remuda.schema.registry import TYPES

from .conftest import Installation
from .test_cattle_client import client, run
from .test_certificates import body as certificate

CREATORS = ("projectadmin", "owner", "admin")
IMAGE = {"imageUuid": "docker:nginx", "networkMode": "bridge"}


@dataclass(frozen=True)
class Life:
    """``body`` makes it, ``change`` is then put (empty: not offered). ``$type`` is the id of another row, made first."""

    body: dict[str, Any]
    change: dict[str, Any] = field(default_factory=lambda: {"description": "another"})
    versions: tuple[str, ...] = ("v1", "v2-beta")
    outside: bool = False
    """Made by administrators, outside of any environment."""


LIVES = {
    "account": Life({"name": "Joe", "kind": "user"}, outside=True),
    "project": Life({"name": "Second"}, outside=True),
    "apiKey": Life({"name": "key"}),
    "registrationToken": Life({"name": "token"}, {}),
    "password": Life({"publicValue": "joe", "secretValue": "correct horse", "accountId": "$account"}, outside=True),
    "userPreference": Life({"name": "colour", "value": "dark"}, {"value": "light"}, outside=True),
    "environment": Life({"name": "shop"}),
    "container": Life({"name": "alone", **IMAGE}),
    "service": Life({"name": "web", "environmentId": "$environment", "scale": 2, "launchConfig": IMAGE}, {"scale": 1}),
    "loadBalancerService": Life(
        {"name": "front", "environmentId": "$environment", "scale": 1,
         "launchConfig": {"imageUuid": "docker:rancher/lb-service-haproxy", "ports": ["80:80"]},
         "lbConfig": {"portRules": [{"sourcePort": 80, "targetPort": 80, "protocol": "http", "serviceId": "$service"}]}}
    ),
    "dnsService": Life({"name": "alias", "environmentId": "$environment"}),
    "externalService": Life(
        {"name": "beyond", "environmentId": "$environment", "externalIpAddresses": ["192.0.2.7"]},
        {"externalIpAddresses": ["192.0.2.8"]},
    ),
    "certificate": Life({}),
    "registry": Life({"serverAddress": "registry.example.com", "name": "ours"}),
    "registryCredential": Life(
        {"registryId": "$registry", "publicValue": "joe", "secretValue": "hidden"}, {"publicValue": "jane"}
    ),
    "secret": Life({"name": "pass", "value": "eA=="}, {}, versions=("v2-beta",)),
    "volume": Life({"name": "data", "driver": "local"}, {}),
    "volumeTemplate": Life({"name": "cache", "environmentId": "$environment"}, versions=("v2-beta",)),
}  # fmt: skip

ELSEWHERE = {
    "projectMember": "test_identity: members live and end with setmembers",
    "setting": "test_access: has no states and is never removed",
    "pullTask": "test_cattle_client: ends by itself",
    "externalHostEvent": "test_events: is told, not kept",
}


def test_every_type_that_can_be_made_has_a_life_here() -> None:
    creatable = {
        kind.id
        for kind in TYPES.values()
        if kind.record is not None and "POST" in kind.methods
        if any("c" in kind.rights.get(role, "") for role in CREATORS)
    }
    assert creatable == LIVES.keys() | ELSEWHERE.keys()


def make(api: Any, kind: str, others: dict[str, str]) -> Any:
    """Create one, and first what it names."""
    life = LIVES[kind]
    body = dict(certificate() if kind == "certificate" else life.body)
    v2 = "/v2-beta/" in api._url
    if v2 and "environmentId" in body:
        body["stackId"] = body.pop("environmentId")

    def filled(value: Any) -> Any:
        if isinstance(value, str) and value.startswith("$"):
            other = value[1:]
            if other not in others:
                others[other] = api.wait_success(make(api, other, others)).id
            return others[other]
        if isinstance(value, dict):
            return {key: filled(one) for key, one in value.items()}
        return [filled(one) for one in value] if isinstance(value, list) else value

    return api.create("stack" if v2 and kind == "environment" else kind, **filled(body))


async def administrator(server: Installation, version: str) -> Any:
    """A client with the key of the administrator's own account, outside of environments."""
    async with server.admin(None) as http:
        me = (await http.get("/accounts")).json()["data"][0]["id"]
        key = (await http.post("/apikeys", json={"name": "client", "accountId": me})).json()
    url = f"{server.base}/{version}/schemas"
    return await run(
        lambda: cattle.Client(url=url, access_key=key["publicValue"], secret_key=key["secretValue"], cache=False)
    )


def offered(row: Any, action: str) -> bool:
    return action in vars(row.actions)


@pytest.mark.parametrize(
    ("kind", "version"), [(kind, version) for kind, life in LIVES.items() for version in life.versions]
)
async def test_it_lives_as_its_schema_says(server: Installation, kind: str, version: str) -> None:
    life = LIVES[kind]
    await server.agent()
    api = await (administrator if life.outside else client)(server, version)

    def lived() -> None:
        row = api.wait_success(make(api, kind, {}))
        states = {row.state}
        assert row.transitioning == "no", row.transitioningMessage
        assert api.by_id(row.type, row.id).uuid == row.uuid
        assert row.id in {one.id for one in api.list(row.type, uuid=row.uuid).data}
        assert bool(life.change) == ("PUT" in api.schema.types[row.type].resourceMethods)
        if life.change:
            row = api.wait_success(api.update(row, **life.change))
            assert {name: getattr(api.reload(row), name) for name in life.change} == life.change
        for step, then in (("activate", "active"), ("deactivate", "inactive"), ("activate", "active")):
            if offered(row, step):
                row = api.wait_success(api.action(row, step))
                assert row.state == then
                states.add(row.state)
        if kind not in ("container", "volume"):
            assert "active" in states
        if "DELETE" in api.schema.types[row.type].resourceMethods:
            row = api.wait_success(api.delete(row) or api.reload(row))
        else:
            api.wait_success(api.action(row, "deactivate"))
            row = api.wait_success(api.action(api.reload(row), "remove"))
        assert row.state in ("removed", "purged")
        assert row.id not in {one.id for one in api.list(row.type).data}
        if offered(row, "purge"):
            row = api.wait_success(api.action(row, "purge"))
            assert row.state == "purged"

    await run(lived)
