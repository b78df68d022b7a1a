from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from loop.boxes import Box
from loop.drift import Reference, reference_of, reference_path
from loop.errors import BrokenRecord, Conflict, NotEnoughData
from loop.gold import GoldDetections, detections_path, read_gold, superseded_path
from loop.intake import NewImage, TrueBox, add_truth
from loop.metrics import average_precision
from loop.predictions import ModelRef
from loop.promotions import Decision, GoldScore, Promotion, Verdict
from store.image_codec import encode_png
from store.model_registry import open_model_registry
from store.tracking import open_tracking
from tests.detector.checkpoints import write_checkpoint
from tests.train.conftest import CLASSES, ENGINEER, Loop
from train.gate_check import recompute
from train.gate_report import report_path
from train.gold import measure_again, propose_promotion
from train.gold_detecting import detect_gold, open_weights

pytestmark = pytest.mark.slow  # loads models, and makes MLflow's database
SIZE_PX = 64


def add_gold(state: Loop, images: int, *, first: int = 0) -> None:
    for number in range(first, first + images):
        pixels = np.random.default_rng(number).integers(
            0, 256, (SIZE_PX, SIZE_PX, 3), dtype=np.uint8
        )
        new = NewImage(encode_png(pixels), "image/png", SIZE_PX, SIZE_PX, f"s{number}", "test")
        truth = [TrueBox(Box(4, 4, 40, 40), number % len(CLASSES))]
        add_truth(state.units, state.images, new, truth, actor=ENGINEER, gold=True)


def register(state: Loop, folder: Path, seed: int, alias: str) -> ModelRef:
    weights = write_checkpoint(
        folder / f"{seed}.pt",
        config_dir=state.settings.home / "ultralytics",
        seed=seed,
        names=CLASSES.names,
    )
    registry = open_model_registry(state.settings)
    ref = registry.register(weights, classes=CLASSES, run_id=None, tags={})
    registry.set_alias(alias, ref)
    return ref


def kept(state: Loop, score: GoldScore) -> str:
    """The record of what a model saw, on the run that made it."""
    run_id = open_model_registry(state.settings).run_of(score.model)
    path = detections_path(score.gold_sha256, score.model.version)
    return open_tracking(state.settings).read_text(run_id, path)


def test_both_models_detections_are_kept_and_give_the_scores_of_the_verdict(
    loop_state: Loop, tmp_path: Path
) -> None:
    add_gold(loop_state, 3)
    champion = register(loop_state, tmp_path, 1, "champion")
    candidate = register(loop_state, tmp_path, 2, "candidate")
    steps: list[tuple[int, int]] = []
    promotion = propose_promotion(
        loop_state.settings, candidate, lambda done, total: steps.append((done, total))
    )
    assert promotion is not None
    assert (promotion.candidate, promotion.champion) == (candidate, champion)
    assert steps == [(2, 6), (4, 6), (6, 6)]
    (event,) = loop_state.events("gate.decided")
    for place, score in enumerate((promotion.candidate_score, promotion.champion_score)):
        assert score is not None
        record = kept(loop_state, score)
        digest = hashlib.sha256(record.encode()).hexdigest()
        assert event.details["detections_sha256"][place] == digest
        seen = GoldDetections.from_json(record)
        assert (seen.model, seen.classes, len(seen.image_ids)) == (score.model, CLASSES, 3)
        assert any(seen.detected)
        again = average_precision(seen.truth, seen.detected, seen.classes)
        assert (again.map50, again.map50_95) == (score.map50, score.map50_95)
        assert again.per_class == dict(score.per_class)


def test_measuring_again_keeps_the_detections_and_proposes_nothing(
    loop_state: Loop, tmp_path: Path
) -> None:
    add_gold(loop_state, 2)
    model = register(loop_state, tmp_path, 1, "champion")
    (score,) = measure_again(loop_state.settings, [model])
    seen = GoldDetections.from_json(kept(loop_state, score))
    assert seen.model == model
    registry, tracking = (
        open_model_registry(loop_state.settings),
        open_tracking(loop_state.settings),
    )
    record = tracking.read_text(registry.run_of(model), reference_path(model.version))
    least = loop_state.settings.min_confidence
    assert Reference.from_json(record) == reference_of(seen, least)
    (event,) = loop_state.events("model.measured")
    assert event.details["score"] == score.as_dict()
    assert event.actor.pseudonym == loop_state.settings.actor
    with loop_state.units() as uow:
        assert uow.promotions.list() == []


def test_without_a_gold_set_nothing_is_measured(loop_state: Loop, tmp_path: Path) -> None:
    model = ModelRef("detector", "1", "a" * 64)
    assert propose_promotion(loop_state.settings, model) is None
    with pytest.raises(NotEnoughData, match="no gold set"):
        measure_again(loop_state.settings, [model])


def propose(state: Loop, candidate: ModelRef) -> Promotion:
    promotion = propose_promotion(state.settings, candidate)
    assert promotion is not None
    return promotion


def compared(state: Loop, folder: Path, images: int = 12) -> Promotion:
    """A candidate and a champion that both see nothing of the truth."""
    add_gold(state, images)
    register(state, folder, 1, "champion")
    return propose(state, register(state, folder, 2, "candidate"))


def test_a_verdict_is_recorded_with_all_that_it_rests_on(loop_state: Loop, tmp_path: Path) -> None:
    promotion = compared(loop_state, tmp_path)
    gate, settings = promotion.decision.gate, loop_state.settings
    assert gate is not None
    assert (gate.images, gate.use.number, gate.settings) == (12, 1, settings.gate)
    assert gate.latency is not None
    assert gate.latency.candidate_ms > 0
    assert gate.latency.images == 12
    (event,) = loop_state.events("gate.decided")
    assert event.details["gate"] == json.loads(json.dumps(gate.as_dict()))
    assert (
        list(event.details["gate"]["detections_sha256"].values())
        == (event.details["detections_sha256"])
    )
    with loop_state.units() as uow:
        assert uow.promotions.list() == [promotion]
    tracking = open_tracking(settings)
    run_id = open_model_registry(settings).run_of(promotion.candidate)
    report = json.loads(tracking.read_text(run_id, report_path("2")))
    assert report["gate"] == event.details["gate"]
    assert report["reasons"] == list(promotion.decision.reasons)
    assert [len(times) for times in report["milliseconds"].values()] == [12, 12]
    page = tracking.read_text(run_id, report_path("2", "html"))
    assert "Gain in mAP50-95" in page


def test_a_verdict_can_be_computed_again_from_what_is_kept(
    loop_state: Loop, tmp_path: Path
) -> None:
    promotion = compared(loop_state, tmp_path)
    check = recompute(loop_state.settings, promotion)
    assert check.agrees
    assert check.decision == promotion.decision
    assert promotion.decision.gate is not None
    gate = replace(
        promotion.decision.gate, map50_95=replace(promotion.decision.gate.map50_95, estimate=0.3)
    )
    forged = replace(promotion, decision=Decision(Verdict.PROMOTE, ("It is better.",), gate))
    check = recompute(loop_state.settings, forged)
    assert not check.agrees
    assert [text.split(":")[0] for text in check.differences] == ["verdict", "map50_95.estimate"]


def test_detections_that_are_not_those_of_the_verdict_are_refused(
    loop_state: Loop, tmp_path: Path
) -> None:
    promotion = compared(loop_state, tmp_path)
    settings = loop_state.settings
    registry, tracking = open_model_registry(settings), open_tracking(settings)
    run_id = registry.run_of(promotion.candidate)
    path = detections_path(promotion.candidate_score.gold_sha256, "2")
    before = tracking.read_text(run_id, path)
    seen = GoldDetections.from_json(before)
    changed = replace(seen, detected=((),) * len(seen.image_ids))
    tracking.log_text(run_id, changed.to_json().decode(), path)
    with pytest.raises(BrokenRecord, match="is not what the verdict rests on"):
        recompute(settings, promotion)
    # Measured again, the model sees what it saw; what was there is moved aside, not lost.
    measure_again(settings, [promotion.candidate])
    assert recompute(settings, promotion).agrees
    aside = superseded_path(seen.gold_sha256, "2", changed.sha256)
    assert tracking.read_text(run_id, aside) == changed.to_json().decode()


def test_the_rule_before_this_one_cannot_be_computed_again(
    loop_state: Loop, tmp_path: Path
) -> None:
    promotion = compared(loop_state, tmp_path)
    former = replace(promotion, decision=Decision(Verdict.REFUSE, ("Not above 0.",)))
    with pytest.raises(NotEnoughData, match="rests on no comparison"):
        recompute(loop_state.settings, former)


def test_uses_of_the_gold_set_are_counted_over_restarts_and_its_growth(
    loop_state: Loop, tmp_path: Path
) -> None:
    first = compared(loop_state, tmp_path)

    def number(promotion: Promotion) -> int:
        assert promotion.decision.gate is not None
        return promotion.decision.gate.use.number

    assert number(propose(loop_state, first.candidate)) == 1  # the same pair: the same use
    second = register(loop_state, tmp_path, 3, "candidate")
    assert number(propose(loop_state, second)) == 2
    measure_again(loop_state.settings, [second])  # spends nothing
    add_gold(loop_state, 1, first=100)
    assert number(propose(loop_state, second)) == 3
    assert "comparison 3" in " ".join(propose(loop_state, second).decision.reasons)


def test_two_decisions_at_once_are_two_uses(loop_state: Loop, tmp_path: Path) -> None:
    add_gold(loop_state, 10)
    register(loop_state, tmp_path, 1, "champion")
    candidates = [register(loop_state, tmp_path, seed, "candidate") for seed in (2, 3)]
    with ThreadPoolExecutor(2) as pool:
        promotions = list(pool.map(lambda each: propose(loop_state, each), candidates))
    gates = [promotion.decision.gate for promotion in promotions]
    assert sorted(gate.use.number for gate in gates if gate is not None) == [1, 2]


def test_another_champion_in_the_meantime_leaves_nothing_decided(
    loop_state: Loop, tmp_path: Path
) -> None:
    add_gold(loop_state, 10)
    register(loop_state, tmp_path, 1, "champion")
    candidate = register(loop_state, tmp_path, 2, "candidate")

    def promoted_meanwhile(done: int, total: int) -> None:
        if done == total:
            register(loop_state, tmp_path, 3, "champion")

    with pytest.raises(Conflict, match="Another model became the champion"):
        propose_promotion(loop_state.settings, candidate, promoted_meanwhile)
    with loop_state.units() as uow:
        assert uow.promotions.list() == []


def test_too_few_gold_images_use_up_nothing(loop_state: Loop, tmp_path: Path) -> None:
    promotion = compared(loop_state, tmp_path, images=9)
    assert promotion.decision.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert promotion.decision.gate is None


def test_as_many_people_as_settings_say_must_approve(loop_state: Loop, tmp_path: Path) -> None:
    add_gold(loop_state, 2)
    candidate = register(loop_state, tmp_path, 1, "candidate")
    settings = loop_state.settings.model_copy(update={"approvers": 2})
    promotion = propose_promotion(settings, candidate)
    assert promotion is not None
    assert promotion.approvals_missing == 2


def test_times_that_are_not_clear_are_taken_again_and_the_shortest_counts(
    loop_state: Loop, tmp_path: Path
) -> None:
    add_gold(loop_state, 2)
    model = register(loop_state, tmp_path, 1, "champion")
    weights = open_model_registry(loop_state.settings).fetch(model)
    detector = open_weights(loop_state.settings, weights)
    with loop_state.units() as uow:
        gold = read_gold(uow)
    asked: list[list[float]] = []

    def is_clear(times: list[list[float]]) -> bool:
        asked.append(list(times[0]))
        return len(asked) == 3

    (seen,) = detect_gold(loop_state.settings, gold, [(model, detector)], is_clear=is_clear)
    assert len(asked) == 3
    assert list(seen.milliseconds) == asked[-1]
    for earlier, later in pairwise(asked):
        assert all(b <= a for a, b in zip(earlier, later, strict=True))
    assert len(seen.detections.detected) == 2
    asked.clear()
    detect_gold(
        loop_state.settings, gold, [(model, detector)], is_clear=lambda _: bool(asked.append([]))
    )
    assert len(asked) == 4  # and then it is as it is
