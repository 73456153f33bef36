"""Containers on the managed network of a real Docker: addresses, modes, joining, and a network that has to be made anew."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from testbed.bed import Bed, until
from tests.agent.real import IMAGE, load_busybox

from remuda.adapters.docker.engine import DockerEngine
from remuda.agent.network import attach
from remuda.agent.network.attach import Join
from remuda.agent.network.state import BRIDGE, DOCKER_NETWORK
from remuda.agent.translate import translate
from remuda.core.network.addressing import mac_of
from remuda.core.network.scene import Scene, SceneHost, SceneNetwork
from remuda.core.spec import LaunchConfig
from remuda.core.wire import Assignment

pytestmark = [pytest.mark.bed, pytest.mark.timeout(120)]

HOST = SceneHost(id=1, name="h1", agent_ip="10.77.22.11", ip="10.42.0.2", connected=True)
SCENE = Scene(network=SceneNetwork(mtu=1390), hosts={1: HOST})


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with Bed(1, name="bdover", net="10.77.22") as running:
        load_busybox(running)
        yield running


@pytest_asyncio.fixture
async def engine(bed: Bed) -> AsyncIterator[DockerEngine]:
    found = DockerEngine(f"unix://{bed.socket(1)}")
    assert await attach.ensure(found, SCENE, HOST) == ""
    yield found
    for item in await found.containers():
        await found.remove(item["Id"], force=True)
    await found.close()


def wish(name: str, address: str = "", **spec: Any) -> Assignment:
    values = {"image_uuid": f"docker:{IMAGE}", "command": ["sleep", "1000"], "stop_signal": "SIGKILL", **spec}
    mac = mac_of(address) if address else ""
    launch = LaunchConfig(**values)
    return Assignment(seq=1, uuid=name, desired="running", name=name, spec=launch, managed_ip=address, mac=mac)


async def run(engine: DockerEngine, assignment: Assignment, known: dict[str, str] | None = None) -> str:
    container = await engine.create(*translate(assignment, known or {}))
    await engine.start(container)
    return container


def shown(bed: Bed, container: str) -> list[dict[str, Any]]:
    """The devices of a container but its loopback."""
    text = bed.docker(1, "exec", container, "ip", "-o", "addr")
    return [{"name": line.split()[1], "text": line} for line in text.splitlines() if " lo " not in line]


async def test_a_managed_container_has_the_address_it_was_given(bed: Bed, engine: DockerEngine) -> None:
    container = await run(engine, wish("web", "10.42.7.9"))
    link = bed.docker(1, "exec", container, "ip", "-o", "link", "show", "eth0")
    assert "mtu 1390" in link
    assert "02:42:0a:2a:07:09" in link
    assert any("10.42.7.9/16" in device["text"] for device in shown(bed, container))
    assert "default via 10.42.0.2" in bed.docker(1, "exec", container, "ip", "route")
    config = (await engine.inspect(container))["HostConfig"]
    assert config["Dns"] == ["169.254.169.250"]
    await engine.stop(container, 1)
    await engine.start(container)
    assert any("10.42.7.9/16" in device["text"] for device in shown(bed, container)), "the same after a restart"


async def test_the_other_modes_are_dockers(bed: Bed, engine: DockerEngine) -> None:
    web = await run(engine, wish("web", "10.42.7.10"))
    shares = await run(engine, wish("log", network_launch_config="web"), {"web": web})
    assert any("10.42.7.10/16" in device["text"] for device in shown(bed, shares))
    bridged = await run(engine, wish("bridged", network_mode="bridge"))
    assert any("172.17." in device["text"] for device in shown(bed, bridged))
    assert not shown(bed, await run(engine, wish("none", network_mode="none")))
    hosted = await run(engine, wish("hosted", network_mode="host"))
    assert any("10.77.22.11" in device["text"] for device in shown(bed, hosted))
    assert web[:12] in bed.docker(1, "exec", shares, "cat", "/etc/hostname")


async def test_containers_reach_each_other_under_their_own_addresses(bed: Bed, engine: DockerEngine) -> None:
    web = await run(engine, wish("web", "10.42.7.11", command=["/bin/www"]))
    client = await run(engine, wish("client", "10.42.7.12"))
    fetch = ("exec", client, "wget", "-q", "-O", "-", "http://10.42.7.11/")
    until("the page is served", lambda: bed.docker(1, *fetch).startswith("hello from"), 10)
    bed.exec(1, "sh", "-c", f"ip neigh flush dev {BRIDGE}")
    bed.docker(1, "exec", client, "ping", "-c", "1", "-W", "2", "10.42.7.11")
    seen = bed.docker(1, "exec", web, "cat", "/proc/net/arp")
    assert "10.42.7.12" in seen, "no masquerading between containers"


async def test_containers_of_all_kinds_can_be_attached_by_hand(bed: Bed, engine: DockerEngine) -> None:
    plain = bed.docker(1, "run", "-d", IMAGE, "sleep", "1000")
    await attach.join(engine, Join(plain, "10.42.7.20", ""))
    assert any("10.42.7.20/16" in device["text"] for device in shown(bed, plain))
    chosen = bed.docker(1, "run", "-d", "--network", DOCKER_NETWORK, IMAGE, "sleep", "1000")
    before = (await engine.inspect(chosen))["NetworkSettings"]["Networks"][DOCKER_NETWORK]["IPAddress"]
    assert before.startswith("10.42.255."), "Docker picks only from what is never given"
    await attach.join(engine, Join(chosen, "10.42.7.21", before))
    addresses = [device["text"] for device in shown(bed, chosen)]
    assert any("10.42.7.21/16" in text for text in addresses)
    assert not any(before in text for text in addresses)


async def test_the_network_is_made_anew_only_when_nobody_uses_it(bed: Bed, engine: DockerEngine) -> None:
    other = msgspec.structs.replace(SCENE, network=SceneNetwork(mtu=1300, subnet="10.50.0.0/16"))
    moved = msgspec.structs.replace(HOST, ip="10.50.0.2")
    container = await run(engine, wish("web", "10.42.7.30"))
    assert "was made for other addresses and 1 containers use it" in await attach.ensure(engine, other, moved)
    assert "10.42.0.2" in bed.exec(1, "ip", "addr", "show", "dev", BRIDGE)
    await engine.remove(container, force=True)
    assert await attach.ensure(engine, other, moved) == ""
    assert "10.50.0.2" in bed.exec(1, "ip", "addr", "show", "dev", BRIDGE)
    assert await attach.ensure(engine, SCENE, HOST) == ""
    found = json.loads(bed.docker(1, "network", "inspect", DOCKER_NETWORK))[0]
    assert found["Options"]["com.docker.network.driver.mtu"] == "1390"


async def test_addresses_that_somebody_else_uses_are_named(bed: Bed, engine: DockerEngine) -> None:
    await engine.remove_network(DOCKER_NETWORK)
    bed.docker(1, "network", "create", "--subnet", "10.42.0.0/24", "intruder")
    said = await attach.ensure(engine, SCENE, HOST)
    assert "does not make the network remuda (10.42.0.0/16)" in said
    assert "overlap" in said
    bed.docker(1, "network", "rm", "intruder")
    assert await attach.ensure(engine, SCENE, HOST) == ""
