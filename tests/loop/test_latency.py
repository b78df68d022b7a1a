from __future__ import annotations

import numpy as np
import pytest

from loop.latency import Latency, compare_latency


def test_the_factor_is_of_medians_and_its_bounds_hold_it() -> None:
    rng = np.random.default_rng(1)
    champion = rng.normal(40, 2, 80)
    found = compare_latency((champion * 1.2).tolist(), champion.tolist(), seed=1)
    assert found.factor == pytest.approx(1.2)
    assert found.lower <= 1.2 <= found.upper
    assert found.candidate_ms == pytest.approx(np.median(champion) * 1.2)


def test_a_few_images_that_take_forever_change_nothing() -> None:
    champion = [40.0] * 60
    candidate = [44.0] * 57 + [9000.0] * 3
    found = compare_latency(candidate, champion, seed=1)
    assert (found.factor, found.upper) == (pytest.approx(1.1), pytest.approx(1.1))


def test_a_busy_second_slows_both_and_cancels_out() -> None:
    load = np.where(np.arange(60) < 30, 1.0, 3.0)
    found = compare_latency((44 * load).tolist(), (40 * load).tolist(), seed=1)
    assert found.lower == pytest.approx(1.1)
    assert found.upper == pytest.approx(1.1)


def test_it_comes_back_from_its_record() -> None:
    found = compare_latency([1.0, 2.0, 3.0], [1.0, 1.0, 2.0], seed=3)
    assert Latency.from_dict(found.as_dict()) == found


def test_it_decides_where_both_bounds_are_on_one_side() -> None:
    between = Latency(48, 40, 1.2, 1.1, 1.3, 60)
    assert [between.decides(most) for most in (1.0, 1.1, 1.2, 1.3, 1.4)] == (
        [True, False, False, True, True]
    )
