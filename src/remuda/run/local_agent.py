"""The server's own machine as its first Docker host: an agent as a child process, registered in the Default environment.

Only where Docker answers. The agent is the ordinary one and talks to the server over its socket like any other.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import structlog

from remuda.api.auth import registration_token
from remuda.api.resources.keys import new_pair
from remuda.api.server import Api
from remuda.core.model import Credential
from remuda.ports.store import ALIVE, Tx, eq

log = structlog.get_logger()

DEFAULT_PROJECT = 5
NAME = "local agent"
_RETRY_SECONDS = (1, 2, 5, 10, 30)


def docker_socket() -> Path | None:
    """Docker's socket, if there is one."""
    told = os.environ.get("DOCKER_HOST", "")
    path = Path(told.removeprefix("unix://")) if told.startswith("unix://") else Path("/var/run/docker.sock")
    return path if path.is_socket() else None


async def run(api: Api, data: Path, port: int) -> None:
    """Keep the agent running until cancelled."""
    if docker_socket() is None:
        log.info("no Docker on this machine: add hosts with the command that Hosts -> Add host shows")
        return
    token = await _token(api)
    url = f"http://127.0.0.1:{port}/v1/scripts/{token}"
    attempt = 0
    while True:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "remuda.run.agent", "--state", str(data / "agent"),
            # not an argument: everybody on the machine sees those
            env={**os.environ, "REMUDA_AGENT_FOREGROUND": "1", "REMUDA_REGISTRATION_URL": url},
        )  # fmt: skip
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            try:
                async with asyncio.timeout(5):
                    await process.wait()
            except TimeoutError:
                process.kill()
            raise
        log.warning("the local agent ended and is started again", code=code)
        await asyncio.sleep(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
        attempt += 1


async def _token(api: Api) -> str:
    access, secret = new_pair()

    def unit(tx: Tx) -> Credential:
        row = tx.first(Credential, eq("kind", "registrationToken"), eq("name", NAME), ALIVE)
        return row or tx.insert(
            Credential(
                kind="registrationToken",
                account_id=DEFAULT_PROJECT,
                name=NAME,
                public_value=access,
                sealed=api.keyring.seal(secret, "registration"),
            )
        )

    return registration_token(api, await api.store.write(unit))
