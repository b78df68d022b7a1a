"""How many requests a minute: a token bucket for each key.

https://en.wikipedia.org/wiki/Token_bucket
"""

from __future__ import annotations

import time
from collections.abc import Callable


class TokenBuckets:
    """Each bucket holds a minute's worth at most, so that a client may come with as many at once,
    and fills evenly. ``seconds`` is a clock that only goes forward."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: str, per_minute: int) -> float:
        """Take a token out of the bucket of ``key``: 0.0, or the seconds until there is one."""
        now = self._seconds()
        left, at = self._buckets.get(key, (float(per_minute), now))
        left = min(per_minute, left + (now - at) * per_minute / 60)
        if left < 1:
            self._buckets[key] = (left, now)
            return (1 - left) * 60 / per_minute
        self._buckets[key] = (left - 1, now)
        return 0.0
