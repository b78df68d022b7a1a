"""The mean of several learning curves, with their spread."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MeanPoint:
    """Of an epoch: the mean of the ``count`` curves that have a value there, and their sample
    standard deviation, 0 for a single one."""

    epoch: int
    mean: float
    std: float
    count: int


def mean_curve(curves: Sequence[Mapping[int, float]]) -> list[MeanPoint]:
    """By epoch, for every epoch of any of ``curves``. Curves that end early are missed from then
    on: ``count`` says so."""
    epochs = sorted({epoch for curve in curves for epoch in curve})
    points = []
    for epoch in epochs:
        values = [curve[epoch] for curve in curves if epoch in curve]
        std = statistics.stdev(values) if len(values) > 1 else 0.0
        points.append(MeanPoint(epoch, statistics.fmean(values), std, len(values)))
    return points
