"""30 replicas of a small image over three hosts: request -> all running, three ways in the same run.

Remuda (one request with a compose file), plain `docker run -d` (six at a time, the hosts in turn) and Docker Swarm
(`docker service create`, all three hosts managers). Rounds alternate. All are bound by CPU on a small machine, so the
CPU seconds of the hosts are printed too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from testbed.bed import until
from testbed.install import COMPOSE, alone
from testbed.quiet import quiet
from testbed.walk import PROJECT, Walk

from bench.figures import figure, heading, median, spread

REPLICAS = 30
COMMAND = ("local/busybox:1", "sleep", "1000000")


def running(walk: Walk, **labels: str) -> int:
    """Running containers on the hosts."""
    return sum(len(walk.bed.containers(host, **labels)) for host in walk.hosts)


def measure(walk: Walk, request: Callable[[], object], count: Callable[[], int]) -> tuple[float, float]:
    """Seconds from the request to all running, and the CPU seconds of the whole bed."""
    quiet()
    cpu, began = walk.bed.cpu_seconds(), time.monotonic()
    request()
    until(f"{REPLICAS} run", lambda: count() == REPLICAS, 120, 0.1)
    return time.monotonic() - began, walk.bed.cpu_seconds() - cpu


def with_remuda(walk: Walk) -> tuple[float, float]:
    """One request."""
    body = {
        "name": "many", "dockerCompose": COMPOSE, "rancherCompose": f"web:\n  scale: {REPLICAS}\n", "startOnCreate": True,
    }  # fmt: skip
    label = {"io.rancher.stack.name": "many"}
    made: dict[str, str] = {}
    result = measure(
        walk, lambda: made.update(walk.api.post(f"{PROJECT}/environments", body, 30)), lambda: running(walk, **label)
    )
    walk.api.call("DELETE", f"{PROJECT}/environments/{made['id']}")
    until("all are gone", lambda: running(walk, **label) == 0, 60)
    until("the stack is gone", lambda: not walk.api.get(f"{PROJECT}/environments", name="many")["data"], 60)
    return result


def with_docker(walk: Walk) -> tuple[float, float]:
    """`docker run -d`, six at a time."""
    label = {"bench": "plain"}

    def request() -> None:
        with ThreadPoolExecutor(6) as pool:
            places = [walk.hosts[i % len(walk.hosts)] for i in range(REPLICAS)]
            list(pool.map(lambda host: walk.bed.docker(host, "run", "-d", "--label", "bench=plain", *COMMAND), places))

    result = measure(walk, request, lambda: running(walk, **label))
    for host in walk.hosts:
        walk.bed.docker(host, "rm", "-f", *[c["Id"] for c in walk.bed.containers(host, **label)])
    return result


def with_swarm(walk: Walk) -> tuple[float, float]:
    """`docker service create`."""
    label = {"com.docker.swarm.service.name": "many"}

    def request() -> None:
        walk.bed.docker(
            walk.hosts[0], "service", "create", "-q", "--detach", "--no-resolve-image", "--stop-signal", "SIGKILL",
            "--name", "many", "--replicas", REPLICAS, *COMMAND,
        )  # fmt: skip

    result = measure(walk, request, lambda: running(walk, **label))
    walk.bed.docker(walk.hosts[0], "service", "rm", "many")
    until("all are gone", lambda: running(walk, **label) == 0, 60)
    return result


def swarm(walk: Walk) -> None:
    """Make the three hosts managers of a swarm."""
    first = walk.hosts[0]
    walk.bed.docker(first, "swarm", "init", "--advertise-addr", walk.bed.ip(first))
    token = walk.bed.docker(first, "swarm", "join-token", "-q", "manager")
    for host in walk.hosts[1:]:
        walk.bed.docker(
            host, "swarm", "join", "--advertise-addr", walk.bed.ip(host), "--token", token, f"{walk.bed.ip(first)}:2377"
        )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    ways = {"Remuda": with_remuda, "plain docker run": with_docker, "docker service create": with_swarm}
    results: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    with alone(hosts=3, name="bench", net="10.77.2") as walk:
        swarm(walk)
        heading(f"replicas: {REPLICAS} over three hosts, {rounds} rounds, the three ways in turn")
        for _ in range(rounds):
            for way, run in ways.items():
                results[way].append(run(walk))
    for way, found in results.items():
        figure(f"{way}: request -> all running, median", median([wall for wall, _ in found]), "s")
        print(f"    all: {spread([wall for wall, _ in found])}; CPU of the bed {spread([cpu for _, cpu in found])} s")
    walls = {way: median([wall for wall, _ in found]) for way, found in results.items()}
    figure("Remuda / plain docker run", walls["Remuda"] / walls["plain docker run"], "x", 1.10)
    figure("Remuda / docker service create", walls["Remuda"] / walls["docker service create"], "x", 1.0)


if __name__ == "__main__":
    main()
