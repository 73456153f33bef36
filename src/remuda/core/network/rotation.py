"""How the key of tunnels is replaced without a gap, step by step. Pure.

A new key is made and every host is told to accept it beside the old one; once all connected hosts say that they do, it is used;
once all say that they use it, the old one is forgotten. Each step waits a bounded time for hosts that do not answer: one that was
away too long is let in again when it has heard of the new key from a server, for which it needs no tunnel.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

PATIENCE_SECONDS, SETTLE_SECONDS = 60.0, 5.0
"""So long a step waits for hosts that do not confirm it; and an old key stays after all use the new one."""
MAKE, USE, DROP, WAIT, REST = "make", "use", "drop", "wait", "rest"


class Confirmed(NamedTuple):
    """What a connected host says: which key generations it accepts, and the oldest that its tunnels still need."""

    accepts: frozenset[int] = frozenset()
    uses: int = 0


class Step(NamedTuple):
    """What to do; with ``wait``, after how many seconds to look again at the latest."""

    do: str
    wait: float | None = None


def next_step(
    generations: Collection[int],
    use: int,
    asked: bool,
    encrypted: bool,
    hosts: Collection[Confirmed],
    since: Callable[[str], float],
) -> Step:
    """The next step from these key generations, of which ``use`` is in use.

    ``asked``: a new key is wanted. ``since`` tells for how many seconds the rotation has been at the step that it is given.
    Without encryption no host needs a key, so nobody is waited for.
    """
    newest = max(generations, default=0)
    if not newest:
        return Step(MAKE)
    if newest > use:
        waited = since(f"accept {newest}")
        if not encrypted or waited >= PATIENCE_SECONDS or all(newest in host.accepts for host in hosts):
            return Step(USE)
        return Step(WAIT, PATIENCE_SECONDS - waited)
    if len(generations) > 1:
        waited = since(f"drop {newest}")
        if not encrypted or waited >= PATIENCE_SECONDS:
            return Step(DROP)
        if any(host.uses < newest for host in hosts):
            return Step(WAIT, PATIENCE_SECONDS - waited)
        settled = since(f"settle {newest}")
        return Step(DROP) if settled >= SETTLE_SECONDS else Step(WAIT, SETTLE_SECONDS - settled)
    return Step(MAKE) if asked else Step(REST)
