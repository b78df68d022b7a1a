"""How many images are inside a replica at once, and when the others should come again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from loop.errors import LoopError

# Weight of the last interval between two answers in the running mean: some thirty answers long.
_WEIGHT = 1 / 30
# Nobody is sent away for longer than this, however slow the last answers were.
_LONGEST_SECONDS = 30


class Busy(LoopError):
    """``retry_after_seconds`` is a whole number of them."""

    code = "busy"
    http_status = 429
    retry_after_seconds = 1


class Admission:
    """Counts images in and out. Not thread-safe: all calls come from one event loop.

    ``limit`` may be changed while images are inside; ``clock`` is in seconds.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.inside = 0
        self._clock = clock
        self._interval = 0.0  # mean seconds between two answers while there was work
        self._last = 0.0

    def check(self) -> None:
        """Raises `Busy` where `admitted` would."""
        if self.inside < self.limit:
            return
        busy = Busy(
            f"{self.inside} images are being worked on, as many as there is room for.",
            hint=f"Send it again in {self.retry_after_seconds()} s and fewer at a time, or raise "
            "SECONDLOOK_REPLICAS where the API runs.",
        )
        busy.retry_after_seconds = self.retry_after_seconds()
        raise busy

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Room for one image while the block runs. Raises `Busy` if there is none."""
        self.check()
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        if self.inside == 0:
            self._last = self._clock()
        self.inside += 1

    def leave(self) -> None:
        self.inside -= 1
        now = self._clock()
        interval, self._last = now - self._last, now
        known = self._interval or interval
        self._interval = known + (interval - known) * _WEIGHT

    def retry_after_seconds(self) -> int:
        """Until about as many images as are inside now will have been answered."""
        return min(max(math.ceil(self.inside * self._interval), 1), _LONGEST_SECONDS)
