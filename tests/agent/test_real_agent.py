"""The whole agent on a real Docker engine: crashes, dead engines, signals, reboots, its own container, its idle cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from testbed.bed import Bed
from tests.agent.real import AGENT_IMAGE, IMAGE, agent_process, load_agent_image, one_host
from tests.support.fakeserver import FakeServer, until

from remuda.core.spec import LaunchConfig
from remuda.core.wire import Assignment, StreamData

pytestmark = [pytest.mark.bed, pytest.mark.timeout(180)]

SPEC = LaunchConfig(image_uuid=f"docker:{IMAGE}", command=["sleep", "100000"], stop_signal="SIGKILL")
MACHINE = 254
"""This machine's last octet on the bed's network."""


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with one_host() as running:
        yield running


@pytest_asyncio.fixture
async def server(bed: Bed) -> AsyncIterator[FakeServer]:
    running = FakeServer(heartbeat=2.0, silence=5.0, host=f"{bed.net}.{MACHINE}")
    await running.start()
    yield running
    await running.stop()
    names = bed.docker(1, "ps", "-aq").split()
    if names:
        bed.docker(1, "rm", "-f", *names)


def wish(number: int, desired: str = "running", seq: int = 0, **rest: object) -> Assignment:
    fields: dict[str, object] = {"spec": SPEC, **rest}
    return Assignment(uuid=f"{number:08d}-u", seq=seq or number, desired=desired, name=f"app_web_{number}", **fields)  # type: ignore[arg-type]


def observed(server: FakeServer, number: int) -> str:
    report = server.reports.get(f"{number:08d}-u")
    return report.observed if report else ""


def external(server: FakeServer, number: int) -> str:
    return server.reports[f"{number:08d}-u"].external_id


async def test_containers_are_made_mended_stopped_and_removed(bed: Bed, server: FakeServer, tmp_path: Path) -> None:
    published = LaunchConfig(image_uuid=f"docker:{IMAGE}", ports=["8081:80"], labels={"tier": "web"})
    async with agent_process(bed, tmp_path, server.url) as agent:
        await until(lambda: server.connected, 20, "the agent connects")
        await server.assign(wish(1, spec=published), wish(2))
        await until(lambda: observed(server, 1) == observed(server, 2) == "running", 30)
        report = server.reports["00000001-u"]
        assert report.address.startswith("172.")
        assert [(port.private, port.public) for port in report.ports] == [(80, 8081)]
        assert report.labels["tier"] == "web"
        assert report.started

        before = external(server, 2)
        bed.docker(1, "kill", before)
        await until(lambda: server.reports["00000002-u"].restarts == 1 and observed(server, 2) == "running", 20)
        assert external(server, 2) == before, "a crashed container is started again, not made anew"
        bed.docker(1, "rm", "-f", before)
        await until(
            lambda: observed(server, 2) == "running" and external(server, 2) != before, 20, "made again when gone"
        )

        await server.assign(wish(1, "stopped", 3, spec=published), wish(2, "running", 4, restart_token=1))
        await until(lambda: observed(server, 1) == "exited" and server.applied == 4, 30)
        await server.assign(wish(1, "removed", 5), wish(2, "removed", 6))
        await until(lambda: observed(server, 1) == observed(server, 2) == "absent", 30)
        assert not bed.docker(1, "ps", "-aq")
        assert await agent.end() == 0


async def test_a_signal_ends_the_agent_and_leaves_containers_alone(
    bed: Bed, server: FakeServer, tmp_path: Path
) -> None:
    async with agent_process(bed, tmp_path, server.url) as agent:
        await until(lambda: server.connected, 20)
        await server.assign(wish(1))
        await until(lambda: observed(server, 1) == "running", 30)
        started = bed.docker(1, "inspect", "-f", "{{.State.StartedAt}}", external(server, 1))
        assert await agent.end() == 0
    await server.stop()
    async with agent_process(bed, tmp_path) as agent:
        await until(lambda: "cannot be reached" in agent.log, 20)
        await server.start()
        await until(lambda: server.connected and observed(server, 1) == "running", 20)
        assert bed.docker(1, "inspect", "-f", "{{.State.StartedAt}}", external(server, 1)) == started


async def test_a_dead_engine_is_told_within_5_s_and_its_containers_come_back(
    bed: Bed, server: FakeServer, tmp_path: Path
) -> None:
    async with agent_process(bed, tmp_path, server.url):
        await until(lambda: server.connected, 20)
        await server.assign(wish(1))
        await until(lambda: observed(server, 1) == "running", 30)
        bed.run("killdocker", 1)
        down = await until(
            lambda: next((f for f in server.facts if f.docker == "down"), None), 5, "Docker is told to be down"
        )
        assert down.docker_message
        await asyncio.to_thread(bed.run, "startdocker", 1, timeout=60)
        await until(lambda: server.facts[-1].docker == "up", 20)
        await until(lambda: len(bed.containers(1)) == 1 and observed(server, 1) == "running", 30)


async def test_a_hung_engine_is_told_too(bed: Bed, server: FakeServer, tmp_path: Path) -> None:
    async with agent_process(bed, tmp_path, server.url):
        await until(lambda: server.connected, 20)
        await until(
            lambda: server.hellos[0].facts.docker == "up" or (server.facts and server.facts[-1].docker == "up"), 20
        )
        bed.exec(1, "sh", "-c", "kill -STOP $(cat /run/docker.pid)")
        try:
            await until(lambda: server.facts and server.facts[-1].docker == "down", 8, "the hung engine is noticed")
            assert "did not answer" in server.facts[-1].docker_message
        finally:
            bed.exec(1, "sh", "-c", "kill -CONT $(cat /run/docker.pid)")
        await until(lambda: server.facts[-1].docker == "up", 20)


async def test_logs_and_a_shell_reach_into_a_container(bed: Bed, server: FakeServer, tmp_path: Path) -> None:
    talking = LaunchConfig(image_uuid=f"docker:{IMAGE}", command=["sh", "-c", "echo one; echo two >&2; sleep 1000"])
    async with agent_process(bed, tmp_path, server.url):
        await until(lambda: server.connected, 20)
        await server.assign(wish(1, spec=talking))
        await until(lambda: observed(server, 1) == "running", 30)
        logs = await server.open("logs", container=external(server, 1), follow=True, lines=10)
        await until(lambda: server.received(logs) == b"one\n")
        errors = StreamData(stream=logs, channel="err", payload=b"two\n")
        await until(lambda: errors in server.streams[logs])
        shell = await server.open("exec", container=external(server, 1), command=["sh"], tty=True, stdin=True)
        await server.send(StreamData(stream=shell, channel="resize", payload=b"120x40"))
        await server.send(StreamData(stream=shell, channel="in", payload=b"echo $((6*7)); exit 5\n"))
        end = await until(lambda: server.end_of(shell), 30)
        assert end.exit_code == 5
        assert b"42" in server.received(shell)
        stats = await server.open("stats", containers={external(server, 1): "1i1"})
        await until(lambda: b'"resourceType":"container"' in server.received(stats))


async def test_an_idle_agent_costs_little(bed: Bed, server: FakeServer, tmp_path: Path) -> None:
    async with agent_process(bed, tmp_path, server.url) as agent:
        await until(lambda: server.connected, 20)
        await server.assign(*(wish(number) for number in range(1, 6)))
        await until(lambda: server.applied == 5, 60)
        await asyncio.sleep(2)  # let the work of starting end: what follows is a measurement, not a race
        _, before = agent.figures()
        seconds = 20.0
        await asyncio.sleep(seconds)
        resident, after = agent.figures()
        share = 100 * (after - before) / seconds
        print(f"idle agent: {resident:.0f} MB resident, {share:.2f} % of a core")
        assert resident <= 60
        assert share <= 1.0  # the goal is 0.5 %; twice that is a regression even on a noisy machine


async def test_a_sidekick_outlives_the_loss_of_its_primary(bed: Bed, server: FakeServer, tmp_path: Path) -> None:
    guest = LaunchConfig(
        image_uuid=f"docker:{IMAGE}",
        command=["sleep", "100000"],
        stop_signal="SIGKILL",
        network_mode="container:00000001-u",
    )
    async with agent_process(bed, tmp_path, server.url):
        await until(lambda: server.connected, 20)
        await server.assign(wish(2, spec=guest), wish(1, seq=3))
        await until(lambda: observed(server, 1) == observed(server, 2) == "running", 30)
        first, second = external(server, 1), external(server, 2)
        bed.docker(1, "rm", "-f", first)
        bed.docker(1, "kill", second)
        await until(lambda: external(server, 1) not in ("", first) and external(server, 2) not in ("", second), 30)
        await until(lambda: observed(server, 1) == observed(server, 2) == "running", 30)
        mode = bed.docker(1, "inspect", "-f", "{{.HostConfig.NetworkMode}}", external(server, 2))
        assert mode == f"container:{external(server, 1)}"


async def test_the_image_makes_itself_permanent_and_survives_a_reboot(bed: Bed, server: FakeServer) -> None:
    binds = await asyncio.to_thread(load_agent_image, bed)
    command = ["run", "-d", "--privileged", "-v", "/var/run/docker.sock:/var/run/docker.sock"]
    command += [
        "-v",
        "/var/lib/remuda:/var/lib/remuda",
        "-e",
        "CATTLE_HOST_LABELS=rack=b",
        *binds,
        AGENT_IMAGE,
        server.url,
    ]
    first = await asyncio.to_thread(bed.docker, 1, *command)
    assert (await asyncio.to_thread(bed.docker, 1, "wait", first)) == "0", bed.docker(1, "logs", first)
    await until(lambda: server.connected, 20, "the permanent agent connects")
    assert bed.docker(
        1, "inspect", "-f", "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.PidMode}}", "remuda-agent"
    ) == ("always host")
    facts = server.hellos[0].facts
    assert facts.labels["rack"] == "b"
    assert facts.agent_ip == bed.ip(1)
    await server.assign(wish(1))
    await until(lambda: observed(server, 1) == "running", 30)
    own = next(report for report in server.reports.values() if report.name == "remuda-agent")
    assert own.system
    assert own.native

    again = await asyncio.to_thread(bed.docker, 1, *command)
    assert (await asyncio.to_thread(bed.docker, 1, "wait", again)) == "0", bed.docker(1, "logs", again)
    await until(lambda: len(server.hellos) == 2, 20)
    assert len(server.registrations) == 1, "the identity is kept"
    assert len(bed.containers(1)) == 2

    bed.kill(1)
    await until(lambda: not server.connected, 15)
    await asyncio.to_thread(bed.boot, 1)
    await until(lambda: len(server.hellos) == 3, 40, "the agent is back after the reboot")
    await until(lambda: observed(server, 1) == "running", 30)
    assert len({hello.machine for hello in server.hellos}) == 1, "the fingerprint is stable"
