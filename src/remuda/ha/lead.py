"""What the node does whose ZooKeeper leads: lets servers into the ensemble and out of it, one step at a time.

There is at most one such node while there is quorum, and none without: then nobody changes anything. Should two think they
are, both the database row and the ensemble refuse the second change.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any

from remuda.core.membership import Change, Ensemble, Rest, Write, check_invariants, plan_ensemble
from remuda.ha import cluster, zookeeper
from remuda.ha.cluster import View
from remuda.ha.ensemble import EnsembleDoor, NoQuorum
from remuda.ha.files import Files
from remuda.ha.node import Generation

log = logging.getLogger(__name__)


async def answering(ensemble: Ensemble, port: int, tls: ssl.SSLContext) -> set[int]:
    """Numbers of the servers, joining one included, that serve now."""
    said = await asyncio.gather(*(zookeeper.probe(voter.address, port, tls) for voter in ensemble.known))
    return {voter.id for voter, state in zip(ensemble.known, said, strict=True) if state.role}


class Lead:
    """Holds one session with the ensemble while this node leads."""

    def __init__(self, store: Any, generation: Generation, files: Files) -> None:
        self._store, self._generation, self._files = store, generation, files
        self._door: EnsembleDoor | None = None

    async def step(self, view: View, tell: Callable[[str], None], tls: ssl.SSLContext) -> None:
        """Look at the ensemble and take the next step, if there is one."""
        ensemble, ports = view.ensemble, self._generation.ports
        if ensemble is None:
            return
        if self._door is None:
            local = f"127.0.0.1:{ports.zookeeper_client_port}"
            pem = str(self._files.tls / "node.pem")
            self._door = EnsembleDoor(local, str(self._files.tls / "ca.pem"), pem, self._generation.zookeeper_super)
        try:
            running = await self._door.running()
        except NoQuorum:
            await self.rest()
            raise
        ready = await answering(ensemble, ports.zookeeper_client_port, tls)
        plan = plan_ensemble(ensemble, view.nodes, self._generation.size, running.voters, ready)
        if isinstance(plan, Rest):
            tell(plan.because if plan.state == "waiting" else "")
            return
        tell(plan.because)
        if isinstance(plan, Write):
            wrong = check_invariants(plan.ensemble, self._generation.size)
            if wrong:
                raise NoQuorum(f"the next list of voters would be wrong ({', '.join(wrong)}); nothing was changed")
            if await self._store.write(cluster.rewrite(ensemble, plan.ensemble)):
                log.warning("%s", plan.because)
        elif isinstance(plan, Change):
            log.warning("%s", plan.because)
            await self._door.change(plan.join, plan.leave, ports, running.version)

    async def rest(self) -> None:
        """This node does not lead (any more)."""
        if self._door is not None:
            door, self._door = self._door, None
            await door.close()
