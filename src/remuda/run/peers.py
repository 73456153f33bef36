"""The other management nodes: where their ZooKeeper and Redis are, now and after a node was replaced.

Given either by environment (fixed) or as a file that the node's supervisor rewrites when the ensemble changes; the file is
looked at every few seconds and the adapters follow, so the server is not restarted because a peer was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from remuda.ports.bus import Bus
from remuda.ports.leases import Leases
from remuda.run.settings import ServerSettings, SettingsError

if TYPE_CHECKING:
    from remuda.adapters.redis.bus import RedisBus
    from remuda.adapters.zookeeper.leases import ZookeeperLeases

log = structlog.get_logger()

LOOK_SECONDS = 2.0


class Peers(msgspec.Struct, frozen=True):
    """``zookeeper``: ``host:port,...``. ``redis``: URLs, this node's own first."""

    zookeeper: str = ""
    redis: tuple[str, ...] = ()


class PeerList:
    """Opens leases and bus for the peers, and keeps them up to date."""

    def __init__(self, settings: ServerSettings, peers: Peers) -> None:
        self._settings, self._peers = settings, peers
        self._leases: ZookeeperLeases | None = None
        self._bus: RedisBus | None = None

    @classmethod
    def of(cls, settings: ServerSettings) -> PeerList | None:
        """The peers of these settings, None for a server that is alone."""
        if settings.peers_file is not None:
            return cls(settings, _read(settings.peers_file))
        if not settings.zookeeper:
            return None
        if not settings.redis:
            raise SettingsError("REMUDA_ZOOKEEPER is set but REMUDA_REDIS is not: a cluster needs both")
        return cls(settings, Peers(settings.zookeeper, settings.redis))

    async def leases(self, floor: Callable[[], Awaitable[int]]) -> Leases:
        """Leases and membership through ZooKeeper. ``floor`` gives the highest fence the store has seen."""
        from remuda.adapters.zookeeper.bridge import Tls
        from remuda.adapters.zookeeper.leases import ZookeeperLeases

        told = self._settings
        tls = Tls(told.tls_ca, told.tls_cert, told.tls_key) if told.tls_ca else None
        self._leases = ZookeeperLeases(self._peers.zookeeper, tls=tls, floor=floor)
        return self._leases

    async def bus(self) -> Bus:
        """The bus through Redis."""
        from remuda.adapters.redis.bus import RedisBus

        told = self._settings
        tls = {"ssl_ca_certs": told.tls_ca, "ssl_certfile": told.tls_cert, "ssl_keyfile": told.tls_key}
        self._bus = RedisBus(list(self._peers.redis), tls=tls if told.tls_ca else None)
        return self._bus

    async def watch(self) -> None:
        """Follow the file until cancelled."""
        path = self._settings.peers_file
        while path is not None:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                peers = _read(path)
            except SettingsError as problem:
                log.warning("the list of peers cannot be read; the last one stays in force", problem=str(problem))
                continue
            if peers == self._peers:
                continue
            log.info("the management nodes changed", zookeeper=peers.zookeeper)
            self._peers = peers
            if self._leases is not None:
                self._leases.follow(peers.zookeeper)
            if self._bus is not None:
                self._bus.follow(list(peers.redis))
        await asyncio.Event().wait()


def _read(path: Path) -> Peers:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Peers)
    except (OSError, msgspec.MsgspecError) as problem:
        raise SettingsError(f"{path}: {problem}") from None
