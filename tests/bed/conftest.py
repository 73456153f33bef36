"""Images of the code under test, and one bed per module. What was not there before is gone afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from testbed.bed import BUILD_DIR, build_daemon
from tests.bed.outage import Outage, outage

TOP = Path(__file__).resolve().parents[2]


def _script(*command: str, host: str) -> None:
    done = subprocess.run(
        [str(TOP / command[0]), *command[1:]],
        env={**os.environ, "DOCKER_HOST": host},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, f"{command[0]}: {(done.stderr or done.stdout)[-2000:]}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long without a hand is begun first and judged last."""
    items.sort(
        key=lambda item: (item.get_closest_marker("last") is not None) - (item.get_closest_marker("first") is not None)
    )


@pytest.fixture(scope="session")
def build_host() -> Iterator[str]:
    """The build daemon, with the test image."""
    fresh = not (BUILD_DIR / "data").exists()
    with build_daemon() as host:
        _script("testbed/mkbusybox", host, host=host)
        yield host
    if fresh:
        subprocess.run([str(TOP / "testbed/builddaemon"), "purge"], check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="session")
def clients(build_host: str) -> str:
    """The image with curl and its like; made once, so that the disks that hold it are made once too."""
    _script("testbed/mkclient", build_host, host=build_host)
    return build_host


@pytest.fixture(scope="session")
def images(build_host: str) -> str:
    """remuda/server and remuda/agent, built from this checkout."""
    _script("scripts/build-images", host=build_host)
    return build_host


@pytest.fixture(scope="session")
def long_outage(images: str, clients: str) -> Iterator[Outage]:
    """A platform whose server has just been killed."""
    with outage() as made:
        made.begin()
        yield made
