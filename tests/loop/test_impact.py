from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.classes import ClassList
from loop.impact import (
    Change,
    ChangedCase,
    Impact,
    class_changes,
    class_metrics,
    class_scores,
    metric_names,
    promoted,
    promoted_at,
)
from loop.predictions import ModelRef
from loop.promotions import Decision, GoldScore, Promotion, PromotionState, Verdict
from tests.loop.cases import SURE, UNSURE


def model(version: int) -> ModelRef:
    return ModelRef("detector", str(version), f"{version:064x}")


def score(ref: ModelRef, **per_class: float) -> GoldScore:
    return GoldScore(ref, 0.5, 0.5, per_class, 20, "d" * 64)


def promotion(version: int, over: int | None, *, measured: str, at: str = "") -> Promotion:
    """Model ``version``, measured against ``over``; promoted ``at`` that time, if at all."""
    champion = model(over) if over is not None else None
    proposed = Promotion(
        id=f"m{version}",
        candidate=model(version),
        champion=champion,
        candidate_score=score(model(version), rod=0.5),
        champion_score=score(champion, rod=0.25) if champion else None,
        decision=Decision(Verdict.PROMOTE, ()),
        state=PromotionState.PROPOSED,
        created_at=measured,
    )
    if not at:
        return proposed
    approved = proposed.moved_to(PromotionState.APPROVED, by="eve", reason="", at=measured)
    return approved.moved_to(PromotionState.PROMOTED, by="eve", reason="", at=at)


def changed(change: Change, settled_at: str = "1", **other: Any) -> ChangedCase:
    case = ChangedCase("k", "i", "p", "a", settled_at, ("ana",), change, (SURE, UNSURE))
    return replace(case, **other)


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        (False, True, Change.FIXED),
        (False, False, Change.STILL_WRONG),
        (True, False, Change.BROKEN),
        (True, True, Change.STILL_RIGHT),
    ],
)
def test_a_case_is_fixed_or_broken_by_what_was_right(
    before: bool, now: bool, change: Change
) -> None:
    assert Change.of(right_before=before, right_now=now) is change


def test_an_impact_survives_json() -> None:
    impact = Impact("m", model(2), "2026", (changed(Change.FIXED), changed(Change.BROKEN)))
    assert Impact.from_dict(json.loads(json.dumps(impact.as_dict()))) == impact


def test_every_change_is_counted_those_that_did_not_happen_too() -> None:
    fixed, broken = changed(Change.FIXED), changed(Change.BROKEN)
    impact = Impact("m", model(2), "2026", (fixed, broken, fixed))
    assert impact.counts == {
        Change.FIXED: 2,
        Change.STILL_WRONG: 0,
        Change.BROKEN: 1,
        Change.STILL_RIGHT: 0,
    }
    assert impact.of(Change.BROKEN) == [broken]


def test_a_snapshot_can_only_hold_what_was_settled_before_it() -> None:
    cases = tuple(changed(Change.FIXED, at) for at in ("1", "2", "3"))
    assert Impact("m", model(2), "2026", cases).settled_by("2") == 2


def test_a_class_is_compared_before_and_after_with_its_spread_over_folds() -> None:
    both = replace(
        promotion(2, 1, measured="1"),
        candidate_score=score(model(2), cell=0.75, rod=0.5),
        champion_score=score(model(1), cell=0.5, ring=0.25),
    )
    folds = [{"cell": 0.5, "rod": 0.25}, {"cell": 0.75}, {"cell": 0.25}]
    cell, rod, ring = class_changes(both, folds)
    assert (cell.name, cell.change, cell.folds) == ("cell", 0.25, (0.5, 0.75, 0.25))
    assert cell.spread == pytest.approx(0.25)
    assert (rod.before, rod.change, rod.spread) == (None, None, None)
    assert (ring.after, ring.change, ring.folds) == (None, None, ())


def test_the_first_model_of_all_changes_nothing() -> None:
    [rod] = class_changes(promotion(1, None, measured="1"))
    assert (rod.before, rod.after, rod.change) == (None, 0.5, None)


def test_what_went_through_is_listed_newest_first() -> None:
    found = promoted(
        [
            promotion(2, 1, measured="1", at="2"),
            promotion(3, 2, measured="3", at="4"),
            promotion(4, 3, measured="5"),
        ],
        model(3),
    )
    assert [each.promotion.id for each in found] == ["m3", "m2"]
    assert [each.at for each in found] == ["4", "2"]
    assert [each.in_service for each in found] == [True, False]
    assert not any(each.rolled_back for each in found)


def test_a_model_whose_predecessor_serves_again_was_rolled_back() -> None:
    history = [promotion(2, 1, measured="1", at="2"), promotion(3, 2, measured="3", at="4")]
    newest, older = promoted(history, model(2))
    assert (newest.rolled_back, newest.in_service) == (True, False)
    assert (older.rolled_back, older.in_service) == (False, True)


def test_a_roll_back_shows_in_what_the_next_model_was_measured_against() -> None:
    found = promoted(
        [
            promotion(2, 1, measured="1", at="2"),
            promotion(3, 2, measured="3", at="4"),  # rolled back to 2, then
            promotion(4, 2, measured="5", at="6"),
        ],
        model(4),
    )
    assert [each.rolled_back for each in found] == [False, True, False]


def test_a_noted_roll_back_counts_until_the_model_serves_again() -> None:
    noted = promotion(2, 1, measured="1", at="2").rolled_back(by="eva", reason="worse", at="3")
    later = promotion(3, 2, measured="1", at="4")  # measured before the roll-back
    for champion, expected in ((model(3), [False, True]), (model(2), [True, False])):
        found = promoted([noted, later], champion)
        assert [each.rolled_back for each in found] == expected
    assert [each.at for each in found] == ["4", "2"]


def test_a_model_measured_before_another_went_through_says_nothing_about_that_one() -> None:
    found = promoted(
        [
            promotion(2, 1, measured="1", at="3"),
            promotion(3, 1, measured="2", at="4"),  # both were measured against 1
        ],
        model(3),
    )
    assert not any(each.rolled_back for each in found)


def test_a_swap_that_was_tried_twice_counts_from_the_time_it_went_through() -> None:
    tried = promotion(2, 1, measured="1")
    for state, at in (
        (PromotionState.APPROVED, "2"),
        (PromotionState.FAILED, "3"),
        (PromotionState.PROMOTED, "4"),
    ):
        tried = tried.moved_to(state, by="eve", reason="", at=at)
    assert promoted_at(tried) == "4"


def test_scores_of_classes_come_back_from_a_runs_metrics() -> None:
    classes = ClassList(("cell", "rod"))
    scores = {"cell": {"map50": 0.5, "map50_95": 0.25}}
    metrics = class_metrics(scores, classes)
    assert metrics == {"class_map50/cell": 0.5, "class_map50_95/cell": 0.25}
    assert class_scores({**metrics, "map50": 1}, classes, "map50_95") == {"cell": 0.25}
    assert class_scores({}, classes, "map50") == {}


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=6, unique=True))
def test_every_class_has_a_metric_of_its_own_that_mlflow_takes(names: list[str]) -> None:
    from mlflow.utils.validation import _validate_metric_name

    classes = ClassList(tuple(names))
    safe = metric_names(classes)
    assert len(set(safe.values())) == len(names)
    for name in safe.values():
        _validate_metric_name(f"class_map50_95/{name}")


def test_an_ordinary_name_stays_as_it_is_and_others_stay_apart() -> None:
    classes = ClassList(("melanoma in situ", "grade 1/2", "grade 1.2", "größer"))
    assert list(metric_names(classes).values()) == [
        "melanoma in situ",
        "grade 1_2:1",
        "grade 1_2:2",
        "größer",
    ]
