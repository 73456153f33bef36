"""The running ensemble, asked and changed: a thin, blocking-free door to kazoo.

It decides nothing. :mod:`remuda.core.membership` says which change is next; this module carries it out only if the ensemble is
still the one that the decision was made about.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, KazooException, NewConfigNoQuorumError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry

from remuda.core.membership import Voter
from remuda.ha.config import Ports
from remuda.ha.zookeeper import dynamic_line

_LINE = re.compile(r"server\.(\d+)=(.+?):(\d+):(\d+):(participant|observer)")


class Running(msgspec.Struct, frozen=True):
    """What the ensemble says of itself: its voters' numbers, and the version of that list."""

    voters: frozenset[int]
    version: int
    text: str = ""


class NoQuorum(Exception):  # noqa: N818 - a state
    """The ensemble does not answer or refuses the change; the message says why."""


class EnsembleDoor:
    """One session with the ensemble through the local server. ``close`` it."""

    def __init__(self, hosts: str, ca: str, cert: str, super_password: str, timeout: float = 6.0) -> None:
        self._timeout = timeout
        once = KazooRetry(max_tries=0)
        self._client = KazooClient(
            hosts=hosts, timeout=4.0, use_ssl=True, ca=ca, certfile=cert, keyfile=cert, verify_certs=True,
            check_hostname=False, auth_data=[("digest", f"super:{super_password}")],
            connection_retry=KazooRetry(max_tries=2, delay=0.2, max_delay=0.5), command_retry=once,
        )  # fmt: skip

    async def running(self) -> Running:
        """The list in force, agreed by a majority now. Raises :class:`NoQuorum`."""
        data, _ = await self._call(self._read)
        return parse_config(data.decode())

    def _read(self) -> Any:
        if not self._client.connected:
            self._client.start(timeout=self._timeout)
        self._client.sync("/zookeeper/config")
        return self._client.get("/zookeeper/config")

    async def change(self, join: Voter | None, leave: int | None, ports: Ports, version: int) -> Running:
        """Let one in and one out in a single step, if the list still has ``version``. Raises :class:`NoQuorum`."""
        joining = f"server.{dynamic_line(join, ports)}" if join else None
        leaving = str(leave) if leave is not None else None

        def work() -> Any:
            return self._client.reconfig(joining=joining, leaving=leaving, new_members=None, from_config=version)

        data, _ = await self._call(work)
        return parse_config(data.decode())

    async def _call(self, work: Any) -> Any:
        try:
            async with asyncio.timeout(self._timeout + 4):
                return await asyncio.to_thread(work)
        except BadVersionError as error:
            raise NoQuorum("the ensemble was changed by another node meanwhile") from error
        except NewConfigNoQuorumError as error:
            raise NoQuorum(
                "the new list would have no quorum: the joining server does not follow the leader yet"
            ) from error
        except (KazooException, KazooTimeoutError, TimeoutError, OSError) as error:
            raise NoQuorum(f"ZooKeeper does not answer ({type(error).__name__})") from error

    async def close(self) -> None:
        """End the session."""

        def stop() -> None:
            self._client.stop()
            self._client.close()

        await asyncio.to_thread(stop)


def parse_config(text: str) -> Running:
    """From the text of ``/zookeeper/config``."""
    voters = frozenset(int(m[1]) for m in _LINE.finditer(text) if m[5] == "participant")
    version = re.search(r"^version=([0-9a-fA-F]+)$", text, re.M)
    return Running(voters, int(version[1], 16) if version else 0, text)
