from __future__ import annotations

import pytest

from loop.pace import FINAL_SHARE, Going, in_words, left_of, left_of_all, left_together, pace


def test_the_pace_is_the_mean_of_the_epochs_seen() -> None:
    assert pace([(1, 10.0), (2, 20.0), (3, 40.0)]) == 15.0
    assert pace([(1, 10.0), (4, 40.0)]) == 10.0


def test_before_two_epochs_there_is_no_pace() -> None:
    assert pace([]) is None
    assert pace([(3, 10.0)]) is None
    assert pace([(3, 10.0), (3, 20.0)]) is None


def test_an_epoch_with_a_validation_weighs_as_often_as_it_comes() -> None:
    ends, at = [], 0.0
    for epoch in range(1, 11):
        at += 30.0 if epoch % 5 == 0 else 10.0
        ends.append((epoch, at))
    assert pace([(0, 0.0), *ends]) == pytest.approx(14.0)


def test_a_pause_is_not_taken_for_slowness() -> None:
    assert pace([(1, 10.0), (2, 20.0), (3, 5000.0), (4, 5010.0)]) == 10.0


def test_only_recent_epochs_tell_the_pace() -> None:
    slow = [(epoch, 50.0 * epoch) for epoch in range(1, 6)]
    fast = [(5 + epoch, 250.0 + 20.0 * epoch) for epoch in range(1, 12)]
    assert pace([*slow, *fast]) == 20.0


def test_what_is_left_of_a_fold_ends_with_a_validation() -> None:
    assert left_of(3, 5, 10.0) == 20.0 + FINAL_SHARE * 10.0
    assert left_of(6, 5, 10.0) == FINAL_SHARE * 10.0


@pytest.mark.parametrize(
    ("running", "waiting", "at_once", "expected"),
    [
        ([30.0, 20.0], [], 2, 30.0),
        ([30.0, 20.0], [10.0], 2, 30.0),  # it takes the place that is free after 20
        ([30.0, 20.0], [10.0, 40.0], 2, 70.0),
        ([], [10.0, 10.0, 10.0], 2, 20.0),
        ([], [], 1, 0.0),
    ],
)
def test_folds_that_wait_take_the_next_free_place(
    running: list[float], waiting: list[float], at_once: int, expected: float
) -> None:
    assert left_of_all(running, waiting, at_once) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (-3, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3570, "1 h 00"),
        (3900, "1 h 05"),
        (86399, "1 d 00 h"),
        (3 * 86400 + 4 * 3600, "3 d 04 h"),
    ],
)
def test_times_are_short(seconds: float, text: str) -> None:
    assert in_words(seconds) == text


def test_a_fold_without_a_pace_of_its_own_will_have_the_usual_one() -> None:
    trains = Going(2, 4, started=True, pace=10.0, since=5.0)
    starts, waits = Going(0, 4, started=True, pace=None), Going(0, 4, started=False, pace=None)
    assert (trains.left, starts.left) == (17.5, None)
    assert left_together([trains], [10.0], 1) == 17.5
    assert left_together([trains, starts], [10.0, 30.0], 1) == left_of(0, 4, 20.0)
    assert left_together([trains, waits], [10.0], 1) == 17.5 + left_of(0, 4, 10.0)
    assert left_together([trains, waits], [10.0], 2) == left_of(0, 4, 10.0)


def test_what_is_left_cannot_be_told_before_any_epoch() -> None:
    assert left_together([Going(0, 4, started=True, pace=None)], [], 1) is None
    assert left_together([], [10.0], 1) is None
