"""The Docker engine of one host, as an agent needs it.

Values are Docker's own API documents (plain dicts); translating our launch configuration into them is the agent's work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

Document = dict[str, Any]


class EngineError(Exception):
    """Docker refused. ``status`` is its HTTP status (0 = it could not be reached), the message is Docker's own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class EngineDown(EngineError):  # noqa: N818 - a state
    """The engine cannot be reached or did not answer in time."""

    def __init__(self, message: str) -> None:
        super().__init__(0, message)


class ExecStream(Protocol):
    """Bytes both ways: a command that runs in a container, a container's own terminal, or a bare connection."""

    async def read(self) -> tuple[str, bytes]:
        """The next piece: (``out`` | ``err``, bytes); ``("", b"")`` at the end."""

    async def write(self, data: bytes) -> None:
        """To the command's standard input; empty bytes close it."""

    async def resize(self, width: int, height: int) -> None:
        """Tell the terminal its size."""

    async def exit_code(self) -> int:
        """Once :meth:`read` came to its end."""

    async def close(self) -> None:
        """Hang up."""


class Engine(Protocol):
    """One Docker engine. Every call has a deadline and raises :class:`EngineError` or :class:`EngineDown`."""

    async def ping(self) -> None:
        """Is the engine there? Cheap; answers within 4 s or raises."""

    async def info(self) -> Document:
        """``GET /info`` with ``GET /version`` under ``_version``."""

    async def containers(self) -> list[Document]:
        """``GET /containers/json?all=1``."""

    async def inspect(self, container: str) -> Document: ...

    async def create(self, name: str, config: Document) -> str:
        """Create and return Docker's id."""

    async def start(self, container: str) -> None: ...

    async def stop(self, container: str, timeout: int) -> None: ...

    async def kill(self, container: str, signal: str = "SIGKILL") -> None: ...

    async def remove(self, container: str, *, force: bool = False, volumes: bool = True) -> None: ...

    async def has_image(self, image: str) -> bool: ...

    async def pull(self, image: str, auth: str, progress: Callable[[int, str], None]) -> None:
        """Pull; ``progress(percent, sentence)`` is called along the way."""

    def logs(
        self, container: str, *, follow: bool, lines: int, timestamps: bool, since: int = 0
    ) -> AsyncIterator[tuple[str, bytes]]:
        """Pieces of (``out`` | ``err``, bytes), demultiplexed."""

    async def exec(self, container: str, command: list[str], *, tty: bool, stdin: bool) -> ExecStream: ...

    async def attach(self, container: str) -> ExecStream:
        """The container's own terminal: what it says from now on, and its standard input if it keeps one open. Hanging up
        leaves it running."""

    async def dial(self) -> ExecStream:
        """A bare connection to the engine's API: whoever has it may do anything on the host."""

    def stats(self, container: str) -> AsyncIterator[Document]:
        """One document a second."""

    def events(self) -> AsyncIterator[Document]:
        """An empty document once Docker listens to us, then container events."""

    async def network(self, name: str) -> Document | None:
        """``GET /networks/NAME``; None when there is none."""

    async def create_network(self, document: Document) -> None: ...

    async def remove_network(self, name: str) -> None: ...

    async def connect_network(self, name: str, container: str, address: str) -> None:
        """Attach a container to a network under this address."""

    async def disconnect_network(self, name: str, container: str) -> None:
        """Take a container off a network."""

    async def volumes(self) -> list[Document]:
        """``GET /volumes``: all of them."""

    async def create_volume(self, name: str, driver: str, options: dict[str, str]) -> None:
        """Make a volume; one of this name and driver that is there is fine, and keeps its options."""

    async def remove_volume(self, name: str) -> None:
        """Remove a volume with its data; Docker refuses while a container has it. One that is gone is fine."""

    async def close(self) -> None: ...
