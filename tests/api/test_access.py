"""Shells, consoles and Docker sockets: who is given a ticket, what it says, what it opens, and when it ends."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from joserfc import jwt
from joserfc.jwk import RSAKey

from remuda.adapters.memory.bus import MemoryHub
from remuda.adapters.memory.clock import SystemClock
from remuda.adapters.memory.leases import MemoryCluster
from remuda.adapters.sql.store import SqlStore
from remuda.core import wire

from .conftest import Installation, eventually, installation
from .people import basic, everybody, key, members, person
from .streaming import Host, host_of, running

SHELL = {"command": ["sh"], "tty": True}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def dial(access: dict[str, Any], **more: Any) -> websockets.connect:
    url = access["url"] if access["type"] == "instanceConsole" else f"{access['url']}?token={access['token']}"
    return websockets.connect(url, **more)


async def shut(access: dict[str, Any]) -> None:
    with pytest.raises((websockets.InvalidStatus, websockets.ConnectionClosed)):
        async with dial(access) as socket:
            await asyncio.wait_for(socket.recv(), 5)


async def ask(server: Installation, url: str, action: str, body: Any = None) -> dict[str, Any]:
    async with server.admin() as http:
        answer = await http.post(f"{url}?action={action}", json=body or {})
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]


async def the_host(server: Installation) -> dict[str, Any]:
    async with server.admin() as http:

        async def active() -> Any:
            found = (await http.get("/hosts")).json()["data"]
            return found[0] if found and found[0]["state"] == "active" else None

        return await eventually(active)  # type: ignore[no-any-return]


def certified(pem: str) -> RSAKey:
    certificate = x509.load_pem_x509_certificate(pem.encode())
    public = certificate.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return RSAKey.import_key(public)


def keyed(pem: str, body: str) -> str:
    """The classic: what everybody may read, taken for a shared secret."""
    head = b64(json.dumps({"alg": "HS256", "typ": "JWT"}).encode()).rstrip("=")
    mac = hmac.new(pem.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


async def test_tickets_are_signed_so_that_others_can_check_them(server: Installation) -> None:
    await host_of(server)
    container, host = await running(server), await the_host(server)
    shell = await ask(server, container["links"]["self"], "execute", {"command": ["ls", "-l"], "tty": False})
    async with server.client() as anybody:
        pem = (await anybody.get("/scripts/api.crt")).text
        assert (await anybody.get("/scripts/api.crt")).text == pem
    told = jwt.decode(shell["token"], certified(pem), algorithms=["RS256"])
    claims = told.claims
    assert told.header["alg"] == "RS256"
    assert told.header["kid"] == claims["kid"]
    assert (claims["iss"], claims["sub"], claims["hostUuid"]) == ("http://cattle.io", "cattle", host["uuid"])
    assert claims["exec"] == {
        "AttachStdin": True, "AttachStdout": True, "Tty": False, "Cmd": ["ls", "-l"], "Container": container["externalId"],
    }  # fmt: skip
    logs = await ask(server, container["links"]["self"], "logs", {"lines": 7, "follow": False})
    claims = jwt.decode(logs["token"], certified(pem), algorithms=["RS256"]).claims
    assert {k: claims["logs"][k] for k in ("Lines", "Follow", "Container")} == {
        "Lines": 7, "Follow": False, "Container": container["externalId"],
    }  # fmt: skip
    async with server.admin() as http:
        numbers = (await http.get(f"{container['links']['self']}/containerstats")).json()
    assert numbers["url"].endswith("/v1/containerstats")
    claims = jwt.decode(numbers["token"], certified(pem), algorithms=["RS256"]).claims
    assert claims["containerIds"] == {container["externalId"]: container["id"]}


async def test_nobody_can_make_or_change_a_ticket(server: Installation) -> None:
    await host_of(server)
    container = await running(server)
    shell = await ask(server, container["links"]["self"], "execute", SHELL)
    async with server.client() as anybody:
        pem = (await anybody.get("/scripts/api.crt")).text
    claims = jwt.decode(shell["token"], certified(pem), algorithms=["RS256"]).claims
    head, body, signature = shell["token"].split(".")
    other = RSAKey.generate_key(2048)
    forged = [
        keyed(pem, body),
        jwt.encode({"alg": "RS256"}, claims, other),
        f"{b64(json.dumps({'alg': 'none'}).encode()).rstrip('=')}.{body}.",
        f"{head}.{body[:-2]}AA.{signature}",
        server.jwt,
        "",
    ]
    for token in forged:
        await shut({**shell, "token": token})
    for path in ("logs", "console", "dockersocket", "hoststats"):
        await shut({**shell, "url": shell["url"].replace("/exec/", f"/{path}/")})


async def test_a_console_is_the_containers_own_terminal(server: Installation) -> None:
    agent = await host_of(server)
    container = await running(server)
    assert "console" in container["actions"]
    console = await ask(server, container["links"]["self"], "console")
    assert (console["type"], console["kind"], console["password"]) == ("instanceConsole", "docker", None)
    assert re.match(r"ws://.*/v1/console/\?token=", console["url"])
    async with dial(console) as socket:
        await socket.send(b64(b"hello"))
        assert base64.b64decode(await asyncio.wait_for(socket.recv(), 5)) == b"hello"
        await socket.send(":resizeTTY:120,40")
        await socket.send(b64(b"more"))
        assert base64.b64decode(await asyncio.wait_for(socket.recv(), 5)) == b"more"
    assert (agent.streams[-1].kind, agent.engine.calls["attach"]) == ("console", 1)
    assert agent.engine.execs[-1].sizes == [(120, 40)]

    async def hung_up() -> bool:
        return agent.engine.execs[-1].closed

    await eventually(hung_up)


@pytest.mark.parametrize("action", ["execute", "console"])
async def test_bytes_come_as_they_are_on_request(server: Installation, action: str) -> None:
    agent = await host_of(server)
    container = await running(server)
    access = await ask(server, container["links"]["self"], action, SHELL if action == "execute" else None)
    data = bytes(range(256))
    async with dial(access, subprotocols=["binary"]) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "binary"
        await socket.send(data)
        assert await asyncio.wait_for(socket.recv(), 5) == data
        await socket.send(":resizeTTY:80,25")
        await socket.send("typed")
        assert await asyncio.wait_for(socket.recv(), 5) == b"typed"
    assert agent.engine.execs[-1].sizes == [(80, 25)]


async def test_the_docker_socket_of_a_host_is_for_owners(server: Installation) -> None:
    agent, host = await host_of(server), await the_host(server)
    people = await everybody(server)
    url = host["links"]["self"]
    async with server.client() as http:
        for name, offered, status in (
            ("owner", True, 200),
            ("member", False, 403),
            ("restricted", False, 403),
            ("readonly", False, 403),
            ("environment key", False, 403),
        ):
            path = url.partition("/v1")[2]
            seen = (await http.get(path, headers=people[name])).json()
            answer = await http.post(f"{path}?action=dockersocket", headers=people[name])
            assert (name, "dockersocket" in seen["actions"], answer.status_code) == (name, offered, status)
    socket_of = await ask(server, url, "dockersocket")
    assert socket_of["type"] == "hostAccess"
    assert socket_of["url"].endswith("/v1/dockersocket/")
    async with dial(socket_of, subprotocols=["binary"]) as raw, dial(socket_of) as text:  # type: ignore[list-item]
        await raw.send(b"GET /_ping HTTP/1.1\r\n\r\n")
        assert await asyncio.wait_for(raw.recv(), 5) == b"GET /_ping HTTP/1.1\r\n\r\n"
        await text.send(b64(b"\x00\xff"))
        assert base64.b64decode(await asyncio.wait_for(text.recv(), 5)) == b"\x00\xff"
    assert agent.engine.calls["dial"] == 2
    async with server.admin(None) as admin:
        log = (await admin.get("/auditlogs?eventType=api.host.dockersocket")).json()["data"]
        assert log


async def test_docker_sockets_can_be_switched_off_and_those_that_are_open_end(server: Installation) -> None:
    await host_of(server)
    url = (await the_host(server))["links"]["self"]
    access = await ask(server, url, "dockersocket")
    async with server.admin(None) as admin, server.admin() as http, dial(access) as socket:
        assert (await admin.put("/settings/host.dockersocket.enabled", json={"value": "maybe"})).status_code == 422
        await admin.put("/settings/host.dockersocket.enabled", json={"value": "false"})
        with pytest.raises(websockets.ConnectionClosedError):
            await asyncio.wait_for(socket.recv(), 5)
        answer = await http.post(f"{url}?action=dockersocket")
        assert (answer.status_code, answer.json()["code"]) == (501, "HostApiProxyDisabled")
        await shut(access)


async def test_a_shell_ends_with_the_rights_of_who_opened_it(server: Installation) -> None:
    agent = await host_of(server)
    container = await running(server)
    account, headers = await person(server, "ann")
    await members(server, "1a5", {account: "member"})
    async with server.client(headers=headers) as http:
        path = container["links"]["self"].partition("/v1")[2]
        access = (await http.post(f"{path}?action=execute", json=SHELL)).json()
    async with dial(access) as socket:
        await socket.send(b64(b"x"))
        await socket.recv()
        await members(server, "1a5", {account: "readonly"})
        with pytest.raises(websockets.ConnectionClosedError, match="right to this stream"):
            await asyncio.wait_for(socket.recv(), 5)
    await eventually(lambda: closed(agent))


async def closed(agent: Host) -> bool:
    return agent.engine.execs[-1].closed


async def test_who_does_not_read_holds_up_only_the_command(server: Installation) -> None:
    agent = await host_of(server)
    container = await running(server)
    access = await ask(server, container["links"]["self"], "execute", {"command": ["yes"]})
    async with dial(access, max_queue=1, compression=None) as socket:
        await socket.recv()
        [command] = agent.engine.endless

        async def silent() -> bool:
            before = command.said
            await asyncio.sleep(0.3)
            return command.said == before

        await eventually(silent)
        assert command.said < 16 * 1024 * 1024  # what the window and the kernel's buffers hold
        for _ in range(20):
            await socket.recv()
        await eventually(lambda: moved(command, command.said))


async def moved(command: Any, before: int) -> bool:
    await asyncio.sleep(0.05)
    return bool(command.said > before)


async def test_a_peer_that_fell_silent_is_left(tmp_path: Path) -> None:
    async with installation(tmp_path, ws_ping_interval=0.2, ws_ping_timeout=0.3) as server:
        await server.set_up()
        agent = await host_of(server)
        container = await running(server)
        access = await ask(server, container["links"]["self"], "execute", SHELL)
        host, port = server.base.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"GET /v1/exec/?token={access['token']} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        await eventually(lambda: opened(agent))
        await eventually(lambda: closed(agent), 5)  # it never answered a ping
        writer.close()


async def opened(agent: Host) -> bool:
    return bool(agent.engine.execs)


async def test_a_ticket_of_one_server_opens_the_stream_on_another(tmp_path: Path) -> None:
    cluster, hub = MemoryCluster(SystemClock()), MemoryHub()
    stores = [SqlStore.sqlite(str(tmp_path / "remuda.db"), clock=SystemClock()) for _ in range(2)]
    async with (
        installation(tmp_path, stores[0], name="one", cluster=cluster, hub=hub) as one,
        installation(tmp_path, stores[1], name="two", cluster=cluster, hub=hub) as two,
    ):
        await one.set_up()
        two.jwt = one.jwt
        agent = await host_of(one)
        container = await running(one)
        for server in (one, two):
            path = container["links"]["self"].replace(one.base, server.base)
            access = await ask(server, path, "execute", SHELL)
            for door in (one, two):
                there = {**access, "url": access["url"].replace(server.base[4:], door.base[4:])}
                async with dial(there) as socket:
                    await socket.send(b64(b"hello"))
                    assert base64.b64decode(await asyncio.wait_for(socket.recv(), 5)) == b"hello"
        assert [opening.kind for opening in agent.streams] == ["exec"] * 4
        assert isinstance(agent.streams[0], wire.StreamOpen)


async def test_an_event_is_heard_on_other_servers(tmp_path: Path) -> None:
    cluster, hub = MemoryCluster(SystemClock()), MemoryHub()
    stores = [SqlStore.sqlite(str(tmp_path / "remuda.db"), clock=SystemClock()) for _ in range(2)]
    async with (
        installation(tmp_path, stores[0], name="one", cluster=cluster, hub=hub) as one,
        installation(tmp_path, stores[1], name="two", cluster=cluster, hub=hub) as two,
    ):
        await one.set_up()
        header = {"Authorization": f"Bearer {one.jwt}"}
        path = "/v1/projects/1a5/subscribe?eventNames=service.*"
        async with (
            websockets.connect(one.base.replace("http", "ws") + path, additional_headers=header) as near,
            websockets.connect(two.base.replace("http", "ws") + path, additional_headers=header) as far,
            one.admin() as http,
        ):
            token = (await http.post("/registrationtokens")).json()["token"]
            async with one.client(headers=basic("registrationToken", token)) as new:
                pair = (await new.post("/register", json={"key": "a-machine"})).json()
            http.headers["Authorization"] = basic(pair["accessKey"], pair["secretKey"])["Authorization"]
            for number in range(3):
                await http.post(f"{one.base}/v1/publish", json={"name": "service.x", "data": {"n": number}})
            for socket in (near, far):
                heard = []
                async with asyncio.timeout(5):
                    while len(heard) < 3:
                        frame = json.loads(await socket.recv())
                        if frame["name"] == "service.x":
                            heard.append(frame["data"]["n"])
                assert heard == [0, 1, 2]


async def test_a_container_that_runs_nowhere_has_no_streams(server: Installation) -> None:
    async with server.admin() as http:
        made = (await http.post("/containers", json={"name": "c", "imageUuid": "docker:x"})).json()
        for action in ("console", "proxy", "execute"):
            assert action not in made["actions"]
            answer = await http.post(f"{made['links']['self']}?action={action}", json=SHELL)
            assert (answer.status_code, answer.json()["code"]) == (422, "ActionNotAvailable")


async def test_an_environment_key_gets_a_shell_but_no_engine(server: Installation) -> None:
    await host_of(server)
    container = await running(server)
    headers = await key(server)
    path = container["links"]["self"].partition("/v1")[2]
    async with server.client(headers=headers) as http:
        assert (await http.post(f"{path}?action=execute", json=SHELL)).status_code == 200
