"""Scores of the same detections on thousands of resampled image sets, without matching anew.

A detection is matched within its image, so that an image drawn twice only counts its detections
and its true boxes twice. A resampled set is therefore a vector of whole weights, one an image,
and precision and recall are weighted cumulative sums over the detections as they are ranked.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from loop.boxes import FloatArray
from loop.metrics import IOU_THRESHOLDS, RECALLS, Ranked

Weights = NDArray[np.int32]

# Numbers held at once for one class: 32 MB of them.
_MOST_AT_ONCE = 4_000_000


def draw_weights(groups: Sequence[int], replicates: int, seed: int) -> Weights:
    """How often each image is in each resampled set: shape (replicates, images).

    ``groups`` has a number for each image, the same for images of one subject: whole subjects are
    drawn, as many as there are, with replacement.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    count = int(member.max()) + 1
    drawn = rng.integers(0, count, size=(replicates, count))
    drawn += count * np.arange(replicates)[:, None]
    times = np.bincount(drawn.ravel(), minlength=replicates * count).reshape(replicates, count)
    return np.ascontiguousarray(times[:, member], dtype=np.int32)


def weighted_scores(ranked: Sequence[Ranked], weights: Weights) -> FloatArray:
    """AP at each IoU, shape (classes, replicates, thresholds); NaN where a set has no true box of
    the class. With weights of 1 it is exactly what `loop.metrics.average_precision` gives."""
    return np.stack([_weighted_ap(each, weights) for each in ranked])


def _weighted_ap(ranked: Ranked, weights: Weights) -> FloatArray:
    hit_somewhere = np.flatnonzero(ranked.hits.any(axis=1))
    # What comes behind the last hit changes no score.
    last = int(hit_somewhere[-1]) + 1 if len(hit_somewhere) else 0
    images, hits = ranked.images[:last], ranked.hits[:last]
    positives = weights @ ranked.positives
    scores = np.zeros((len(weights), len(IOU_THRESHOLDS)))
    step = max(1, _MOST_AT_ONCE // max(last, 1))
    for start in range(0, len(weights), step):
        part = slice(start, start + step)
        taken = np.take(weights[part], images, axis=1)
        found = np.cumsum(taken, axis=1, dtype=np.int32)
        for threshold in range(hits.shape[1]):
            places = np.flatnonzero(hits[:, threshold])
            if len(places):
                true = np.cumsum(np.take(taken, places, axis=1), axis=1, dtype=np.int32)
                seen = np.take(found, places, axis=1)
                scores[part, threshold] = _mean_precision(true, seen, positives[part])
    scores[positives == 0] = np.nan
    return scores


def _mean_precision(
    true: NDArray[np.int32], seen: NDArray[np.int32], positives: NDArray[np.intp]
) -> FloatArray:
    """``true`` of the ``seen`` detections are hits, down to each hit: shape (replicates, hits)."""
    precision = true / np.maximum(seen, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = true / np.maximum(positives, 1)[:, None]
    # How many of the recall points are reached. Where a recall lies on a point, rounding decides:
    # by the metric's own comparison of the same two floats.
    reached = (recall * 100 + 1e-9).astype(np.int32)
    reached += RECALLS[reached] <= recall
    at_points = np.zeros((len(true), true.shape[1] + 1))
    at_points[:, :-1] = best
    times = np.diff(reached, axis=1, prepend=0, append=len(RECALLS))
    precisions = np.repeat(at_points.ravel(), times.ravel()).reshape(-1, len(RECALLS))
    return np.asarray(precisions.mean(axis=1))
