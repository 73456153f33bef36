"""What programs outside tell: who may, what follows from it, and that nothing secret is kept."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from remuda.core.model import AuditLog, ExternalEvent, HealthObservation, Host, Instance
from remuda.ports.store import Tx, eq

from .conftest import Installation, eventually

FILES = {"name": "shop", "dockerCompose": "version: '2'\nservices:\n  web:\n    image: nginx\n    scale: 1\n"}


def agent_of(server: Installation, key: str = "machine-1") -> Any:
    """A client with the key of a machine's agent."""

    async def made() -> httpx2.AsyncClient:
        async with server.admin() as http:
            token = (await http.post("/registrationtokens")).json()["token"]
        async with server.client(auth=("registrationToken", token)) as http:
            pair = (await http.post("/register", json={"key": key})).json()
        return server.client(auth=(pair["accessKey"], pair["secretKey"]))

    return made()


async def shop(http: httpx2.AsyncClient) -> dict[str, Any]:
    """A running service's container."""
    assert (await http.post("/environments", json=FILES)).status_code == 201

    async def running() -> Any:
        found = (await http.get("/containers?state=running")).json()["data"]
        return found[0] if found else None

    return await eventually(running)  # type: ignore[no-any-return]


async def test_a_name_in_a_public_zone_becomes_the_service_s_fqdn(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http, await agent_of(server) as agent:
        await shop(http)
        told = {"fqdn": "web.shop.example.com", "stackName": "shop", "serviceName": "web", "eventType": "dns.update"}
        answer = await agent.post("/externaldnsevents", json=told)
        assert answer.status_code == 201, answer.text
        event = answer.json()
        assert (event["state"], event["fqdn"], event["baseType"]) == ("created", told["fqdn"], "externalEvent")
        service = (await http.get("/services?name=web")).json()["data"][0]
        assert service["fqdn"] == told["fqdn"]
        listed = (await http.get("/externalevents?eventType=dns.update")).json()["data"]
        assert [(row["id"], row["kind"]) for row in listed] == [(event["id"], "externalDnsEvent")]


@pytest.mark.parametrize(("field", "stack", "service"), [("stackName", "none", "web"), ("serviceName", "shop", "none")])
async def test_a_name_for_nothing_is_refused_and_not_kept(
    server: Installation, field: str, stack: str, service: str
) -> None:
    async with server.admin() as http, await agent_of(server) as agent:
        await http.post("/environments", json=FILES)
        answer = await agent.post(
            "/externaldnsevents", json={"fqdn": "a.b", "stackName": stack, "serviceName": service}
        )
        assert (answer.status_code, answer.json()["code"]) == (422, "InvalidReference")
        assert answer.json()["fieldName"] == field
        assert (await http.get("/externalevents")).json()["data"] == []


async def test_services_leave_a_host_that_is_said_to_go(server: Installation) -> None:
    await server.agent("machine-1")
    await server.agent("machine-2")
    async with server.admin() as http:
        web = await shop(http)
        told = {"eventType": "host.evacuate", "hostId": web["hostId"]}
        answer = await http.post("/externalhostevents", json=told)
        assert answer.status_code == 201, answer.text
        assert (await http.get(f"/hosts/{web['hostId']}")).json()["state"] == "inactive"

        async def moved() -> bool:
            running = (await http.get("/containers?state=running")).json()["data"]
            return bool(running) and {c["hostId"] for c in running}.isdisjoint({web["hostId"]})

        await eventually(moved)


async def test_a_host_with_a_label_is_removed_on_request(server: Installation) -> None:
    await server.agent("machine-1")
    await server.agent("machine-2")
    async with server.admin() as http:
        first, second = (await http.get("/hosts")).json()["data"]
        await http.put(f"/hosts/{first['id']}", json={"labels": {"spot": "yes"}})
        told = {"eventType": "host.gone", "hostLabel": "spot=yes", "deleteHost": True}
        assert (await http.post("/externalhostevents", json=told)).status_code == 201

        async def gone() -> bool:
            return [h["id"] for h in (await http.get("/hosts")).json()["data"]] == [second["id"]]

        await eventually(gone)
        again = await http.post("/externalhostevents", json=told)
        assert (again.status_code, again.json()["fieldName"]) == (422, "hostLabel")
        nobody = await http.post("/externalhostevents", json={"eventType": "host.gone"})
        assert (nobody.status_code, nobody.json()["fieldName"]) == (422, "hostId")


async def test_a_host_of_another_environment_is_not_touched(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http, server.admin(None) as admin:
        host = (await http.get("/hosts")).json()["data"][0]
        other = (await admin.post("/projects", json={"name": "other"})).json()["id"]
        async with server.admin(other) as there:
            answer = await there.post("/externalhostevents", json={"hostId": host["id"], "deleteHost": True})
            assert answer.status_code == 422
        assert (await http.get(f"/hosts/{host['id']}")).json()["state"] == "active"


async def observed(server: Installation, machine: str) -> str:
    """A check of the one container by the machine's host: its uuid."""

    def unit(tx: Tx) -> str:
        host = next(h for h in tx.find(Host) if h.hostname == f"host-{machine[-1]}")
        instance = tx.find(Instance)[0]
        row = HealthObservation(
            account_id=host.account_id,
            host_id=host.id,
            instance_id=instance.id,
            seen="passing",
            kind="healthObservation",
        )
        return tx.insert(row).uuid

    return await server.api.store.write(unit)


async def test_what_a_host_sees_of_a_container_s_health_counts_in_its_order(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http, await agent_of(server) as agent:
        await shop(http)
        check = await observed(server, "machine-1")

        async def tell(word: str, moment: int) -> str:
            told = {"healthcheckUuid": check, "reportedHealth": word, "externalTimestamp": moment}
            answer = await agent.post("/serviceevents", json=told)
            assert answer.status_code == 201, answer.text
            return (await http.get("/healthcheckinstancehostmaps")).json()["data"][0]["healthState"]  # type: ignore[no-any-return]

        assert await tell("DOWN L4CON", 100) == "failing"
        assert await tell("UP", 90) == "failing", "it was said before the last news"
        assert await tell("INIT", 110) == "failing", "no verdict yet"
        assert await tell("UP 1/3", 120) == "passing"


async def test_a_host_speaks_for_its_own_checks_only(server: Installation) -> None:
    await server.agent("machine-1")
    await server.agent("machine-2")
    async with server.admin() as http, await agent_of(server, "machine-2") as other:
        await shop(http)
        check = await observed(server, "machine-1")
        told = {"healthcheckUuid": check, "reportedHealth": "DOWN", "externalTimestamp": 1}
        answer = await other.post("/serviceevents", json=told)
        assert (answer.status_code, answer.json()["fieldName"]) == (422, "healthcheckUuid")
        assert (await http.get("/healthcheckinstancehostmaps")).json()["data"][0]["healthState"] == "passing"


async def test_what_docker_says_of_a_container_is_kept_without_its_environment(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http, await agent_of(server) as agent:
        host = (await http.get("/hosts")).json()["data"][0]
        inspected = {"Id": "abc", "Config": {"Image": "nginx", "Env": ["PASSWORD=hunter2"]}, "Args": ["--pw=hunter2"]}
        told = {
            "externalId": "abc", "externalStatus": "start", "externalFrom": "nginx", "externalTimestamp": 5,
            "reportedHostUuid": host["uuid"], "dockerInspect": inspected,
        }  # fmt: skip
        event = (await agent.post("/containerevents", json=told)).json()
        assert (event["hostId"], event["externalStatus"]) == (host["id"], "start")
        assert event["dockerInspect"]["Config"]["Image"] == "nginx"
        (row,) = await server.api.store.read(lambda tx: tx.find(ExternalEvent, eq("kind", "containerEvent")))
        assert "hunter2" not in json.dumps(row.facts)
        audited = await server.api.store.read(lambda tx: tx.find(AuditLog, eq("resource_type", "containerEvent")))
        assert [one.resource_id for one in audited] == [row.id]
        assert "hunter2" not in str(audited)


@pytest.mark.parametrize(
    ("path", "told", "missing"),
    [
        ("externalvolumeevents", {"volume": {"name": "data", "driver": "nfs"}}, "volume"),
        ("externalstoragepoolevents", {"storagePool": {"name": "nfs"}, "hostUuids": ["a"]}, "storagePool"),
        ("externalserviceevents", {"service": {"name": "web"}, "environment": {"name": "shop"}}, "service"),
    ],
)
async def test_events_from_which_nothing_follows_are_kept_and_can_be_removed(
    server: Installation, path: str, told: dict[str, Any], missing: str
) -> None:
    async with server.admin() as http, await agent_of(server) as agent:
        event = (await agent.post(f"/{path}", json={"externalId": "x-1", **told})).json()
        assert (event["state"], event["externalId"], event[missing]) == ("created", "x-1", told[missing])
        refused = await agent.post(f"/{path}", json={"externalId": "x-1"})
        assert (refused.status_code, refused.json()["fieldName"]) == (422, missing)
        assert [row["id"] for row in (await http.get(f"/{path}")).json()["data"]] == [event["id"]]
        assert (await http.post(f"/{path}", json=told)).status_code == 403, "agents tell it"


async def test_agents_see_their_own_events_only(server: Installation) -> None:
    async with await agent_of(server) as one, await agent_of(server, "machine-2") as two:
        event = (await one.post("/externalvolumeevents", json={"volume": {"name": "data"}})).json()
        assert (await one.get(f"/externalvolumeevents/{event['id']}")).status_code == 200
        assert (await two.get(f"/externalvolumeevents/{event['id']}")).status_code == 404
        assert (await two.get("/externalvolumeevents")).json()["data"] == []


async def test_agents_of_1_x_are_told_that_no_way_back_is_needed(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http, await agent_of(server) as agent:
        host = (await http.get("/hosts")).json()["data"][0]
        early = await agent.post("/hostapiproxytokens", json={"reportedUuid": "not-yet"})
        assert (early.status_code, early.json()["code"]) == (422, "InvalidReference")
        answer = await agent.post("/hostapiproxytokens", json={"reportedUuid": host["uuid"]})
        assert (answer.status_code, answer.json()["code"]) == (501, "HostApiProxyDisabled")
