"""Containers as they should be: one step per look, nothing touched that is right, nothing taken down that must not be."""

from __future__ import annotations

import pytest
from tests.ha.support import Docker

from remuda.ha.config import Ports
from remuda.ha.keeper import Keeper
from remuda.ha.parts import LABEL_HASH, Part, part, redis_config


def wanted(name: str = "redis", value: str = "1", keys: str = "k") -> Part:
    return part(name, "sha256:own", ["redis-server", "/x.conf"], "/data", environment={"A": value}, keys=keys)


async def yes(_: Part) -> str:
    return ""


async def no(_: Part) -> str:
    return "the quorum would be lost"


def free(_: Part) -> str:
    return ""


@pytest.fixture
def docker() -> Docker:
    return Docker()


async def step(docker: Docker, item: Part, may: object = yes, obstacle: object = free) -> str:
    keeper = Keeper(docker)  # type: ignore[arg-type]
    seen = await keeper.look()
    return await keeper.ensure(item, seen.get(item.name), may, obstacle)  # type: ignore[arg-type]


async def test_a_missing_part_is_made_and_then_left_alone(docker: Docker) -> None:
    assert await step(docker, wanted()) == ""
    box = docker.boxes["remuda-ha-redis"]
    assert box["State"] == "running"
    assert box["Config"]["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert box["Config"]["HostConfig"]["CapDrop"] == ["ALL"]
    assert not box["Config"]["HostConfig"].get("Privileged")
    before = docker.calls.copy()
    assert await step(docker, wanted()) == ""
    assert docker.calls - before == {"containers": 1}


async def test_a_stopped_part_is_started(docker: Docker) -> None:
    await step(docker, wanted())
    docker.boxes["remuda-ha-redis"]["State"] = "exited"
    await step(docker, wanted())
    assert docker.boxes["remuda-ha-redis"]["State"] == "running"
    assert docker.calls["create"] == 1


async def test_new_settings_make_it_anew(docker: Docker) -> None:
    await step(docker, wanted())
    await step(docker, wanted(value="2"))
    assert docker.boxes["remuda-ha-redis"]["Config"]["Labels"][LABEL_HASH] == wanted(value="2").hash
    assert docker.calls["create"] == 2


async def test_a_part_that_must_not_go_now_stays_with_the_reason(docker: Docker) -> None:
    await step(docker, wanted())
    said = await step(docker, wanted(value="2"), may=no)
    assert "the quorum would be lost" in said
    assert docker.calls["create"] == 1


async def test_with_other_keys_there_is_nobody_to_wait_for(docker: Docker) -> None:
    await step(docker, wanted())
    assert await step(docker, wanted(value="2", keys="other"), may=no) == ""
    assert docker.calls["create"] == 2


async def test_a_taken_port_is_told_before_a_container_is_made(docker: Docker) -> None:
    said = await step(docker, wanted(), obstacle=lambda _: "port 6379 is taken")
    assert said == "port 6379 is taken"
    assert docker.boxes == {}


async def test_a_part_that_crashes_shows_its_last_words(docker: Docker) -> None:
    docker.crashing.add("remuda-ha-redis")
    await step(docker, wanted())
    assert "bind: address in use" in await step(docker, wanted())


async def test_a_leftover_under_our_name_is_cleared(docker: Docker) -> None:
    docker.boxes["remuda-ha-redis"] = {"Id": "old", "State": "exited", "Config": {}}
    assert await step(docker, wanted()) == ""
    assert docker.boxes["remuda-ha-redis"]["Id"] != "old"


async def test_foreign_containers_are_not_ours_to_touch(docker: Docker) -> None:
    docker.boxes["mine"] = {"Id": "x", "State": "running", "Config": {"Labels": {"io.remuda.ha.part": "redis"}}}
    keeper = Keeper(docker)  # type: ignore[arg-type]
    assert await keeper.look() == {}


async def test_a_paused_part_is_the_operators_business(docker: Docker) -> None:
    await step(docker, wanted())
    docker.boxes["remuda-ha-redis"]["State"] = "paused"
    assert "docker unpause remuda-ha-redis" in await step(docker, wanted())


def test_volatile_environment_does_not_make_it_anew() -> None:
    one = part("server", "i", ["x"], "/d", environment={"A": "1"}, volatile={"B": "1"})
    two = part("server", "i", ["x"], "/d", environment={"A": "1"}, volatile={"B": "2"})
    assert one.hash == two.hash
    assert "B=2" in two.document["Env"]


def test_redis_is_never_open() -> None:
    text = redis_config(Ports(), "/tls", "secret")
    assert "port 0\n" in text
    assert "requirepass secret" in text
