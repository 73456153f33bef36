"""A service is upgraded to another one by the words of 1.x: grown and shrunk in steps, finished, rolled back, stopped halfway."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from .conftest import Installation, eventually

CONFIG = {"imageUuid": "docker:nginx", "networkMode": "bridge"}


async def made(http: httpx2.AsyncClient, stack: str, name: str, **more: Any) -> dict[str, Any]:
    body = {"name": name, "environmentId": stack, "launchConfig": CONFIG, "startOnCreate": True, **more}
    answer = await http.post("/services", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def until(http: httpx2.AsyncClient, service: dict[str, Any], state: str, scale: int) -> dict[str, Any]:
    async def there() -> Any:
        now = (await http.get(f"/services/{service['id']}")).json()
        return now if (now["state"], now["scale"], now["currentScale"]) == (state, scale, scale) else None

    return await eventually(there, 20)  # type: ignore[no-any-return]


async def begin(http: httpx2.AsyncClient, old: dict[str, Any], new: dict[str, Any], **more: Any) -> httpx2.Response:
    strategy = {"toServiceId": new["id"], "batchSize": 1, "intervalMillis": 100, "updateLinks": True, **more}
    return await http.post(f"/services/{old['id']}/?action=upgrade", json={"toServiceStrategy": strategy})


async def test_one_service_takes_over_from_another_and_whoever_linked_to_it_follows(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http:
        stack = (await http.post("/environments", json={"name": "shop"})).json()["id"]
        old, new = await made(http, stack, "web", scale=2), await made(http, stack, "web2", startOnCreate=False)
        front = await made(http, stack, "front", scale=0)
        link = {"serviceLinks": [{"serviceId": old["id"], "name": "site"}]}
        await http.post(f"/services/{front['id']}/?action=setservicelinks", json=link)
        await until(http, old, "active", 2)

        begun = await begin(http, old, new, finalScale=3)
        assert begun.status_code == 202, begun.text
        assert (begun.json()["state"], begun.json()["transitioning"]) == ("upgrading", "yes")
        await until(http, new, "active", 3)
        done = await until(http, old, "upgraded", 0)
        assert done["upgrade"]["toServiceStrategy"]["toServiceId"] == new["id"]
        assert done["upgrade"]["inServiceStrategy"] is None
        consumed = (await http.get(f"/serviceconsumemaps?serviceId={front['id']}")).json()["data"]
        assert {(one["consumedServiceId"], one["name"]) for one in consumed} == {
            (old["id"], "site"),
            (new["id"], "site"),
        }

        back = await http.post(f"/services/{old['id']}/?action=rollback")
        assert back.json()["state"] == "rolling-back"
        await until(http, old, "active", 2)
        await until(http, new, "inactive", 0)
        consumed = (await http.get(f"/serviceconsumemaps?serviceId={front['id']}")).json()["data"]
        assert [one["consumedServiceId"] for one in consumed] == [old["id"]]

        await begin(http, old, new, finalScale=1, batchSize=2)
        await until(http, old, "upgraded", 0)
        finished = await http.post(f"/services/{old['id']}/?action=finishupgrade")
        assert finished.json()["upgrade"] is None
        await until(http, old, "active", 0)
        await until(http, new, "active", 1)


async def test_it_can_be_stopped_halfway_and_stops_by_itself_when_the_new_service_is_removed(
    server: Installation,
) -> None:
    await server.agent()
    async with server.admin() as http:
        stack = (await http.post("/environments", json={"name": "shop"})).json()["id"]
        old, new = await made(http, stack, "web", scale=3), await made(http, stack, "web2", startOnCreate=False)
        await until(http, old, "active", 3)
        await begin(http, old, new, finalScale=3, intervalMillis=600_000)
        stopped = await http.post(f"/services/{old['id']}/?action=cancelupgrade")
        assert stopped.status_code == 202
        await until(http, old, "canceled-upgrade", 3)
        await http.post(f"/services/{old['id']}/?action=finishupgrade")
        await until(http, old, "active", 3)
        await begin(http, old, new, finalScale=3, intervalMillis=600_000)
        await http.delete(f"/services/{new['id']}")
        await until(http, old, "canceled-upgrade", 3)
        log = (await http.get(f"/servicelogs?serviceId={old['id']}")).json()["data"]
        assert any("the service that it goes to is gone" in str(line["description"]) for line in log)


@pytest.mark.parametrize(
    ("strategy", "code", "field"),
    [
        ({}, "MissingRequired", "toServiceStrategy.toServiceId"),
        ({"toServiceId": "1s999"}, "InvalidReference", "toServiceStrategy.toServiceId"),
        ({"toServiceId": "own"}, "InvalidReference", "toServiceStrategy.toServiceId"),
        ({"toServiceId": "alias"}, "InvalidType", "toServiceStrategy.toServiceId"),
        ({"toServiceId": "everywhere"}, "InvalidState", "toServiceStrategy.toServiceId"),
        ({"toServiceId": "own", "batchSize": 0}, "MinLimitExceeded", "toServiceStrategy.batchSize"),
    ],
)
async def test_what_cannot_take_over_is_refused_at_its_field(
    server: Installation, strategy: dict[str, Any], code: str, field: str
) -> None:
    async with server.admin() as http:
        stack = (await http.post("/environments", json={"name": "shop"})).json()["id"]
        labels = {"labels": {"io.rancher.scheduler.global": "true"}}
        rows = {
            "own": await made(http, stack, "web", scale=0),
            "everywhere": await made(http, stack, "all", launchConfig={**CONFIG, **labels}),
            "alias": (await http.post("/dnsservices", json={"name": "alias", "environmentId": stack})).json(),
        }
        wish = {**strategy}
        if wish.get("toServiceId") in rows:
            wish["toServiceId"] = rows[wish["toServiceId"]]["id"]
        answer = await http.post(f"/services/{rows['own']['id']}/?action=upgrade", json={"toServiceStrategy": wish})
        assert (answer.status_code, answer.json()["code"], answer.json()["fieldName"]) == (422, code, field)
