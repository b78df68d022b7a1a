from __future__ import annotations

import json
from dataclasses import replace

import pytest

from loop.gate import settings_for, use_of
from loop.gate_settings import GateSettings
from loop.predictions import ModelRef
from loop.promotions import Decision, GoldScore, Promotion, PromotionState, Verdict
from loop.quantised import Quantised

SETTINGS = GateSettings(min_gain=0.0, min_gain_50=-0.02)
CHAMPION = ModelRef("detector", "1", "a" * 64)
OTHER = ModelRef("detector", "2", "b" * 64)
INT8 = Quantised("c" * 64, "1", 0.8, 0.5)


def score(model: ModelRef = CHAMPION, quantised: Quantised | None = None) -> GoldScore:
    return GoldScore(model, 0.79, 0.497, {"cell": 0.5}, 72, "d" * 64, quantised)


def in_int8(version: str = "3", quantised: Quantised = INT8) -> GoldScore:
    return score(replace(CHAMPION, version=version), quantised)


def test_the_change_is_said_against_the_source() -> None:
    assert INT8.changes(0.79, 0.497) == pytest.approx({"map50": -0.01, "map50_95": -0.003})
    assert INT8.sentence(0.79, 0.497) == (
        "It is version 1 in INT8: mAP50-95 0.497 instead of 0.500 (-0.003), mAP50 0.790 instead "
        "of 0.800 (-0.010)."
    )
    alone = Quantised("c" * 64)
    assert alone.changes(0.79, 0.497) == {}
    assert "not measured" in alone.sentence(0.79, 0.497)


def test_scores_come_back_from_json_with_and_without_it() -> None:
    for each in (score(), in_int8()):
        assert GoldScore.from_dict(json.loads(json.dumps(each.as_dict()))) == each
    assert "quantised" not in score().as_dict()


def test_the_champion_in_int8_must_be_as_good_within_the_margin() -> None:
    asked = settings_for(in_int8(), score(), SETTINGS, 0.01)
    assert (asked.min_gain, asked.min_gain_50) == (-0.01, -0.02)
    assert replace(asked, min_gain=0.0) == SETTINGS


@pytest.mark.parametrize(
    ("candidate", "champion"),
    [
        (score(OTHER), score()),
        (score(replace(OTHER, version="4"), INT8), score()),  # in INT8, of another model
        (in_int8("4"), in_int8("3")),  # losses within a margin would add up
        (score(replace(CHAMPION, version="5")), in_int8()),  # and back again
        (in_int8(), None),
    ],
)
def test_any_other_candidate_must_be_better(
    candidate: GoldScore, champion: GoldScore | None
) -> None:
    assert settings_for(candidate, champion, SETTINGS, 0.01) == SETTINGS


def test_each_calibration_is_a_use_of_the_gold_set_of_its_own() -> None:
    def promotion(candidate: GoldScore) -> Promotion:
        decision = Decision(Verdict.REFUSE, ("Not above.",))
        return Promotion(
            "p", candidate.model, CHAMPION, candidate, score(), decision,
            PromotionState.PROPOSED, "2026-01-01T00:00:00.000000Z",
        )  # fmt: skip

    earlier = [promotion(in_int8("3"))]
    same = use_of(in_int8("4"), score(), earlier, SETTINGS)
    other = use_of(in_int8("4", replace(INT8, files_sha256="e" * 64)), score(), earlier, SETTINGS)
    assert (same.number, other.number) == (1, 2)
