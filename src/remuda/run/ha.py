"""Compose the supervisor of one node of a cluster: ``remuda ha-node``, what ``remuda-ha.sh`` starts.

Exit codes: 0 ended by a signal (the parts of the node go on running); 1 there is no usable configuration on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from remuda import __version__
from remuda.adapters.docker.engine import DockerEngine
from remuda.adapters.memory.clock import SystemClock
from remuda.adapters.sql.store import SqlStore
from remuda.ha import cluster, node
from remuda.ha.node import Generation, NodeError
from remuda.ha.state import NodeState
from remuda.ha.status import PORT, StatusPage
from remuda.ha.supervisor import Supervisor
from remuda.ha.wanted import Options
from remuda.ports.store import StoreError
from remuda.run import logs

log = logging.getLogger("remuda.ha")

_HELP = """\
Run one management node of a highly available installation: starts and watches its ZooKeeper, Redis, server and front door.

It is started by remuda-ha.sh, which also writes the configuration that it reads. What it does and waits for is shown on
port 18080 of this machine.
"""
POOL = 3


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="remuda ha-node", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = os.environ.get("REMUDA_DATA") or "/var/lib/remuda"
    parser.add_argument("--data", type=Path, default=Path(data), help="folder of this node (now %(default)s)")
    parser.add_argument(
        "--image", default=os.environ.get("REMUDA_HA_IMAGE", ""), help="image of the parts (default: our own)"
    )
    parser.add_argument("--log", choices=("text", "json"), default=os.environ.get("REMUDA_LOG") or "text")
    parser.add_argument(
        "--give-up",
        metavar="ADDRESS",
        default="",
        help="say that the node at ADDRESS will not return: a spare takes over now",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    told = arguments(sys.argv[1:] if argv is None else argv)
    logs.configure(told.log)
    try:
        return asyncio.run(give_up(told.data, told.give_up) if told.give_up else serve(told.data, told.image))
    except (NodeError, StoreError) as problem:
        print(f"remuda ha-node: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


async def serve(data: Path, image: str) -> int:
    """Until a signal ends it."""
    home = data / "ha"
    generation = node.load(home)
    uuid = node.identity(home)
    state = NodeState()
    page = StatusPage(state)
    try:
        await page.open()
    except OSError as problem:
        raise NodeError(f"the status page needs port {PORT}, which is not free ({problem.strerror})") from None
    store = await _store(generation)
    engine = DockerEngine()
    environment = dict(os.environ)
    options = Options(
        data=data, image=image, version=__version__, agent_image=environment.get("REMUDA_AGENT_IMAGE", "")
    )
    supervisor = Supervisor(
        store, engine, generation, uuid, state, options, lambda: node.address(generation.database, environment)
    )
    log.info("node %s of a cluster of %d, generation %d", uuid, generation.size, generation.number)
    task = asyncio.create_task(supervisor.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        log.info("the supervisor ends; the parts of this node go on running")
    finally:
        await page.close()
        await engine.close()
        await store.close()
    return 0


async def _store(generation: Generation) -> SqlStore:
    database = generation.database
    return await SqlStore.mysql(
        host=database.host,
        port=database.port,
        name=database.name,
        user=database.username,
        password=database.password,
        clock=SystemClock(),
        pool=POOL,
    )


async def give_up(data: Path, address: str) -> int:
    """Mark a node as gone for good."""
    store = await _store(node.load(data / "ha"))
    try:
        view = await store.read(cluster.read)
        found = [member for member in view.members if address in (member.address, member.hostname, member.uuid)]
        if len(found) != 1:
            known = ", ".join(member.address for member in view.members)
            raise NodeError(f"{'no' if not found else 'more than one'} node is known as {address}; there are: {known}")
        await store.write(cluster.give_up(found[0].uuid))
    finally:
        await store.close()
    print(f"The node at {found[0].address} is given up. As soon as it is silent, a spare takes place {found[0].slot}.")
    return 0
