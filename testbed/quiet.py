"""How busy this machine is, and waiting until it is not: figures of a busy machine say nothing. Needs Linux' /proc only."""

from __future__ import annotations

import os
import time
from pathlib import Path


def busy(seconds: float = 0.5) -> float:
    """The share of all CPUs in use over that time, 0 to 1."""
    idle_before, all_before = _ticks()
    time.sleep(seconds)
    idle_after, all_after = _ticks()
    return 1 - (idle_after - idle_before) / max(1, all_after - all_before)


def quiet(patience: float = 8.0, limit: float = 0.25) -> float:
    """Wait, at most ``patience`` seconds, until the machine is less busy than ``limit``; how busy it was last."""
    end = time.monotonic() + patience
    while (now := busy()) > limit and time.monotonic() < end:
        pass
    return now


def load_line() -> str:
    """What to print beside a figure."""
    one, five, _ = os.getloadavg()
    return f"machine: {os.cpu_count()} CPUs, load {one:.2f} (1 min) {five:.2f} (5 min), busy {100 * busy():.0f} %"


def _ticks() -> tuple[int, int]:
    values = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return values[3] + values[4], sum(values)


if __name__ == "__main__":
    print(load_line())
