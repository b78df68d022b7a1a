from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.errors import Conflict, InvalidInput
from loop.predictions import ModelRef
from loop.promotions import (
    Decision,
    GateSettings,
    GoldScore,
    Promotion,
    PromotionState,
    Verdict,
    decide,
)
from tests.strategies import not_finite

OLD, NEW = (ModelRef("detector", version, version * 64) for version in ("1", "2"))
CHAMPION = GoldScore(OLD, 0.6, 0.4, {"cell": 0.5, "rod": 0.3}, 40, "a" * 64)
BETTER = GoldScore(NEW, 0.8, 0.5, {"cell": 0.6, "rod": 0.4}, 40, "a" * 64)
SETTINGS = GateSettings()

S = PromotionState
STEPS = {
    (S.PROPOSED, S.APPROVED),
    (S.PROPOSED, S.REFUSED),
    (S.APPROVED, S.PROMOTED),
    (S.APPROVED, S.FAILED),
    (S.FAILED, S.PROMOTED),
    (S.FAILED, S.FAILED),
}


def _promotion(state: PromotionState) -> Promotion:
    decision = Decision(Verdict.PROMOTE, ("It is better.",))
    return Promotion("p", NEW, OLD, BETTER, CHAMPION, decision, state, "2026-01-02")


@pytest.mark.parametrize(
    ("champion", "candidate", "settings", "verdict"),
    [
        (CHAMPION, BETTER, SETTINGS, Verdict.PROMOTE),
        (CHAMPION, replace(BETTER, map50_95=0.4), SETTINGS, Verdict.REFUSE),
        (CHAMPION, replace(BETTER, map50_95=0.39), SETTINGS, Verdict.REFUSE),
        (CHAMPION, BETTER, GateSettings(min_gain=0.2), Verdict.REFUSE),
        (CHAMPION, BETTER, GateSettings(min_gain=0.05), Verdict.PROMOTE),
        (CHAMPION, replace(BETTER, per_class={"cell": 0.9, "rod": 0.19}), SETTINGS, Verdict.REFUSE),
        (
            CHAMPION,
            replace(BETTER, per_class={"cell": 0.9, "rod": 0.21}),
            SETTINGS,
            Verdict.PROMOTE,
        ),
        (CHAMPION, replace(BETTER, per_class={"cell": 0.9}), SETTINGS, Verdict.REFUSE),
        (CHAMPION, replace(BETTER, images=9), SETTINGS, Verdict.NOT_ENOUGH_EVIDENCE),
        (CHAMPION, replace(BETTER, images=10), SETTINGS, Verdict.PROMOTE),
        (None, BETTER, SETTINGS, Verdict.PROMOTE),
        (None, replace(BETTER, map50_95=0.0), SETTINGS, Verdict.REFUSE),
        (None, replace(BETTER, images=9), SETTINGS, Verdict.NOT_ENOUGH_EVIDENCE),
    ],
)
def test_the_rule_decides_and_says_why(
    champion: GoldScore | None, candidate: GoldScore, settings: GateSettings, verdict: Verdict
) -> None:
    decision = decide(champion, candidate, settings)
    assert decision.verdict is verdict
    assert all(decision.reasons)
    assert decision.reasons


def test_the_class_that_loses_too_much_is_named() -> None:
    candidate = replace(BETTER, per_class={"cell": 0.9, "rod": 0.1})
    assert "rod loses 0.200 AP50-95." in decide(CHAMPION, candidate, SETTINGS).reasons


def test_scores_on_different_gold_sets_are_not_compared() -> None:
    with pytest.raises(Conflict, match="different gold sets"):
        decide(CHAMPION, replace(BETTER, gold_sha256="b" * 64), SETTINGS)


@given(st.sampled_from(("map50", "map50_95", "cell")), not_finite | st.sampled_from((-0.1, 1.1)))
def test_a_score_outside_0_to_1_is_refused(name: str, score: float) -> None:
    change = {"per_class": {"cell": score}} if name == "cell" else {name: score}
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        replace(BETTER, **change)


def test_a_score_survives_the_way_through_json() -> None:
    assert GoldScore.from_dict(json.loads(json.dumps(BETTER.as_dict()))) == BETTER


@pytest.mark.parametrize("before", list(S))
@pytest.mark.parametrize("after", list(S))
def test_a_promotion_takes_only_the_steps_that_there_are(
    before: PromotionState, after: PromotionState
) -> None:
    promotion = _promotion(before)
    if (before, after) not in STEPS:
        with pytest.raises(Conflict, match=f"is {before} cannot become {after}"):
            promotion.moved_to(after, by="eva", reason="so", at="2026-01-03")
        return
    moved = promotion.moved_to(after, by="eva", reason="so", at="2026-01-03")
    assert moved.state is after
    assert moved.history == (
        {"state": after.value, "by": "eva", "reason": "so", "at": "2026-01-03"},
    )
    assert promotion.state is before


def test_the_person_who_decided_stays_known_after_the_swap() -> None:
    approved = _promotion(S.PROPOSED).moved_to(S.APPROVED, by="eva", reason="better", at="1")
    failed = approved.moved_to(S.FAILED, by="system", reason="no answer", at="2")
    promoted = failed.moved_to(S.PROMOTED, by="system", reason="swapped", at="3")
    assert (promoted.decided_by, promoted.reason) == ("eva", "better")
    assert [step["state"] for step in promoted.history] == ["approved", "failed", "promoted"]
