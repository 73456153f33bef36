"""A whole platform in the bed, straight from this checkout: a server with SQLite on x, an agent process on each host.

Quicker than images, and as real: the same programs, engines, kernels. What only containers show (the agent as a container, its
second container, upgrades) is the walk's business.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from testbed.bed import Bed, X, until
from testbed.client import Client

PROJECT = "/v1/projects/1a5"
PORT = 8080
STATE = "/var/lib/remuda"
CLIENT_IMAGE = "local/client:1"


class Platform:
    """``api`` speaks to the server as its administrator."""

    def __init__(self, bed: Bed, hosts: list[int]) -> None:
        self.bed, self.hosts = bed, hosts
        self.data = bed.disk(X) / "server"
        """The server's folder: x has no private directories of its own."""
        self.api = Client(f"http://{bed.ip(X)}:{PORT}")
        self.registration = ""

    # ---- programs ----------------------------------------------------------------------------------------------------

    def start_server(self) -> None:
        """Start the server on x and wait until it answers; the first time, make its administrator."""
        self.bed.spawn(X, "server", sys.executable, "-m", "remuda.run.server", "--data", self.data, "--host",
                       "0.0.0.0", "--port", PORT)  # fmt: skip
        until("the server answers", lambda: self.api.raw("GET", "/ping", timeout=2)[0] == 200, 60)
        if self.api.key is None:
            self._set_up()

    def _set_up(self) -> None:
        secret = until("the setup secret is there", lambda: (self.data / "setup-secret").read_text().strip(), 30)
        words = {"username": "admin", "password": "correct horse battery", "name": "Admin"}
        self.api.post("/v1/setup", {"secret": secret, **words})
        token = self.api.post("/v1/token", {"code": f"{words['username']}:{words['password']}"})
        self.api.cookie = token["jwt"]
        made = self.api.post("/v1/apikeys", {"name": "bed", "accountId": token["accountId"]})
        self.api.key = (made["publicValue"], made["secretValue"])
        self.api.call("PUT", "/v1/settings/api.host", {"value": self.api.url})
        made = self.api.post(f"{PROJECT}/registrationtokens")
        self.registration = until(
            "the registration token is active",
            lambda: self.api.get(f"{PROJECT}/registrationtokens/{made['id']}").get("registrationUrl"),
            20,
        )

    def stop_server(self, signal: str = "KILL") -> None:
        """End the server."""
        self.bed.stop(X, "server", signal)
        until("the server is gone", lambda: not self._answers(), 20)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.api.raw("GET", "/ping", timeout=1)[0] == 200
        return False

    def start_agent(self, host: int, *options: object, **environment: str) -> None:
        """Start the agent of a host; it registers by itself."""
        settings = [f"{key}={value}" for key, value in environment.items()]
        self.bed.spawn(host, "agent", "env", *settings, sys.executable, "-m", "remuda.run.agent", self.registration,
                       "--state", STATE, *options)  # fmt: skip

    def stop_agent(self, host: int, signal: str = "KILL") -> None:
        """End the agent of a host, and nothing else."""
        self.bed.stop(host, "agent", signal)

    def wait_hosts(self, seconds: float = 60) -> None:
        """Until every host is active and its network up."""

        def ready() -> bool:
            shown = self.api.all(f"{PROJECT}/hosts")
            states = [
                (host["hostname"], host["state"], host.get("networkState"), host.get("networkMessage"))
                for host in shown
            ]
            # hosts of the bed have no resolvers, which limits them
            good = [s for s in states if s[1] == "active" and s[2] in ("up", "limited")]
            if len(good) < len(self.hosts):
                raise RuntimeError(f"hosts are {states}")
            return True

        until("all hosts are active with their network", ready, seconds, 0.2)

    # ---- stacks --------------------------------------------------------------------------------------------------------

    def stack(self, name: str, docker: str, rancher: str = "", *, wait: float = 60) -> dict[str, Any]:
        """Deploy a stack from compose files and wait until its services are active."""
        made: dict[str, Any] = self.api.post(
            f"{PROJECT}/environments",
            {"name": name, "dockerCompose": docker, "rancherCompose": rancher, "startOnCreate": True},
        )
        if wait:
            self.settle(made, wait)
        return made

    def settle(self, stack: dict[str, Any], seconds: float = 60) -> None:
        """Until every service of a stack is active."""

        def settled() -> bool:
            rows = self.services(stack)
            waiting = [f"{s['name']}: {s['state']}, {s['because']}" for s in rows if s["state"] != "active"]
            if waiting or not rows:
                raise RuntimeError("; ".join(waiting) or "no services")
            return True

        until(f"the services of {stack['name']} are active", settled, seconds)

    def services(self, stack: dict[str, Any]) -> list[dict[str, Any]]:
        """The services of a stack."""
        return self.api.all(f"{PROJECT}/services", environmentId=stack["id"])

    def service(self, stack: dict[str, Any], name: str) -> dict[str, Any]:
        """One of them."""
        return next(s for s in self.services(stack) if s["name"] == name)

    def scale(self, service: dict[str, Any], scale: int) -> None:
        """Ask for another scale."""
        self.api.call("PUT", f"{PROJECT}/services/{service['id']}", {"scale": scale})

    def containers(self, service: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Running containers (of one service) as the API shows them."""
        wanted = {"serviceId": service["id"]} if service else {}
        return [c for c in self.api.all(f"{PROJECT}/containers", **wanted) if c["state"] == "running"]

    def host_of(self, container: dict[str, Any]) -> int:
        """The number of the bed's host that a container is on."""
        shown = {h["id"]: h["hostname"] for h in self.api.all(f"{PROJECT}/hosts")}
        return int(shown[container["hostId"]].removeprefix("h"))

    # ---- from inside ---------------------------------------------------------------------------------------------------

    def inside(self, host: int, container: str, *command: object, check: bool = True, timeout: float = 30) -> str:
        """What a command says in a container, run by the host's engine (not through the platform)."""
        return self.bed.docker(host, "exec", container, *command, check=check, timeout=timeout)

    def curl(self, host: int, container: str, url: str, *options: object) -> str:
        """What curl gets in a container; empty when it fails."""
        return self.inside(host, container, "curl", "-s", "-m", "3", *options, url, check=False)


@contextlib.contextmanager
def platform(bed: Bed, hosts: list[int] | None = None) -> Iterator[Platform]:
    """Start it all on a bed that is up. Ends with the bed."""
    running = Platform(bed, hosts if hosts is not None else list(range(1, bed.size + 1)))
    running.start_server()
    for host in running.hosts:
        running.start_agent(host)
    yield running


def status_of(bed: Bed, host: int) -> dict[str, Any]:
    """What the network service of a host says of itself."""
    text = bed.exec(host, "cat", f"{STATE}/network/status.json", check=False)
    return json.loads(text) if text.strip().startswith("{") else {}
