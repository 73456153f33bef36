"""Every row walks the published graph of states: no client is shown a state, or a step, that the graph does not have.

What clients see is a walk with gaps: a poll, or a frame, may miss a state that lasted for a moment. So a step is good if the
graph leads from the one state to the other at all. What Remuda shows beyond the graph is listed here, each with its reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import httpx2
import msgspec
import pytest
import websockets

from remuda.core.model import OBSERVED, ExternalEvent, Host, Instance, Record, Service, Stack
from remuda.core.states import derive
from remuda.schema.processes import moves, processes, reachable, resources
from remuda.schema.registry import TYPES

from .conftest import FakeAgent, Installation, eventually
from .test_certificates import body as certificate

GRAPH = {
    "container": "instance", "environment": "stack", "apiKey": "credential", "registrationToken": "credential",
    "project": "account", "loadBalancerService": "service", "dnsService": "service", "externalService": "service",
    "externalDnsEvent": "externalEvent", "externalHostEvent": "externalEvent", "externalServiceEvent": "externalEvent",
    "externalStoragePoolEvent": "externalEvent", "externalVolumeEvent": "externalEvent", "password": "credential",
    "registry": "storagePool", "registryCredential": "credential",
}  # fmt: skip
"""By whose graph a type walks, where it does not bear the same name."""
WITHOUT = {"serviceLog", "auditLog", "clusterNode", "haConfig", "setting", "configItem", "configItemStatus"}
"""Rows whose states 1.x published no graph for."""
BEYOND = {
    "host": {
        # documented for 1.2 and later: a host shows its agent's states, and that it cannot work
        ("active", "reconnecting"), ("inactive", "reconnecting"), ("reconnecting", "active"), ("reconnecting", "inactive"),
        ("reconnecting", "disconnected"), ("disconnected", "reconnecting"), ("disconnected", "active"),
        ("disconnected", "removing"), ("reconnecting", "removing"), ("requested", "reconnecting"),
        # its Docker does not answer: nothing was wrong with the host itself, it goes on
        ("active", "error"), ("error", "active"), ("error", "inactive"), ("error", "reconnecting"),
        ("disconnected", "inactive"), ("disconnected", "error"), ("reconnecting", "error"), ("inactive", "error"),
    },
    # what could not be made is tried again by its host, and can be stopped
    "instance": {("error", "creating"), ("error", "starting"), ("error", "stopping"), ("error", "running")},
}  # fmt: skip


def graph_of(type_id: str) -> str:
    return GRAPH.get(type_id, type_id)


def states(resource: str) -> set[str]:
    return {s for step in (*moves(resource), *BEYOND.get(resource, ())) for s in step} | {"requested"}


def leads(resource: str, before: str, after: str) -> bool:
    """Does the graph lead from one state to another, or is the step one of those beyond it?"""
    return before == after or after in reachable(resource, before) or (before, after) in BEYOND.get(resource, ())


class Walks:
    """The states that a subscriber was shown of each row, in order."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, str], list[str]] = defaultdict(list)

    def see(self, row: dict[str, Any]) -> None:
        seen = self.of[row["type"], row["id"]]
        if not seen or seen[-1] != row["state"]:
            seen.append(row["state"])

    def judge(self) -> None:
        wrong = []
        for (type_id, row), seen in self.of.items():
            if type_id in WITHOUT:
                continue
            resource = graph_of(type_id)
            steps = itertools.pairwise(["requested", *seen])
            wrong += [f"{type_id} {row}: {a} -> {b}" for a, b in steps if not leads(resource, a, b)]
        assert not wrong, wrong

    def states(self, type_id: str) -> set[str]:
        return {s for (kind, _), seen in self.of.items() if kind == type_id for s in seen}


@contextlib.asynccontextmanager
async def watching(server: Installation) -> AsyncIterator[Walks]:
    """Everything that a subscriber is shown within the block; judged at its end."""
    walks = Walks()
    url = f"{server.base.replace('http', 'ws')}/v1/projects/1a5/subscribe?eventNames=resource.change"

    async def listen(socket: Any) -> None:
        async for frame in socket:
            told = json.loads(frame)
            row = (told.get("data") or {}).get("resource")
            if told["name"] == "resource.change" and row and row.get("state"):
                walks.see(row)

    async with websockets.connect(url, additional_headers={"Authorization": f"Bearer {server.jwt}"}) as socket:
        await socket.recv()
        task = asyncio.create_task(listen(socket))
        yield walks
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    walks.judge()


async def until(http: httpx2.AsyncClient, walks: Walks, url: str, wanted: str, seconds: float = 10) -> dict[str, Any]:
    async def check() -> dict[str, Any] | None:
        row = (await http.get(url)).json()
        return row if row["state"] == wanted else None

    found: dict[str, Any] = await eventually(check, seconds)

    async def heard() -> bool:
        return wanted in walks.of[found["type"], found["id"]]

    await eventually(heard)
    return found


async def test_a_stack_and_its_services_from_the_first_day_to_the_last(server: Installation) -> None:
    await server.agent()
    async with watching(server) as walks, server.admin() as http:
        files = {"name": "shop", "dockerCompose": "version: '2'\nservices:\n  web:\n    image: nginx\n"}
        stack = (await http.post("/environments", json=files)).json()["links"]["self"]

        async def there() -> Any:
            found = (await http.get("/services")).json()["data"]
            return found[0] if found else None

        url = (await eventually(there))["links"]["self"]
        await until(http, walks, url, "active")
        await http.put(url, json={"scale": 2})
        await until(http, walks, url, "active")
        await http.post(f"{url}/?action=deactivate")
        await until(http, walks, url, "inactive")
        await http.post(f"{url}/?action=activate")
        service = await until(http, walks, url, "active")
        change = {"inServiceStrategy": {"launchConfig": {**service["launchConfig"], "imageUuid": "docker:nginx:2"}}}
        for last in ("finishupgrade", "rollback"):
            answer = await http.post(f"{url}/?action=upgrade", json=change)
            assert answer.status_code == 202, answer.text
            await until(http, walks, url, "upgraded")
            assert (await http.post(f"{url}/?action={last}")).status_code == 202
            await until(http, walks, url, "active")
            change = {"inServiceStrategy": {"launchConfig": {**service["launchConfig"], "imageUuid": "docker:nginx:3"}}}
        await http.delete(stack)
        await until(http, walks, url, "removed")
        await until(http, walks, stack, "removed")
    assert {"active", "inactive", "upgraded", "removed"} <= walks.states("service")
    assert {"running", "removed"} <= walks.states("container")


async def test_a_container_from_its_first_day_to_its_last(server: Installation) -> None:
    await server.agent()
    async with watching(server) as walks, server.admin() as http:
        url = (await http.post("/containers", json={"name": "solo", "imageUuid": "docker:x"})).json()["links"]["self"]
        await until(http, walks, url, "running")
        for action, then in (("stop", "stopped"), ("start", "running"), ("restart", "running")):
            assert (await http.post(f"{url}/?action={action}")).status_code == 202
            await until(http, walks, url, then)
        await http.delete(url)
        await until(http, walks, url, "removed")


async def test_a_host_that_is_shut_opened_and_removed(server: Installation) -> None:
    async with watching(server) as walks, server.admin() as http:
        await server.agent()
        url = (await http.get("/hosts")).json()["data"][0]["links"]["self"]
        await until(http, walks, url, "active")
        await http.post(f"{url}/?action=deactivate")
        await until(http, walks, url, "inactive")
        await http.post(f"{url}/?action=activate")
        await until(http, walks, url, "active")
        await http.delete(url)
        await until(http, walks, url, "removed")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/apikeys", {"name": "ci"}),
        ("/registrationtokens", {}),
        ("/externalhostevents", {"hostLabel": "a=b", "eventType": "x"}),
        ("/dnsservices", {"name": "alias"}),
        ("/projects", {"name": "other"}),
        ("/accounts", {"name": "jo", "username": "jo", "password": "correct horse", "kind": "user"}),
        ("/registries", {"serverAddress": "registry.example.test"}),
        ("/secrets", {"name": "pass", "value": "eA=="}),
        ("/certificates", {}),
        ("/volumes", {"name": "data", "driver": "local"}),
    ],
)
async def test_what_can_be_switched_off_and_on(server: Installation, path: str, body: dict[str, Any]) -> None:
    await server.agent()
    walks = Walks()
    async with server.admin(None if path in ("/projects", "/accounts") else "1a5") as http:
        if "hostLabel" in body:
            host = (await http.get("/hosts")).json()["data"][0]
            await http.put(host["links"]["self"], json={"labels": {"a": "b"}})
        if path == "/dnsservices":
            body["environmentId"] = (await http.post("/environments", json={"name": "shop"})).json()["id"]
        made = await http.post(path, json=certificate() if path == "/certificates" else body)
        assert made.status_code == 201, made.text
        row = made.json()
        walks.see(row)
        for action in ("deactivate", "activate", "remove", "purge"):
            if action not in row["actions"]:
                continue
            answer = await http.post(row["actions"][action], json={})
            assert answer.status_code == 202, answer.text
            walks.see(answer.json())
            row = (await http.get(row["links"]["self"])).json()
            walks.see(row)
    walks.judge()


async def test_a_stack_that_is_upgraded_and_taken_back(server: Installation) -> None:
    await server.agent()
    async with watching(server) as walks, server.admin() as http:
        files = {"dockerCompose": "version: '2'\nservices:\n  web:\n    image: nginx:1\n"}
        made = await http.post("/environments", json={"name": "shop", "startOnCreate": True, **files})
        url = made.json()["links"]["self"]
        await until(http, walks, url, "active")
        service = (await http.get("/services")).json()["data"][0]["links"]["self"]
        await until(http, walks, service, "active")
        for number, last in ((2, "finishupgrade"), (3, "rollback")):
            change = {"dockerCompose": files["dockerCompose"].replace("nginx:1", f"nginx:{number}")}
            answer = await http.post(f"{url}/?action=upgrade", json=change)
            assert (answer.status_code, answer.json()["state"]) == (202, "upgrading"), answer.text
            await until(http, walks, url, "upgraded")
            answer = await http.post(f"{url}/?action={last}")
            assert answer.status_code == 202, answer.text
            await until(http, walks, url, "active")
    assert {"upgraded", "active"} <= walks.states("environment")


class Silent(FakeAgent):
    """An agent whose connection can be cut."""

    sockets: ClassVar[list[Any]] = []

    async def _answer(self, socket: Any, message: Any, ready: asyncio.Event) -> None:
        self.sockets.append(socket)
        await super()._answer(socket, message, ready)


async def test_a_host_that_loses_its_agent_and_gets_it_back(server: Installation) -> None:
    agent = await server.agent(kind=Silent)
    async with watching(server) as walks, server.admin() as http:
        host = (await http.get("/hosts")).json()["data"][0]
        url = host["links"]["self"]
        walks.see(host)
        await Silent.sockets[-1].close()
        shown = await until(http, walks, url, "disconnected", 40)
        assert shown["transitioning"] == "error"
        assert "lost" in shown["transitioningMessage"]
        again = asyncio.create_task(agent.run(asyncio.Event()))
        back = await until(http, walks, url, "active", 40)
        assert (back["transitioning"], back["transitioningMessage"]) == ("no", "")
        seen = walks.of["host", host["id"]]

        async def told() -> bool:
            return seen[-1] == "active" and len(seen) > 1

        await eventually(told)
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)
    assert seen == ["active", "reconnecting", "disconnected", "active"]


async def test_each_wish_is_answered_with_the_state_that_follows_and_says_that_it_is_under_way(
    server: Installation,
) -> None:
    await server.agent()
    config = {"imageUuid": "docker:nginx:1", "networkMode": "bridge"}
    second = {"inServiceStrategy": {"launchConfig": {**config, "imageUuid": "docker:nginx:2"}}}
    async with watching(server) as walks, server.admin() as http:
        stack = (await http.post("/environments", json={"name": "shop"})).json()
        wish = {"name": "web", "environmentId": stack["id"], "launchConfig": config, "startOnCreate": True}
        made = await http.post("/services", json=wish)
        service = made.json()["links"]["self"]
        assert (made.json()["state"], made.json()["transitioning"]) == ("activating", "yes")
        await until(http, walks, service, "active")
        alone = (await http.post("/containers", json={"name": "solo", **config})).json()["links"]["self"]
        await until(http, walks, alone, "running")
        for url, action, body, at_once, then in (
            (service, "deactivate", {}, "deactivating", "inactive"),
            (service, "activate", {}, "activating", "active"),
            (service, "restart", {}, "restarting", "active"),
            (service, "upgrade", second, "upgrading", "upgraded"),
            (service, "rollback", {}, "rolling-back", "active"),
            (service, "remove", {}, "removing", "removed"),
            (alone, "stop", {}, "stopping", "stopped"),
            (alone, "start", {}, "starting", "running"),
            (alone, "restart", {}, "restarting", "running"),
            (alone, "remove", {}, "removing", "removed"),
        ):
            answer = await http.post(f"{url}/?action={action}", json=body)
            told = answer.json()
            assert answer.status_code == 202, answer.text
            assert (told["state"], told["transitioning"]) == (at_once, "yes"), action
            assert told["transitioningMessage"], action
            settled = await until(http, walks, url, then)
            assert (settled["transitioning"], settled["transitioningMessage"]) == ("no", ""), action


async def test_every_row_of_every_type_is_in_a_state_of_its_graph(server: Installation) -> None:
    await server.agent()
    async with server.admin() as http:
        files = {
            "name": "shop",
            "dockerCompose": "version: '2'\nservices:\n  web:\n    image: nginx\n    ports: ['80:80']\n    links: [db]\n"
            "    labels: {a: b}\n  db:\n    image: pg\n",
        }
        await http.post("/environments", json=files)

        async def settled() -> bool:
            found = (await http.get("/services")).json()["data"]
            return bool(found) and all(s["state"] == "active" for s in found)

        await eventually(settled)
        checked = set()
        for kind in TYPES.values():
            if kind.id in WITHOUT or "l" not in kind.rights.get("superadmin", "") or kind.field("state") is None:
                continue
            answer = await http.get(f"/{kind.plural_name.lower()}?_role=superadmin")
            if answer.status_code != 200:
                continue
            for row in answer.json()["data"]:
                if row.get("state"):
                    checked.add(row["type"])
                    resource = graph_of(row["type"])
                    assert resource in resources(), f"{row['type']}: no graph, yet a state '{row['state']}'"
                    assert row["state"] in states(resource), f"{row['type']} is '{row['state']}'"
        assert {"container", "instanceHostMap", "serviceExposeMap", "port", "label", "ipAddress", "network"} <= checked


def all_of(kind: type[Record], **choices: tuple[Any, ...]) -> list[Record]:
    """A record for every choice of these attributes."""
    return [kind(**dict(zip(choices, values, strict=True))) for values in itertools.product(*choices.values())]


@pytest.mark.parametrize(
    ("resource", "rows"),
    [
        (
            "instance",
            all_of(
                Instance, desired=("running", "stopped", "removed"), observed=OBSERVED, host_id=(None, 1), native=(False, True),
                applied_seq=(0, 1), assign_seq=(1,), external_id=("", "d"), started=(None, 5), removed=(None, 9),
                exit_code=(None, 1),
            ),
        ),
        (
            "host",
            all_of(
                Host, desired=("active", "inactive", "removed"), docker=("", "up", "down"), removed=(None, 9),
                connection=("connected", "reconnecting", "lost"),
            ),
        ),
        (
            "service",
            all_of(
                Service, desired=("active", "inactive", "removed"), current_scale=(0, 1), blocked=(False, True),
                data=({}, {"settled": True}, {"was_active": True}), removed=(None, 9),
            ),
        ),
        ("stack", all_of(Stack, desired=("active", "removed"), removed=(None, 9))),
        ("externalEvent", all_of(ExternalEvent, desired=("active", "removed"), removed=(None, 9))),
    ],
)  # fmt: skip
def test_no_row_can_come_into_a_state_without_a_graph(resource: str, rows: list[Record]) -> None:
    known = states(resource)
    assert {derive(row).state for row in rows} <= known


def test_a_container_that_ran_and_is_made_once_more_is_not_created_again() -> None:
    ran = Instance(host_id=1, assign_seq=1, applied_seq=1, observed="running", external_id="d", started=5)
    walk = [
        derive(msgspec.structs.replace(ran, observed=seen)).state
        for seen in ("running", "absent", "pulling", "created", "running")
    ]
    assert walk == ["running", "starting", "starting", "starting", "running"]
    assert all(leads("instance", a, b) for a, b in itertools.pairwise(walk))


def test_the_graph_is_the_published_one() -> None:
    assert len(processes()) == 306
    assert ("inactive", "activating") in moves("host")
    assert not leads("instance", "running", "creating")
    assert not leads("host", "removed", "active")
