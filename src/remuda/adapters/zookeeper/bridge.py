"""kazoo's threads on one side, the event loop on the other.

Three kazoo threads in all; whatever they say crosses by ``call_soon_threadsafe``, except ``epoch``: that number rises in
kazoo's own thread the moment the connection changes, so that a lease is in doubt before the loop has heard why.
Nothing here decides anything, and nothing waits without a deadline.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple

from kazoo.client import KazooClient
from kazoo.exceptions import (
    ConnectionClosedError,
    ConnectionLoss,
    OperationTimeoutError,
    SessionExpiredError,
    SessionMovedError,
)
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.states import KazooState
from kazoo.retry import KazooRetry

log = logging.getLogger(__name__)

SESSION_SECONDS = 4.0
CONNECT_SECONDS = 0.6
HANDSHAKE_SECONDS = 1.5
CALL_SECONDS = 4.0
WATCHDOG_SECONDS = 2.0
TRANSIENT = (
    ConnectionLoss,
    ConnectionClosedError,
    SessionExpiredError,
    SessionMovedError,
    OperationTimeoutError,
    TimeoutError,
)
"""The connection is gone or slow: the outcome of the call is not known."""


class Tls(NamedTuple):
    """PEM files: who signs ZooKeeper's certificates, and our own client certificate and key."""

    ca: str
    cert: str
    key: str


class _Handler(SequentialThreadingHandler):  # type: ignore[misc]  # kazoo has no types
    """Gives up on a dead address sooner than kazoo would, so that one dead node does not cost the session; and trusts the
    cluster's own authority alone, where kazoo would load all of the system's at every attempt."""

    def __init__(self, tls: Tls | None) -> None:
        super().__init__()
        self._context: ssl.SSLContext | None = None
        if tls is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._context.check_hostname = False  # nodes are known by their certificate; addresses change
            self._context.load_verify_locations(tls.ca)
            self._context.load_cert_chain(tls.cert, tls.key)

    def create_connection(self, *, address: tuple[str, int], **_options: Any) -> Any:
        plain = socket.create_connection(address, CONNECT_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is None:
            return plain
        try:
            plain.settimeout(HANDSHAKE_SECONDS)
            return self._context.wrap_socket(plain)
        except BaseException:
            plain.close()
            raise


class _LastWords(logging.Handler):
    """Remembers kazoo's last complaint, for the sentence that an operator reads."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()[:300]


class Bridge:
    """One connection to ZooKeeper that comes back for ever. Create it inside the event loop."""

    def __init__(self, hosts: str, tls: Tls | None, on_state: Callable[[bool, int], None]) -> None:
        """``on_state(connected, epoch)`` is called in the loop at every change of the connection."""
        self.epoch = 0
        self._hosts = hosts
        self._tls = tls
        self._on_state = on_state
        self._loop = asyncio.get_running_loop()
        self._words = _LastWords()
        self._logger = logging.getLogger(f"{__name__}.kazoo.{id(self):x}")
        self._logger.setLevel(logging.WARNING)
        self._logger.propagate = False
        self._logger.addHandler(self._words)
        self._closed = False
        self._generation = 0
        self._client = self._start()
        self._watchdog = asyncio.create_task(self._watch(), name="zookeeper watchdog")

    def _start(self) -> Any:
        options: dict[str, Any] = {}
        if self._tls is not None:
            options = {"use_ssl": True, "ca": self._tls.ca, "certfile": self._tls.cert, "keyfile": self._tls.key}
        client = KazooClient(
            hosts=self._hosts,
            timeout=SESSION_SECONDS,
            handler=_Handler(self._tls),
            randomize_hosts=False,  # the own node first: another node that fails is then none of our business
            connection_retry=KazooRetry(max_tries=-1, delay=0.1, backoff=2, max_delay=1.0, max_jitter=0.4),
            logger=self._logger,
            **options,
        )

        self._generation += 1
        generation = self._generation

        def listen(state: str) -> None:
            if generation == self._generation:
                self.epoch += 1
                self.post(self._on_state, state == KazooState.CONNECTED, self.epoch)

        client.add_listener(listen)
        client.start_async()
        return client

    def follow(self, hosts: str) -> None:
        """Use these addresses from the next connection on."""
        self._hosts = hosts
        if self._client is not None:
            self._client.set_hosts(hosts)

    def post(self, function: Callable[..., None], *args: Any) -> None:
        """Run ``function`` in the loop; for kazoo's threads."""
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop is closed: nobody is left to tell
            log.debug("zookeeper: the event loop has ended")

    async def _watch(self) -> None:
        """kazoo's connection thread ends at errors that it did not expect; then start another client."""
        while True:
            await asyncio.sleep(WATCHDOG_SECONDS)
            try:
                if self._client._connection.connection_stopped.is_set() and not self._closed:
                    log.warning("zookeeper: the client stopped (%s); starting another", self._words.text)
                    old, self._client = self._client, None
                    self._generation += 1  # whatever the old one still says is not for us
                    self.epoch += 1
                    self._on_state(False, self.epoch)
                    await asyncio.to_thread(_stop, old)
                    self._client = self._start()
            except Exception:
                log.exception("zookeeper: watchdog")
                if self._client is None:
                    self._client = self._start()

    @property
    def session(self) -> int:
        """The id of the session, 0 without one."""
        identity = getattr(self._client, "client_id", None)
        return int(identity[0] or 0) if identity else 0

    @property
    def complaint(self) -> str:
        """What kazoo said last about the connection."""
        return self._words.text

    async def call(self, verb: str, *args: Any, **options: Any) -> Any:
        """``verb`` is a kazoo method without ``_async``. Raises kazoo's exceptions, TimeoutError after four seconds."""
        client = self._client
        if client is None:
            raise ConnectionClosedError
        future: asyncio.Future[Any] = self._loop.create_future()

        def settle(result: Any) -> None:
            if future.done():
                return
            if result.exception is not None:
                future.set_exception(result.exception)
            else:
                future.set_result(result.value)

        getattr(client, f"{verb}_async")(*args, **options).rawlink(lambda result: self.post(settle, result))
        async with asyncio.timeout(CALL_SECONDS):
            return await future

    def watcher(self, function: Callable[[], None]) -> Callable[[Any], None]:
        """A watch for kazoo that calls ``function`` in the loop, also when the connection is lost."""
        return lambda _event: self.post(function)

    async def close(self) -> None:
        """End the session, so that peers need not wait for it to expire."""
        self._closed = True
        self._watchdog.cancel()
        client, self._client = self._client, None
        if client is not None:
            try:
                async with asyncio.timeout(2 * CALL_SECONDS):
                    await asyncio.to_thread(_stop, client)
            except TimeoutError:
                log.warning("zookeeper: the client did not stop in time")


def _stop(client: Any) -> None:
    try:
        client.stop()
        client.close()
    except Exception as error:
        log.debug("zookeeper: stopping: %s", error)
