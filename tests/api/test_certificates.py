"""Certificates for load balancers: checked, sealed, told to the hosts that need them, and to nobody else."""

from __future__ import annotations

from typing import Any

import pytest
import trustme

from remuda.core.model import Certificate

from .conftest import Installation, eventually


def issued(name: str = "a.example.test") -> tuple[str, str, str]:
    """Certificate, chain, key."""
    authority = trustme.CA()
    made = authority.issue_cert(name)
    return (
        made.cert_chain_pems[0].bytes().decode(), authority.cert_pem.bytes().decode(), made.private_key_pem.bytes().decode(),
    )  # fmt: skip


def body(name: str = "front", host: str = "a.example.test") -> dict[str, Any]:
    cert, chain, key = issued(host)
    return {"name": name, "cert": cert, "certChain": chain, "key": key}


async def test_a_certificate_is_described_and_its_key_never_shown(server: Installation) -> None:
    given = body()
    async with server.admin() as http:
        made = await http.post("/certificates", json=given)
        assert made.status_code == 201, made.text
        found = (await http.get(f"/certificates/{made.json()['id']}")).json()
    assert found["subjectAlternativeNames"] == ["a.example.test"]
    assert found["expiresAt"] > found["issuedAt"]
    assert len(found["certFingerprint"]) == 64
    assert not found["key"]
    secret = given["key"].splitlines()[1]
    assert secret not in made.text
    rows = await server.api.store.read(lambda tx: tx.find(Certificate))
    assert rows
    assert secret not in repr(rows)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"key": issued()[2]}, "key"),
        ({"key": "nonsense"}, "key"),
        ({"cert": "nonsense"}, "cert"),
        ({"certChain": issued()[1]}, "certChain"),
    ],
)
async def test_what_does_not_fit_together_is_refused(server: Installation, change: dict[str, str], field: str) -> None:
    async with server.admin() as http:
        answer = await http.post("/certificates", json={**body(), **change})
        assert (answer.status_code, answer.json()["fieldName"]) == (422, field), answer.text
        assert not (await http.get("/certificates")).json()["data"]


async def test_hosts_of_a_load_balancer_get_its_certificate_and_each_new_one(server: Installation) -> None:
    agent = await server.agent()
    async with server.admin() as http:
        made = (await http.post("/certificates", json=body())).json()
        files = {
            "name": "shop",
            "dockerCompose": "web: {image: nginx}\nlb: {image: rancher/lb-service-haproxy, ports: ['443:443'], links: [web]}\n",
            "rancherCompose": """
lb:
  lb_config:
    default_cert: front
    port_rules: [{source_port: 443, target_port: 80, protocol: https, service: web}]
""",
        }
        answer = await http.post("/environments", json=files)
        assert answer.status_code == 201, answer.text

        async def told() -> dict[str, str] | None:
            wishes = [a for a in agent.assigned.values() if a.balancer]
            return wishes[0].certificates or None if wishes else None

        first = await eventually(told)
        assert all("PRIVATE KEY" in pem and "CERTIFICATE" in pem for pem in first.values())
        others = [a for a in agent.assigned.values() if not a.balancer]
        assert others
        assert not any(a.certificates for a in others)
        refused = await http.delete(f"/certificates/{made['id']}")
        assert refused.status_code == 422
        assert "lb" in refused.json()["message"]
        new = body(host="b.example.test")
        changed = await http.put(f"/certificates/{made['id']}", json={k: new[k] for k in ("cert", "certChain", "key")})
        assert changed.status_code == 200, changed.text

        async def renewed() -> bool:
            return (await told()) not in (None, first)

        await eventually(renewed)


async def test_rules_without_their_certificate_are_refused(server: Installation) -> None:
    async with server.admin() as http:
        stack = (await http.post("/environments", json={"name": "s"})).json()
        rule = {"sourcePort": 443, "protocol": "https", "targetPort": 80}
        wish = {"name": "lb", "environmentId": stack["id"], "lbConfig": {"portRules": [rule]}}
        answer = await http.post("/loadbalancerservices", json=wish)
        assert (answer.status_code, answer.json()["fieldName"]) == (422, "lbConfig")
        assert "certificate" in answer.json()["message"]
