"""Health checks through the API: what is accepted, what is refused and why, and what observers saw."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from remuda.core.model import HealthObservation, Instance
from remuda.ports.store import ALIVE

from .conftest import Installation


async def create(http: httpx2.AsyncClient, check: dict[str, Any]) -> httpx2.Response:
    return await http.post(
        "/containers", json={"name": "one", "imageUuid": "docker:nginx", "healthCheck": check, "startOnCreate": False}
    )


@pytest.mark.parametrize(
    ("check", "code", "field"),
    [
        ({}, "MissingRequired", "healthCheck.port"),
        ({"port": 0}, "MissingRequired", "healthCheck.port"),
        ({"port": 65536}, "MaxLimitExceeded", "healthCheck.port"),
        ({"port": 80, "interval": 0}, "MinLimitExceeded", "healthCheck.interval"),
        ({"port": 80, "responseTimeout": 0}, "MinLimitExceeded", "healthCheck.responseTimeout"),
        ({"port": 80, "unhealthyThreshold": 0}, "MinLimitExceeded", "healthCheck.unhealthyThreshold"),
        ({"port": 80, "protocol": "udp"}, "InvalidOption", "healthCheck.protocol"),
        ({"port": 80, "strategy": "reboot"}, "InvalidOption", "healthCheck.strategy"),
        ({"port": 80, "strategy": "recreateOnQuorum", "recreateOnQuorumStrategyConfig": {"quorum": 0}},
         "MinLimitExceeded", "healthCheck.recreateOnQuorumStrategyConfig.quorum"),
    ],
)  # fmt: skip
async def test_a_check_that_cannot_work_is_refused(
    server: Installation, check: dict[str, Any], code: str, field: str
) -> None:
    async with server.admin() as http:
        answer = await create(http, check)
        assert answer.status_code == 422, answer.text
        assert (answer.json()["code"], answer.json()["fieldName"]) == (code, field)


async def test_a_check_of_a_launch_configuration_is_looked_at_as_well(server: Installation) -> None:
    async with server.admin() as http:
        stack = (await http.post("/environments", json={"name": "checks"})).json()
        config = {"imageUuid": "docker:nginx", "healthCheck": {"interval": 2000}}
        body = {"name": "web", "environmentId": stack["id"], "launchConfig": config}
        answer = await http.post("/services", json=body)
        assert answer.status_code == 422, answer.text
        assert answer.json()["fieldName"] == "launchConfig.healthCheck.port"


async def test_what_is_left_out_has_its_default_and_null_is_for_ever(server: Installation) -> None:
    async with server.admin() as http:
        check = (await create(http, {"port": 80, "initializingTimeout": None})).json()["healthCheck"]
        assert check["initializingTimeout"] is None
        assert (check["reinitializingTimeout"], check["strategy"], check["interval"]) == (60000, "recreate", 2000)
        command = (await create(http, {"command": ["true"]})).json()["healthCheck"]
        assert command["command"] == ["true"]


async def test_the_last_answer_of_each_observer_can_be_read_and_not_written(server: Installation) -> None:
    async with server.admin() as http:
        made = (await create(http, {"port": 80})).json()

        def unit(tx):  # type: ignore[no-untyped-def]
            instance = next(i for i in tx.find(Instance, ALIVE) if made["uuid"] == i.uuid)
            tx.update(instance, health_state="unhealthy", health_because="All 2 observers see it fail")
            for host, message in ((71, "connection refused"), (72, "HTTP/1.0 503 Busy")):
                tx.insert(
                    HealthObservation(
                        account_id=instance.account_id, instance_id=instance.id, host_id=host, start=1, seen="failing",
                        message=message, latency=host, since=tx.now(), kind="healthObservation",
                    )
                )  # fmt: skip

        await server.api.store.write(unit)
        shown = (await http.get(made["links"]["self"])).json()
        assert (shown["healthState"], shown["healthBecause"]) == ("unhealthy", "All 2 observers see it fail")
        listed = (await http.get(shown["links"]["healthcheckInstanceHostMaps"])).json()["data"]
        assert [(o["type"], o["hostId"], o["healthState"], o["message"], o["latency"]) for o in listed] == [
            ("healthcheckInstanceHostMap", "1h71", "failing", "connection refused", 71),
            ("healthcheckInstanceHostMap", "1h72", "failing", "HTTP/1.0 503 Busy", 72),
        ]
        assert all(o["instanceId"] == made["id"] and o["sinceTS"] for o in listed)
        assert (await http.put(listed[0]["links"]["self"], json={"healthState": "passing"})).status_code == 405
        assert (await http.post("/healthcheckInstanceHostMaps", json={})).status_code == 405
