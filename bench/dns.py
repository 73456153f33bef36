"""Names: answers per second and how long they take, on one core, beside dnsmasq with the same names in the same run.

The server has core 0 for itself and the client core 1. Half of the questions are for A, half for AAAA, as a C library asks; each
name has three addresses. First as many as can be with 64 questions under way (closed loop), then at a fixed rate whatever the
server does (open loop): that is where latency is measured, from the time a question was due.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import select
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.figures import figure, heading, spread
from remuda.agent.network.dns.part import NamesPart
from remuda.agent.network.state import NetState
from remuda.core.network.scene import Scene, SceneContainer, SceneService, SceneStack

NAMES, EACH = 200, 3
SERVER, CLIENT = "127.0.0.40", "127.0.0.41"
WINDOW, GOAL_RATE, GOAL_MS = 64, 20_000, 2.0
LOST_SECONDS = 1.0


def address(number: int) -> str:
    """One of the addresses that names stand for."""
    return f"10.42.{number >> 8}.{number & 255}"


def names() -> dict[str, list[str]]:
    """What both servers know."""
    return {
        f"svc{n}.shop.rancher.internal": [address(1 + n * EACH + i) for i in range(EACH)] for n in range(1, NAMES + 1)
    }


def scene() -> Scene:
    """The same as an environment, in which the client is a container of the same stack."""
    containers = [
        SceneContainer(id=n * EACH + i + 1, service_id=n, stack_id=1, ip=address(1 + n * EACH + i), state="running")
        for n in range(1, NAMES + 1)
        for i in range(EACH)
    ]
    containers.append(SceneContainer(id=9999, service_id=1, stack_id=1, ip=CLIENT, state="starting"))
    return Scene(
        stacks={1: SceneStack(id=1, name="shop")},
        services={n: SceneService(id=n, name=f"svc{n}", stack_id=1) for n in range(1, NAMES + 1)},
        containers={c.id: c for c in containers},
    )


# ---- servers ------------------------------------------------------------------------------------------------------------------


async def serve() -> None:
    """Ours; says its port."""
    part = NamesPart(SERVER, 0, ["127.0.0.42"])
    await part.apply(NetState(version=1, host_id=1, scene=scene()))
    print(part.port, flush=True)
    await asyncio.Event().wait()


@contextlib.contextmanager
def ours() -> Iterator[tuple[int, int]]:
    """(port, process id)"""
    command = [sys.executable, "-m", "bench.dns", "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline()), process.pid
        finally:
            process.kill()


@contextlib.contextmanager
def dnsmasq() -> Iterator[tuple[int, int]]:
    """(port, process id)"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((SERVER, 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        hosts = Path(folder, "hosts")
        hosts.write_text("".join(f"{a} {name}\n" for name, found in names().items() for a in found))
        os.chmod(folder, 0o755)
        options = [
            "--no-resolv",
            "--no-hosts",
            "--cache-size=10000",
            "--user=root",
            "--conf-file=/dev/null",
            "--pid-file",
        ]
        command = ["dnsmasq", "-k", f"--port={port}", f"--listen-address={SERVER}", "--bind-interfaces", *options]
        more = [f"--addn-hosts={hosts}", "--local=/rancher.internal/", "--local-ttl=1", "--except-interface=none"]
        with subprocess.Popen([*command, *more]) as process:
            try:
                yield port, process.pid
            finally:
                process.kill()


# ---- client -------------------------------------------------------------------------------------------------------------------


def questions() -> list[bytes]:
    """Without their numbers, in a mixed order."""
    found = []
    for name in names():
        labels = b"".join(bytes((len(part),)) + part.encode() for part in name.split(".")) + b"\0"
        head = struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0)
        found += [head + labels + struct.pack("!HH", kind, 1) for kind in (1, 28)]
    random.Random(1).shuffle(found)
    return found


@contextlib.contextmanager
def client(port: int) -> Iterator[socket.socket]:
    """A socket that asks; waits until the server answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        own.bind((CLIENT, 0))
        own.connect((SERVER, port))
        own.setblocking(False)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                own.send(b"\0\0" + questions()[0])
                if select.select([own], [], [], 0.2)[0] and own.recv(4096):
                    break
        else:
            raise RuntimeError("the server does not answer")
        time.sleep(0.2)
        with contextlib.suppress(BlockingIOError):
            while own.recv(4096):
                pass
        yield own


def closed(own: socket.socket, seconds: float) -> float:
    """Answers per second with :data:`WINDOW` questions under way."""
    asked = questions()
    sent = received = 0
    began = time.perf_counter()
    end = began + seconds
    while time.perf_counter() < end:
        while sent - received < WINDOW:
            own.send((sent & 0xFFFF).to_bytes(2, "big") + asked[sent % len(asked)])
            sent += 1
        if not select.select([own], [], [], 0.2)[0]:
            sent = received  # lost; begin anew
        with contextlib.suppress(BlockingIOError):
            while True:
                own.recv(4096)
                received += 1
    return received / (time.perf_counter() - began)


def open_loop(own: socket.socket, rate: int, seconds: float) -> tuple[list[float], int]:
    """(milliseconds of each answer from the time its question was due, how many were lost) at a fixed rate."""
    asked, clock = questions(), time.perf_counter
    total = int(rate * seconds)
    step = 1 / rate
    took: list[float] = []
    due = [0.0] * 65536
    receive, send, note = own.recv, own.send, took.append
    began, sent = clock(), 0
    end = began + seconds + LOST_SECONDS
    while len(took) < total:
        now = clock()
        if now > end:
            break
        while sent < total and began + sent * step <= now:
            number = sent & 0xFFFF
            due[number] = began + sent * step
            send(number.to_bytes(2, "big") + asked[sent % len(asked)])
            sent += 1
        try:
            for _ in range(32):
                data = receive(4096)
                note(1000 * (clock() - due[data[0] << 8 | data[1]]))
        except BlockingIOError:
            pass
    return took, total - len(took)


class Result(NamedTuple):
    """Medians of some rounds; ``each`` is the p99 of each, ``others`` the share of all cores that other programs had."""

    most: float
    p50: float
    p99: float
    lost: int
    each: list[float]
    others: float


def cpu(*processes: int) -> tuple[float, float]:
    """(seconds that all programs, and that these processes, have had of all cores)"""
    hertz = os.sysconf("SC_CLK_TCK")
    words = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    mine = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in processes)
    return (sum(words) - words[3] - words[4]) / hertz, sum(int(w[11]) + int(w[12]) for w in mine) / hertz


def measured(port: int, server: int, seconds: float, rate: int, rounds: int) -> Result:
    """Both loops, some rounds."""
    os.sched_setaffinity(server, {0})
    most, middle, worst, lost = [], [], [], 0
    with client(port) as own:
        closed(own, 0.5)
        began, before = time.monotonic(), cpu(server, os.getpid())
        for _ in range(rounds):
            most.append(closed(own, seconds))
            took, missing = open_loop(own, rate, seconds)
            cuts = statistics.quantiles(took, n=100)
            middle.append(cuts[49])
            worst.append(cuts[98])
            lost += missing
        after = cpu(server, os.getpid())
        others = (after[0] - before[0] - after[1] + before[1]) / (time.monotonic() - began) / (os.cpu_count() or 1)
    middles = statistics.median(most), statistics.median(middle), statistics.median(worst)
    return Result(*middles, lost, worst, max(0.0, others))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=int, default=GOAL_RATE)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
        return
    heading(f"names: one core, {NAMES} names of {EACH} addresses, {options.rounds} rounds")
    cores = os.sched_getaffinity(0)
    results = {}
    for who, server in (("remuda", ours), ("dnsmasq", dnsmasq)):
        with server() as (port, pid):
            os.sched_setaffinity(0, {max(cores)})
            results[who] = measured(port, pid, options.seconds, options.rate, options.rounds)
            os.sched_setaffinity(0, cores)
    for who, found in results.items():
        mine = who == "remuda"
        figure(f"{who}: answers per second at most", found.most, "/s", least=GOAL_RATE if mine else None)
        figure(f"{who}: p50 at {options.rate}/s", found.p50, "ms")
        figure(f"{who}: p99 at {options.rate}/s", found.p99, "ms", GOAL_MS if mine else None)
        print(
            f"    each round: {spread(found.each)}; other programs took {100 * found.others:.0f} % of the cores meanwhile"
        )
        figure(f"{who}: lost at {options.rate}/s", found.lost, "", 0 if mine else None)
    figure("remuda beside dnsmasq: answers per second", results["remuda"].most / results["dnsmasq"].most, "x")


if __name__ == "__main__":
    main()
