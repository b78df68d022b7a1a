from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.errors import InvalidInput, NotEnoughData
from loop.folds import assign_folds, class_spread, split_train_val

Data = tuple[list[str], list[str], list[list[int]]]


@st.composite
def data_sets(draw: st.DrawFn, min_subjects: int = 2) -> Data:
    """Image ids, subjects (at least ``min_subjects`` of them) and class ids."""
    count = draw(st.integers(min_subjects, 40))
    subject_count = draw(st.integers(min_subjects, count))
    extra = [draw(st.integers(0, subject_count - 1)) for _ in range(count - subject_count)]
    subjects = [f"s{number}" for number in [*range(subject_count), *extra]]
    classes = draw(
        st.lists(st.lists(st.integers(0, 4), max_size=5), min_size=count, max_size=count)
    )
    return [f"{number:03d}" for number in range(count)], subjects, classes


@given(data_sets(min_subjects=5), st.integers(2, 5), st.integers(0, 3))
def test_no_subject_is_in_two_folds_and_no_fold_is_empty(data: Data, k: int, seed: int) -> None:
    folds = assign_folds(*data, k, seed)
    assert len(folds) == len(data[0])
    assert set(folds.tolist()) == set(range(k))
    by_subject: dict[str, set[int]] = {}
    for subject, fold in zip(data[1], folds.tolist(), strict=True):
        by_subject.setdefault(subject, set()).add(fold)
    assert all(len(found) == 1 for found in by_subject.values())


@given(data_sets(min_subjects=3), st.integers(0, 3), st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(data: Data, seed: int, random: object) -> None:
    order = list(range(len(data[0])))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = tuple([column[index] for index in order] for column in data)
    folds = assign_folds(*data, 3, seed)
    assert np.array_equal(assign_folds(*data, 3, seed), folds)
    assert np.array_equal(assign_folds(*shuffled, 3, seed), folds[order])  # type: ignore[arg-type]


@given(data_sets(), st.floats(0.01, 0.99), st.integers(0, 3))
def test_both_sides_of_a_split_have_images_and_share_no_subject(
    data: Data, fraction: float, seed: int
) -> None:
    val = split_train_val(*data, fraction, seed)
    assert val.any()
    assert not val.all()
    sides = [{s for s, v in zip(data[1], val, strict=True) if v == side} for side in (True, False)]
    assert not sides[0] & sides[1]


def test_another_seed_makes_other_folds() -> None:
    ids = [f"{number:03d}" for number in range(60)]
    folds = [assign_folds(ids, ids, [[0]] * 60, 5, seed).tolist() for seed in range(2)]
    assert folds[0] != folds[1]


def test_the_rarest_class_is_spread_over_the_folds() -> None:
    ids = [f"{number:03d}" for number in range(100)]
    classes = [[0, 0, 1] if number % 10 == 0 else [0] for number in range(100)]
    folds = assign_folds(ids, ids, classes, 5, 0)
    rare = Counter(fold for fold, found in zip(folds.tolist(), classes, strict=True) if 1 in found)
    assert rare == dict.fromkeys(range(5), 2)


def test_images_without_boxes_are_spread_over_the_folds() -> None:
    ids = [f"{number:03d}" for number in range(100)]
    classes: list[list[int]] = [[] if number < 15 else [0] for number in range(100)]
    folds = assign_folds(ids, ids, classes, 5, 0)
    empty = Counter(folds[:15].tolist())
    assert empty == dict.fromkeys(range(5), 3)


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.35, 0.5, 0.8])
def test_the_share_to_validate_on_is_met(fraction: float) -> None:
    ids = [f"{number:03d}" for number in range(200)]
    val = split_train_val(ids, ids, [[number % 3] for number in range(200)], fraction, 0)
    assert val.mean() == pytest.approx(fraction, abs=0.02)


def test_fewer_subjects_than_folds_is_said_with_both_numbers() -> None:
    with pytest.raises(NotEnoughData, match=r"5 folds need 5 subjects, and there are 2") as caught:
        assign_folds(list("abcdef"), list("xxxyyy"), [[0]] * 6, 5, 0)
    assert "K_FOLDS" in caught.value.hint


def test_no_images_are_not_enough() -> None:
    with pytest.raises(NotEnoughData, match="no images"):
        assign_folds([], [], [], 2, 0)


def test_one_subject_cannot_be_split() -> None:
    with pytest.raises(NotEnoughData, match="there are 1"):
        split_train_val(["a", "b"], ["s", "s"], [[], []], 0.2, 0)


def test_an_image_cannot_be_split_twice() -> None:
    with pytest.raises(InvalidInput, match="twice"):
        assign_folds(["a", "a"], ["s", "t"], [[], []], 2, 0)


def test_a_class_is_counted_by_the_groups_that_show_it() -> None:
    assert class_spread(["s", "s", "t"], [[0, 0], [1], [0]], 3) == [2, 1, 0]
