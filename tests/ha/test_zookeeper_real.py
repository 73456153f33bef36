"""Three real ZooKeepers with TLS everywhere; one dies and another takes its place while the rest serve."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from remuda.core.membership import Change, Ensemble, Node, Voter, Watch, Write, plan_ensemble, readdress
from remuda.ha.certificates import issue, new_ca
from remuda.ha.config import Ports
from remuda.ha.ensemble import EnsembleDoor, NoQuorum
from remuda.ha.zookeeper import client_hosts, command, probe, tls_context, write_files

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not Path("/usr/share/java/zookeeper.jar").exists() or not shutil.which("java"), reason="no ZooKeeper"
    ),
]
PASSWORD = "super-password-of-the-test"
NOW = datetime.now(UTC)


def free_ports() -> Ports:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for item in sockets:
            item.bind(("", 0))
        numbers = [item.getsockname()[1] for item in sockets]
    return Ports(zookeeper_client_port=numbers[0], zookeeper_quorum_port=numbers[1], zookeeper_leader_port=numbers[2])


class Bench:
    """Servers as processes, each on its own loopback address."""

    def __init__(self, root: Path) -> None:
        self.root, self.ports = root, free_ports()
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        ca = new_ca("test cluster", NOW)
        pair = issue(ca, "node", ["127.0.0.1", "localhost"], NOW)
        (root / "ca.pem").write_text(ca.cert)
        (root / "node.pem").write_text(pair.cert + pair.key)
        self.tls = tls_context(str(root / "ca.pem"), str(root / "node.pem"))

    def start(self, me: Voter, ensemble: Ensemble, home: str = "") -> None:
        directory = write_files(
            self.root / (home or me.node), me, ensemble, str(self.root), self.ports, listen=me.address
        )
        log = (directory / "log").open("ab")
        self.processes[me.id] = subprocess.Popen(command(str(directory), PASSWORD), stdout=log, stderr=log)
        log.close()

    def kill(self, number: int) -> None:
        process = self.processes.pop(number)
        process.kill()
        process.wait(20)

    async def role(self, voter: Voter) -> str:
        return (await probe(voter.address, self.ports.zookeeper_client_port, self.tls)).role

    def door(self, *voters: Voter) -> EnsembleDoor:
        hosts = ",".join(client_hosts(voters, self.ports))
        return EnsembleDoor(hosts, str(self.root / "ca.pem"), str(self.root / "node.pem"), PASSWORD)

    def logs(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in self.root.glob("*/*/log"))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for number in list(made.processes):
        made.kill(number)


async def until(what: Callable[[], Coroutine[Any, Any, bool]], seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not await what():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.1)


def voters(*numbers: int) -> tuple[Voter, ...]:
    return tuple(Voter(i, f"n{i}", f"127.0.0.{i}") for i in numbers)


async def one_leader(bench: Bench, members: tuple[Voter, ...]) -> bool:
    roles = sorted([await bench.role(voter) for voter in members])
    return roles == ["follower"] * (len(members) - 1) + ["leader"]


async def test_a_dead_server_is_replaced_live(bench: Bench) -> None:
    row = Ensemble(voters(1, 2, 3), None, 4)
    try:
        for voter in row.voters:
            bench.start(voter, row)
        await until(lambda: one_leader(bench, row.voters))
        for victim in (voter.id for voter in row.voters if voter.id != 1):
            if await bench.role(Voter(victim, "", f"127.0.0.{victim}")) == "leader":
                break
        bench.kill(victim)
        rest = [v for v in row.voters if v.id != victim]
        holders = [Node(v.node, v.id, v.address) for v in rest] + [Node("n4", victim, "127.0.0.4")]
        door = bench.door(rest[0])
        started = False
        end = time.monotonic() + 60
        while True:
            assert time.monotonic() < end, "the replacement did not come to an end"
            ready = {v.id for v in row.known if await bench.role(v)}
            try:
                actual = await door.running()
            except NoQuorum:
                await asyncio.sleep(0.2)
                continue
            plan = plan_ensemble(row, holders, 3, actual.voters, ready)
            if isinstance(plan, Write):
                row = plan.ensemble
            elif isinstance(plan, Change):
                await door.change(plan.join, plan.leave, bench.ports, actual.version)
            elif row.joining is None:
                break
            if row.joining and not started:
                bench.start(row.joining, row)
                started = True
            await asyncio.sleep(0.1)
        await door.close()
        assert {v.id for v in row.voters} == {1, 2, 3, 4} - {victim}
        await until(lambda: one_leader(bench, row.voters))
        # the old one comes back from its own disk: it must not be able to make a second ensemble with anybody
        ghost = Voter(victim, f"n{victim}", f"127.0.0.{victim}")
        bench.start(ghost, Ensemble(voters(1, 2, 3), None, 4))
        # and any one of the new three may die
        leader = [v for v in row.voters if await bench.role(v) == "leader"][0]  # noqa: RUF015
        bench.kill(leader.id)
        left = tuple(v for v in row.voters if v.id != leader.id)
        await until(lambda: one_leader(bench, left))
        door = bench.door(*left)
        assert (await door.running()).voters == {v.id for v in row.voters}
        await door.close()
        assert await bench.role(ghost) != "leader"
    except AssertionError:
        print(bench.logs())
        raise


async def test_all_servers_restart_from_disk_even_at_new_addresses(bench: Bench) -> None:
    row = Ensemble(voters(1, 2, 3), None, 4)
    for voter in row.voters:
        bench.start(voter, row)
    await until(lambda: one_leader(bench, row.voters))
    door = bench.door(*row.voters)
    before = await door.running()
    await door.close()
    for voter in row.voters:
        bench.kill(voter.id)
    moved = [Node(v.node, v.id, f"127.0.1.{v.id}", 2) for v in row.voters]
    anew = readdress(row, moved, Watch().look(moved, 0.0))
    assert anew is not None
    for voter in anew.voters:
        bench.start(voter, anew)
    try:
        await until(lambda: one_leader(bench, anew.voters))
    except AssertionError:
        print(bench.logs())
        raise
    door = bench.door(*anew.voters)
    after = await door.running()
    await door.close()
    assert after.voters == before.voters
    assert after.version > before.version
    assert "127.0.1.3" in after.text
    # and from here the ensemble changes as ever: one dies and a new one, with a lower list, takes its place
    bench.kill(1)
    left, new = anew.voters[1:], Voter(4, "n4", "127.0.1.4")
    await until(lambda: one_leader(bench, left))
    row = Ensemble(anew.voters, new, 5, anew.epoch)
    bench.start(new, row)
    try:
        await until(lambda: joined(bench, new))
        door = bench.door(*left)
        changed = await door.change(new, 1, bench.ports, (await door.running()).version)
        await door.close()
    except (AssertionError, NoQuorum):
        print(bench.logs())
        raise
    assert changed.voters == {2, 3, 4}
    await until(lambda: one_leader(bench, (*left, new)))


async def test_a_new_ensemble_counts_on_above_the_old_one(bench: Bench) -> None:
    row = Ensemble(voters(4, 5, 6), None, 7, epoch=2)
    for voter in row.voters:
        bench.start(voter, row)
    try:
        await until(lambda: one_leader(bench, row.voters))
    except AssertionError:
        print(bench.logs())
        raise
    bench.kill(4)
    left, new = row.voters[1:], Voter(7, "n7", "127.0.0.7")
    await until(lambda: one_leader(bench, left))
    bench.start(new, Ensemble(row.voters, new, 8, 2))
    await until(lambda: joined(bench, new))
    door = bench.door(*left)
    changed = await door.change(new, 4, bench.ports, (await door.running()).version)
    await door.close()
    assert changed.voters == {5, 6, 7}
    assert changed.version >> 32 > 1 << 20


async def joined(bench: Bench, voter: Voter) -> bool:
    return bool(await bench.role(voter))
