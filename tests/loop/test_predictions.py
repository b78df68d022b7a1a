from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.boxes import Box
from loop.errors import InvalidInput
from loop.predictions import Detection, ModelRef, Prediction
from tests.strategies import Seen, few_examples, model_refs, not_finite, predictions

DETECTION = Detection("d", Box(0, 0, 4, 4), 0, 0.5)
MODEL = ModelRef("detector", "1", "0" * 64)
NOTHING = Prediction("p", "1" * 64, MODEL, (), "2026-01-02T03:04:05Z")


@few_examples
@given(predictions())
def test_a_detection_survives_the_way_through_json(seen: Seen) -> None:
    for detection in seen.prediction.detections:
        assert Detection.from_dict(json.loads(json.dumps(detection.as_dict()))) == detection


@given(model_refs)
def test_a_model_version_survives_the_way_through_json(model: ModelRef) -> None:
    assert ModelRef.from_dict(json.loads(json.dumps(model.as_dict()))) == model


@given(not_finite | st.floats(max_value=0, exclude_max=True) | st.floats(1, exclude_min=True))
def test_a_confidence_outside_0_to_1_is_refused(confidence: float) -> None:
    with pytest.raises(InvalidInput, match="Confidence"):
        replace(DETECTION, confidence=confidence)


def test_a_negative_class_is_refused() -> None:
    with pytest.raises(InvalidInput, match="negative"):
        replace(DETECTION, class_id=-1)


@pytest.mark.parametrize(
    "parts", [("", "1", "0" * 64), ("detector", "", "0" * 64), ("detector", "1", "weights")]
)
def test_a_model_version_without_name_version_or_digest_is_refused(
    parts: tuple[str, str, str],
) -> None:
    with pytest.raises(InvalidInput, match="Not a model version"):
        ModelRef(*parts)


def test_two_detections_of_one_id_are_refused() -> None:
    with pytest.raises(InvalidInput, match="twice"):
        replace(NOTHING, detections=(DETECTION, DETECTION))


@few_examples
@given(predictions())
def test_uncertainty_is_that_of_the_least_sure_detection(seen: Seen) -> None:
    uncertainty = seen.prediction.uncertainty
    assert 0 <= uncertainty <= 1
    for detection in seen.prediction.detections:
        assert uncertainty >= 1 - detection.confidence


def test_an_image_without_detections_is_halfway_uncertain() -> None:
    assert NOTHING.uncertainty == 0.5
