"""How the work goes, in figures: what is done, how long it takes, what became of detections."""

from __future__ import annotations

import statistics
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """How many first answers and second reviews there are."""

    first: int = 0
    second: int = 0

    @property
    def total(self) -> int:
        return self.first + self.second


@dataclass(frozen=True, slots=True)
class ActiveSeconds:
    """The time that each of the latest answers took, newest first, in seconds."""

    first: tuple[float, ...] = ()
    second: tuple[float, ...] = ()

    @property
    def median_first(self) -> float | None:
        return statistics.median(self.first) if self.first else None

    @property
    def median_second(self) -> float | None:
        return statistics.median(self.second) if self.second else None


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What first reviewers did with a class's detections, and how many boxes they added to it.

    A detection counts for the class that the model gave it, an added box for its own.
    """

    accepted: int = 0
    moved: int = 0
    relabelled: int = 0
    rejected: int = 0
    added: int = 0

    @property
    def detections(self) -> int:
        return self.accepted + self.moved + self.relabelled + self.rejected

    @property
    def overridden(self) -> float | None:
        """The share of detections that were not accepted as they were, in [0, 1]."""
        return 1 - self.accepted / self.detections if self.detections else None

    def __add__(self, other: Verdicts) -> Verdicts:
        return Verdicts(
            self.accepted + other.accepted,
            self.moved + other.moved,
            self.relabelled + other.relabelled,
            self.rejected + other.rejected,
            self.added + other.added,
        )
