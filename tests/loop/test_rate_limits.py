from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.rate_limits import TokenBuckets


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_worth_may_come_at_once_and_then_evenly() -> None:
    clock = Clock()
    buckets = TokenBuckets(clock)
    assert [buckets.take("a", 6) for _ in range(6)] == [0.0] * 6
    assert buckets.take("a", 6) == pytest.approx(10)
    clock.now = 9.9
    assert buckets.take("a", 6) == pytest.approx(0.1)
    clock.now = 10.1
    assert buckets.take("a", 6) == 0.0
    assert buckets.take("a", 6) > 0


def test_every_key_has_a_bucket_of_its_own() -> None:
    buckets = TokenBuckets(Clock())
    assert buckets.take("a", 1) == 0.0
    assert buckets.take("a", 1) > 0
    assert buckets.take("b", 1) == 0.0


@given(st.integers(1, 20), st.lists(st.floats(0, 30), max_size=60))
def test_no_more_come_in_than_the_bucket_and_what_flowed_in(
    per_minute: int, waits: list[float]
) -> None:
    clock = Clock()
    buckets = TokenBuckets(clock)
    admitted = 0
    for wait in waits:
        clock.now += wait
        admitted += buckets.take("a", per_minute) == 0.0
    assert admitted <= per_minute + clock.now * per_minute / 60 + 1e-6


@given(st.integers(1, 1000), st.floats(0, 100))
def test_who_waits_as_long_as_told_comes_in(per_minute: int, later: float) -> None:
    clock = Clock()
    buckets = TokenBuckets(clock)
    for _ in range(per_minute):
        buckets.take("a", per_minute)
    clock.now += buckets.take("a", per_minute) + 1e-6 + later
    assert buckets.take("a", per_minute) == 0.0
