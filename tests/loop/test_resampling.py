from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.metrics import average_precision, rank
from loop.resampling import draw_weights, weighted_scores
from tests.loop.test_metrics import CLASSES, _data
from tests.strategies import few_examples

seeds = st.integers(0, 2**32 - 1)


@few_examples
@given(seeds, st.integers(1, 4))
def test_with_weights_of_one_the_scores_are_exactly_the_metrics(seed: int, sets: int) -> None:
    truth, detected = _data(seed, images=12)
    plain = average_precision(truth, detected, CLASSES)
    scores = weighted_scores(rank(truth, detected, CLASSES), np.ones((sets, 12), dtype=np.int32))
    for place, name in enumerate(plain.per_class):
        assert (scores[place].mean(axis=1) == plain.per_class[name]).all()
        assert (scores[place, :, 0] == plain.per_class_50[name]).all()


@few_examples
@given(seeds, st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_a_weight_is_that_many_copies_of_the_image(seed: int, copies: list[int]) -> None:
    truth, detected = _data(seed)
    ranked = rank(truth, detected, CLASSES)
    scores = weighted_scores(ranked, np.array([copies], dtype=np.int32))
    copied_truth, copied = (
        [boxes for boxes, times in zip(sides, copies, strict=True) for _ in range(times)]
        for sides in (truth, detected)
    )
    shown = {CLASSES.names[box.class_id] for boxes in copied_truth for box in boxes}
    plain = average_precision(copied_truth, copied, CLASSES) if shown else None
    for place, each in enumerate(ranked):
        if plain is None or each.name not in shown:
            assert np.isnan(scores[place]).all()
        else:
            assert scores[place, 0].mean() == pytest.approx(plain.per_class[each.name], abs=1e-12)
            assert scores[place, 0, 0] == pytest.approx(plain.per_class_50[each.name], abs=1e-12)


def test_a_class_that_nothing_is_found_of_scores_nothing() -> None:
    truth, _ = _data(1)
    ranked = rank(truth, [[] for _ in truth], CLASSES)
    assert (weighted_scores(ranked, np.ones((3, 6), dtype=np.int32)) == 0).all()


def test_whole_subjects_are_drawn_as_many_as_there_are() -> None:
    groups = (5, 5, 2, 7, 7, 7)
    weights = draw_weights(groups, 500, seed=1)
    assert weights.shape == (500, 6)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 4]).all()
    subjects = weights[:, [0, 2, 3]]
    assert (subjects.sum(axis=1) == 3).all()
    assert np.abs(subjects.mean(axis=0) - 1).max() < 0.15


def test_the_same_seed_draws_the_same_sets() -> None:
    groups = range(9)
    assert (draw_weights(groups, 20, 1) == draw_weights(groups, 20, 1)).all()
    assert (draw_weights(groups, 20, 1) != draw_weights(groups, 20, 2)).any()
