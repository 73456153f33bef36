"""Subscriptions as clients of 1.x know them: frames with all members, names and patterns, links, actions, and both ways in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets

from remuda.api import subscription

from .conftest import Installation
from .people import STACK, basic, bearer, everybody, key, members, person

MEMBERS = {"id", "name", "replyTo", "resourceId", "resourceType", "previousIds", "previousNames", "publisher", "transitioning",
           "transitioningMessage", "transitioningInternalMessage", "transitioningProgress", "data", "time", "timeoutMillis",
           "listenerKey", "context", "seq"}  # fmt: skip


class Frames:
    """A subscriber's frames, without its pings."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket

    async def next(self, name: str = "resource.change", **about: str) -> dict[str, Any]:
        """The next frame of this name and these members."""
        async with asyncio.timeout(5):
            while True:
                frame = json.loads(await self.socket.recv())
                if frame["name"] == name and all(frame[member] == value for member, value in about.items()):
                    return frame  # type: ignore[no-any-return]

    async def nothing_before(self, name: str) -> None:
        """The next frame but pings is of this name."""
        async with asyncio.timeout(5):
            while (frame := json.loads(await self.socket.recv()))["name"] == "ping":
                pass
        assert frame["name"] == name, frame


@asynccontextmanager
async def subscribed(
    server: Installation, query: str = "eventNames=resource.change", project: str = "1a5", headers: Any = None
) -> AsyncIterator[Frames]:
    url = f"{server.base.replace('http', 'ws')}/v1/projects/{project}/subscribe?{query}"
    async with websockets.connect(url, additional_headers=headers or bearer(server.jwt)) as socket:
        first = json.loads(await asyncio.wait_for(socket.recv(), 5))
        assert first["name"] == "ping"
        assert set(first) == MEMBERS
        yield Frames(socket)


async def refused(server: Installation, query: str, headers: Any = None) -> None:
    with pytest.raises((websockets.InvalidStatus, websockets.ConnectionClosed)):
        async with subscribed(server, query, headers=headers):
            pass


async def test_a_change_comes_with_all_members_and_the_row_as_it_is_read(server: Installation) -> None:
    async with subscribed(server) as frames, server.admin() as http:
        made = (await http.post("/environments", json={"name": "one"})).json()
        frame = await frames.next(resourceId=made["id"])
        assert set(frame) == MEMBERS
        assert (frame["previousIds"], frame["previousNames"]) == (None, None)
        assert frame["resourceType"] == frame["data"]["resource"]["type"] == "environment"
        assert isinstance(frame["time"], int)
        assert set(frame["data"]) == {"resource"}
        read = (await http.get(made["links"]["self"])).json()
        assert set(frame["data"]["resource"]) == set(read)
        assert frame["data"]["resource"]["links"] == read["links"]


@pytest.mark.parametrize("query", ["", "eventNames=", "eventNames=a%20b", "eventNames=resource.change&eventNames=a/b"])
async def test_names_that_are_none_are_refused(server: Installation, query: str) -> None:
    await refused(server, query)


async def test_a_qualifier_that_somebody_adds_is_taken_off(server: Installation) -> None:
    async with subscribed(server, "eventNames=resource.change;account=1a1") as frames, server.admin() as http:
        made = (await http.post("/environments", json={"name": "one"})).json()
        assert (await frames.next(resourceId=made["id"]))["name"] == "resource.change"


async def test_who_asked_for_other_events_is_not_told_of_rows(server: Installation) -> None:
    query = "eventNames=service.*"
    agent = (await everybody(server))["agent"]
    async with (
        subscribed(server, query) as frames,
        subscribed(server) as all_rows,
        server.admin() as http,
        server.client(headers=agent) as machine,
    ):
        made = (await http.post("/environments", json={"name": "one"})).json()
        await all_rows.next(resourceId=made["id"])
        await machine.post("/publish", json={"name": "service.kubernetes.change", "resourceType": "pod"})
        await frames.nothing_before("service.kubernetes.change")


async def test_links_are_embedded_and_actions_come_apart_on_request(server: Installation) -> None:
    query = "eventNames=resource.change&include=services&include=environment&include=nothing&_actionLinks=true"
    async with subscribed(server, query) as frames, server.admin() as http:
        stack = (await http.post("/environments", json=STACK)).json()
        service = await frames.next(resourceType="service")
        assert service["data"]["resource"]["environment"]["id"] == stack["id"]
        assert service["data"]["actionLinks"] == service["data"]["resource"]["actions"]
        await http.put(stack["links"]["self"], json={"description": "again"})
        frame = await frames.next(resourceId=stack["id"])
        while not frame["data"]["resource"]["services"]:
            frame = await frames.next(resourceId=stack["id"])
        assert [one["name"] for one in frame["data"]["resource"]["services"]] == ["web"]


async def test_a_load_balancer_is_told_once_under_its_own_type(server: Installation) -> None:
    async with subscribed(server) as frames, server.admin() as http:
        stack = (await http.post("/environments", json={"name": "shop"})).json()
        await frames.next(resourceId=stack["id"])
        wish = {"name": "lb", "environmentId": stack["id"], "scale": 0, "startOnCreate": False,
                "launchConfig": {"imageUuid": "docker:x", "ports": ["80:80"]}}  # fmt: skip
        made = await http.post("/loadbalancerservices", json=wish)
        assert made.status_code == 201, made.text
        first = await frames.next(resourceId=made.json()["id"])
        assert first["resourceType"] == "loadBalancerService"
        seen = [first["seq"]]
        await http.post("/environments", json={"name": "last"})
        async with asyncio.timeout(5):
            while True:
                frame = json.loads(await frames.socket.recv())
                if frame["name"] == "resource.change" and frame["data"]["resource"]["name"] == "last":
                    break
                if frame["resourceId"] == made.json()["id"]:
                    assert frame["resourceType"] == "loadBalancerService"
                    seen.append(frame["seq"])
        assert len(seen) == len(set(seen))


async def test_a_row_that_is_gone_is_told_once_more_as_removed(server: Installation) -> None:
    async with subscribed(server) as frames, server.admin() as http:
        made = (await http.post("/apikeys", json={"name": "k"})).json()
        await frames.next(resourceId=made["id"])
        await http.delete(made["links"]["self"])
        frame = await frames.next(resourceId=made["id"])
        assert frame["data"]["resource"]["state"] == "removed"


async def test_a_row_that_keeps_changing_is_told_seldom_and_in_the_end_as_it_is(server: Installation) -> None:
    async with subscribed(server) as frames, server.admin() as http:
        made = (await http.post("/environments", json={"name": "busy"})).json()
        for number in range(40):
            await http.put(made["links"]["self"], json={"description": str(number)})
        count = 0
        while True:
            frame = await frames.next(resourceId=made["id"])
            count += 1
            if frame["data"]["resource"]["description"] == "39":
                break
        assert count < 15


async def test_after_a_break_nothing_is_missing(server: Installation) -> None:
    async with server.admin() as http:
        made = (await http.post("/environments", json={"name": "one"})).json()
        async with subscribed(server) as frames:
            await http.put(made["links"]["self"], json={"description": "a"})
            seq = (await frames.next(resourceId=made["id"]))["seq"]
            # held back, because the row was just told: whoever leaves now has not heard of it
            await http.put(made["links"]["self"], json={"description": "b"})
            other = (await http.post("/environments", json={"name": "two"})).json()
            seq = max(seq, (await frames.next(resourceId=other["id"]))["seq"])
        async with subscribed(server, f"eventNames=resource.change&resume={seq}") as frames:
            frame = await frames.next(resourceId=made["id"])
            assert frame["data"]["resource"]["description"] == "b"


async def test_the_answer_to_a_post_is_a_frame_a_line(server: Installation) -> None:
    async with server.admin() as http, server.admin() as other:
        wish = {"eventNames": ["resource.change"]}
        async with http.stream("POST", "/subscribe", json=wish) as answer, asyncio.timeout(5):
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/plain")
            lines = answer.aiter_lines()
            assert json.loads(await anext(lines))["name"] == "ping"
            made = (await other.post("/environments", json={"name": "one"})).json()
            while (frame := json.loads(await anext(lines)))["resourceId"] != made["id"]:
                pass
            assert set(frame) == MEMBERS
        assert not len(server.api.broadcaster) or await gone(server)


async def gone(server: Installation) -> bool:
    async with asyncio.timeout(5):
        while len(server.api.broadcaster):
            await asyncio.sleep(0.01)
    return True


async def test_posts_are_checked_like_sockets(server: Installation) -> None:
    people = await everybody(server)
    async with server.admin() as http, server.client() as anybody:
        for body, code in (
            ({}, "MissingRequired"),
            ({"eventNames": ["a b"]}, "InvalidCharacters"),
            ({"eventNames": 7}, ""),
        ):
            answer = await http.post("/subscribe", json=body)
            assert answer.status_code == 422
            assert answer.json()["fieldName"] == "eventNames"
            assert code in answer.json()["code"]
        wish = {"eventNames": ["resource.change"]}
        for name, status in ("stranger", 401), ("readonly", 403), ("agent", 403):
            answer = await anybody.post("/projects/1a5/subscribe", json=wish, headers=people[name])
            assert (name, answer.status_code) == (name, status)
        assert (await http.get("/subscribe")).json()["data"] == []


async def test_the_answer_to_a_post_ends_with_the_rights(server: Installation) -> None:
    account, headers = await person(server, "ann")
    await members(server, "1a5", {account: "member"})
    async with server.client(headers=headers) as http, server.admin(None) as admin:
        wish = {"eventNames": ["resource.change"]}
        async with http.stream("POST", "/projects/1a5/subscribe", json=wish) as answer, asyncio.timeout(5):
            lines = answer.aiter_lines()
            await anext(lines)
            await admin.post(f"/accounts/{account}?action=deactivate")
            names = [json.loads(line)["name"] async for line in lines if line]
            assert names[-1] == "logout"


async def test_pings_come_while_nothing_happens_and_end_after_half_a_day(
    server: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "PING_SECONDS", 0.05)
    monkeypatch.setattr(subscription, "MOST_PINGS", 4)
    async with subscribed(server) as frames:
        async with asyncio.timeout(5):
            names = [json.loads(frame)["name"] async for frame in frames.socket]
        assert names == ["ping"] * 3
        assert frames.socket.close_code == 1001


async def test_who_does_not_read_is_left(server: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "SEND_SECONDS", 0.3)
    host, port = server.base.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port), limit=1)
    nonce = "AAAAAAAAAAAAAAAAAAAAAA=="
    writer.write(
        f"GET /v1/projects/1a5/subscribe?eventNames=resource.change HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}\r\n"
        f"Authorization: Bearer {server.jwt}\r\n\r\n".encode()
    )
    while not len(server.api.broadcaster):
        await asyncio.sleep(0.01)
    [silent] = server.api.broadcaster._subscribers
    for _ in range(400):  # more than all buffers of the connection take
        silent.put('{"name":"x","data":"' + "x" * 60_000 + '"}')
    assert await gone(server)
    writer.close()


async def test_who_falls_behind_is_told_to_read_anew(server: Installation) -> None:
    async with subscribed(server) as frames:
        [one] = server.api.broadcaster._subscribers
        for number in range(subscription.QUEUE + 1):
            one.put('{"name":"x"}', number)
        await frames.nothing_before("resync")


async def machine_of(server: Installation, project: str) -> dict[str, str]:
    """The keys of a machine in this environment."""
    async with server.admin(project) as admin:
        token = (await admin.post("/registrationtokens")).json()["token"]
    async with server.client(headers=basic("registrationToken", token)) as http:
        pair = (await http.post("/register", json={"key": f"a-machine-of-{project}"})).json()
    return basic(pair["accessKey"], pair["secretKey"])


async def test_an_event_reaches_the_subscribers_of_its_environment(server: Installation) -> None:
    people = await everybody(server)
    async with server.admin(None) as admin:
        away = (await admin.post("/projects", json={"name": "away"})).json()["id"]
    names = "eventNames=service.*&eventNames=reply.*"
    async with (
        subscribed(server, names) as here,
        subscribed(server, names, headers=people["readonly"]) as reader,
        subscribed(server, names, project=away) as elsewhere,
        server.client(headers=people["agent"]) as agent,
        server.client(headers=await machine_of(server, away)) as other,
    ):
        said = {"name": "service.kubernetes.change;account=1a1", "resourceId": "7", "resourceType": "pod", "previousIds": ["x"],
                "data": {"a": [1]}, "time": 12, "publisher": "k", "transitioningProgress": 5}  # fmt: skip
        answer = await agent.post("/publish", json=said)
        assert answer.status_code == 201, answer.text
        assert answer.json()["type"] == "publish"
        for frames in (here, reader):
            frame = await frames.next("service.kubernetes.change")
            assert set(frame) == MEMBERS - {"seq"}
            assert (frame["data"], frame["time"], frame["publisher"]) == ({"a": [1]}, 12, "k")
            assert (frame["previousIds"], frame["transitioningProgress"]) == (None, 5)
        assert (await other.post("/publish", json={"name": "reply.77"})).status_code == 201
        await elsewhere.nothing_before("reply.77")


@pytest.mark.parametrize("name", ["resource.change", "ping", "logout", "config.update"])
async def test_nobody_may_pretend_that_something_changed(server: Installation, name: str) -> None:
    people = await everybody(server)
    async with server.admin(None) as admin, server.client(headers=people["agent"]) as agent:
        for http in (admin, agent):
            answer = await http.post("/publish", json={"name": name})
            assert (answer.status_code, answer.json()["fieldName"]) == (403, "name")


async def test_members_and_strangers_publish_nothing(server: Installation) -> None:
    people = await everybody(server)
    async with server.client() as http:
        for name, status in ("member", 403), ("owner", 403), ("readonly", 403), ("register", 403), ("stranger", 401):
            answer = await http.post("/publish", json={"name": "service.x"}, headers=people[name])
            assert (name, answer.status_code) == (name, status)
        answer = await http.post("/publish", json={"name": "service.x"}, headers=await key(server))
        assert answer.status_code == 403


async def test_bad_events_name_their_field(server: Installation) -> None:
    async with server.admin(None) as http:
        for body, field in (
            ({}, "name"),
            ({"name": "service." + "x" * 300}, "name"),
            ({"name": "service.x", "data": "text"}, "data"),
            ({"name": "service.x", "data": {"a": "x" * 70_000}}, "data"),
            ({"name": "service.x", "time": "soon"}, "time"),
        ):
            answer = await http.post("/publish", json=body)
            assert (answer.status_code, answer.json()["fieldName"]) == (422, field), answer.text
