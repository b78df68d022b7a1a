from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.rates import FEWEST, Mean, Rate, Spread, by_key, rate_of


@given(st.integers(FEWEST, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_lies_in_its_interval_and_both_in_0_to_1(counted: tuple[int, int]) -> None:
    rate = Rate(*counted)
    assert rate.value is not None and rate.interval is not None
    low, high = rate.interval
    assert 0 <= low <= rate.value + 1e-12
    assert rate.value - 1e-12 <= high <= 1


def test_the_interval_is_wilsons() -> None:
    assert Rate(10, 20).interval == pytest.approx((0.2993, 0.7007), abs=1e-4)


@given(st.integers(0, FEWEST - 1).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_of_few_nothing_is_said_but_how_many(counted: tuple[int, int]) -> None:
    said = Rate(*counted).as_dict()
    assert said == {"count": None, "total": counted[1], "value": None, "interval": None}


def test_median_and_quartiles() -> None:
    assert Spread.of(list(range(11))) == Spread(11, 2.5, 5.0, 7.5)
    assert Spread.of([1.0] * (FEWEST - 1)) == Spread(FEWEST - 1, None, None, None)


def test_a_mean_has_an_interval_that_is_the_same_each_time() -> None:
    values = [0.0, 1.0] * 20
    mean = Mean.of(values)
    assert mean == Mean.of(values)
    assert mean.value == 0.5
    assert mean.interval is not None
    assert mean.interval[0] < 0.5 < mean.interval[1]
    assert Mean.of([1.0] * 9).value is None
    assert Mean.of([0.25] * 12).interval == (0.25, 0.25)


def test_groups_and_flags() -> None:
    assert by_key(["b1", "a1", "b2"], lambda e: e[0]) == {"a": ["a1"], "b": ["b1", "b2"]}
    assert rate_of([True, False, True]) == Rate(2, 3)
