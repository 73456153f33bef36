"""When a silent host counts as lost. Only durations: the caller measures them with a clock that never jumps.

How a session ended says how much hope there is: after silence the socket was already given its patience on the wire;
after a clean close the agent (or its machine) is probably just restarting; when the server itself vanished, all its agents
need the time to find another one.
"""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from remuda.core.model import REMOVED, Host

LOST_AFTER_SILENCE = 1.5
LOST_AFTER_CLOSE = 5.0
LOST_AFTER_SERVER = 8.0
LOST_NEVER_SEEN = 8.0
REMOVAL_PATIENCE = 20.0
"""So long a removed host may take to clear its containers before its rows are closed regardless."""

SILENCE, CLOSED, SERVER = "silence", "closed", "server"


class Verdict(NamedTuple):
    """What a host's connection should be. ``orphaned``: its session belongs to a server that is gone."""

    connection: str
    because: str = ""
    orphaned: bool = False
    wake_after: float | None = None


def patience(session_end: str) -> float:
    """Seconds from the end of a session until its host counts as lost."""
    return {SILENCE: LOST_AFTER_SILENCE, CLOSED: LOST_AFTER_CLOSE, SERVER: LOST_AFTER_SERVER}.get(
        session_end, LOST_NEVER_SEEN
    )


def judge(host: Host, gone_for: float, members: Container[str]) -> Verdict:
    """The connection of a host that has had no session for ``gone_for`` seconds (ignored while it has one)."""
    if host.session_id:
        if host.session_server in members:
            return Verdict("connected")
        return Verdict("reconnecting", "The server that held its agent is gone", orphaned=True)
    if host.connection == "lost":
        return Verdict("lost")
    limit = patience(str(host.data.get("session_end", "")))
    if gone_for >= limit:
        return Verdict("lost", "The agent has not come back in time; the host counts as lost")
    return Verdict("reconnecting", "Waiting for the agent to connect", wake_after=limit - gone_for)


def removal_due(host: Host, waited: float, left: int) -> bool:
    """May the row of a removed host be closed: nothing left on it, out of reach, or waited long enough?"""
    return host.desired == REMOVED and (left == 0 or host.connection != "connected" or waited >= REMOVAL_PATIENCE)
