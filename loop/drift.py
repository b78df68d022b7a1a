"""Whether a model detects now what it detected when it was validated: scores, classes, numbers.

Counts are compared, not images: a drift says that the images, or what they show, have changed, and
never by itself that the model is wrong.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loop.errors import BrokenRecord, InvalidInput
from loop.events import canonical_json
from loop.gold import GoldDetections
from loop.predictions import SCORE_BOUNDS, ModelRef

SCHEMA_VERSION = 1
# Upper bounds of the bins of detections an image, part of their bins as Prometheus has it.
NUMBER_BOUNDS = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, math.inf)
# The customary marks of the PSI: Siddiqi, Credit Risk Scorecards (2006).
MODERATE_PSI, LARGE_PSI = 0.10, 0.25
# The distances that a PSI of those values comes to where a change is small: the PSI is Jeffreys'
# divergence J, and there the Jensen-Shannon divergence is J / 8 nats.
MODERATE_DISTANCE, LARGE_DISTANCE = (
    math.sqrt(mark / 8 / math.log(2)) for mark in (MODERATE_PSI, LARGE_PSI)
)
# On both sides; with fewer the measures pass the marks by chance: docs/decisions.md, "Drift".
MIN_IMAGES = 200
MIN_DETECTIONS = 400
# Added to each count, so that no logarithm is of 0: Krichevsky & Trofimov (1981), IEEE Trans. Inf.
# Theory 27(2).
_PSEUDO_COUNT = 0.5


@dataclass(frozen=True, slots=True)
class Profile:
    """What a model detected on a number of images, in counts.

    ``scores`` has for each of ``classes`` the detections in each bin of `SCORE_BOUNDS`, ``numbers``
    the images in each bin of `NUMBER_BOUNDS`. Detections from the confidence ``at_least`` count.
    """

    classes: tuple[str, ...]
    at_least: float
    scores: tuple[tuple[int, ...], ...]
    numbers: tuple[int, ...]

    @property
    def images(self) -> int:
        return sum(self.numbers)

    @property
    def class_counts(self) -> tuple[int, ...]:
        return tuple(sum(row) for row in self.scores)

    @property
    def per_image(self) -> float:
        """Detections an image; 0 without images."""
        return sum(self.class_counts) / self.images if self.images else 0.0


@dataclass(frozen=True, slots=True)
class Reference:
    """What ``model`` detected on the gold set of that digest, which it was not trained on."""

    model: ModelRef
    gold_sha256: str
    profile: Profile

    def to_json(self) -> bytes:
        """Canonical: the same counts give the same bytes."""
        profile = self.profile
        return canonical_json(
            {
                "schema": SCHEMA_VERSION,
                "model": self.model.as_dict(),
                "gold_sha256": self.gold_sha256,
                "classes": list(profile.classes),
                "at_least": profile.at_least,
                "score_bounds": list(SCORE_BOUNDS),
                "scores": [list(row) for row in profile.scores],
                "numbers": list(profile.numbers),
            }
        )

    @classmethod
    def from_json(cls, data: bytes | str) -> Reference:
        """Raises `BrokenRecord`, also for bins that are not those of this version."""
        try:
            raw = json.loads(data)
            profile = Profile(
                tuple(str(name) for name in raw["classes"]),
                float(raw["at_least"]),
                tuple(tuple(int(count) for count in row) for row in raw["scores"]),
                tuple(int(count) for count in raw["numbers"]),
            )
            if raw["schema"] != SCHEMA_VERSION or tuple(raw["score_bounds"]) != SCORE_BOUNDS:
                raise ValueError("it has other bins than this version counts in")
            _check_counts(profile)
            return cls(ModelRef.from_dict(raw["model"]), str(raw["gold_sha256"]), profile)
        except (ValueError, KeyError, TypeError, InvalidInput) as error:
            raise BrokenRecord(
                f"Not a reference for drift: {error}.",
                hint="Make it again: secondlook models measure VERSION",
            ) from error


def reference_of(seen: GoldDetections, at_least: float) -> Reference:
    """The reference that a measurement on the gold set gives, from the confidence ``at_least``."""
    images = (
        ([box.class_id for box in boxes], [box.confidence for box in boxes])
        for boxes in seen.detected
    )
    profile = profile_of(images, tuple(seen.classes), at_least)
    return Reference(seen.model, seen.gold_sha256, profile)


def reference_path(version: str) -> str:
    """Where it is kept, among the artifacts of the run that made the model version."""
    return f"drift/reference-{version}.json"


@dataclass(frozen=True, slots=True)
class Drift:
    """How far ``now`` is from what it was compared with; 0 is the same.

    ``psi`` is of the scores of all classes, ``class_psi`` of those of each class, ``number_psi`` of
    the detections an image; ``class_distance``, between the classes' shares, is in [0, 1]. None, or
    a class that is not there: too few on one side.
    """

    psi: float | None = None
    class_psi: Mapping[str, float] = field(default_factory=dict)
    class_distance: float | None = None
    number_psi: float | None = None


def score_bin(confidence: float) -> int:
    """Its place in `SCORE_BOUNDS`."""
    return bisect_left(SCORE_BOUNDS, confidence, hi=len(SCORE_BOUNDS) - 1)


def number_bin(detections: int) -> int:
    """Its place in `NUMBER_BOUNDS`."""
    return bisect_left(NUMBER_BOUNDS, detections)


def profile_of(
    images: Iterable[tuple[Sequence[int], Sequence[float]]],
    classes: Sequence[str],
    at_least: float,
) -> Profile:
    """Of class ids and confidences, a pair for each image."""
    scores = [[0] * len(SCORE_BOUNDS) for _ in classes]
    numbers = [0] * len(NUMBER_BOUNDS)
    for class_ids, confidences in images:
        sure = [each for each in zip(class_ids, confidences, strict=True) if each[1] >= at_least]
        for class_id, confidence in sure:
            scores[class_id][score_bin(confidence)] += 1
        numbers[number_bin(len(sure))] += 1
    return Profile(tuple(classes), at_least, tuple(map(tuple, scores)), tuple(numbers))


def compare(reference: Profile, now: Profile) -> Drift:
    """Both must have the same classes and threshold: raises ValueError."""
    if (reference.classes, reference.at_least) != (now.classes, now.at_least):
        raise ValueError("these profiles were not made alike")
    few_images = min(reference.images, now.images) < MIN_IMAGES
    number_psi = None if few_images else psi(reference.numbers, now.numbers)
    first = score_bin(reference.at_least)  # below it there is nothing to see
    before, after = (np.array(each.scores)[:, first:] for each in (reference, now))
    if now.images < MIN_IMAGES or min(before.sum(), after.sum()) < MIN_DETECTIONS:
        return Drift(number_psi=number_psi)
    enough = np.minimum(before.sum(axis=1), after.sum(axis=1)) >= MIN_DETECTIONS
    return Drift(
        psi=psi(before.sum(axis=0), after.sum(axis=0)),
        class_psi={
            name: psi(before[place], after[place])
            for place, name in enumerate(reference.classes)
            if enough[place]
        },
        class_distance=jensen_shannon_distance(before.sum(axis=1), after.sum(axis=1)),
        number_psi=number_psi,
    )


def psi(expected: ArrayLike, actual: ArrayLike) -> float:
    """Population stability index of two rows of counts in the same bins; 0 or more.

    The sum over bins of (a - e) ln(a / e), of the shares a and e: Siddiqi, Credit Risk Scorecards
    (2006); it is the divergence J of Jeffreys (1946). Without any drift it is about
    (bins - 1) (1/n + 1/m) for n and m independent counts: Yurdakul, Statistical Properties of
    Population Stability Index (2018).
    """
    e, a = _shares(expected), _shares(actual)
    return float(np.sum((a - e) * np.log(a / e)))


def jensen_shannon_distance(left: ArrayLike, right: ArrayLike) -> float:
    """Of two rows of counts; 0 for equal shares, 1 where they have no bin in common.

    The root of the Jensen-Shannon divergence (Lin 1991, IEEE Trans. Inf. Theory 37(1)) in bits,
    which is a metric: Endres & Schindelin (2003), IEEE Trans. Inf. Theory 49(7).
    """
    p, q = (np.asarray(each, np.float64) / np.sum(each) for each in (left, right))
    middle = (p + q) / 2

    def bits(of: NDArray[np.float64]) -> float:
        some = of > 0
        return float(np.sum(of[some] * np.log2(of[some] / middle[some])))

    return math.sqrt(max((bits(p) + bits(q)) / 2, 0.0))


def _check_counts(profile: Profile) -> None:
    counts = [*profile.numbers, *(count for row in profile.scores for count in row)]
    if (
        len(profile.scores) != len(profile.classes)
        or any(len(row) != len(SCORE_BOUNDS) for row in profile.scores)
        or len(profile.numbers) != len(NUMBER_BOUNDS)
        or min(counts) < 0
    ):
        raise ValueError("these are not the counts of a model's detections")


def _shares(counts: ArrayLike) -> NDArray[np.float64]:
    smoothed = np.asarray(counts, np.float64) + _PSEUDO_COUNT
    shares: NDArray[np.float64] = smoothed / smoothed.sum()
    return shares
