"""The paired bootstrap of the difference between two models on one gold set.

Both models are scored on the same resampled image sets, so that what is hard for both cancels out
of the difference. Images of one subject are drawn together: they are not independent. A class that
a resampled set does not show is left out of that set's means, for both models alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, stdtrit

from loop.boxes import FloatArray
from loop.metrics import Ranked
from loop.resampling import Weights, draw_weights, weighted_scores

# The risk of a bound where no risk is shared out: it holds in 95 of 100 cases.
USUAL_TAIL = 0.05


@dataclass(frozen=True, slots=True)
class Interval:
    """A change of a score with its one-sided bounds. A bound is None where there are too few
    images to give one."""

    estimate: float
    lower: float | None
    upper: float | None
    standard_error: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Interval:
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Change:
    """``resampled`` are its values on the resampled sets, ``groups`` the independent images or
    subjects that it rests on, as far as its spread goes: not always a whole number."""

    estimate: float
    resampled: FloatArray
    groups: float

    @property
    def standard_error(self) -> float:
        return float(self.resampled.std(ddof=1)) if len(self.resampled) > 1 else 0.0

    def interval(self, lower_tail: float, upper_tail: float = USUAL_TAIL) -> Interval:
        """The bounds that the true change is beyond with these risks, one for each side."""
        return Interval(
            self.estimate,
            self._bound(lower_tail, -1),
            self._bound(upper_tail, +1),
            self.standard_error,
        )

    def _bound(self, tail: float, side: int) -> float | None:
        """The more careful of two: the expanded percentile (Hesterberg, "What teachers should know
        about the bootstrap", The American Statistician 69, 2015, section 5.3), and Student's t
        on the bootstrap's standard error. Why both: docs/decisions.md."""
        degrees = self.groups - 1
        if degrees < 1 or len(self.resampled) < 2:
            return None
        steps = float(-stdtrit(degrees, tail)) * np.sqrt(self.groups / degrees)
        by_spread = self.estimate + side * steps * self.standard_error
        share = ndtr(-steps)
        by_rank = np.quantile(self.resampled, 1 - share if side > 0 else share, method="weibull")
        return float(max(side * by_spread, side * by_rank)) * side


@dataclass(frozen=True, slots=True)
class PairedBootstrap:
    """The candidate's scores less the champion's. ``class_groups`` is on how many independent
    images or subjects each class is, ``groups`` how many of them there are."""

    map50_95: Change
    map50: Change
    classes: Mapping[str, Change]
    class_groups: Mapping[str, int]
    groups: int
    seed: int


def seed_of(*digests: str) -> int:
    """The same digests give the same draws to whoever computes them again."""
    return int.from_bytes(hashlib.sha256("\n".join(digests).encode()).digest()[:8])


@dataclass(frozen=True, slots=True)
class Resampled:
    """A model's AP by class, set and IoU, the first set being the gold set itself: shape (classes,
    1 + replicates, thresholds). ``shown`` is on how many of ``groups`` each class is."""

    names: tuple[str, ...]
    scores: FloatArray
    shown: tuple[int, ...]
    groups: int


def resample(ranked: Sequence[Ranked], groups: Sequence[int], weights: Weights) -> Resampled:
    """``groups`` and ``weights`` as in `draw_weights`."""
    ones: Weights = np.ones((1, len(groups)), dtype=np.int32)
    numbers = np.asarray(groups)
    return Resampled(
        tuple(each.name for each in ranked),
        np.concatenate([weighted_scores(ranked, ones), weighted_scores(ranked, weights)], axis=1),
        tuple(len(np.unique(numbers[each.positives > 0])) for each in ranked),
        len(np.unique(numbers)),
    )


def paired_bootstrap(
    before: Sequence[Ranked],
    after: Sequence[Ranked],
    groups: Sequence[int],
    *,
    replicates: int,
    seed: int,
) -> PairedBootstrap:
    """Both models' classes in one order, on the same images; ``groups`` as in `draw_weights`."""
    weights = draw_weights(groups, replicates, seed)
    return pair(resample(before, groups, weights), resample(after, groups, weights), seed)


def pair(before: Resampled, after: Resampled, seed: int) -> PairedBootstrap:
    """Both on the same sets, which ``seed`` drew."""
    difference = after.scores - before.scores
    by_class, by_class_50 = difference.mean(axis=2), difference[:, :, 0]
    changes = (_change(*each) for each in zip(by_class, before.shown, strict=True))
    return PairedBootstrap(
        map50_95=_mean_change(by_class, before.shown),
        map50=_mean_change(by_class_50, before.shown),
        classes=dict(zip(before.names, changes, strict=True)),
        class_groups=dict(zip(before.names, before.shown, strict=True)),
        groups=before.groups,
        seed=seed,
    )


def _change(values: FloatArray, groups: float) -> Change:
    resampled = values[1:]
    return Change(float(values[0]), resampled[np.isfinite(resampled)], groups)


def _mean_change(by_class: FloatArray, shown: Sequence[int]) -> Change:
    """Of the mean over classes. What it rests on is Welch and Satterthwaite's number: a class on a
    handful of images can make most of the spread, and then a handful is what there is."""
    present = np.isfinite(by_class)
    sums = np.where(present, by_class, 0.0).sum(axis=0)
    counts = present.sum(axis=0)
    means = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    variances = np.array([np.nanvar(values[1:], ddof=1) for values in by_class])
    if not variances.any():
        return _change(means, max(shown))
    degrees = np.maximum(np.array(shown, dtype=np.float64) - 1, 1)
    together = float(variances.sum() ** 2 / (variances**2 / degrees).sum()) + 1
    # The formula takes classes for independent, which those in the same images are not.
    return _change(means, min(together, max(shown)))
