"""A Docker host loses power -> its replicas run on the others. Default settings, except that the service's grace is 0."""

from __future__ import annotations

import argparse
import time

from testbed.bed import until
from testbed.install import COMPOSE, alone, service, user_containers, wait_hosts
from testbed.walk import PROJECT, Walk

from bench.figures import figure, heading, median, spread

REPLICAS = 10


def one(walk: Walk) -> tuple[int, float]:
    """A round: how many replicas were lost, and the seconds until all run elsewhere."""
    host = walk.hosts[-1]
    others = walk.hosts[:-1]
    before = user_containers(walk)
    lost = sum(1 for place, _ in before.values() if place == host)

    def elsewhere() -> bool:
        running = sum(len(walk.bed.containers(h, **{"io.rancher.stack.name": "shop"})) for h in others)
        return running == REPLICAS

    began = time.monotonic()
    walk.bed.kill(host)
    until("all replicas run on the remaining hosts", elsewhere, 120, 0.1)
    took = time.monotonic() - began
    walk.bed.boot(host)
    wait_hosts(walk, 90)
    until("nothing surplus runs", lambda: len(user_containers(walk)) == REPLICAS, 60)
    return lost, took


def spread_again(walk: Walk) -> None:
    """Containers stay where they are when a host returns; place the service anew so that every host has its share."""
    walk.api.call("PUT", f"{PROJECT}/services/{service(walk)['id']}", {"scale": 0})
    until("none runs", lambda: not user_containers(walk), 60)
    walk.api.call("PUT", f"{PROJECT}/services/{service(walk)['id']}", {"scale": REPLICAS})
    until("all run", lambda: len(user_containers(walk)) == REPLICAS, 60)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with alone(hosts=3, name="bench", net="10.77.2") as walk:
        walk.api.post(f"{PROJECT}/environments", {
            "name": "shop", "dockerCompose": COMPOSE, "rancherCompose": f"web:\n  scale: {REPLICAS}\n", "startOnCreate": True,
        })  # fmt: skip
        until(f"{REPLICAS} replicas run", lambda: len(user_containers(walk)) == REPLICAS, 60)
        walk.api.call("PUT", f"{PROJECT}/services/{service(walk)['id']}", {"onHostLost": 0})
        heading(f"host loss: {REPLICAS} replicas over three hosts, one host powered off, grace 0, {rounds} rounds")
        took = []
        for number in range(rounds):
            if number:
                spread_again(walk)
            lost, seconds = one(walk)
            took.append(seconds)
            print(
                f"  round {number + 1}: {lost} replicas lost, all running elsewhere after {seconds:.2f} s", flush=True
            )
    figure("host powered off -> its replicas running elsewhere, median", median(took), "s", 10)
    figure("the same, worst", max(took), "s")
    print(f"  all: {spread(took)}")


if __name__ == "__main__":
    main()
