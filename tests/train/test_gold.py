from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from loop.boxes import Box
from loop.errors import NotEnoughData
from loop.gold import GoldDetections, detections_path
from loop.intake import NewImage, TrueBox, add_truth
from loop.metrics import average_precision
from loop.predictions import ModelRef
from loop.promotions import GoldScore
from store.image_codec import encode_png
from store.model_registry import open_model_registry
from store.tracking import open_tracking
from tests.detector.checkpoints import write_checkpoint
from tests.train.conftest import CLASSES, ENGINEER, Loop
from train.gold import measure_again, propose_promotion

pytestmark = pytest.mark.slow  # loads models, and makes MLflow's database
SIZE_PX = 64


def add_gold(state: Loop, images: int) -> None:
    for number in range(images):
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
    assert steps == [(3, 6), (6, 6)]
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
    assert GoldDetections.from_json(kept(loop_state, score)).model == model
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
