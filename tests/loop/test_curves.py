from __future__ import annotations

import pytest

from loop.curves import MeanPoint, mean_curve


def test_the_mean_has_every_epoch_of_any_curve_and_says_how_many_it_is_of() -> None:
    points = mean_curve([{1: 0.2, 2: 0.4, 4: 0.5}, {1: 0.4, 2: 0.4}])
    assert [point.epoch for point in points] == [1, 2, 4]
    assert points[0] == MeanPoint(1, pytest.approx(0.3), pytest.approx(0.1 * 2**0.5), 2)
    assert points[2] == MeanPoint(4, 0.5, 0.0, 1)


def test_without_curves_there_is_no_mean() -> None:
    assert mean_curve([]) == mean_curve([{}]) == []
