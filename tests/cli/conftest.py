"""A real server with two hosts (real agents, Docker in memory), and the real program run as people run it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from tests.support.server import ROOT, RemudaServer, fake_host, remuda_server

Run = Callable[..., subprocess.CompletedProcess[str]]

COMPOSE = """\
services:
  web:
    image: nginx:${TAG:-1}
    command: ["run", "$$HOME"]
    scale: 2
    depends_on: [db]
  db:
    image: mysql
    environment:
      PASSWORD: ${SECRET}
"""


def command(words: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "remuda.run.main", *words]


@pytest.fixture(scope="module")
def server() -> Iterator[RemudaServer]:
    with remuda_server() as running, fake_host(running, "h1"), fake_host(running, "h2"):
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder ``shop`` with a compose file, in a home of its own."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "docker-compose.yml").write_text(COMPOSE)
    return folder


@pytest.fixture
def run(server: RemudaServer, home: Path) -> Run:
    """``run("ps", "-q")`` gives the finished process, with text output."""

    def go(
        *words: str, env: Mapping[str, str] | None = None, stdin: str = "", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        environment = server.environment(HOME=str(home.parent), PYTHONPATH=str(ROOT / "src"), **(env or {}))
        return subprocess.run(
            command(words),
            cwd=home,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return go


@pytest.fixture
def shop(run: Run) -> Run:
    """The stack of :data:`COMPOSE` as its file says, whatever a test before made of it."""
    done = run("up", env={"SECRET": "s"})
    assert done.returncode == 0, done.stderr
    return run
