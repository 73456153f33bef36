"""Each server publishes to its own node's Redis and listens to the Redis of every node: nothing ever fails over.

Everything sent may be lost. What is promised: publishing never raises and never takes longer than a second, every link
comes back by itself, and ``healthy`` is False while one is missing, so that readers poll the change log more often.
The servers of one cluster use pub/sub channels under one prefix; nothing is stored in Redis.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from remuda.adapters.mailbox import Mailbox

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 1.0
CONNECT_SECONDS = 1.0
PING_SECONDS = 2.0
"""A link that answers no ping for this long is broken (half-open connections say nothing by themselves)."""
MAX_BACKOFF = 2.0
PREFIX = "remuda:"
_ERRORS = (RedisError, OSError, TimeoutError, EOFError, RuntimeError, ValueError)


class _Link:
    """Listens to one Redis, for ever. Subscriptions are changed through ``want``, which the link follows."""

    def __init__(
        self, client: Redis, name: str, deliver: Callable[[str, bytes], None], wanted: Callable[[], set[str]]
    ) -> None:
        self.up = False
        self._client = client
        self._name = name
        self._deliver = deliver
        self._wanted = wanted
        self._pubsub: Any = None
        self._following: asyncio.Task[None] | None = None
        self._again = False
        self._broken = False
        self._have: set[str] = set()
        self._confirmed: set[str] = set()
        self._settled = asyncio.Event()
        self.task = asyncio.create_task(self._run(), name=f"redis {name}")

    def refresh(self) -> None:
        """The wanted channels changed."""
        self._settled.clear()
        self._again = True
        if self._pubsub is not None and (self._following is None or self._following.done()):
            self._following = asyncio.create_task(self._follow(self._pubsub))

    async def settled(self) -> None:
        """Return once this Redis has confirmed all wanted channels."""
        await self._settled.wait()

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                async with self._client.pubsub() as pubsub:
                    await self._listen(pubsub, self._came_up)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                if self.up or not failures:
                    log.warning("redis %s: link lost (%s)", self._name, type(error).__name__)
                failures = 0 if self.up else failures + 1
            self.up = False
            self._settled.clear()
            await asyncio.sleep(min(MAX_BACKOFF, 0.05 * 2 ** min(failures, 6)) * (0.5 + random.random()))  # noqa: S311

    def _came_up(self) -> None:
        if not self.up:
            log.info("redis %s: link up", self._name)
        self.up = True

    async def _listen(self, pubsub: Any, came_up: Callable[[], None]) -> None:
        self._have, self._confirmed, self._broken = set(), set(), False
        # A channel nobody publishes to keeps the link subscribed: an idle pub/sub connection may then be pinged.
        async with asyncio.timeout(CONNECT_SECONDS + PUBLISH_SECONDS):
            await pubsub.subscribe(f"{PREFIX}idle")
        loop = asyncio.get_running_loop()
        heard = pinged = loop.time()
        self._pubsub = pubsub
        try:
            self.refresh()
            while not self._broken:
                message = await pubsub.get_message(timeout=PING_SECONDS / 4)
                now = loop.time()
                if message is not None:
                    heard = now
                    came_up()
                    self._take(message)
                elif now - heard > PING_SECONDS:
                    raise TimeoutError
                elif now - max(heard, pinged) > PING_SECONDS / 4:
                    pinged = now
                    async with asyncio.timeout(PUBLISH_SECONDS):
                        await pubsub.ping()
        finally:
            self._pubsub = None
            if self._following is not None:
                self._following.cancel()

    async def _follow(self, pubsub: Any) -> None:
        """Subscribe to what is wanted now; beside the reader, so that a new subscription need not wait for a message."""
        try:
            while self._again:
                self._again = False
                wanted = {f"{PREFIX}{channel}" for channel in self._wanted()}
                async with asyncio.timeout(PUBLISH_SECONDS):
                    if new := wanted - self._have:
                        await pubsub.subscribe(*new)
                    if old := self._have - wanted:
                        self._confirmed -= old
                        await pubsub.unsubscribe(*old)
                self._have = wanted
            self._check()
        except _ERRORS as error:
            log.debug("redis %s: subscribing failed (%s)", self._name, type(error).__name__)
            self._broken = True

    def _take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        channel = message["channel"]
        name = channel.decode() if isinstance(channel, bytes) else str(channel)
        if kind == "message":
            self._deliver(name.removeprefix(PREFIX), bytes(message["data"]))
        elif kind == "subscribe":
            self._confirmed.add(name)
            self._check()
        elif kind == "unsubscribe":
            self._confirmed.discard(name)

    def _check(self) -> None:
        if self._have <= self._confirmed and not self._again:
            self._settled.set()


class RedisBus:
    """Implements :class:`remuda.ports.bus.Bus`. ``urls``: ``redis[s]://:password@host:port``, the own node's first."""

    def __init__(self, urls: Sequence[str], *, tls: dict[str, str] | None = None) -> None:
        """``tls``: ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile`` for ``rediss://`` addresses."""
        self._tls = tls
        self._boxes: list[Mailbox] = []
        self._published = True
        self._peers: dict[str, tuple[Redis, _Link]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.follow(urls)

    def follow(self, urls: Sequence[str]) -> None:
        """Listen to these from now on, the own node's first; links that stay are not touched."""
        for url in urls:
            if url not in self._peers:
                client = _client(url, self._tls)
                self._peers[url] = (client, _Link(client, _name(url), self._deliver, self._wanted))
        self._own = self._peers[urls[0]][0]
        for url in set(self._peers) - set(urls):
            task = asyncio.get_running_loop().create_task(_hang_up(*self._peers.pop(url)))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    @property
    def _links(self) -> list[_Link]:
        return [link for _, link in self._peers.values()]

    def _wanted(self) -> set[str]:
        return {channel for box in self._boxes for channel in box.channels}

    def _deliver(self, channel: str, payload: bytes) -> None:
        for box in self._boxes:
            box.put(channel, payload)

    async def publish(self, channel: str, payload: bytes) -> None:
        """Send to whoever listens on ``channel``; lost if the own node's Redis does not take it within a second."""
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self._own.publish(f"{PREFIX}{channel}", payload)
        except _ERRORS as error:
            if self._published:
                log.warning("redis: publishing fails (%s); peers hear of changes by polling", type(error).__name__)
            self._published = False
        else:
            self._published = True

    @asynccontextmanager
    async def subscribe(self, *channels: str) -> AsyncIterator[AsyncIterator[tuple[str, bytes]]]:
        """Within the block, iterate over (channel, payload). Begins once all reachable peers know of the subscription."""
        box = Mailbox(channels)
        self._boxes.append(box)
        try:
            for link in self._links:
                link.refresh()
            with suppress(TimeoutError):
                async with asyncio.timeout(PUBLISH_SECONDS):
                    await asyncio.gather(*[link.settled() for link in self._links if link.up])
            yield box
        finally:
            self._boxes.remove(box)
            box.close()
            for link in self._links:
                link.refresh()

    @property
    def healthy(self) -> bool:
        """False while at least one Redis is out of reach."""
        return self._published and all(link.up for link in self._links)

    async def close(self) -> None:
        """Drop all links."""
        for box in self._boxes:
            box.close()
        await asyncio.gather(
            *[_hang_up(*peer) for peer in self._peers.values()], *self._closing, return_exceptions=True
        )


async def _hang_up(client: Redis, link: _Link) -> None:
    link.task.cancel()
    await asyncio.gather(link.task, return_exceptions=True)
    with suppress(*_ERRORS):
        async with asyncio.timeout(PUBLISH_SECONDS):
            await client.aclose()


def _client(url: str, tls: dict[str, str] | None) -> Redis:
    options: dict[str, Any] = dict(tls or {}) if url.startswith("rediss://") else {}
    pool = BlockingConnectionPool.from_url(
        url,
        timeout=PUBLISH_SECONDS,
        protocol=2,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=PING_SECONDS,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=0,
        max_connections=8,
        **options,
    )
    return Redis(connection_pool=pool)


def _name(url: str) -> str:
    return url.rpartition("@")[2].partition("/")[0].rpartition("//")[2] or "redis"
