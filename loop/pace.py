"""How long a training goes on: from the pace of the epochs so far, and from what still waits."""

from __future__ import annotations

import heapq
import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# So many epochs tell the pace: enough that one with a validation among those without weighs right.
_RECENT = 10
# An interval that is so many times the usual one is a pause: the training was resumed in it.
_PAUSE = 5.0
# After the last epoch the best model is validated once more: about this share of an epoch.
FINAL_SHARE = 0.25


def pace(observed: Sequence[tuple[int, float]]) -> float | None:
    """Seconds an epoch, from (epochs done, at which time in seconds), in order.

    The mean over the recent intervals, without pauses. None before two different epochs were seen.
    """
    intervals = [
        (end - start, later - earlier)
        for (earlier, start), (later, end) in itertools.pairwise(observed)
        if later > earlier
    ][-_RECENT:]
    if not intervals:
        return None
    usual = statistics.median(seconds / epochs for seconds, epochs in intervals)
    steady = [pair for pair in intervals if pair[0] / pair[1] <= _PAUSE * usual]
    return sum(seconds for seconds, _ in steady) / sum(epochs for _, epochs in steady)


def left_of(epoch: int, epochs: int, seconds_an_epoch: float) -> float:
    """Seconds until a fold with so many of its epochs behind it ends, if nothing stops it early."""
    return (max(epochs - epoch, 0) + FINAL_SHARE) * seconds_an_epoch


@dataclass(frozen=True, slots=True)
class Going:
    """A fold that has not ended. ``pace`` is in seconds an epoch, None before its first one;
    ``since`` seconds have passed since its last epoch ended; a fold that has not ``started`` waits
    for a place."""

    epoch: int
    epochs: int
    started: bool
    pace: float | None
    since: float = 0.0

    @property
    def left(self) -> float | None:
        """Seconds until it ends, if nothing stops it early; None while that cannot be told."""
        if self.pace is None:
            return None
        return max(left_of(self.epoch, self.epochs, self.pace) - self.since, 0.0)


def left_together(folds: Sequence[Going], paces: Sequence[float], at_once: int) -> float | None:
    """Seconds until the last of ``folds`` ends. ``paces`` are those seen so far, of folds that have
    ended as well: what has no pace of its own yet will have their mean. None without any."""
    if not folds or not paces:
        return None
    usual = statistics.fmean(paces)
    left = [
        (fold.started, fold.left if fold.left is not None else left_of(0, fold.epochs, usual))
        for fold in folds
    ]
    running = [seconds for started, seconds in left if started]
    waiting = [seconds for started, seconds in left if not started]
    return left_of_all(running, waiting, max(at_once, len(running)))


def left_of_all(running: Sequence[float], waiting: Sequence[float], at_once: int) -> float:
    """Seconds until the last fold ends.

    ``running`` are what the folds that train still take, ``waiting`` what each of the others will,
    in the order in which they start: whenever one of ``at_once`` places is free.
    """
    places = list(running) + [0.0] * max(at_once - len(running), 0)
    heapq.heapify(places)
    end = max(running, default=0.0)
    for seconds in waiting:
        done = (heapq.heappop(places) if places else 0.0) + seconds
        heapq.heappush(places, done)
        end = max(end, done)
    return end


def in_words(seconds: float) -> str:
    """Short: ``45 s``, ``12 min``, ``1 h 05``, ``3 d 04 h``."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {rest:02}"
    days, hours = divmod(round(minutes / 60), 24)
    return f"{days} d {hours:02} h"
