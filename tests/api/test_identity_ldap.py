"""People of a directory log in: a real slapd, asked as OpenLDAP and as Active Directory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.directory import BASE, Slapd, slapd

from .conftest import PASSWORD, Installation
from .people import bearer

pytestmark = pytest.mark.real
ANN = f"uid=ann,ou=people,{BASE}"


@pytest.fixture(scope="module")
def directory() -> Iterator[Slapd]:
    with slapd() as running:
        yield running


async def enable(server: Installation, kind: str, body: dict[str, Any], code: str = "ann:ann's password") -> None:
    async with server.admin(None) as admin:
        answer = await admin.post(f"/{kind}", json={**body, "enabled": True, "code": code})
        assert answer.status_code == 201, answer.text


async def test_a_directory_is_saved_tried_and_enabled(server: Installation, directory: Slapd) -> None:
    async with server.admin(None) as admin:
        first = await admin.post("/openldapconfig", json=directory.openldap())
        assert first.status_code == 201, first.text
        assert (first.json()["serviceAccountPassword"], first.json()["userLoginField"]) == (None, "uid")
        wrong = await admin.post("/token", json={"code": "ann:wrong", "authProvider": "openldapconfig"})
        assert wrong.status_code == 401
        body = directory.openldap(enabled=True, serviceAccountPassword=None)
        assert (await admin.post("/openldapconfig", json=body)).status_code == 422, "nobody has logged in by it"
        tried = await admin.post("/token", json={"code": "ann:ann's password"})
        assert (tried.status_code, tried.json()["userIdentity"]["id"]) == (201, f"openldap_user:{ANN}")
        moved = {**body, "port": directory.port + 1}
        assert (await admin.post("/openldapconfig", json=moved)).status_code == 422, "that was another configuration"
        assert (await admin.post("/openldapconfig", json=body)).json()["enabled"] is True


async def test_groups_of_openldap_make_members(server: Installation, directory: Slapd) -> None:
    await enable(server, "openldapconfig", directory.openldap())
    async with server.admin(None) as admin:
        found = (await admin.get("/identities", params={"name": "builders"})).json()["data"]
        assert [i["id"] for i in found] == [f"openldap_group:cn=builders,{BASE}"]
        member = {"projectId": "1a5", "role": "readonly", **{k: found[0][k] for k in ("externalId", "externalIdType")}}
        assert (await admin.post("/projectmembers", json=member)).status_code == 201
    async with server.client() as http:
        logged = await http.post("/token", json={"code": "bob:bob:has:colons"})
        assert logged.status_code == 201, logged.text
        assert [i["name"] for i in logged.json()["identities"]] == ["Bob", "builders"]
    async with server.client(headers=bearer(logged.json()["jwt"])) as bob:
        assert "1a5" in [p["id"] for p in (await bob.get("/projects")).json()["data"]]
        assert (await bob.get("/projects/1a5/stacks")).status_code == 200
        assert (await bob.post("/projects/1a5/environments", json={"name": "x"})).status_code == 403


async def test_active_directory_knows_its_groups_and_refuses_the_disabled(
    server: Installation, directory: Slapd
) -> None:
    await enable(server, "ldapconfig", directory.active_directory())
    for code, status in (
        ("ann:ann's password", 201),
        ("gone:gone's password", 401),
        ("ann:", 401),
        ("*:ann's password", 401),
        ("ann)(uid=*:ann's password", 401),
        (f"admin:{PASSWORD}", 401),
    ):
        async with server.client() as http:
            answer = await http.post("/token", json={"code": code})
            assert answer.status_code == status, (code, answer.text)
            if status == 201:
                assert [i["externalIdType"] for i in answer.json()["identities"]] == ["ldap_user", "ldap_group"]
                assert answer.json()["identities"][1]["externalId"] == f"cn=Operators,{BASE}"


async def test_tls_is_believed_only_with_the_right_name_and_authority(server: Installation, directory: Slapd) -> None:
    secure = directory.active_directory(tls=True, port=directory.tls_port)
    code = {"enabled": True, "code": "ann:ann's password"}
    async with server.admin(None) as admin:
        for wrong in (secure, {**secure, "certificate": directory.certificate, "server": "127.0.0.1"}):
            answer = await admin.post("/ldapconfig", json={**wrong, **code})
            assert answer.status_code == 503, answer.text
            assert "certificate" in answer.json()["message"]
        answer = await admin.post("/ldapconfig", json={**secure, **code, "certificate": directory.certificate})
        assert answer.status_code == 201, answer.text


async def test_a_wrong_service_account_or_an_empty_port_says_so(server: Installation, directory: Slapd) -> None:
    code = {"enabled": True, "code": "ann:ann's password"}
    async with server.admin(None) as admin:
        for wrong, why in (
            (directory.openldap(serviceAccountPassword="no"), "refuses the service account"),
            (directory.openldap(port=1), "cannot be asked"),
        ):
            answer = await admin.post("/openldapconfig", json={**wrong, **code})
            assert (answer.status_code, why in answer.json()["message"]) == (503, True), answer.text
            assert (await admin.get("/openldapconfig/openldapconfig")).json()["enabled"] is False
