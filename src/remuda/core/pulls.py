"""Pulling an image to hosts because a user asked, without a container: which hosts, how far, and when it is over. Pure.

Never says how an image is pulled: agents do that, and tell how far they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from remuda.core.model import Host, PullTask

WAITING, PULLING, DONE, SKIPPED, FAILED = "waiting", "pulling", "done", "skipped", "failed"
OVER = frozenset({DONE, SKIPPED, FAILED})
ALL, CACHED = "all", "cached"


class Pull(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How far one host is. ``message`` is Docker's reason, or what it does now."""

    state: str = WAITING
    percent: int = 0
    message: str = ""

    @property
    def over(self) -> bool:
        """Is there nothing more to expect?"""
        return self.state in OVER


def targets(hosts: Iterable[Host], labels: Mapping[str, str]) -> dict[str, Pull]:
    """The hosts that a new task concerns: those that take containers now and have all these labels."""
    return {
        str(host.id): Pull()
        for host in hosts
        if host.schedulable and all(host.all_labels.get(key) == value for key, value in labels.items())
    }


def given_up(task: PullTask, hosts: Mapping[int, Host]) -> dict[str, Pull]:
    """The task's hosts with those marked that will never answer."""
    found = dict(task.hosts)
    for key, pull in task.hosts.items():
        host = hosts.get(int(key))
        if pull.over:
            continue
        if host is None or host.removed is not None or host.desired == "removed":
            found[key] = Pull(state=FAILED, message="The host was removed")
        elif host.connection == "lost":
            found[key] = Pull(state=FAILED, message="The host is lost")
    return found


def over(pulls: Mapping[str, Pull]) -> bool:
    """Have all hosts answered?"""
    return all(pull.over for pull in pulls.values())


def sentence(pull: Pull) -> str:
    """One host's entry in the status that clients read; ``Done`` is the word 1.x clients look for."""
    match pull.state:
        case "done":
            return "Done"
        case "skipped":
            return "Done (it is not cached here)"
        case "failed":
            return f"Failed: {pull.message}"
        case "pulling":
            return f"{pull.message or 'Pulling'} ({pull.percent} %)"
    return "Waiting for the host"


def summary(pulls: Mapping[str, Pull]) -> tuple[str, str]:
    """``transitioning`` (no, yes, error) and one sentence on the whole task."""
    bad = [pull for pull in pulls.values() if pull.state == FAILED]
    ended = sum(1 for pull in pulls.values() if pull.over)
    if not over(pulls):
        return "yes", f"{ended} of {len(pulls)} hosts are done"
    if bad:
        return "error", f"{len(bad)} of {len(pulls)} hosts failed: {bad[0].message}"
    return "no", "" if pulls else "No host matches"
