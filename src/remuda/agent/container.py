"""The agent as a container: it makes itself permanent, and never mistakes itself for somebody's workload.

The command that the UI shows is a plain ``docker run``. What it starts has perhaps no restart policy, a network of its own and a
random name; so it starts a sibling from its own image, named ``remuda-agent``, with the host's network and processes and
``--restart always``, and is done. Running the command again replaces the sibling and keeps the identity, which lies on the host.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from remuda.core.labels import CONTAINER_SYSTEM
from remuda.ports.engine import Document, Engine, EngineDown, EngineError

log = logging.getLogger("remuda.agent.container")

NAME = "remuda-agent"
STATE = "/var/lib/remuda"
OLD_STATE = "/var/lib/rancher"
_OWN_ID = re.compile(r"/containers/([0-9a-f]{64})/|[/-]([0-9a-f]{64})(?:\.scope)?$", re.MULTILINE)
_PROVE_SECONDS = 3.0
_OWN_ENVIRONMENT = ("CATTLE_", "CA_FINGERPRINT", "REMUDA_", "DOCKER_HOST", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class NotPermanent(Exception):  # noqa: N818 - a state
    """The sibling could not be started or did not stay up; the message says why."""


def own_id(proc: Path = Path("/proc")) -> str:
    """Docker's id of the container this process runs in; empty when it runs in none."""
    if proc == Path("/proc") and not Path("/.dockerenv").exists():
        return ""
    for name in ("self/mountinfo", "self/cgroup"):
        try:
            found = _OWN_ID.search((proc / name).read_text())
        except OSError:
            continue
        if found:
            return str(found[1] or found[2])
    return ""


def permanent(document: Document) -> bool:
    """Is this container fit to be the agent for good?"""
    host = document.get("HostConfig") or {}
    policy = (host.get("RestartPolicy") or {}).get("Name") or "no"
    return policy != "no" and sees_host(document)


def sees_host(document: Document) -> bool:
    """Does this container share the host's network and processes?"""
    host = document.get("HostConfig") or {}
    return bool(host.get("NetworkMode") == "host" and host.get("PidMode") == "host")


def state_folder(document: Document) -> str:
    """Where in the container the identity is kept: the original's folder only if it alone was mounted."""
    mounted = {mount.get("Destination") for mount in document.get("Mounts") or ()}
    root = OLD_STATE if OLD_STATE in mounted and STATE not in mounted else STATE
    return f"{root}/agent"


def sibling(document: Document, arguments: Sequence[str]) -> Document:
    """The create document of ``remuda-agent``, modelled on the container that asks."""
    config, host = document.get("Config") or {}, document.get("HostConfig") or {}
    binds = list(host.get("Binds") or ())
    root = state_folder(document).removesuffix("/agent")
    targets = {bind.split(":")[1] for bind in binds if ":" in bind}
    targets |= {mount.get("Destination") for mount in host.get("Mounts") or ()}
    binds += [f"{path}:{path}" for path in ("/var/run/docker.sock", root) if path not in targets]
    environment = [entry for entry in config.get("Env") or () if entry.upper().startswith(_OWN_ENVIRONMENT)]
    wish: dict[str, Any] = {
        "Image": str(document.get("Image", "")),
        "Entrypoint": config.get("Entrypoint"),
        "Cmd": list(arguments),
        "Env": environment,
        "Labels": {CONTAINER_SYSTEM: "true"},
        "HostConfig": {
            "Binds": binds,
            "Mounts": host.get("Mounts") or [],
            "Privileged": True,
            "NetworkMode": "host",
            "PidMode": "host",
            "RestartPolicy": {"Name": "always"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        },
    }
    return wish


async def become_permanent(engine: Engine, own: Document, arguments: Sequence[str]) -> None:
    """Start the sibling, replacing an older one, and see it stay up. Raises :class:`NotPermanent`."""
    try:
        await _replace(engine, NAME)
        container = await engine.create(NAME, sibling(own, arguments))
        await engine.start(container)
        try:
            await _prove(engine, container)
        except NotPermanent:
            await engine.remove(container, force=True, volumes=False)
            raise
    except EngineError as error:
        raise NotPermanent(f"Docker does not start {NAME}: {error}") from error
    log.info("Container %s runs the agent from now on (see: docker logs %s)", NAME, NAME)


async def remove_self(engine: Engine, own: Document) -> None:
    """A container with a restart policy would be started again when we leave: remove it."""
    policy = ((own.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "no"
    if policy != "no":
        await engine.remove(str(own["Id"]), force=True, volumes=False)


async def _replace(engine: Engine, name: str) -> None:
    try:
        old = await engine.inspect(name)
    except EngineDown:
        raise
    except EngineError as error:
        if error.status == 404:
            return
        raise
    log.info("Replacing the container %s that is already here", name)
    await engine.stop(str(old["Id"]), 10)
    await engine.remove(str(old["Id"]), force=True, volumes=False)


async def _prove(engine: Engine, container: str) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PROVE_SECONDS
    while loop.time() < deadline:
        document = await engine.inspect(container)
        state = document.get("State") or {}
        if document.get("RestartCount") or not state.get("Running"):
            last = b""
            async for _, data in engine.logs(container, follow=False, lines=5, timestamps=False):
                last += data
            words = last.decode(errors="replace").strip() or f"exit code {state.get('ExitCode')}"
            raise NotPermanent(f"{NAME} does not stay up: {words}")
        await asyncio.sleep(0.3)
