from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.errors import Conflict, InvalidInput
from loop.predictions import ModelRef
from loop.promotions import (
    APPROVED_BY_ONE,
    Decision,
    GoldScore,
    Promotion,
    PromotionState,
    Verdict,
)
from tests.strategies import not_finite

OLD, NEW = (ModelRef("detector", version, version * 64) for version in ("1", "2"))
CHAMPION = GoldScore(OLD, 0.6, 0.4, {"cell": 0.5, "rod": 0.3}, 40, "a" * 64)
BETTER = GoldScore(NEW, 0.8, 0.5, {"cell": 0.6, "rod": 0.4}, 40, "a" * 64)

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


def _approved(promotion: Promotion, by: str, approvers: int = 1) -> Promotion:
    return promotion.approved(by=by, reason="good", at="1", approvers=approvers)


def test_one_approval_is_enough_where_no_more_are_asked_for() -> None:
    approved = _approved(_promotion(S.PROPOSED), "eva")
    assert (approved.state, approved.approved_by) == (S.APPROVED, ("eva",))


def test_two_different_people_approve_where_two_are_asked_for() -> None:
    proposed = replace(_promotion(S.PROPOSED), approvers=2)
    assert proposed.approvals_missing == 2
    once = _approved(proposed, "eva")
    assert (once.state, once.approvals_missing, once.decided_by) == (S.PROPOSED, 1, "")
    assert once.history[-1]["state"] == APPROVED_BY_ONE
    with pytest.raises(Conflict, match="eva has approved this already"):
        _approved(once, "eva")
    twice = _approved(once, "otto")
    assert (twice.state, twice.approvals_missing) == (S.APPROVED, 0)
    assert (twice.approved_by, twice.decided_by) == (("eva", "otto"), "otto")
    with pytest.raises(Conflict, match="approved cannot become approved"):
        _approved(twice, "ada")


def test_more_people_can_be_asked_for_after_the_proposal_and_not_fewer() -> None:
    once = _approved(_promotion(S.PROPOSED), "eva", approvers=3)
    assert (once.state, once.approvals_missing) == (S.PROPOSED, 2)
    assert _approved(once, "otto", approvers=1).state is S.PROPOSED


def test_one_refusal_refuses_what_somebody_has_approved() -> None:
    once = _approved(replace(_promotion(S.PROPOSED), approvers=2), "eva")
    refused = once.moved_to(S.REFUSED, by="otto", reason="misses rods", at="2")
    assert (refused.state, refused.decided_by) == (S.REFUSED, "otto")
    with pytest.raises(Conflict):
        _approved(refused, "ada")
