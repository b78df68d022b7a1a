"""Shares and times of people's work, with how sure one can be of them, and not at all of few."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loop.trial_comparison import wilson

# Below this nothing is said: a share of few says little, and much about single people.
FEWEST = 10
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Rate:
    """``count`` of ``total``. ``value`` and its 95 % ``interval`` (Wilson) are in [0, 1], and None
    where ``total`` is below `FEWEST`."""

    count: int
    total: int

    @property
    def value(self) -> float | None:
        return self.count / self.total if self.total >= FEWEST else None

    @property
    def interval(self) -> tuple[float, float] | None:
        found = wilson(self.count, self.total) if self.total >= FEWEST else None
        return (found[0], found[1]) if found else None

    def as_dict(self) -> dict[str, Any]:
        few = self.total < FEWEST
        return {
            "count": None if few else self.count,
            "total": self.total,
            "value": self.value,
            "interval": list(self.interval) if self.interval else None,
        }


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of ``total`` values; None where those are fewer than `FEWEST`."""

    total: int
    low: float | None
    median: float | None
    high: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if len(values) < FEWEST:
            return cls(len(values), None, None, None)
        low, median, high = np.percentile(values, (25, 50, 75)).tolist()
        return cls(len(values), low, median, high)

    def as_dict(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "quartile_1": self.low,
            "median": self.median,
            "quartile_3": self.high,
        }


@dataclass(frozen=True, slots=True)
class Mean:
    """Of ``total`` values, with its 95 % percentile interval from bootstrap samples of them; None
    where they are fewer than `FEWEST`."""

    total: int
    value: float | None
    interval: tuple[float, float] | None

    @classmethod
    def of(cls, values: Sequence[float], seed: int = 0) -> Mean:
        if len(values) < FEWEST:
            return cls(len(values), None, None)
        array = np.asarray(values, float)
        rng = np.random.Generator(np.random.PCG64(seed))
        drawn = [array[rng.integers(0, len(array), len(array))].mean() for _ in range(_RESAMPLES)]
        low, high = np.percentile(drawn, (2.5, 97.5)).tolist()
        return cls(len(values), float(array.mean()), (low, high))

    def as_dict(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "value": self.value,
            "interval": list(self.interval) if self.interval else None,
        }


def rate_of(flags: Sequence[bool]) -> Rate:
    return Rate(sum(flags), len(flags))


def by_key(values: Sequence[Any], key: Callable[[Any], str]) -> dict[str, list[Any]]:
    """In groups, sorted by key."""
    found: dict[str, list[Any]] = {}
    for value in values:
        found.setdefault(key(value), []).append(value)
    return dict(sorted(found.items()))
