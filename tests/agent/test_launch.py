"""How the network service is kept running beside the agent, as a process and as a container."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.fakeengine import FakeEngine
from tests.support.fakeserver import until

from remuda.agent.network import launch
from remuda.agent.network.launch import CONTAINER, ContainerLauncher, ProcessLauncher, may_network
from remuda.agent.network.service import NetworkService, Taken, holder
from remuda.agent.network.state import FOLDER


@pytest.mark.parametrize(
    ("bits", "may"), [("0000000000001000", True), ("000001ffffffffff", True), ("00000000a80425eb", False)]
)
def test_who_may_change_the_network(tmp_path: Path, bits: str, may: bool) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text(f"Name:\tx\nCapEff:\t{bits}\n")
    assert may_network(tmp_path) is may


def test_without_proc_it_may_not(tmp_path: Path) -> None:
    assert not may_network(tmp_path)


# ---- a process --------------------------------------------------------------------------------------------------------

PROGRAM = """
import asyncio, sys
from pathlib import Path
from remuda.agent.network.service import NetworkService
async def main():
    service = NetworkService(Path(sys.argv[sys.argv.index("--state") + 1]), [], sys.argv[0].rpartition(":")[2])
    await service.lock()
    await service.run()
asyncio.run(main())
"""


@pytest_asyncio.fixture
async def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProcessLauncher]:
    """A launcher whose service has no parts; what it started is ended."""
    module = tmp_path / "modules"
    module.mkdir()
    (module / "bare_service.py").write_text(
        PROGRAM.replace('sys.argv[0].rpartition(":")[2]', f'"{launch.__version__}"')
    )
    monkeypatch.setattr(launch, "MODULE", "bare_service")
    monkeypatch.setenv("PYTHONPATH", str(module))
    yield ProcessLauncher(tmp_path)
    running = holder(tmp_path / FOLDER)
    if running is not None and running.pid != os.getpid():
        os.kill(running.pid, signal.SIGKILL)


def running(folder: Path) -> int:
    found = holder(folder / FOLDER)
    return found.pid if found is not None else 0


async def test_it_is_started_once_and_again_when_it_ended(started: ProcessLauncher, tmp_path: Path) -> None:
    assert await started.ensure() == ""
    await until(lambda: running(tmp_path))
    first = running(tmp_path)
    assert os.getsid(first) == first, "it is no child of the agent's session and outlives it"
    assert await started.ensure() == ""
    assert running(tmp_path) == first
    os.kill(first, signal.SIGKILL)
    await until(lambda: not running(tmp_path))
    assert await started.ensure() == ""
    await until(lambda: running(tmp_path) not in (0, first))


async def test_one_of_another_release_is_replaced(started: ProcessLauncher, tmp_path: Path) -> None:
    older = NetworkService(tmp_path, [], "0.0.1")
    await older.lock()
    with pytest.raises(Taken, match=f"process id {os.getpid()} works"):
        await NetworkService(tmp_path, [], "0.0.1").lock(0.2)
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    try:
        assert await started.ensure() == ""
        async with asyncio.timeout(10):
            await told.wait()
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    assert older._lock is not None
    older._lock.close()
    await until(lambda: running(tmp_path) not in (0, os.getpid()))


# ---- a container ------------------------------------------------------------------------------------------------------


def own(image: str = "sha256:1", **host: Any) -> dict[str, Any]:
    return {
        "Id": "a" * 64,
        "Image": image,
        "Config": {"Entrypoint": ["tini", "--", "entry"], "Env": ["CATTLE_SECRET_KEY=x", "PATH=/bin"], "Cmd": ["url"]},
        "HostConfig": {"Binds": ["/var/lib/remuda:/var/lib/remuda"], **host},
    }


def made(engine: FakeEngine) -> dict[str, Any]:
    return next(box for box in engine.boxes.values() if box["Name"] == f"/{CONTAINER}")


async def test_the_container_is_of_the_agents_image_and_knows_none_of_its_secrets() -> None:
    engine = FakeEngine({"sha256:1"})
    assert await ContainerLauncher(engine, own(), Path("/var/lib/remuda/agent")).ensure() == ""
    config = made(engine)["Config"]
    assert config["Image"] == "sha256:1"
    assert config["Cmd"] == ["network-service", "--state", "/var/lib/remuda/agent"]
    assert config["Env"] == ["PATH=/bin"]
    host = config["HostConfig"]
    assert host["Binds"] == ["/var/lib/remuda:/var/lib/remuda"]
    assert (host["Privileged"], host["NetworkMode"], host["PidMode"]) == (True, "host", "host")
    assert host["RestartPolicy"] == {"Name": "always"}
    assert made(engine)["State"]["Running"]


async def test_a_container_that_runs_is_left_alone_and_one_that_ended_is_started() -> None:
    engine = FakeEngine({"sha256:1"})
    launcher = ContainerLauncher(engine, own(), Path("/state"))
    await launcher.ensure()
    made(engine)["Image"] = "sha256:1"
    changes = engine.changes
    assert await launcher.ensure() == ""
    assert engine.changes == changes
    engine.end(made(engine)["Id"])
    assert await launcher.ensure() == ""
    assert made(engine)["State"]["Running"]
    assert engine.calls["create"] == 1


async def test_another_image_of_the_agent_brings_another_container() -> None:
    engine = FakeEngine({"sha256:1", "sha256:2"})
    await ContainerLauncher(engine, own(), Path("/state")).ensure()
    made(engine)["Image"] = "sha256:1"
    assert await ContainerLauncher(engine, own("sha256:2"), Path("/state")).ensure() == ""
    assert made(engine)["Config"]["Image"] == "sha256:2"
    assert made(engine)["State"]["Running"]


async def test_what_docker_refuses_is_told_and_a_dead_docker_is_not() -> None:
    engine = FakeEngine({"busybox"})
    assert "could not be started" in await ContainerLauncher(engine, own(), Path("/state")).ensure()
    engine.stop_daemon()
    assert await ContainerLauncher(engine, own(), Path("/state")).ensure() == ""
