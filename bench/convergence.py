"""How soon the network follows: a new container's name on another host, and traffic to one that was replaced on another host."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from testbed.bed import HERE, Bed, build_daemon, until
from testbed.platform import CLIENT_IMAGE, PROJECT, Platform, platform

from bench.figures import figure, heading, median, spread

STACK = """\
version: '2'
services:
  web: {image: 'local/client:1'}
  eye:
    image: local/client:1
    command: sleep 1000000
    stop_signal: SIGKILL
    labels: {io.rancher.scheduler.global: 'true'}
"""


NOW = "$(cut -d' ' -f1 /proc/uptime)"
"""The machine's clock in a container's shell: seconds since it started."""


@contextlib.contextmanager
def watch(place: Platform, host: int, eye: str, commands: str) -> Iterator[Path]:
    """Run commands in the observing container again and again until the block ends; what they print."""
    script = f"touch /tmp/watch; while [ -e /tmp/watch ]; do {commands}; done"
    log = place.bed.spawn(host, f"watch-{time.monotonic_ns()}", "docker", "exec", eye, "sh", "-c", script)
    try:
        yield log
    finally:
        place.bed.docker(host, "exec", eye, "rm", "/tmp/watch")


def wall(stamp: str) -> float:
    """The time of day of such a clock."""
    return float(stamp) + time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def started(place: Platform, address: str) -> float:
    """When the container with this address began to run, by its engine."""
    for container in place.api.all(f"{PROJECT}/containers"):
        if container["managedIp"] == address:
            return float(container["firstRunningTS"]) / 1000
    raise LookupError(address)


def names(place: Platform, web: dict[str, Any], eye: str, rounds: int) -> list[float]:
    """Seconds from a container's start to its name's answer on another host."""
    took = []
    known = {container["managedIp"] for container in place.containers(web)}  # ran before anybody looked
    commands = f"echo {NOW} $(getent ahostsv4 web | cut -d' ' -f1 | sort -u); sleep 0.02"
    with watch(place, 1, eye, commands) as log:
        for number in range(rounds):
            place.scale(web, number + 2)
            until("they run", partial(count, place, web, number + 2), 30)
            time.sleep(1.5)
            for container in place.containers(web):
                address = container["managedIp"]
                if address not in known and place.host_of(container) != 1:
                    lines = (line.split() for line in log.read_text().splitlines())
                    seen = next(wall(words[0]) for words in lines if address in words[1:])
                    took.append(max(0.0, seen - started(place, address)))
                known.add(address)
    return took


def replaced(place: Platform, web: dict[str, Any], eye: str, rounds: int) -> list[float]:
    """Longest pause of requests to a service of one container that keeps its address, while it moves to another host."""
    place.api.call("PUT", f"{PROJECT}/services/{web['id']}", {"scale": 1, "retainIp": True, "onHostLost": 0})
    until("one runs", lambda: len(place.containers(web)) == 1, 60)
    took = []
    for _ in range(rounds):
        container = place.containers(web)[0]
        with watch(place, 1, eye, f"curl -s -m 0.3 http://web/ >/dev/null && echo {NOW}") as log:
            until("it answers", log.read_text, 10)
            host = place.api.get(f"{PROJECT}/hosts/{container['hostId']}")
            place.api.action(host, "deactivate")
            began = time.time()
            place.api.action(container, "remove")
            until("another one runs", partial(another, place, web, container), 60)
            fresh = place.containers(web)[0]
            until("it is asked", partial(asked, log, began + 4), 30)
            running = started(place, fresh["managedIp"])
            took.append(next(stamp for line in log.read_text().split() if (stamp := wall(line)) > running) - running)
        place.api.action(place.api.get(f"{PROJECT}/hosts/{container['hostId']}"), "activate")
        time.sleep(1)
    return took


def count(place: Platform, web: dict[str, Any], wanted: int) -> bool:
    """Do so many run?"""
    return len(place.containers(web)) == wanted


def another(place: Platform, web: dict[str, Any], old: dict[str, Any]) -> bool:
    """Does one run that is not the old one?"""
    return bool({c["id"] for c in place.containers(web)} - {old["id"]})


def asked(log: Path, until_then: float) -> bool:
    """Was there an answer after this moment?"""
    return wall(log.read_text().split()[-1]) > until_then


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    with build_daemon() as host:
        for script in ("mkbusybox", "mkclient"):
            subprocess.run([str(HERE / script), host], check=True, capture_output=True, timeout=120)
        with (
            Bed(3, name="bconv", net="10.77.31", images=("local/busybox:1", CLIENT_IMAGE)) as bed,
            platform(bed) as place,
        ):
            place.wait_hosts()
            stack = place.stack("s", STACK)
            web = place.service(stack, "web")
            eye = str(bed.containers(1, **{"io.rancher.stack_service.name": "s/eye"})[0]["Id"])
            heading(f"convergence: three hosts, encrypted, {rounds} rounds")
            took = sorted(names(place, web, eye, rounds))
            figure("container runs -> its name is answered on another host, median", median(took), "s")
            figure("the same, worst", took[-1], "s", 1)
            print(f"  all: {spread(took)}")
            moved = replaced(place, web, eye, max(2, rounds // 3))
            figure("replacement runs on another host -> traffic flows, worst", max(moved), "s", 2)
            print(f"  all: {spread(moved)}")


if __name__ == "__main__":
    main()
