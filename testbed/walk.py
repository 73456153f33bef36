"""The state of one walk through the installation page, and how its steps are run, timed and told.

The steps are elsewhere: :mod:`testbed.install` (E.1 to E.5) and :mod:`testbed.faults` (E.6). ``make ha-demo`` runs them all,
the bed tests run a selection, the benchmarks start from :func:`testbed.install.cluster`. All judge from outside (API, load
balancer, engines); none looks into Remuda's processes or tables.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from testbed.bed import Bed, X
from testbed.client import Client, Writer

PARTS = ("zookeeper", "redis", "server", "ingress")
PROJECT = "/v1/projects/1a5"


class FailedStepError(AssertionError):
    """A step of the walk saw something that must not be; the message says what."""


def must(condition: object, message: str) -> None:
    """Fail the step with that message unless the condition holds."""
    if not condition:
        raise FailedStepError(message)


@dataclass
class Result:
    """What came of a step."""

    title: str
    seconds: float
    problem: str = ""
    note: str = ""


@dataclass
class Walk:
    """The bed with what the steps learn on their way."""

    bed: Bed
    nodes: list[int] = field(default_factory=lambda: [1, 2, 3])
    hosts: list[int] = field(default_factory=lambda: [4, 5])
    spare: int = 6
    url: str = ""
    """Where the API is, if not at the load balancer."""
    key: tuple[str, str] | None = None
    script: bytes = b""
    results: list[Result] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Names of writes acknowledged so far, all of which must still be there."""

    @property
    def door(self) -> str:
        """The load balancer's address."""
        return self.bed.ip(X)

    @property
    def api(self) -> Client:
        """The API as administrator, through the load balancer, HTTPS."""
        return Client(self.url or f"https://{self.door}", self.key)

    def node_api(self, node: int) -> Client:
        """The API at one node's own front door."""
        return Client(f"https://{self.bed.ip(node)}", self.key)

    def cli(self, *words: object, url: str = "", timeout: float = 90) -> str:
        """The `remuda` command as an operator would run it, through the load balancer and trusting only its CA."""
        door = url or self.url or f"https://{self.door}"
        home = self.bed.dir / "cli"
        home.mkdir(exist_ok=True)
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "RANCHER_URL": door, "TERM": "dumb"}
        if self.key:
            environment |= {"RANCHER_ACCESS_KEY": self.key[0], "RANCHER_SECRET_KEY": self.key[1]}
        if door.startswith("https:"):
            ca = home / "ca.crt"
            ca.write_bytes(Client(door).raw("GET", "/v1/scripts/ca.crt")[1])
            environment["REMUDA_CA"] = str(ca)
        command = [sys.executable, "-m", "remuda.run.main", *map(str, words)]
        done = subprocess.run(
            command, env=environment, cwd=home, capture_output=True, text=True, timeout=timeout, check=False
        )
        must(
            done.returncode == 0,
            f"remuda {' '.join(command[3:])} ended with {done.returncode}: {done.stderr.strip()[-500:]}",
        )
        return done.stdout

    def step(self, title: str, do: Callable[[Walk], str | None]) -> bool:
        """Run one step, time it, print it; True when it passed."""
        began = time.monotonic()
        result = Result(title, 0.0)
        try:
            result.note = do(self) or ""
        except Exception as error:
            result.problem = (
                f"{'' if isinstance(error, FailedStepError | TimeoutError) else type(error).__name__ + ': '}{error}"
            )
        result.seconds = time.monotonic() - began
        self.results.append(result)
        print(line(result), flush=True)
        return not result.problem

    @contextlib.contextmanager
    def writing(self, prefix: str) -> Iterator[Writer]:
        """Write through the load balancer while the block runs; what was acknowledged must never be lost."""
        with Writer(self.api, prefix) as writer:
            writer.resumed(0, 30)
            try:
                yield writer
            finally:
                self.lost += writer.acknowledged()


def line(result: Result) -> str:
    """One line of the report."""
    state = "FAILED" if result.problem else "ok"
    return f"{state:6} {result.seconds:7.1f} s  {result.title}" + (
        f"\n                  {result.problem or result.note}" if result.problem or result.note else ""
    )


def save_logs(walk: Walk, directory: Path) -> None:
    """Everything the hosts and containers said, for who looks for the cause."""
    directory.mkdir(parents=True, exist_ok=True)
    for host in [*walk.nodes, *walk.hosts, walk.spare]:
        for log in sorted((walk.bed.disk(host) / "log").glob("*.log")):
            (directory / f"h{host}-{log.name}").write_bytes(log.read_bytes())
        with contextlib.suppress(Exception):
            for name in walk.bed.docker(host, "ps", "-a", "--format", "{{.Names}}").split():
                text = walk.bed.run("exec", host, "sh", "-c", f"docker logs {name} 2>&1 | tail -5000", check=False)
                (directory / f"h{host}-{name}.txt").write_text(text)
