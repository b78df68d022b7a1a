from __future__ import annotations

import pytest

from serve.admission import Admission, Busy


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_there_is_room_for_so_many_and_no_more() -> None:
    admission = Admission(2)
    with admission.admitted(), admission.admitted():
        assert admission.inside == 2
        with pytest.raises(Busy), admission.admitted():
            pass
    assert admission.inside == 0
    with admission.admitted():
        admission.check()


def test_room_is_given_back_after_an_error() -> None:
    admission = Admission(1)
    with pytest.raises(ValueError, match="bad image"), admission.admitted():
        raise ValueError("bad image")
    admission.check()


def test_who_is_sent_away_is_told_how_long_the_queue_takes() -> None:
    clock = Clock()
    admission = Admission(20, clock)
    for _ in range(20):
        admission.enter()
    for _ in range(10):  # two answers a second
        clock.now += 0.5
        admission.leave()
        admission.enter()
    with pytest.raises(Busy) as refusal:
        admission.check()
    assert refusal.value.retry_after_seconds == 10


def test_an_idle_hour_does_not_count_as_slowness() -> None:
    clock = Clock()
    admission = Admission(1, clock)
    for _ in range(3):
        with admission.admitted():
            clock.now += 0.1
        clock.now += 3600
    admission.enter()
    assert admission.retry_after_seconds() == 1


def test_nobody_is_sent_away_for_minutes() -> None:
    clock = Clock()
    admission = Admission(10, clock)
    for _ in range(10):
        admission.enter()
    clock.now += 500
    admission.leave()
    assert admission.retry_after_seconds() == 30
