"""Supervisors of one cluster on one database, with pretended Docker engines and parts that are as well as the test says."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.ha.support import Docker, generation_on_disk

from remuda.adapters.memory.clock import SystemClock
from remuda.adapters.sql.store import SqlStore
from remuda.ha import cluster, node, probes, supervisor
from remuda.ha.parts import PARTS
from remuda.ha.probes import Health
from remuda.ha.state import NodeState
from remuda.ha.supervisor import Supervisor
from remuda.ha.wanted import Options
from remuda.ports.store import Unavailable


class One:
    """A node: its disk, its engine, its supervisor."""

    def __init__(self, store: Any, root: Path, number: int, size: int) -> None:
        self.docker, self.number = Docker(), number
        self.root, self.store = root, store
        self.address = f"10.0.0.{number}"
        if not (root / "ha").exists():
            shutil.copytree(root.parent / "generation", root / "ha", symlinks=True)
        self.start()

    def start(self) -> None:
        """Start (again): everything in memory is gone, the disk and the containers are not."""
        home = self.root / "ha"
        self.state = NodeState()
        options = Options(data=self.root, image="sha256:own", version="1", hostname=f"host{self.number}")
        self.it = Supervisor(
            self.store,
            self.docker,
            node.load(home),
            node.identity(home),
            self.state,
            options,
            lambda: self.address,  # type: ignore[arg-type]
        )

    async def round(self) -> None:
        await self.it.look()
        await self.it.keep()
        await self.it.judge()

    @property
    def runs(self) -> set[str]:
        return {name.removeprefix("remuda-ha-") for name, box in self.docker.boxes.items() if box["State"] == "running"}


class Away:
    """A store that can be unplugged."""

    def __init__(self, store: SqlStore) -> None:
        self._store, self.away = store, False

    def __getattr__(self, name: str) -> Any:
        if self.away:
            raise Unavailable("the database cannot be reached")
        return getattr(self._store, name)


class Cluster:
    def __init__(self, store: SqlStore, root: Path, size: int) -> None:
        self.store, self.root, self.size = store, root, size
        self.nodes: list[One] = []

    def add(self) -> One:
        number = len(self.nodes) + 1
        root = self.root / f"n{number}"
        root.mkdir()
        self.nodes.append(One(Away(self.store), root, number, self.size))
        return self.nodes[-1]

    async def rounds(self, count: int = 3) -> None:
        for _ in range(count):
            for one in self.nodes:
                await one.round()

    async def view(self) -> cluster.View:
        return await self.store.read(cluster.read)


@pytest.fixture(autouse=True)
def well(monkeypatch: pytest.MonkeyPatch) -> dict[str, Health]:
    """What the parts answer; ports are free."""
    answers = {name: Health("up", "answers") for name in PARTS}
    answers["zookeeper"] = Health("up", "serves as follower", "follower")
    for name in PARTS:

        async def check(*_: object, name: str = name) -> Health:
            return answers[name]

        monkeypatch.setattr(probes, f"check_{name}", check)
    monkeypatch.setattr(probes, "port_problem", lambda *_: "")
    return answers


@pytest.fixture
async def three() -> AsyncIterator[Cluster]:
    # not tmp_path: haproxy refuses sockets whose path is longer than 97 bytes
    with tempfile.TemporaryDirectory(prefix="ha-") as folder:
        generation_on_disk(Path(folder) / "generation")
        store = SqlStore.sqlite(":memory:", clock=SystemClock(), inline=True)
        await store.migrate()
        yield Cluster(store, Path(folder), 3)
        await store.close()


async def test_nodes_that_come_one_by_one_make_one_ensemble(three: Cluster) -> None:
    first = three.add()
    await three.rounds()
    assert first.runs == {"redis", "ingress"}, first.state.notices
    assert first.state.overall[0] == "waiting"
    assert "2 more nodes of 3" in first.state.overall[1]
    three.add()
    await three.rounds()
    assert (await three.view()).ensemble is None, "a majority waits for the last one for a while"
    three.add()
    await three.rounds()
    view = await three.view()
    assert view.ensemble is not None
    assert sorted(v.address for v in view.ensemble.voters) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert sorted(m.slot or 0 for m in view.members) == [1, 2, 3]
    for one in three.nodes:
        assert one.runs == set(PARTS)
        assert one.state.overall[0] == "up"


async def test_a_fourth_node_is_a_spare_and_says_so(three: Cluster) -> None:
    for _ in range(3):
        three.add()
    await three.rounds()
    spare = three.add()
    await three.rounds()
    assert spare.runs == {"ingress"}
    assert "spare" in spare.state.overall[1]


async def test_at_rest_nothing_is_touched(three: Cluster) -> None:
    for _ in range(3):
        three.add()
    await three.rounds(4)
    before = [one.docker.calls.copy() for one in three.nodes]
    await three.rounds(3)
    for one, calls in zip(three.nodes, before, strict=True):
        assert set(one.docker.calls - calls) <= {"containers"}


async def test_a_supervisor_that_starts_again_finds_everything_as_it_should_be(three: Cluster) -> None:
    for _ in range(3):
        three.add()
    await three.rounds(4)
    one = three.nodes[0]
    before = one.docker.calls.copy()
    one.start()
    await three.rounds(2)
    assert set(one.docker.calls - before) <= {"containers"}


async def test_parts_stay_when_the_database_goes_even_over_a_restart(three: Cluster) -> None:
    for _ in range(3):
        three.add()
    await three.rounds(4)
    one = three.nodes[0]
    one.store.away = True
    one.start()
    for _ in range(3):
        await one.round()
    assert one.runs == set(PARTS)
    assert "cannot be reached" in one.state.overall[1]
    one.docker.boxes["remuda-ha-redis"]["State"] = "exited"
    await one.round()
    assert one.runs == set(PARTS), "from the last known view it is kept up all the same"


async def test_a_node_that_lost_its_place_lets_go_of_zookeeper(three: Cluster) -> None:
    for _ in range(3):
        three.add()
    await three.rounds(4)
    lost = three.nodes[2]
    seen = next(m for m in (await three.view()).members if m.uuid == lost.it.uuid)
    spare = three.add()
    await spare.round()
    assert await three.store.write(
        cluster.claim(spare.it.uuid, supervisor.Claim(seen.slot or 0, lost.it.uuid, ""), seen.beat)
    )
    await lost.round()
    await lost.round()
    assert lost.runs == {"ingress"}


async def test_docker_away_is_told_and_outlived(three: Cluster) -> None:
    one = three.add()
    one.docker.down = True
    await one.round()
    assert "Docker does not answer" in one.state.stages["engine"].message
    one.docker.down = False
    await one.round()
    assert "ingress" in one.runs


async def test_a_part_that_does_not_answer_is_not_up(three: Cluster, well: dict[str, Health]) -> None:
    for _ in range(3):
        three.add()
    well["server"] = Health("down", "nothing listens on port 8080 yet")
    await three.rounds(4)
    one = three.nodes[0]
    assert one.state.overall == ("starting", "Start the server: nothing listens on port 8080 yet")
    well["server"] = Health("up", "answers")
    await three.rounds(1)
    assert one.state.overall[0] == "up"


async def test_a_copy_of_a_disk_is_noticed(three: Cluster) -> None:
    one = three.add()
    await one.round()
    copy_root = three.root / "copy"
    shutil.copytree(one.root, copy_root, symlinks=True)
    copy = One(Away(three.store), copy_root, 9, 3)
    for _ in range(4):
        await one.round()
        await copy.round()
    assert "is its disk a copy" in one.state.notices["clone"]


async def test_two_nodes_with_one_address_are_told(three: Cluster) -> None:
    one, two = three.add(), three.add()
    two.address = one.address
    await three.rounds(3)
    assert "REMUDA_ADVERTISE_ADDRESS" in two.state.notices["address"]


async def test_a_node_of_an_old_generation_is_told_to_renew(three: Cluster) -> None:
    from remuda.core.model import HaGeneration

    one = three.add()
    await three.store.write(lambda tx: tx.insert(HaGeneration(number=2, fingerprint="another")))
    await one.round()
    assert "download the current remuda-ha.sh" in one.state.notices["generation"]
