"""What a service's state amounts to, in figures and in one sentence that people read.

Counts only what it is given; decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from remuda.core.model import INACTIVE, REMOVED, Service
from remuda.core.states import IS_OFF


class Summary(NamedTuple):
    """The decided fields of a service."""

    current_scale: int
    health_state: str
    because: str
    blocked: bool
    settled: bool
    was_active: bool


def summarise(
    service: Service, *, wanted: int, running: int, well: int, ill: int, stopping: int, ran_once: bool, going: int,
    refusals: Sequence[str], waits: Sequence[str], remarks: Sequence[str], waiting_for: Sequence[str],
) -> Summary:  # fmt: skip
    """The figures and the sentence for a service whose plan was just made.

    ``running``: units that run as ordered; ``well`` and ``ill``: those of them that are healthy and unhealthy; ``stopping``:
    units of which something still runs; ``going``: containers on their way out. ``remarks`` hold up nothing.
    """
    if service.desired == REMOVED:
        text = f"{going} {_containers(going)} being removed" if going else "Its containers are gone"
        return Summary(stopping, service.health_state, text, False, False, False)
    if service.desired == INACTIVE:
        text = f"{stopping} {_containers(stopping)} being stopped" if stopping else IS_OFF
        return Summary(stopping, "healthy", text, False, stopping == 0 and going == 0, False)
    was_active = service.data.get("was_active") is True
    if waiting_for and running < wanted:
        names = ", ".join(waiting_for)
        return Summary(running, "initializing", f"Waits until {names} runs (depends_on)", False, False, was_active)
    settled = running >= wanted and not going and not refusals and not waits
    was_active = was_active or settled
    health = _health(wanted, running, well, ill, ran_once, was_active)
    if refusals:
        return Summary(running, health, " ".join(refusals[:2]), True, False, was_active)
    return Summary(
        running, health, _sentence(wanted, running, going, [*waits, *remarks], ran_once), False, settled, was_active
    )


def _health(wanted: int, running: int, well: int, ill: int, ran_once: bool, was_active: bool) -> str:
    if ran_once:
        return "started-once"
    if well >= wanted:
        return "healthy"
    if ill and not well:
        return "unhealthy"
    if not was_active or (running >= wanted and not ill):
        return "initializing"
    return "degraded" if well else "unhealthy"


def _sentence(wanted: int, running: int, going: int, waits: Sequence[str], ran_once: bool) -> str:
    if ran_once:
        text = "All containers ran once" if wanted != 1 else "The container ran once"
    elif wanted == 0:
        text = "No containers are wanted"
    elif running >= wanted:
        text = "The container runs" if wanted == 1 else f"All {wanted} containers run"
    else:
        text = (
            f"{running} of {wanted} {'container' if wanted == 1 else 'containers'} {'runs' if running == 1 else 'run'}"
        )
    if waits:
        text += "; " + "; ".join(waits)
    elif going:
        text += f"; {going} {'is' if going == 1 else 'are'} being removed"
    return text


def _containers(count: int) -> str:
    return "container is" if count == 1 else "containers are"
