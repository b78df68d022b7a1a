from __future__ import annotations

import pytest

from loop.worst_images import worst_images
from tests.loop.test_confusion import at


def test_the_worst_come_first_and_images_without_errors_not_at_all() -> None:
    truth = [[at(0)], [at(0), at(50)], [at(0)], []]
    detected = [[at(0)], [], [], [at(0, 0, 0.5)]]
    found = worst_images(truth, detected, most=10)
    assert [(each.place, each.score) for each in found] == [(1, 2.0), (2, 1.0), (3, 0.5)]
    assert [each.place for each in worst_images(truth, detected, most=2)] == [1, 2]


def test_a_box_taken_for_another_class_is_missed_and_false_at_once() -> None:
    (found,) = worst_images([[at(0)]], [[at(0, 1, 0.75)]], most=1)
    assert found.score == pytest.approx(1.75)
    assert found.pairing.confused == ((0, 0),)


def test_of_equally_bad_images_the_earlier_one_comes_first() -> None:
    found = worst_images([[at(0)], [at(0)]], [[], []], most=2)
    assert [each.place for each in found] == [0, 1]
