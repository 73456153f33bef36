"""Slow down who guesses passwords. In memory, per server, bounded; keyed by who asks and for whom, so that a stranger who
fails does not lock out the owner of the name elsewhere.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

FREE = 5
"""Failures before anybody has to wait."""
LONGEST = 30.0
REMEMBERED = 10_000


class Throttle:
    """Failures in a row double the time until the next try is looked at."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()

    def wait(self, key: Hashable) -> float:
        """Seconds until this one may try again, 0 when now."""
        _, until = self._failed.get(key, (0, 0.0))
        return max(0.0, until - self._clock())

    def failed(self, key: Hashable) -> None:
        """It was wrong."""
        count = self._failed.pop(key, (0, 0.0))[0] + 1
        pause = min(LONGEST, 2.0 ** min(count - FREE, 10)) if count >= FREE else 0.0
        self._failed[key] = (count, self._clock() + pause)
        if len(self._failed) > REMEMBERED:
            self._failed.popitem(last=False)

    def passed(self, key: Hashable) -> None:
        """It was right: forget the failures."""
        self._failed.pop(key, None)
