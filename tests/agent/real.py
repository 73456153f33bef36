"""A bed of one host with a small image, and the agent as a process or container on it; shared by the tests that need Docker."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from testbed.bed import HERE, Bed
from tests.support.server import NO_NETWORK

IMAGE = "local/busybox:1"
AGENT_IMAGE = "local/agent:1"


@contextmanager
def one_host() -> Iterator[Bed]:
    """A bed with one Docker host that has ``IMAGE``."""
    with Bed(1, name="bdagent", net="10.78.0") as bed:
        load_busybox(bed)
        yield bed


def load_busybox(bed: Bed) -> None:
    """Build the small image right there."""
    command = [str(HERE / "mkbusybox"), f"unix://{bed.socket(1)}", IMAGE]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def load_agent_image(bed: Bed) -> list[str]:
    """An image that runs this very source with this machine's Python; the binds that it needs, as ``-v`` options."""
    prefix, source = Path(sys.base_prefix), Path(__file__).resolve().parents[2]
    environment = Path(sys.prefix)
    folders = {str(path) for path in (prefix, source, environment)} | {"/usr", "/lib", "/etc/ssl"}
    if Path("/lib64").exists():
        folders.add("/lib64")
    entry = f'ENTRYPOINT ["{environment}/bin/python", "-m", "remuda.run.agent"]'
    empty = subprocess.run(["tar", "-c", "-T", "/dev/null"], capture_output=True, check=True).stdout
    subprocess.run(
        [
            "docker",
            "-H",
            f"unix://{bed.socket(1)}",
            "import",
            "-c",
            entry,
            "-c",
            f"ENV PYTHONPATH={source}/src",
            "-",
            AGENT_IMAGE,
        ],
        input=empty,
        check=True,
        capture_output=True,
        timeout=60,
    )
    return [word for folder in sorted(folders) for word in ("-v", f"{folder}:{folder}:ro")]


class AgentProcess:
    """``python -m remuda.run.agent`` on this machine, driving the engine of the bed's host."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process, self._log = process, log

    @property
    def log(self) -> str:
        """What it said so far."""
        return self._log.read_text()

    def figures(self) -> tuple[float, float]:
        """(resident MB, CPU seconds so far)."""
        folder = Path(f"/proc/{self.process.pid}")
        resident = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("VmRSS"))
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        return int(resident.split()[1]) / 1000, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def end(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(sign)
        async with asyncio.timeout(10):
            return await self.process.wait()


@asynccontextmanager
async def agent_process(bed: Bed, folder: Path, *arguments: str) -> AsyncIterator[AgentProcess]:
    """Run it; killed at the end if it still runs."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "agent.log"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("CATTLE_", "DOCKER_"))}
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *NO_NETWORK, sys.executable, "-m", "remuda.run.agent", *arguments, "--state", str(folder), "--docker", f"unix://{bed.socket(1)}",
            stdout=output, stderr=output, env=environment,
        )  # fmt: skip
    running = AgentProcess(process, log)
    try:
        yield running
    finally:
        await running.end(signal.SIGKILL)
