"""Time and chance, so that the simulation can own both."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Where time and random numbers come from."""

    def now(self) -> int:
        """Milliseconds since 1970 UTC; may jump. Display and retention only."""

    def monotonic(self) -> float:
        """Seconds that never jump; for deadlines within one process."""

    def token(self, size: int = 16) -> str:
        """``size`` random bytes in hex."""

    def jitter(self) -> float:
        """A random number in [0, 1)."""
