"""Time and chance: the machine's, or the event loop's own (virtual) time with a seed."""

from __future__ import annotations

import asyncio
import random
import secrets
import time


class SystemClock:
    """The machine's clock and the kernel's randomness."""

    def now(self) -> int:
        """Milliseconds since 1970 UTC."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()

    def token(self, size: int = 16) -> str:
        """``size`` random bytes in hex."""
        return secrets.token_hex(size)

    def jitter(self) -> float:
        """A random number in [0, 1)."""
        return random.random()  # noqa: S311 - spreads retries, protects nothing


class LoopClock:
    """Time from the running event loop, chance from a seed: the same run every time. Tokens are guessable: tests only."""

    def __init__(self, seed: int | str = 0, *, epoch: int = 1_700_000_000_000) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._epoch = epoch

    def now(self) -> int:
        """``epoch`` plus the loop's time, in milliseconds."""
        return self._epoch + int(self.monotonic() * 1000)

    def monotonic(self) -> float:
        """The loop's time; 0 outside of a loop."""
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return 0.0

    def token(self, size: int = 16) -> str:
        """``size`` bytes from the seed, in hex."""
        return self._random.randbytes(size).hex()

    def jitter(self) -> float:
        """A number in [0, 1) from the seed."""
        return self._random.random()
