"""Keeps the network service running beside the agent, in a process or container of its own that outlives the agent."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from remuda import __version__
from remuda.agent.network.service import holder
from remuda.agent.network.state import FOLDER
from remuda.core.labels import CONTAINER_SYSTEM
from remuda.ports.engine import Document, Engine, EngineDown, EngineError

log = logging.getLogger("remuda.agent.network")

CONTAINER = "remuda-network"
MODULE = "remuda.run.network"
SERVICE_WORD = "network-service"
"""First argument with which the agent's image runs the network service instead."""
_CAPABILITY = 12
"""CAP_NET_ADMIN."""
_LOG_BYTES = 5_000_000
STOP_SECONDS = 5


class Launcher(Protocol):
    """``ensure`` starts the service unless it runs, replaces one of another release, and returns the problem as a sentence."""

    async def ensure(self) -> str: ...


def may_network(proc: Path = Path("/proc")) -> bool:
    """Has this process the right to change the machine's network?"""
    try:
        status = (proc / "self/status").read_text()
    except OSError:
        return False
    effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> _CAPABILITY & 1)


class ProcessLauncher:
    """A detached child process, for an agent that runs as a process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def ensure(self) -> str:
        """Start it unless it runs."""
        running = holder(self._folder / FOLDER)
        if running is not None and running.release in ("", __version__):
            return ""
        # one of another release is told to go by its successor, which takes over within a second
        return await asyncio.to_thread(self._start)

    def _start(self) -> str:
        path = self._folder / FOLDER / "service.log"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            if path.exists() and path.stat().st_size > _LOG_BYTES:
                path.replace(path.with_suffix(".log.old"))
            with path.open("ab") as output:
                subprocess.Popen(
                    [sys.executable, "-m", MODULE, "--state", str(self._folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except OSError as error:
            return f"The network service could not be started: {error}"
        return ""


class ContainerLauncher:
    """A container of the agent's own image, for an agent that is one. ``own`` is Docker's document of the agent's container."""

    def __init__(self, engine: Engine, own: Document, folder: Path) -> None:
        self._engine, self._own, self._folder = engine, own, folder

    async def ensure(self) -> str:
        """Start it unless it runs; replace one that was made from another image."""
        try:
            found = await self._find()
            if found is not None and found.get("Image") != self._own.get("Image"):
                log.info("Replacing %s: the agent's image is another one now", CONTAINER)
                await self._engine.stop(str(found["Id"]), STOP_SECONDS)
                await self._engine.remove(str(found["Id"]), force=True, volumes=False)
                found = None
            container = str(found["Id"]) if found else await self._engine.create(CONTAINER, self._document())
            if found is None or not (found.get("State") or {}).get("Running"):
                await self._engine.start(container)
        except EngineDown:
            return ""  # told as such; what runs goes on
        except EngineError as error:
            return f"The container {CONTAINER} could not be started: {error}"
        return ""

    async def _find(self) -> Document | None:
        try:
            return await self._engine.inspect(CONTAINER)
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    def _document(self) -> Document:
        config, host = self._own.get("Config") or {}, self._own.get("HostConfig") or {}
        return {
            "Image": str(self._own.get("Image", "")),
            "Entrypoint": config.get("Entrypoint"),
            "Cmd": [SERVICE_WORD, "--state", str(self._folder)],
            "Env": [entry for entry in config.get("Env") or () if entry.startswith(("PYTHON", "PATH="))],
            "Labels": {CONTAINER_SYSTEM: "rancher-network"},
            "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": {
                "Binds": host.get("Binds") or [],
                "Mounts": host.get("Mounts") or [],
                "Privileged": True,
                "NetworkMode": "host",
                "PidMode": "host",
                "RestartPolicy": {"Name": "always"},
                "LogConfig": {"Type": "json-file", "Config": {"max-size": "5m", "max-file": "2"}},
            },
        }
