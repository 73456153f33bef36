"""Composition root of the network service (``python -m remuda.run.network``); the agent starts it, people never need to."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from remuda import __version__
from remuda.adapters.iproute import IpLinks
from remuda.adapters.nft import NftPackets
from remuda.adapters.strongswan import Charon
from remuda.agent.network.dns.part import NamesPart
from remuda.agent.network.firewall import FirewallPart
from remuda.agent.network.metadata.part import MetadataPart
from remuda.agent.network.overlay import OverlayPart
from remuda.agent.network.reach import ReachPart
from remuda.agent.network.service import NetworkService, Taken
from remuda.agent.network.state import FOLDER, Part
from remuda.agent.network.tunnels import TunnelsPart

log = logging.getLogger("remuda.network")


def parts(folder: Path) -> list[Part]:
    """Everything that the network service looks after, in the order in which it is brought up."""
    return [
        TunnelsPart(Charon(folder / FOLDER / "charon")),  # before the overlay: its packets must not leave in plain
        OverlayPart(IpLinks()),
        FirewallPart(NftPackets()),
        NamesPart(),
        MetadataPart(),
        ReachPart(),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(prog="remuda network-service", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="the agent's folder")
    options = parser.parse_args(arguments)
    # no structured logging: this process is on every host, and each library costs megabytes there
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    return asyncio.run(_serve(NetworkService(options.state, parts(options.state), __version__)))


async def _serve(service: NetworkService) -> int:
    work = asyncio.create_task(_work(service))
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, work.cancel)
    try:
        await work
    except Taken as error:
        log.info("%s", error)
    except asyncio.CancelledError:
        log.info("Told to stop; the kernel goes on with what it has")
    return 0


async def _work(service: NetworkService) -> None:
    await service.lock()
    await service.run()


if __name__ == "__main__":
    sys.exit(main())
