"""How fast services are made, durably: on SQLite and on MariaDB, beside ``docker service create --replicas 0`` in the same run.

Scale 0 on both sides, so that nothing but the promise to remember is measured. Docker is asked twice: by its command, as people
do, and through its API without a command. Rounds alternate, so that all find the same machine.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.services import free_port, mariadb

from bench.api import PROJECT, Door, process, service_body, set_up
from bench.figures import figure, heading, median, spread

CLIENTS = 16
HERE = Path(__file__).resolve().parent.parent
Make = Callable[[int, int], object]
"""Makes one service; client and number."""


def rate(make: Make, clients: int, each: int) -> float:
    """Services a second, when so many clients make so many each."""
    failed: list[BaseException] = []

    def work(client: int) -> None:
        try:
            for number in range(each):
                make(client, number)
        except BaseException as problem:
            failed.append(problem)
            raise

    threads = [threading.Thread(target=work, args=(client,)) for client in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed
    return clients * each / (time.perf_counter() - began)


@contextlib.contextmanager
def remuda(folder: Path, **environment: str) -> Iterator[Make]:
    """A server; makes services through its API, each client on a connection of its own."""
    port = free_port()
    command = (
        "env",
        *[f"{name}={value}" for name, value in environment.items()],
        sys.executable,
        "-m",
        "remuda.run.server",
    )
    with process(*command, "--data", folder, "--host", "127.0.0.1", "--port", port):
        _, headers = set_up(folder, port)
        stack = json.loads(Door(port, headers).ask(f"{PROJECT}/environments", {"name": "bench"})[1])["id"]
        doors = [Door(port, headers) for _ in range(CLIENTS)]
        tag = iter(range(10**9))

        def make(client: int, number: int) -> None:
            doors[client].ask(f"{PROJECT}/services", service_body(f"s{client}x{number}x{next(tag)}", stack))

        yield make


@contextlib.contextmanager
def swarm(folder: Path) -> Iterator[tuple[Make, Make]]:
    """A Docker engine of its own that manages a swarm: makes services by the command, and through the API."""
    told = {"BUILD_DIR": str(folder), "BUILD_BRIDGE": "bldbr7", "BUILD_NET": "10.79.7.1/24"}
    daemon = (str(HERE / "testbed/builddaemon"),)
    host = subprocess.run(
        [*daemon, "up"], env={**os.environ, **told}, check=True, capture_output=True, text=True
    ).stdout.strip()
    docker = ("docker", "-H", host)
    tag = iter(range(10**9))
    try:
        where = f"127.0.0.1:{free_port()}"
        run(*docker, "swarm", "init", "--advertise-addr", where, "--listen-addr", where)

        def by_command(client: int, number: int) -> None:
            name = f"c{client}x{number}x{next(tag)}"
            run(
                *docker, "service", "create", "-q", "--detach", "--no-resolve-image", "--replicas", "0", "--name", name,
                "--container-label", "team=a", "nginx",
            )  # fmt: skip

        connections = [Socket(folder / "docker.sock") for _ in range(CLIENTS)]

        def by_api(client: int, number: int) -> None:
            container = {"Image": "nginx", "Labels": {"team": "a"}}
            body = {
                "Name": f"a{client}x{number}x{next(tag)}",
                "TaskTemplate": {"ContainerSpec": container},
                "Mode": {"Replicated": {"Replicas": 0}},
            }
            connections[client].post("/v1.41/services/create", body)

        yield by_command, by_api
    finally:
        subprocess.run([*daemon, "purge"], env={**os.environ, **told}, check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def run(*command: str) -> None:
    """A command that must succeed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Socket(http.client.HTTPConnection):
    """HTTP over a socket in the file system."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self._path)

    def post(self, path: str, body: Any) -> None:
        self.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = self.getresponse()
        said = answer.read()
        assert answer.status < 300, said


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="remuda-bench-")))
        target = stack.enter_context(mariadb()).database()
        cluster = {
            "CATTLE_DB_CATTLE_MYSQL_HOST": str(target["host"]),
            "CATTLE_DB_CATTLE_MYSQL_PORT": str(target["port"]),
            "CATTLE_DB_CATTLE_MYSQL_NAME": str(target["name"]),
            "CATTLE_DB_CATTLE_USERNAME": str(target["user"]),
            "CATTLE_DB_CATTLE_PASSWORD": str(target["password"]),
        }
        by_command, by_api = stack.enter_context(swarm(folder / "docker"))
        makers: dict[str, Make] = {
            "Remuda on SQLite": stack.enter_context(remuda(folder / "sqlite")),
            "Remuda on MariaDB": stack.enter_context(remuda(folder / "mariadb", **cluster)),
            "docker service create": by_command,
            "Docker's API": by_api,
        }
        for clients, each in ((1, 24), (CLIENTS, 6)):
            heading(f"create a service (scale 0), {clients} client(s), {rounds} rounds by turns")
            found: dict[str, list[float]] = {name: [] for name in makers}
            for _ in range(rounds):
                for name, make in makers.items():
                    found[name].append(rate(make, clients, each))
            for name, rates in found.items():
                print(f"  {name}: {spread(rates)} a second")
                figure(f"{name}, median", median(rates), "a second")
            docker = median(found["docker service create"])
            for name in ("Remuda on SQLite", "Remuda on MariaDB"):
                figure(f"{name}, beside docker service create", median(found[name]) / docker, "x", least=1)


if __name__ == "__main__":
    main()
