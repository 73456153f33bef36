"""The upgrade of a whole stack: new files, each changed service upgraded, then all finished or all rolled back. Pure.

A stack remembers in its ``data`` which stage it is in, the files that it had before, and the services that the new files added.
It has reached the end of a stage when none of its services is on the way; the stack's controller sees that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from remuda.core.model import REMOVED, Service, Stack

UPGRADING, CANCELED, BACK, FINISHING = "upgrading", "canceled-upgrade", "rolling-back", "finishing-upgrade"
_KEY = "upgrade"
_FILES = ("docker_compose", "rancher_compose", "environment", "external_id")
_WHILE = {
    UPGRADING: "upgrading", CANCELED: "canceling-upgrade", BACK: "rolling-back", FINISHING: "finishing-upgrade",
}  # fmt: skip
_AFTER = {UPGRADING: "upgraded", CANCELED: "canceled-upgrade"}


def state(stack: Stack) -> tuple[str, bool]:
    """Its state as far as an upgrade goes, and whether it is on the way; an empty state when there is no upgrade."""
    told = stack.data.get(_KEY)
    if not told:
        return "", False
    stage = told["stage"]
    return (_AFTER[stage], False) if told.get("done") and stage in _AFTER else (_WHILE[stage], True)


def begin(stack: Stack, files: dict[str, Any], made: Iterable[int]) -> dict[str, Any]:
    """What changes when a stack gets other files; ``made`` are the numbers of the services that they added."""
    before = {name: getattr(stack, name) for name in _FILES}
    return {**files, "data": {**stack.data, _KEY: {"stage": UPGRADING, "before": before, "made": sorted(made)}}}


def advance(stack: Stack, stage: str) -> dict[str, Any]:
    """What changes when it is finished, or stopped halfway."""
    return {"data": {**stack.data, _KEY: {**stack.data[_KEY], "stage": stage, "done": False}}}


def back(stack: Stack) -> dict[str, Any]:
    """What changes when it is to be what it was before."""
    return {**stack.data[_KEY]["before"], **advance(stack, BACK)}


def made(stack: Stack) -> frozenset[int]:
    """The services that the upgrade added, which a rollback removes."""
    return frozenset(stack.data.get(_KEY, {}).get("made", ()))


def arrived(stack: Stack, services: Sequence[Service]) -> dict[str, Any] | None:
    """What changes when a stage has come to its end; None while it has not, or there is nothing to wait for."""
    told = stack.data.get(_KEY)
    if not told or told.get("done"):
        return None
    if any(s.transitioning == "yes" or s.desired == REMOVED for s in services):
        return None
    if told["stage"] in _AFTER:
        return {"data": {**stack.data, _KEY: {**told, "done": True}}}
    return {"data": {name: value for name, value in stack.data.items() if name != _KEY}}
