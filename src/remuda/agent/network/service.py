"""The network service: brings the machine to what the agent wrote down, part by part, and says how that went.

It outlives the agent and needs neither it nor a server to go on. A part that fails, or takes too long, never keeps the others
from their work; everything is looked at again now and then, so what somebody else broke is mended.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from remuda.agent.network.state import FOLDER, STATE, STATUS, NetState, NetStatus, Part, PeerStatus, read, write

log = logging.getLogger("remuda.network")

POLL_SECONDS, TELL_SECONDS, REPAIR_SECONDS = 0.1, 1.0, 10.0
RETRY_SECONDS = (1.0, 2.0, 5.0)
"""How soon a part that failed is tried again, and again; then as often as all are looked at."""
PART_SECONDS = 30.0
LOCK, LOCK_SECONDS = "service.lock", 20.0
VITAL = frozenset({"overlay", "tunnels", "firewall"})
"""Parts without which a host cannot take part; a problem of another one only limits it."""


class Holder(NamedTuple):
    """The network service that holds a folder's lock."""

    pid: int
    release: str


class Taken(RuntimeError):  # noqa: N818 - a state
    """Another network service works from this folder."""


class _Work:
    """A part, how it went, and when it is looked at again."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.problem = ""
        self.due = 0.0
        self.tries = 0

    async def apply(self, state: NetState) -> None:
        """Let the part do its work, for at most so long."""
        part = self.part
        try:
            async with asyncio.timeout(PART_SECONDS):
                problem = await part.apply(state)
        except TimeoutError:
            problem = f"did not end within {PART_SECONDS:.0f} s; it is tried again"
        except Exception as error:
            log.exception("%s failed", part.name)
            problem = f"failed: {error!r}; it is tried again"
        if problem != self.problem:
            log.log(logging.WARNING if problem else logging.INFO, "%s: %s", part.name, problem or "well")
        self.problem = problem
        pause = RETRY_SECONDS[0] if getattr(part, "unsettled", False) else REPAIR_SECONDS
        if problem and self.tries < len(RETRY_SECONDS):
            pause = RETRY_SECONDS[self.tries]
        self.tries = self.tries + 1 if problem else 0
        self.due = asyncio.get_running_loop().time() + pause


class NetworkService:
    """``run()`` serves until cancelled."""

    def __init__(self, folder: Path, parts: Sequence[Part], release: str = "") -> None:
        self._folder = folder / FOLDER
        self._work = [_Work(part) for part in parts]
        self._release = release
        self._said: NetStatus | None = None
        self._lock: IO[str] | None = None

    async def lock(self, seconds: float = LOCK_SECONDS) -> None:
        """Be the only one: one of another release is told to go, one of the same is waited for. Raises :class:`Taken`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        words = [(0.0, signal.SIGTERM), (seconds / 2, signal.SIGKILL)]
        while not self._try_lock():
            other = holder(self._folder)
            if other is not None and other.pid and other.release != self._release:
                while words and loop.time() >= end - seconds + words[0][0]:
                    sign = words.pop(0)[1]
                    log.info(
                        "%s for the network service of release %s (process %d)", sign.name, other.release, other.pid
                    )
                    with contextlib.suppress(OSError):
                        os.kill(other.pid, sign)
            if loop.time() >= end:
                raise Taken(f"The network service with process id {other.pid if other else '?'} works from here")
            await asyncio.sleep(POLL_SECONDS)

    def _try_lock(self) -> bool:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (self._folder / LOCK).open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        file.truncate(0)
        file.write(f"{os.getpid()} {self._release}\n")
        file.flush()
        self._lock = file
        return True

    async def run(self) -> None:
        """Apply what is written down, at each change and every ten seconds."""
        path = self._folder / STATE
        mark: tuple[int, int] | None = None
        state: NetState | None = None
        tell = 0.0
        loop = asyncio.get_running_loop()
        try:
            while True:
                seen = _mark(path)
                fresh = read(path, NetState) if seen != mark else None
                mark = seen
                state = fresh or state
                for work in self._work if state else ():
                    if fresh is not None or loop.time() >= work.due:
                        assert state is not None
                        await work.apply(state)
                        tell = 0.0
                if loop.time() >= tell:
                    tell = loop.time() + TELL_SECONDS
                    self._tell(state)
                await asyncio.sleep(POLL_SECONDS)
        finally:
            await asyncio.gather(*(work.part.close() for work in self._work), return_exceptions=True)

    def _tell(self, state: NetState | None) -> None:
        """Write the status when it is news."""
        problems = {work.part.name: work.problem for work in self._work}
        parts = [work.part for work in self._work]
        status = NetStatus(
            version=state.version if state else 0,
            pid=os.getpid(),
            release=self._release,
            state=_state(state, problems),
            message=_sentence(problems),
            encryption=next((found for part in parts if (found := getattr(part, "encryption", ""))), ""),
            keys=next((part.generations for part in parts if hasattr(part, "generations")), []),
            use=next((part.use for part in parts if hasattr(part, "use")), 0),
            link_mtu=_link_mtu(parts),
            parts=problems,
            peers=_peers(parts),
        )
        if status == self._said:
            return
        try:
            write(self._folder / STATUS, status)
            self._said = status
        except OSError as error:
            log.warning("the status cannot be written: %s", error)


def holder(folder: Path) -> Holder | None:
    """Who holds the lock of a network folder now; None when nobody does."""
    path = folder / LOCK
    try:
        with path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pid, _, release = file.read().strip().partition(" ")
                return Holder(int(pid), release) if pid.isdecimal() else Holder(0, "")
    except FileNotFoundError:
        pass
    return None


def _state(state: NetState | None, problems: Mapping[str, str]) -> str:
    troubled = {name for name, problem in problems.items() if problem}
    if state is None or troubled & VITAL:
        return "error"
    return "limited" if troubled else "up"


def _link_mtu(parts: Sequence[Part]) -> int:
    """The MTU of the host's link, or what it counts as where a part can use less of it."""
    found = max((getattr(part, "link_mtu", 0) for part in parts), default=0)
    limits = [limit for part in parts if (limit := getattr(part, "link_limit", 0))]
    return max(0, min([found, *limits])) if found else 0


def _peers(parts: Sequence[Part]) -> dict[int, PeerStatus]:
    merged: dict[int, PeerStatus] = {}
    for part in parts:
        for number, words in getattr(part, "peers", {}).items():
            merged[number] = msgspec.structs.replace(merged.get(number, PeerStatus()), **words)
    return merged


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _sentence(problems: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {problem}" for name, problem in problems.items() if problem)
