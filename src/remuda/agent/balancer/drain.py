"""Lets a container that load balancers send requests to answer what it has been asked before it is stopped.

The balancers may run on any host, so this one looks at what it can see itself: the connections that the container's own network
namespace holds. It knows nothing of haproxy.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

LEAST_SECONDS = 1.0
"""So long balancers may take to hear that it leaves; until then new requests may come."""
USUAL_SECONDS = 5.0
"""So long it is waited for answers unless ``drain_timeout_ms`` says otherwise."""
LOOK_SECONDS = 0.1
_ESTABLISHED, _LISTENING = "01", "0A"


async def drain(pid: int, timeout_ms: int | None, proc: Path = Path("/proc")) -> None:
    """Wait until the process's network namespace serves no connection any more, at most ``timeout_ms`` (milliseconds)."""
    loop = asyncio.get_running_loop()
    limit = USUAL_SECONDS if timeout_ms is None else timeout_ms / 1000
    end = loop.time() + max(LEAST_SECONDS, limit)
    await asyncio.sleep(LEAST_SECONDS)
    while loop.time() < end and served(pid, proc):  # noqa: ASYNC110 - the kernel tells nobody when a connection ends
        await asyncio.sleep(LOOK_SECONDS)


def served(pid: int, proc: Path = Path("/proc")) -> int:
    """How many connections the process's network namespace has accepted and not ended; 0 when that cannot be seen."""
    rows = [row for name in ("tcp", "tcp6") for row in _rows(proc / str(pid) / "net" / name)] if pid else []
    doors = {port for port, state in rows if state == _LISTENING}
    return sum(state == _ESTABLISHED and port in doors for port, state in rows)


def _rows(path: Path) -> list[tuple[str, str]]:
    """(local port, state) of each socket."""
    try:
        lines = path.read_text().splitlines()[1:]
    except OSError:
        return []
    words = (line.split() for line in lines)
    return [(word[1].rpartition(":")[2], word[3]) for word in words if len(word) > 3]
