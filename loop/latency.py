"""Whether one model takes longer for an image than another, from times taken in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

_REPLICATES = 2000
# A bound that holds in 95 of 100 such measurements, on each side.
_TAIL = 0.05


@dataclass(frozen=True, slots=True)
class Latency:
    """Medians in milliseconds an image, and the candidate's as a multiple of the champion's with
    its one-sided 95 % bounds."""

    candidate_ms: float
    champion_ms: float
    factor: float
    lower: float
    upper: float
    images: int

    def decides(self, most: float) -> bool:
        """Whether it is beyond doubt that the factor is at most ``most``, or that it is not."""
        return self.upper <= most or self.lower > most

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Latency:
        return cls(**data)


def compare_latency(
    candidate_ms: Sequence[float], champion_ms: Sequence[float], seed: int
) -> Latency:
    """Times of both models for the same images, in one order, in milliseconds.

    Medians, since other work on the machine makes some images slow; and images are resampled in
    pairs, so that a slow second, in which both took longer, cancels out.
    """
    pairs = np.array([candidate_ms, champion_ms], dtype=np.float64)
    images = pairs.shape[1]
    rng = np.random.Generator(np.random.PCG64(seed))
    medians = np.median(pairs[:, rng.integers(0, images, size=(_REPLICATES, images))], axis=2)
    lower, upper = np.quantile(medians[0] / medians[1], (_TAIL, 1 - _TAIL))
    ours, theirs = np.median(pairs, axis=1)
    return Latency(
        float(ours), float(theirs), float(ours / theirs), float(lower), float(upper), images
    )
