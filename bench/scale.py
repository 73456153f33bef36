"""A thousand simulated hosts in one server on SQLite: what they cost at rest, and how long a container on each of them takes.

Ends with an error when a host is not connected at the end.

Hosts are the real agent's code around an engine in memory, in the server's own process: its CPU and memory are those of the
control plane and of all agents together. No Docker, no root.
"""

from __future__ import annotations

import argparse
import base64
import json
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testbed.bed import until
from testbed.client import Client

from bench.api import Door, cpu, process
from bench.figures import figure, heading
from remuda.core.labels import GLOBAL

PROJECT = "/v1/projects/1a5"
PATIENCE = 900.0
Ask = Callable[..., Any]


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def memory(pid: int) -> float:
    """Resident memory in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def set_up(data: Path, port: int) -> Ask:
    """What asks as the administrator; over a new connection each time, since idle ones are closed."""
    api = Client(f"http://127.0.0.1:{port}")
    until("the server answers", lambda: api.raw("GET", "/ping", timeout=2)[0] == 200, 60)
    secret = until("the setup secret is there", lambda: (data / "setup-secret").read_text().strip(), 30)
    api.post("/v1/setup", {"secret": secret, "username": "admin", "password": "correct horse battery", "name": "Admin"})
    token = api.post("/v1/token", {"code": "admin:correct horse battery"})
    headers = {"Authorization": f"Bearer {token['jwt']}", "Accept": "application/json"}
    return lambda path, body=None: json.loads(Door(port, headers).ask(path, body)[1])


def register(ask: Ask, port: int, hosts: int) -> None:
    """Ask for so many hosts, as machines do."""
    token = ask(f"{PROJECT}/registrationtokens", {})["token"]
    basic = base64.b64encode(f"registrationToken:{token}".encode()).decode()
    machines = Door(port, {"Authorization": f"Basic {basic}", "Accept": "application/json"})
    for number in range(hosts):
        machines.ask("/v1/register", {"key": f"scale-{number:05}", "agentUriFormat": "sim://%s"})


def all_active(ask: Ask, hosts: int) -> bool:
    """Are all hosts there? Asked from the last one, so that asking costs little."""
    newest = ask(f"{PROJECT}/hosts?limit=2&sort=id&order=desc")["data"]
    if not newest or int(newest[0]["id"].removeprefix("1h")) < hosts:
        return False
    return not ask(f"{PROJECT}/hosts?limit=2&state_ne=active")["data"]


def at_rest(pid: int, seconds: float) -> float:
    """Percent of a core that is used when nothing happens."""
    time.sleep(5)
    before = cpu(pid)
    time.sleep(seconds)
    return 100 * (cpu(pid) - before) / seconds


def deploy(ask: Ask, hosts: int) -> float:
    """Seconds from the request until a service runs that has one container on each host."""
    stack = ask(f"{PROJECT}/environments", {"name": "scale"})["id"]
    began = time.monotonic()
    config = {"imageUuid": "sim:web", "labels": {GLOBAL: "true"}}
    wish = {"name": "web", "environmentId": stack, "launchConfig": config, "startOnCreate": True}
    service = ask(f"{PROJECT}/services", wish)["id"]

    def there() -> bool:
        told = ask(f"{PROJECT}/services/{service}")
        return bool(told["state"] == "active" and told["currentScale"] == hosts and told["transitioning"] == "no")

    until("all containers run", there, PATIENCE, 0.25)
    return time.monotonic() - began


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="remuda-bench-") as text:
        data, port = Path(text) / "data", free_port()
        server = (sys.executable, "-m", "remuda.run.server", "--data", data, "--host", "127.0.0.1", "--port", port)
        with process(*server, "--simulated-hosts") as pid:
            measure(pid, set_up(data, port), port, told)


def measure(pid: int, ask: Ask, port: int, told: argparse.Namespace) -> None:
    """All figures."""
    heading(f"{told.hosts} simulated hosts, a container on each, one process, SQLite")
    empty, idle, began = memory(pid), cpu(pid), time.monotonic()
    register(ask, port, told.hosts)
    figure("hosts registered", time.monotonic() - began, "s")
    until("all hosts are active", lambda: all_active(ask, told.hosts), PATIENCE, 0.25)
    figure("… and active", time.monotonic() - began, "s")
    figure("CPU of that", cpu(pid) - idle, "s")
    figure("memory a host", 1024 * (memory(pid) - empty) / told.hosts, "KB")
    figure("CPU at rest", at_rest(pid, told.seconds), "% of a core")
    busy = cpu(pid)
    figure("request → all containers run", deploy(ask, told.hosts), "s")
    figure("CPU of that", cpu(pid) - busy, "s")
    figure("memory in all", memory(pid), "MB")
    figure("CPU at rest, with the containers", at_rest(pid, told.seconds), "% of a core")
    if not all_active(ask, told.hosts):
        raise SystemExit("not all hosts are connected at the end")


if __name__ == "__main__":
    main()
