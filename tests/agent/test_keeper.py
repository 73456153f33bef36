"""The agent's end of the network: what it writes down, makes in Docker, starts, and says of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from tests.support.fakeengine import FakeEngine
from tests.support.fakeserver import until

from remuda.agent.network.keeper import NetworkKeeper
from remuda.agent.network.state import FOLDER, STATE, STATUS, NetState, NetStatus, PeerStatus, read, write
from remuda.agent.surroundings import Surroundings
from remuda.agent.watch import Watch
from remuda.core.network.scene import Scene, SceneContainer, SceneHost, SceneNetwork
from remuda.core.wire import NetworkKeys, SceneUpdate

HOST = SceneHost(id=1, name="h1", agent_ip="10.99.0.1", ip="10.42.0.2", connected=True)
SCENE = Scene(network=SceneNetwork(mtu=1390), hosts={1: HOST})


class CountingLauncher:
    """Starts nothing; ``trouble`` is what it answers."""

    def __init__(self) -> None:
        self.calls, self.trouble = 0, ""

    async def ensure(self) -> str:
        self.calls += 1
        return self.trouble


class Rig:
    def __init__(self, folder: Path, launcher: CountingLauncher | None) -> None:
        self.folder, self.engine, self.launcher = folder, FakeEngine(), launcher
        self.around = Surroundings()
        self.watch = Watch(
            self.engine,
            "a1",
            on_change=lambda before, after: self.keeper.changed(),
            on_docker=lambda: self.keeper.docker_changed(),
            busy=lambda uuid: False,
        )
        self.keeper = NetworkKeeper(
            folder, self.engine, self.around, launcher, self.watch.containers.values, self.watch.refresh
        )
        self.tasks = [asyncio.create_task(self.watch.run()), asyncio.create_task(self.keeper.run())]

    def scene(self, scene: Scene = SCENE) -> None:
        self.around.take(SceneUpdate(scene=scene, complete=True))

    @property
    def written(self) -> NetState:
        return read(self.folder / FOLDER / STATE, NetState) or NetState()

    def service(self, **words: object) -> None:
        write(self.folder / FOLDER / STATUS, NetStatus(**words))  # type: ignore[arg-type]


@pytest_asyncio.fixture(params=[True])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    running = Rig(tmp_path, CountingLauncher() if request.param else None)
    await until(lambda: running.watch.seen)
    yield running
    for task in running.tasks:
        task.cancel()
    await asyncio.gather(*running.tasks, return_exceptions=True)


async def test_it_waits_for_a_server_then_makes_the_network_and_starts_the_service(rig: Rig) -> None:
    assert rig.keeper.status()[0] == "error"
    assert "Waits for a server" in rig.keeper.missing()
    assert not rig.engine.networks
    rig.around.welcome("1h1")
    rig.scene()
    await until(lambda: not rig.keeper.missing())
    made = rig.engine.networks["remuda"]
    assert made["IPAM"]["Config"] == [{"Subnet": "10.42.0.0/16", "Gateway": "10.42.0.2", "IPRange": "10.42.255.248/29"}]
    assert made["Options"]["com.docker.network.driver.mtu"] == "1390"
    await until(lambda: rig.launcher is not None and rig.launcher.calls == 1)
    assert rig.written.host == HOST
    assert rig.keeper.status() == ("error", "The network service has not said anything yet")
    rig.service(version=rig.written.version, state="up", link_mtu=1500, peers={2: PeerStatus(state="up")})
    await until(lambda: rig.keeper.status() == ("up", ""))
    assert rig.keeper.link_mtu == 1500


async def test_containers_wait_for_the_environments_mtu_but_not_for_ever(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.around.welcome("1h1")
    rig.scene(msgspec.structs.replace(SCENE, network=SceneNetwork()))
    await until(lambda: "how large packets may be" in rig.keeper.missing())
    await until(lambda: rig.written.host == HOST and rig.launcher is not None and rig.launcher.calls == 1)
    assert not rig.engine.networks, "it would have to be made anew"
    rig.scene()
    await until(lambda: not rig.keeper.missing())
    assert rig.engine.networks["remuda"]["Options"]["com.docker.network.driver.mtu"] == "1390"

    rig.engine.networks.clear()
    other = Rig(rig.folder / "other", CountingLauncher())
    try:
        monkeypatch.setattr("remuda.agent.network.keeper.MTU_SECONDS", 0.5)
        other.around.welcome("1h1")
        other.scene(msgspec.structs.replace(SCENE, network=SceneNetwork()))
        await until(lambda: "remuda" in other.engine.networks)
        assert other.engine.networks["remuda"]["Options"]["com.docker.network.driver.mtu"] != "1390"
    finally:
        for task in other.tasks:
            task.cancel()
        await asyncio.gather(*other.tasks, return_exceptions=True)


async def test_what_is_known_is_written_once_and_survives_the_agent(rig: Rig, tmp_path: Path) -> None:
    rig.around.welcome("1h1")
    for number in range(2, 40):
        rig.scene(msgspec.structs.replace(SCENE, hosts={1: HOST, number: SceneHost(id=number, ip=f"10.42.0.{number}")}))
    rig.around.take_keys(NetworkKeys(keys={1: "secret"}, use=1))
    await until(lambda: 39 in rig.written.scene.hosts and rig.written.use == 1)
    version = rig.written.version
    assert version <= 3, "changes on each other's heels are written together"
    await asyncio.sleep(1.2)
    assert rig.written.version == version, "nothing new, nothing written"
    remembered = NetworkKeeper.remembered(tmp_path)
    assert remembered is not None
    assert remembered.keys == {1: "secret"}
    assert (tmp_path / FOLDER / STATE).stat().st_mode & 0o777 == 0o600


async def test_a_container_started_by_hand_is_attached_also_from_an_address_of_dockers_choice(rig: Rig) -> None:
    rig.around.welcome("1h1")
    rig.scene()
    await until(lambda: not rig.keeper.missing())
    plain, chosen = rig.engine.by_hand("plain"), rig.engine.by_hand("chosen")
    await rig.engine.connect_network("remuda", chosen, "10.42.255.249")
    containers = {
        number: SceneContainer(id=number, uuid=f"docker:{docker}", host_id=1, ip=f"10.42.0.1{number}", native=True)
        for number, docker in ((1, plain), (2, chosen))
    }
    rig.scene(msgspec.structs.replace(SCENE, containers=containers))
    joined = rig.engine.networks["remuda"]["Containers"]
    await until(lambda: joined == {plain: {"IPv4Address": "10.42.0.11/16"}, chosen: {"IPv4Address": "10.42.0.12/16"}})
    await until(lambda: rig.written.local[f"docker:{chosen}"].ip == "10.42.0.12")
    calls = rig.engine.calls["connect_network"]
    await asyncio.sleep(1.2)
    assert rig.engine.calls["connect_network"] == calls


async def test_other_addresses_need_an_unused_network(rig: Rig) -> None:
    rig.around.welcome("1h1")
    rig.scene()
    await until(lambda: not rig.keeper.missing())
    container = rig.engine.by_hand("user")
    await rig.engine.connect_network("remuda", container, "10.42.255.249")
    moved = msgspec.structs.replace(SCENE, network=SceneNetwork(subnet="10.50.0.0/16", mtu=1390))
    rig.scene(msgspec.structs.replace(moved, hosts={1: msgspec.structs.replace(HOST, ip="10.50.0.2")}))
    await until(lambda: "made for other addresses and 1 containers use it" in rig.keeper.missing())
    await rig.engine.disconnect_network("remuda", container)
    await until(lambda: not rig.keeper.missing())
    assert rig.engine.networks["remuda"]["IPAM"]["Config"][0]["Subnet"] == "10.50.0.0/16"


async def test_another_mtu_waits_until_no_container_uses_the_network(rig: Rig) -> None:
    rig.around.welcome("1h1")
    rig.scene()
    await until(lambda: not rig.keeper.missing())
    container = rig.engine.by_hand("user")
    await rig.engine.connect_network("remuda", container, "10.42.255.249")
    asked = rig.engine.calls["network"]
    rig.scene(msgspec.structs.replace(SCENE, network=SceneNetwork(mtu=8890)))
    await until(lambda: rig.engine.calls["network"] > asked)
    assert not rig.keeper.missing()
    assert rig.engine.networks["remuda"]["Options"]["com.docker.network.driver.mtu"] == "1390"
    await rig.engine.disconnect_network("remuda", container)
    rig.keeper.docker_changed()
    await until(lambda: rig.engine.networks["remuda"]["Options"]["com.docker.network.driver.mtu"] == "8890")


async def test_a_network_that_somebody_removed_is_made_again_and_an_engine_that_is_away_changes_nothing(
    rig: Rig,
) -> None:
    rig.around.welcome("1h1")
    rig.scene()
    await until(lambda: not rig.keeper.missing())
    rig.service(version=rig.written.version, state="up")
    await until(lambda: rig.keeper.status()[0] == "up")
    rig.engine.stop_daemon()
    asked = rig.engine.calls["network"]
    await until(lambda: rig.engine.calls["network"] > asked)
    assert rig.keeper.status() == ("up", ""), "the overlay goes on without Docker"
    del rig.engine.networks["remuda"]
    rig.engine.start_daemon()
    await until(lambda: "remuda" in rig.engine.networks)


@pytest.mark.parametrize("rig", [False], indirect=True)
async def test_without_the_right_to_network_one_host_works_and_says_what_is_missing(rig: Rig) -> None:
    assert not rig.keeper.served
    rig.around.welcome("1h1")
    rig.scene()
    await until(lambda: not rig.keeper.missing())
    state, message = rig.keeper.status()
    assert state == "limited"
    assert "run it as root" in message
    rig.scene(msgspec.structs.replace(SCENE, hosts={1: HOST, 2: SceneHost(id=2, ip="10.42.0.3")}))
    await until(lambda: rig.keeper.status()[0] == "error")


async def test_a_service_that_cannot_be_started_is_told(rig: Rig) -> None:
    assert rig.launcher is not None
    rig.launcher.trouble = "The container remuda-network could not be started: no such image"
    rig.around.welcome("1h1")
    rig.scene()
    await until(
        lambda: rig.keeper.status() == ("error", "The container remuda-network could not be started: no such image")
    )
