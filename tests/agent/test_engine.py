"""What every engine must do: the same suite on the one in memory and on a real Docker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from testbed.bed import Bed
from tests.agent.real import IMAGE, one_host
from tests.support.fakeengine import FakeEngine

from remuda.adapters.docker.engine import DockerEngine
from remuda.agent.translate import translate
from remuda.agent.watch import closing
from remuda.core.inspected import launch_config
from remuda.core.spec import LaunchConfig
from remuda.core.wire import Assignment
from remuda.ports.engine import Engine, EngineDown, EngineError

LABELS = {"suite": "engine"}
real = [pytest.mark.bed, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with one_host() as running:
        yield running


@pytest_asyncio.fixture(params=["memory", pytest.param("docker", marks=real)])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    if request.param == "memory":
        yield FakeEngine({IMAGE})
        return
    found = DockerEngine(f"unix://{request.getfixturevalue('bed').socket(1)}")
    yield found
    for item in await found.containers():
        await found.remove(item["Id"], force=True)
    await found.close()


def wish(*command: str) -> dict[str, Any]:
    return {"Image": IMAGE, "Cmd": list(command or ("sleep", "1000")), "Labels": LABELS, "StopSignal": "SIGKILL"}


async def test_the_life_of_a_container(engine: Engine) -> None:
    container = await engine.create("life", wish())
    assert (await engine.inspect(container))["State"]["Status"] == "created"
    await engine.start(container)
    await engine.start(container)
    [listed] = await engine.containers()
    assert (listed["Id"], listed["State"]) == (container, "running")
    document = await engine.inspect(container)
    assert document["Name"] == "/life"
    assert document["Config"]["Labels"]["suite"] == "engine"
    assert document["NetworkSettings"]["IPAddress"]
    await engine.stop(container, 1)
    await engine.stop(container, 1)
    assert (await engine.inspect(container))["State"]["Status"] == "exited"
    await engine.remove(container)
    await engine.remove(container)
    assert await engine.containers() == []


async def test_what_is_not_there(engine: Engine) -> None:
    for call in (engine.inspect("nosuch"), engine.start("nosuch"), engine.stop("nosuch", 1)):
        with pytest.raises(EngineError) as caught:
            await call
        assert caught.value.status == 404
        assert "no such container" in str(caught.value).lower()
    with pytest.raises(EngineError) as caught:
        await engine.create("x1", {"Image": "nosuch:1"})
    assert caught.value.status == 404
    assert "no such image" in str(caught.value).lower()
    assert not await engine.has_image("nosuch:1")
    assert await engine.has_image(IMAGE)


async def test_a_name_is_taken_once(engine: Engine) -> None:
    await engine.create("taken", wish())
    with pytest.raises(EngineError) as caught:
        await engine.create("taken", wish())
    assert caught.value.status == 409


async def test_a_running_container_is_removed_by_force_only(engine: Engine) -> None:
    container = await engine.create("running", wish())
    await engine.start(container)
    with pytest.raises(EngineError) as caught:
        await engine.remove(container)
    assert caught.value.status == 409
    await engine.remove(container, force=True)


async def test_a_volume_is_made_once_and_kept_while_a_container_has_it(engine: Engine) -> None:
    assert "data" not in {one["Name"] for one in await engine.volumes()}
    await engine.create_volume("data", "local", {})
    await engine.create_volume("data", "local", {})
    (made,) = [one for one in await engine.volumes() if one["Name"] == "data"]
    assert made["Driver"] == "local"
    assert made["Mountpoint"]
    user = {**wish("sleep", "60"), "HostConfig": {"Binds": ["data:/data"]}}
    container = await engine.create("user", user)
    with pytest.raises(EngineError, match="in use") as refused:
        await engine.remove_volume("data")
    assert refused.value.status == 409
    await engine.remove(container, force=True)
    await engine.remove_volume("data")
    await engine.remove_volume("data")
    assert "data" not in {one["Name"] for one in await engine.volumes()}


async def test_a_driver_that_is_not_there_is_told(engine: Engine) -> None:
    if isinstance(engine, FakeEngine):
        engine.refuse_volume = "error looking up volume plugin nowhere: plugin not found"
    with pytest.raises(EngineError, match="nowhere"):
        await engine.create_volume("data", "nowhere", {})


async def test_events_begin_with_an_empty_document_and_tell_what_happens(engine: Engine) -> None:
    heard: list[tuple[str, str]] = []
    listening = asyncio.Event()

    async def listen() -> None:
        async with closing(engine.events()) as events:
            async for event in events:
                if not event:
                    listening.set()
                    continue
                heard.append((event["Action"], event["Actor"]["ID"]))
                assert event["Actor"]["Attributes"]["suite"] == "engine"
                if event["Action"] == "destroy":
                    return

    task = asyncio.create_task(listen())
    async with asyncio.timeout(20):
        await listening.wait()
        container = await engine.create("heard", wish())
        await engine.start(container)
        await engine.kill(container)
        await engine.remove(container, force=True)
        await task
    actions = [action for action, found in heard if found == container]
    assert [action for action in actions if action in ("create", "start", "die", "destroy")] == [
        "create", "start", "die", "destroy",
    ]  # fmt: skip


async def test_a_refused_pull_says_why(engine: Engine) -> None:
    with pytest.raises(EngineError):
        await engine.pull("localhost:1/nosuch:1", "", lambda percent, sentence: None)


@pytest.mark.bed
async def test_output_is_told_apart_and_commands_run(bed: Bed) -> None:
    engine = DockerEngine(f"unix://{bed.socket(1)}")
    container = await engine.create("output", wish("sh", "-c", "echo out; echo err >&2; sleep 1000"))
    try:
        await engine.start(container)
        pieces: set[tuple[str, bytes]] = set()
        async with (
            asyncio.timeout(10),
            closing(engine.logs(container, follow=True, lines=-1, timestamps=False)) as logs,
        ):
            async for piece in logs:
                pieces.add(piece)
                if len(pieces) == 2:
                    break
        assert pieces == {("out", b"out\n"), ("err", b"err\n")}
        async with asyncio.timeout(20):
            running = await engine.exec(container, ["sh", "-c", "cat; echo bad >&2; exit 3"], tty=False, stdin=True)
            await running.write(b"typed\n")
            await running.write(b"")
            found = b""
            while (piece := await running.read())[1]:
                found += piece[0].encode() + b":" + piece[1]
            assert found == b"out:typed\nerr:bad\n"
            assert await running.exit_code() == 3
            await running.close()
            async with closing(engine.stats(container)) as stats:
                async for document in stats:
                    assert "cpu_stats" in document
                    break
    finally:
        await engine.remove(container, force=True)
        await engine.close()


async def test_a_containers_own_terminal_is_joined_and_left_without_ending_it(engine: Engine) -> None:
    container = await engine.create("console", {**wish("cat"), "OpenStdin": True, "Tty": True})
    await engine.start(container)
    for number in (1, 2):
        joined = await engine.attach(container)
        async with asyncio.timeout(20):
            await joined.resize(100, 30)
            await joined.write(b"round %d\n" % number)
            found = b""
            while b"round %d" % number not in found:
                found += (await joined.read())[1]
        await joined.close()
        assert (await engine.inspect(container))["State"]["Status"] == "running"
    await engine.remove(container, force=True)
    with pytest.raises(EngineError):
        await engine.attach(container)


async def test_an_engine_that_is_not_there_says_what_to_look_at() -> None:
    engine = DockerEngine("unix:///nowhere/docker.sock")
    with pytest.raises(EngineDown, match="There is no Docker socket at /nowhere"):
        await engine.ping()
    await engine.close()
    with pytest.raises(ValueError, match="no address of a Docker engine"):
        DockerEngine("ftp://x")


@pytest.mark.bed
@pytest.mark.timeout(120)
async def test_limits_and_options_arrive_at_a_real_engine_as_they_were_wished(bed: Bed) -> None:
    engine = DockerEngine(f"unix://{bed.socket(1)}")
    spec = LaunchConfig(
        image_uuid=f"docker:{IMAGE}", command=["sleep", "1000"], stop_signal="SIGKILL", network_mode="bridge",
        dns_opt=["ndots:2"], cpu_set="0", cpu_set_mems="0", cpu_shares=512, memory=64_000_000, pids_limit=50,
        shm_size=8_000_000, userns_mode="host", uts="host", oom_score_adj=100, group_add=["5"],
        tmpfs={"/scratch": "size=1m"}, ulimits=[{"name": "nofile", "soft": 100, "hard": 200}], run_init=False,
        sysctls={"net.core.somaxconn": "99"}, health_cmd=["CMD-SHELL", "true"], health_interval=5,
        cap_add=["NET_ADMIN"], read_only=True,
    )  # fmt: skip
    wish = translate(Assignment(seq=1, uuid="options", desired="running", name="options", spec=spec))
    container = await engine.create("options", wish.document)
    try:
        await engine.start(container)
        found = await engine.inspect(container)
        assert found["State"]["Running"]
        read = launch_config(found)
        for name in ("dns_opt", "cpu_set", "cpu_set_mems", "cpu_shares", "memory", "pids_limit", "shm_size", "userns_mode", "uts",
                     "oom_score_adj", "group_add", "sysctls", "tmpfs", "ulimits", "read_only", "health_cmd"):  # fmt: skip
            assert getattr(read, name) == getattr(spec, name), name
    finally:
        await engine.remove(container, force=True)
        await engine.close()
