from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.agreement import LabelledBox
from loop.boxes import Box
from loop.classes import ClassList
from loop.reliability import DoubleReading, ReliabilitySettings, reliability

CLASSES = ClassList(("cell", "rod"))
SIDE_PX = 100
FEW = ReliabilitySettings(resamples=200)


def box(x: float, y: float, class_id: int = 0, side: float = 20) -> LabelledBox:
    return LabelledBox(f"{x}-{y}-{class_id}", Box(x, y, x + side, y + side), class_id)


def reading(
    number: int, first: list[LabelledBox], second: list[LabelledBox] | None = None
) -> DoubleReading:
    second = first if second is None else second
    return DoubleReading(str(number), SIDE_PX, SIDE_PX, tuple(first), tuple(second))


def at_random(rng: np.random.Generator, most: int = 4) -> list[LabelledBox]:
    places = rng.uniform(0, 80, (rng.integers(most + 1), 2))
    return [box(x, y, int(rng.integers(2))) for x, y in places.tolist()]


def seen_by_two(seed: int, count: int, errors: float) -> list[DoubleReading]:
    """The second person draws anew each box that the first has, with probability ``errors``."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        first = at_random(rng)
        second = [
            box(*rng.uniform(0, 80, 2).tolist(), b.class_id) if rng.random() < errors else b
            for b in first
        ]
        found.append(reading(number, first, second))
    return found


def alphas(readings: list[DoubleReading], settings: ReliabilitySettings = FEW) -> list[float]:
    found = [each.alpha for each in reliability(readings, CLASSES, settings)]
    assert None not in found
    return [alpha for alpha in found if alpha is not None]


@given(st.integers(0, 1000))
def test_identical_answers_agree_fully(seed: int) -> None:
    for each in reliability(seen_by_two(seed, 12, errors=0), CLASSES, FEW):
        if each.alpha is not None:
            assert each.alpha == 1
            assert each.interval == (1, 1)
            assert each.matched == 1


def test_answers_that_have_nothing_to_do_with_each_other_agree_as_chance_does() -> None:
    rng = np.random.default_rng(1)
    readings = [reading(n, at_random(rng), at_random(rng)) for n in range(400)]
    for each in reliability(readings, CLASSES, FEW):
        assert each.alpha == pytest.approx(0, abs=0.06)
        assert each.interval is not None
        assert each.interval[0] < 0 < each.interval[1]


def test_a_rare_class_gains_nothing_by_images_on_which_nobody_saw_it() -> None:
    rng = np.random.default_rng(2)
    rare = [
        [box(*rng.uniform(0, 80, 2).tolist())] if rng.random() < 0.1 else [] for _ in range(800)
    ]
    readings = [
        reading(n, a, b) for n, (a, b) in enumerate(zip(rare[:400], rare[400:], strict=True))
    ]
    same = sum(not r.first and not r.second for r in readings)
    assert same / len(readings) > 0.75
    found = reliability(readings, CLASSES, FEW)[0]
    assert found.alpha == pytest.approx(0, abs=0.1)


@given(st.integers(0, 300), st.floats(0, 1))
def test_who_was_first_makes_no_difference(seed: int, errors: float) -> None:
    readings = seen_by_two(seed, 10, errors)
    swapped = [replace(r, first=r.second, second=r.first) for r in readings]
    for one, other in zip(
        reliability(readings, CLASSES, FEW), reliability(swapped, CLASSES, FEW), strict=True
    ):
        assert one.alpha == (None if other.alpha is None else pytest.approx(other.alpha))
        assert one.matched == (None if other.matched is None else pytest.approx(other.matched))


@given(st.integers(0, 300))
def test_a_box_with_another_class_lowers_both_classes(seed: int) -> None:
    readings = [
        reading(n, [*r.first, box(10 * n, 1, 0), box(10 * n, 79, 1)])
        for n, r in enumerate(seen_by_two(seed, 8, 0))
    ]
    first = readings[3].first
    place = next(i for i, b in enumerate(first) if b.class_id == 0)
    relabelled = (*first[:place], replace(first[place], class_id=1), *first[place + 1 :])
    changed = [*readings[:3], replace(readings[3], second=relabelled), *readings[4:]]
    assert alphas(readings) == [1, 1]
    assert max(alphas(changed)) < 1


@given(st.integers(0, 300), st.floats(0, 1))
def test_the_interval_holds_the_estimate(seed: int, errors: float) -> None:
    for each in reliability(seen_by_two(seed, 9, errors), CLASSES, FEW):
        assert (each.alpha is None) == (each.interval is None) == bool(each.reason)
        if each.alpha is not None and each.interval is not None:
            assert each.interval[0] <= each.alpha <= each.interval[1] <= 1


def test_more_images_give_a_narrower_interval() -> None:
    def width(count: int) -> float:
        interval = reliability(seen_by_two(5, count, 0.3), CLASSES)[0].interval
        assert interval is not None
        return interval[1] - interval[0]

    assert width(400) < width(25) / 2


def test_the_same_seed_gives_the_same_figures_and_another_one_others() -> None:
    readings = seen_by_two(3, 60, 0.4)
    few_pairs = ReliabilitySettings(most_pairs=50, resamples=100)
    assert reliability(readings, CLASSES, few_pairs) == reliability(readings, CLASSES, few_pairs)
    other = replace(few_pairs, seed=1)
    assert reliability(readings, CLASSES, few_pairs) != reliability(readings, CLASSES, other)


def test_a_sample_of_the_pairs_estimates_what_all_of_them_give() -> None:
    readings = seen_by_two(4, 200, 0.3)
    every = alphas(readings, ReliabilitySettings(most_pairs=10**6, resamples=10))
    some = alphas(readings, ReliabilitySettings(most_pairs=200, resamples=10))
    assert some == pytest.approx(every, abs=0.02)


def test_alpha_is_what_its_definition_gives_pair_by_pair() -> None:
    readings = seen_by_two(6, 12, 0.4)

    def apart(left: tuple[LabelledBox, ...], right: tuple[LabelledBox, ...]) -> float:
        a, b = ([x.box for x in boxes if x.class_id == 0] for boxes in (left, right))
        if not a and not b:
            return 0
        return 1 - 2 * _most_pairs(a, b) / (len(a) + len(b))

    observed = np.mean([apart(r.first, r.second) for r in readings])
    expected = np.mean(
        [
            apart(one, other)
            for i, left in enumerate(readings)
            for j, right in enumerate(readings)
            if i != j
            for one in (left.first, left.second)
            for other in (right.first, right.second)
        ]
    )
    assert alphas(readings)[0] == pytest.approx(1 - observed / expected)


def _most_pairs(left: list[Box], right: list[Box]) -> int:
    """By trying each way to pair them."""
    if not left:
        return 0
    rest = left[1:]
    with_partner = (
        1 + _most_pairs(rest, right[:j] + right[j + 1 :])
        for j, other in enumerate(right)
        if _iou(left[0], other) >= 0.5
    )
    return max(_most_pairs(rest, right), *with_partner, 0)


def _iou(a: Box, b: Box) -> float:
    width = min(a.x2, b.x2) - max(a.x1, b.x1)
    height = min(a.y2, b.y2) - max(a.y1, b.y1)
    common = max(width, 0) * max(height, 0)
    return common / (a.area + b.area - common)


def test_each_box_has_one_partner_at_most_and_the_most_find_one() -> None:
    # The middle box overlaps both of the other person's; taking either leaves one for its twin.
    first = [box(10, 10), box(14, 10)]
    second = [box(6, 10), box(11, 10)]
    found = reliability([reading(n, first, second) for n in range(5)], CLASSES, FEW)[0]
    assert found.matched == 1
    doubled = [reading(n, [box(10, 10), box(11, 10)], [box(10, 10)]) for n in range(5)]
    assert reliability(doubled, CLASSES, FEW)[0].matched == pytest.approx(2 / 3)


def test_boxes_are_compared_across_images_of_any_size() -> None:
    small = [reading(n, [box(10, 10)]) for n in range(4)]
    large = DoubleReading("l", 1000, 1000, (box(100, 100, side=200),), (box(100, 100, side=200),))
    found = reliability([*small, large], CLASSES, FEW)[0]
    assert "alike" in found.reason  # the same place on each image, as a share of its sides


def test_too_little_to_go_on_is_said() -> None:
    few = reliability(seen_by_two(1, 4, 0), CLASSES)[0]
    assert (few.alpha, few.interval) == (None, None)
    assert few.reason == "4 images were read by two people; 5 are needed."
    only_cells = [reading(n, [box(n, n)]) for n in range(20)]
    rods = reliability(only_cells, CLASSES)[1]
    assert (rods.matched, rods.boxes) == (None, 0)
    assert rods.reason == "0 images have it; 5 are needed."
    assert reliability([], CLASSES)[0].images == 0


def test_images_and_boxes_are_counted() -> None:
    readings = [reading(n, [box(1, 1), box(50, 50, 1)], [box(1, 1)]) for n in range(6)]
    cells, rods = reliability(readings, CLASSES, FEW)
    assert (cells.images, cells.shown, cells.boxes, cells.matched) == (6, 6, 12, 1)
    assert (rods.images, rods.shown, rods.boxes, rods.matched) == (6, 6, 6, 0)


def test_large_answers_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = seen_by_two(8, 40, 0.3)
    whole = reliability(readings, CLASSES, FEW)
    monkeypatch.setattr("loop.reliability._CHUNK", 7)
    assert reliability(readings, CLASSES, FEW) == whole
