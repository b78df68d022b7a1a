"""How far two people agree on the same images, class by class, beyond what chance would give.

Krippendorff's alpha with a distance between whole answers, 1 less the observed disagreement over
the expected one: Krippendorff, "Content Analysis: An Introduction to Its Methodology"; for answers
of several objects each, Braylan, Alonso and Lease, "Measuring Annotator Agreement Generally across
Complex Structured, Multi-object, and Free-text Annotation Tasks", WWW 2022, arXiv:2212.09503. Two
people's boxes of a class on one image are 1 - F1 apart, F1 being that of the most pairs that can be
matched one to one at IoU 0.5; where neither marked the class, they are 0 apart. What is expected
is the mean distance of answers to different images, whoever gave them. 1 is full agreement, 0 is
what answers to any other image would agree by, and below 0 is worse than that.

Images on which nobody saw a class lower what is observed and what is expected alike, so that a
rare class gains nothing by them, as it would in a plain share. What is matched counts the same
however well it overlaps: this says whether two people mark the same things, not how exactly.
Boxes are compared as shares of their image's sides, so that images of any size go together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loop.agreement import LabelledBox
from loop.boxes import FloatArray
from loop.classes import ClassList

IntArray = NDArray[np.int64]

# Most pairs of boxes that are compared at once: arrays that stay in a processor's cache.
_CHUNK = 50_000


@dataclass(frozen=True, slots=True)
class DoubleReading:
    """One image as two people marked it, the second without having seen the first's boxes.

    Boxes are in pixels of the image, which is ``width`` x ``height``.
    """

    image_id: str
    width: int
    height: int
    first: tuple[LabelledBox, ...]
    second: tuple[LabelledBox, ...]


@dataclass(frozen=True, slots=True)
class ReliabilitySettings:
    """``most_pairs`` of different images that show a class give what is expected, taken at random.

    The interval is the 95 % percentile interval of ``resamples`` bootstrap samples of the images.
    """

    match_iou: float = 0.5
    fewest_images: int = 5
    most_pairs: int = 2000
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Reliability:
    """Agreement on one class over ``images`` images, ``shown`` of which have it by either person.

    ``boxes`` counts both people's. ``matched`` is the share of all boxes that have a partner, the
    positive specific agreement, in [0, 1]; chance is not taken out of it. ``alpha`` is at most 1
    and lies in ``interval``; both are None where ``reason`` says why.
    """

    class_id: int
    images: int
    shown: int
    boxes: int
    matched: float | None
    alpha: float | None
    interval: tuple[float, float] | None
    reason: str = ""


def reliability(
    readings: Sequence[DoubleReading],
    classes: ClassList,
    settings: ReliabilitySettings | None = None,
) -> list[Reliability]:
    """Agreement for each class, in the order of ``classes``. ``readings`` are of different images.

    The same readings and settings give the same figures, and so do first and second swapped.
    """
    settings = settings or ReliabilitySettings()
    return [_of_class(readings, class_id, settings) for class_id in range(len(classes))]


def _of_class(
    readings: Sequence[DoubleReading], class_id: int, settings: ReliabilitySettings
) -> Reliability:
    answers = _Answers.of(readings, class_id)
    images = len(readings)
    shown = int(answers.given.any(axis=1).sum())
    boxes = int(answers.counts.sum())
    own = np.arange(images)
    hits = answers.matches(2 * own, 2 * own + 1, settings.match_iou)
    matched = 2 * float(hits.sum()) / boxes if boxes else None
    if images < settings.fewest_images or shown < settings.fewest_images:
        of = "have it" if images >= settings.fewest_images else "were read by two people"
        count = shown if images >= settings.fewest_images else images
        reason = f"{count} images {of}; {settings.fewest_images} are needed."
        return Reliability(class_id, images, shown, boxes, matched, None, None, reason)
    rng = np.random.default_rng([settings.seed, class_id])
    disagreement = _Disagreement(answers, hits, settings, rng)
    once = np.ones((1, images))
    alpha = float(disagreement.alpha(once)[0])
    if not np.isfinite(alpha):
        reason = "All answers are alike, so that chance cannot be told from agreement."
        return Reliability(class_id, images, shown, boxes, matched, None, None, reason)
    drawn = rng.multinomial(images, np.full(images, 1 / images), settings.resamples)
    found = disagreement.alpha(drawn.astype(np.float64))
    low, high = np.percentile(found[np.isfinite(found)], [2.5, 97.5])
    # The tails of a small sample may both lie on one side of its own value.
    interval = (min(float(low), alpha), max(float(high), alpha))
    return Reliability(class_id, images, shown, boxes, matched, alpha, interval)


@dataclass(frozen=True, slots=True)
class _Answers:
    """The boxes of one class: answer 2i is the first person's on image i, 2i + 1 the second's.

    ``edges`` is (2n, most boxes, 4), as shares of the image's sides, and 0 where there is no box.
    """

    edges: FloatArray
    counts: IntArray

    @classmethod
    def of(cls, readings: Sequence[DoubleReading], class_id: int) -> _Answers:
        sets: list[list[tuple[float, ...]]] = []
        for reading in readings:
            sides = (reading.width, reading.height) * 2
            for boxes in (reading.first, reading.second):
                own = (box.box.xyxy for box in boxes if box.class_id == class_id)
                sets.append([tuple(e / s for e, s in zip(b, sides, strict=True)) for b in own])
        counts = np.array([len(own_edges) for own_edges in sets], dtype=np.int64)
        edges = np.zeros((len(sets), max(counts, default=0), 4))
        for place, own_edges in enumerate(sets):
            if own_edges:
                edges[place, : len(own_edges)] = own_edges
        return cls(edges, counts)

    @property
    def given(self) -> NDArray[np.bool_]:
        """Whether each person marked the class on each image: (n, 2)."""
        return self.counts.reshape(-1, 2) > 0

    def matches(self, left: IntArray, right: IntArray, match_iou: float) -> IntArray:
        """The most boxes that answers ``left[i]`` and ``right[i]`` have in common."""
        found = np.zeros(len(left), dtype=np.int64)
        most = np.maximum(self.counts[left], self.counts[right])
        both = np.flatnonzero(np.minimum(self.counts[left], self.counts[right]))
        # Of like size together, so that little is compared with boxes that are not there.
        places = both[np.argsort(most[both], kind="stable")]
        start = 0
        while start < len(places):
            # The largest answer of a chunk says how much room each pair in it takes.
            stop = len(places)
            while stop - start > 1 and (stop - start) * most[places[stop - 1]] ** 2 > _CHUNK:
                stop = start + (stop - start) // 2
            part = places[start:stop]
            width = most[part[-1]]
            hits = _overlap(
                self.edges[left[part], :width], self.edges[right[part], :width], match_iou
            )
            found[part] = _most_pairs(hits)
            start = stop
        return found

    def distances(self, left: IntArray, right: IntArray, matches: IntArray) -> FloatArray:
        """1 - F1 of answers ``left[i]`` and ``right[i]``, 0 where both are empty."""
        total = self.counts[left] + self.counts[right]
        distances: FloatArray = np.where(total > 0, 1 - 2 * matches / np.maximum(total, 1), 0.0)
        return distances


class _Disagreement:
    """What is observed and what is expected, for any sample of the images.

    Two answers to different images are 0 apart if both are empty, and 1 if one is: both are
    counted exactly. Only those that both have boxes are compared, for some pairs of images.
    """

    def __init__(
        self,
        answers: _Answers,
        hits: IntArray,
        settings: ReliabilitySettings,
        rng: np.random.Generator,
    ) -> None:
        own = np.arange(len(hits))
        self._observed = answers.distances(2 * own, 2 * own + 1, hits)
        self._given = answers.given.mean(axis=1)
        self._i, self._j = _pairs(np.flatnonzero(self._given), settings.most_pairs, rng)
        self._compared = np.zeros(len(self._i))
        self._apart = np.zeros(len(self._i))
        for left in (2 * self._i, 2 * self._i + 1):
            for right in (2 * self._j, 2 * self._j + 1):
                both = (answers.counts[left] > 0) & (answers.counts[right] > 0)
                matches = answers.matches(left, right, settings.match_iou)
                self._compared += both
                self._apart += both * answers.distances(left, right, matches)

    def alpha(self, weights: FloatArray) -> FloatArray:
        """For each sample, ``weights`` being how often it holds each image: (samples, n).

        Not a number where nothing is expected to differ.
        """
        squares = weights**2
        total, given = weights.sum(axis=1), weights @ self._given
        # Sums over pairs of different images, so less those of an image with itself.
        pairs = total**2 - squares.sum(axis=1)
        both_given = given**2 - squares @ self._given**2
        one_given = 2 * (total * given - squares @ self._given) - 2 * both_given
        together = weights[:, self._i] * weights[:, self._j]
        compared = together @ self._compared
        everywhere = self._apart.sum() / self._compared.sum() if len(self._i) else 1.0
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = np.where(compared > 0, together @ self._apart / compared, everywhere)
            expected = (one_given + both_given * apart) / pairs
            observed = weights @ self._observed / total
            alpha: FloatArray = np.where(expected > 0, 1 - observed / expected, np.nan)
        return alpha


def _pairs(images: IntArray, most: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Every pair of different ``images``, or ``most`` of them at random."""
    count = len(images)
    if count * (count - 1) // 2 <= most:
        i, j = np.triu_indices(count, k=1)
    else:
        i = rng.integers(count, size=most)
        j = (i + rng.integers(1, count, size=most)) % count
    return images[i], images[j]


def _overlap(left: FloatArray, right: FloatArray, match_iou: float) -> NDArray[np.bool_]:
    """Which boxes overlap enough: (pairs, n, 4) and (pairs, m, 4) give (pairs, n, m)."""
    # Side by side and in place: an array for both axes takes three times as long.
    common = _shared(left, right, 0)
    common *= _shared(left, right, 1)
    areas = [
        (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]) for boxes in (left, right)
    ]
    enough = areas[0][:, :, None] + areas[1][:, None, :]
    enough -= common
    enough *= match_iou
    hits: NDArray[np.bool_] = (common > 0) & (common >= enough)
    return hits


def _shared(left: FloatArray, right: FloatArray, axis: int) -> FloatArray:
    """How long the part is that two boxes share along an axis."""
    shared = np.minimum(left[:, :, None, axis + 2], right[:, None, :, axis + 2])
    shared -= np.maximum(left[:, :, None, axis], right[:, None, :, axis])
    return np.clip(shared, 0.0, None, out=shared)


def _most_pairs(hits: NDArray[np.bool_]) -> IntArray:
    """The size of the largest one-to-one matching, for each of (pairs, n, m)."""
    rows, columns = hits.sum(axis=2), hits.sum(axis=1)
    found: IntArray = rows.sum(axis=1)
    # At IoU 0.5 nearly every box has one partner at most, and then there is nothing to choose.
    crowded = np.flatnonzero((rows > 1).any(axis=1) | (columns > 1).any(axis=1))
    if len(crowded):
        from scipy.optimize import linear_sum_assignment  # slow to import, and only this needs it

        for place in crowded:
            i, j = linear_sum_assignment(hits[place], maximize=True)
            found[place] = hits[place][i, j].sum()
    return found
