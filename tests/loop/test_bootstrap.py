from __future__ import annotations

import numpy as np
import pytest

from loop.bootstrap import Change, Interval, PairedBootstrap, paired_bootstrap, seed_of
from loop.metrics import average_precision, rank
from tests.loop.gold_pairs import CANDIDATE, CHAMPION, CLASSES, detections


def compared(groups: tuple[int, ...] | None = None, **candidate: float) -> PairedBootstrap:
    before, after = detections(CHAMPION), detections(CANDIDATE, **candidate)  # type: ignore[arg-type]
    return paired_bootstrap(
        rank(before.truth, before.detected, CLASSES),
        rank(after.truth, after.detected, CLASSES),
        groups or after.grouping,
        replicates=500,
        seed=1,
    )


def test_the_changes_are_those_of_the_scores() -> None:
    before, after = (
        average_precision(each.truth, each.detected, CLASSES)
        for each in (detections(CHAMPION), detections(CANDIDATE, found=0.95))
    )
    found = compared(found=0.95)
    assert found.map50_95.estimate == pytest.approx(after.map50_95 - before.map50_95, abs=1e-12)
    assert found.map50.estimate == pytest.approx(after.map50 - before.map50, abs=1e-12)
    for name, change in found.classes.items():
        assert change.estimate == pytest.approx(after.per_class[name] - before.per_class[name])
    assert found.class_groups == {"cell": 60, "rod": 60}


def test_a_smaller_risk_gives_a_wider_interval() -> None:
    change = compared().map50_95
    intervals = [change.interval(risk, risk) for risk in (0.05, 0.01, 0.002)]
    assert [each.lower for each in intervals] == sorted(
        (each.lower for each in intervals), reverse=True
    )  # type: ignore[type-var]
    assert [each.upper for each in intervals] == sorted(each.upper for each in intervals)  # type: ignore[type-var]
    for each in intervals:
        assert each.lower is not None
        assert each.upper is not None
        assert each.lower < each.estimate < each.upper


def test_images_of_one_subject_count_as_one() -> None:
    """Twelve subjects are less to rest on than sixty."""
    alone = compared()
    together = compared(tuple(number // 5 for number in range(60)))
    assert (alone.groups, together.groups) == (60, 12)
    assert together.map50_95.groups < alone.map50_95.groups / 3


def test_a_rare_class_that_makes_the_spread_leaves_few_images_to_rest_on() -> None:
    before, after = (detections(model, rods=4) for model in (CHAMPION, CANDIDATE))
    ranked = [rank(each.truth, each.detected, CLASSES) for each in (before, after)]
    found = paired_bootstrap(*ranked, after.grouping, replicates=500, seed=1)
    assert found.class_groups == {"cell": 60, "rod": 4}
    assert found.map50_95.groups < 8
    # Some sets show no rod at all: they are left out for the class, and not for the mean.
    assert len(found.classes["rod"].resampled) < 500
    assert len(found.map50_95.resampled) == 500


def test_a_model_compared_with_itself_differs_by_nothing() -> None:
    seen = detections(CHAMPION)
    ranked = rank(seen.truth, seen.detected, CLASSES)
    found = paired_bootstrap(ranked, ranked, seen.grouping, replicates=200, seed=1)
    assert found.map50_95.interval(0.01) == Interval(0.0, 0.0, 0.0, 0.0)


def test_one_image_gives_no_bounds() -> None:
    interval = Change(0.2, np.array([0.2, 0.2, 0.2]), 1).interval(0.05)
    assert (interval.lower, interval.upper) == (None, None)


def test_a_bound_is_the_more_careful_of_rank_and_spread() -> None:
    """A long tail to the left shows in the ranks, few replicates in the spread."""
    tail = np.concatenate([np.full(950, 0.1), np.full(50, -1.0)])
    interval = Change(0.1, tail, 1000).interval(0.02)
    assert interval.lower == -1.0
    short = Change(0.1, np.linspace(0.09, 0.11, 9), 10).interval(0.001)
    assert short.lower is not None
    assert short.lower < 0.09


def test_the_seed_depends_on_every_digest_and_its_place() -> None:
    assert seed_of("a", "b") == seed_of("a", "b")
    assert len({seed_of("a", "b"), seed_of("b", "a"), seed_of("ab", ""), seed_of("a", "c")}) == 4
