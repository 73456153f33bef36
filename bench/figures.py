"""How figures are printed: the value, its goal, whether it is met, and how busy the machine was. Goals never fail a run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from testbed.bed import Bed
from testbed.quiet import load_line, quiet


def heading(text: str) -> None:
    """What is measured, once the machine is quiet, with its load."""
    quiet()
    print(f"{text}\n  {load_line()}", flush=True)


def figure(what: str, value: float, unit: str, goal: float | None = None, *, least: float | None = None) -> bool:
    """One figure; a goal is an upper limit, ``least`` a lower one."""
    met = (goal is None or value <= goal) and (least is None or value >= least)
    limit = f"<= {goal:g}" if goal is not None else f">= {least:g}" if least is not None else ""
    judged = f"   goal {limit} {unit}: {'met' if met else 'MISSED'}" if limit else ""
    print(f"  {what:<58} {value:9.2f} {unit}{judged}", flush=True)
    return met


def spread(values: Sequence[float]) -> str:
    """All values of a series, for the reader who distrusts medians."""
    return " ".join(f"{value:.2f}" for value in values)


def median(values: Sequence[float]) -> float:
    """The middle of a series."""
    return statistics.median(values)


def timed(do: Callable[[], object]) -> float:
    """How many seconds it took."""
    began = time.monotonic()
    do()
    return time.monotonic() - began


def process(bed: Bed, host: int, container: str) -> dict[str, float]:
    """Resident memory (MB) and CPU time (s) of all processes of a container."""
    script = (
        'for p in $(docker top "$1" -o pid | tail -n +2); do awk "/^VmRSS/ {print \\$2}" /proc/$p/status; '
        'sed "s/.*) //" /proc/$p/stat | cut -d" " -f12,13; done'
    )
    lines = bed.exec(host, "bash", "-c", script, "-", container).split("\n")
    memory = cpu = 0.0
    for line in lines:
        words = line.split()
        if len(words) == 1:
            memory += int(words[0]) / 1024
        elif len(words) == 2:
            cpu += (int(words[0]) + int(words[1])) / 100
    return {"memory": memory, "cpu": cpu}
