from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from loop.agreement import LabelledBox
from loop.boxes import Box
from loop.classes import ClassList
from loop.drift import (
    LARGE_DISTANCE,
    LARGE_PSI,
    MIN_DETECTIONS,
    MIN_IMAGES,
    MODERATE_PSI,
    NUMBER_BOUNDS,
    Profile,
    Reference,
    compare,
    jensen_shannon_distance,
    number_bin,
    profile_of,
    psi,
    reference_of,
    score_bin,
)
from loop.errors import BrokenRecord
from loop.gold import GoldDetections
from loop.predictions import SCORE_BOUNDS, ModelRef

CLASSES = ("rod", "ring")
MODEL = ModelRef("detector", "1", "a" * 64)
COUNTS = st.lists(st.integers(0, 1000), min_size=4, max_size=4).filter(any)


def drawn(
    images: int,
    seed: int,
    *,
    score: float = 0.7,
    rings: float = 0.3,
    number: float = 3.0,
) -> Profile:
    """Images with ``number`` detections in the mean, a share ``rings`` of them rings."""
    rng = np.random.default_rng(seed)
    made = []
    for count in rng.poisson(number, images):
        confidences = np.clip(rng.normal(score, 0.12, count), 0.25, 1)
        made.append(((rng.random(count) < rings).astype(int).tolist(), confidences.tolist()))
    return profile_of(made, CLASSES, 0.25)


def test_bins_have_their_upper_bound_in_them_as_prometheus_has_it() -> None:
    assert [score_bin(value) for value in (0.0, 0.1, 0.1001, 0.3, 0.95, 1.0)] == [0, 0, 1, 2, 9, 9]
    assert [number_bin(value) for value in (0, 1, 3, 4, 5, 20, 21, 500)] == [0, 1, 3, 4, 4, 6, 7, 7]


def test_a_profile_counts_what_is_sure_enough() -> None:
    profile = profile_of([([0, 1, 1], [0.9, 0.3, 0.2]), ([], [])], CLASSES, 0.25)
    assert profile.images == 2
    assert profile.class_counts == (1, 1)
    assert profile.per_image == 1.0
    assert profile.numbers[number_bin(0)] == profile.numbers[number_bin(2)] == 1
    assert profile.scores[0][score_bin(0.9)] == 1
    assert Profile(CLASSES, 0.25, ((0,) * 10,) * 2, (0,) * 8).per_image == 0


def test_psi_is_the_sum_of_its_definition() -> None:
    expected, actual = [300, 700], [500, 500]
    shares = [(0.5, 300.5 / 1001), (0.5, 700.5 / 1001)]
    assert psi(expected, actual) == pytest.approx(sum((a - e) * math.log(a / e) for a, e in shares))


@given(COUNTS, COUNTS)
def test_psi_is_no_less_than_zero_and_the_same_both_ways(left: list[int], right: list[int]) -> None:
    assert psi(left, left) == 0
    assert psi(left, right) >= 0
    assert psi(left, right) == pytest.approx(psi(right, left))
    assert math.isfinite(psi(left, right))


@given(COUNTS, COUNTS)
def test_the_distance_of_classes_is_scipys(left: list[int], right: list[int]) -> None:
    distance = jensen_shannon_distance(left, right)
    assert 0 <= distance <= 1 + 1e-9
    assert distance == pytest.approx(jensenshannon(left, right, base=2), abs=1e-6)


def test_the_mark_of_the_distance_is_that_of_the_psi() -> None:
    # Two classes whose shares change so much that the PSI is at its mark.
    before, after = [500_000, 500_000], [739_500, 260_500]
    assert psi(before, after) == pytest.approx(LARGE_PSI, abs=0.01)
    assert jensen_shannon_distance(before, after) == pytest.approx(LARGE_DISTANCE, abs=0.01)


def test_the_same_images_taken_again_do_not_drift() -> None:
    drift = compare(drawn(1000, 1), drawn(1000, 2))
    assert drift.psi is not None
    assert drift.class_distance is not None
    assert drift.number_psi is not None
    assert max(drift.psi, drift.number_psi, *drift.class_psi.values()) < MODERATE_PSI / 2
    assert drift.class_distance < 0.05
    assert set(drift.class_psi) == set(CLASSES)


def test_each_measure_sees_its_own_change() -> None:
    reference = drawn(1000, 1)
    score = compare(reference, drawn(1000, 2, score=0.55))
    classes = compare(reference, drawn(1000, 2, rings=0.7))
    numbers = compare(reference, drawn(1000, 2, number=1.5))
    assert score.psi is not None and score.psi > LARGE_PSI
    assert min(score.class_psi.values()) > LARGE_PSI
    assert score.class_distance is not None and score.class_distance < 0.05
    assert classes.class_distance is not None and classes.class_distance > LARGE_DISTANCE
    assert classes.psi is not None and classes.psi < MODERATE_PSI
    assert numbers.number_psi is not None and numbers.number_psi > LARGE_PSI
    assert numbers.psi is not None and numbers.psi < MODERATE_PSI


def test_a_rare_class_has_no_measure_of_its_own() -> None:
    drift = compare(drawn(1000, 1, rings=0.01), drawn(1000, 2, rings=0.01))
    assert set(drift.class_psi) == {"rod"}
    assert drift.psi is not None


def test_too_few_images_or_detections_are_not_compared() -> None:
    enough, few = drawn(1000, 1), drawn(MIN_IMAGES - 1, 2)
    assert compare(enough, few).number_psi is None
    assert compare(enough, few).psi is None
    small_reference = compare(few, enough)
    assert small_reference.number_psi is None
    assert small_reference.psi is not None  # it has detections enough
    almost_nothing = drawn(1000, 2, number=0.1)
    assert sum(almost_nothing.class_counts) < MIN_DETECTIONS
    drift = compare(enough, almost_nothing)
    assert (drift.psi, drift.class_distance, dict(drift.class_psi)) == (None, None, {})
    assert drift.number_psi is not None and drift.number_psi > LARGE_PSI


def test_profiles_of_other_thresholds_are_not_compared() -> None:
    with pytest.raises(ValueError, match="alike"):
        compare(drawn(300, 1), profile_of([], CLASSES, 0.5))


def test_the_reference_is_what_was_detected_on_the_gold_set_from_the_threshold_on() -> None:
    detected = (
        (LabelledBox("d0", Box(0, 0, 1, 1), 1, 0.8), LabelledBox("d1", Box(0, 0, 1, 1), 0, 0.01)),
        (),
    )
    gold = GoldDetections(MODEL, "b" * 64, ClassList(CLASSES), ("x", "y"), ((), ()), detected)
    reference = reference_of(gold, 0.25)
    assert (reference.model, reference.gold_sha256) == (MODEL, "b" * 64)
    assert reference.profile.class_counts == (0, 1)
    assert reference.profile.images == 2


def test_a_reference_comes_back_from_its_record() -> None:
    reference = Reference(MODEL, "b" * 64, drawn(50, 1))
    assert Reference.from_json(reference.to_json()) == reference


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-3],
        lambda text: text.replace('"schema":1', '"schema":2'),
        lambda text: text.replace(str(SCORE_BOUNDS[-2]), "0.91"),
        lambda text: text.replace('"rod",', ""),
        lambda text: text.replace('"numbers":[', '"numbers":[-'),
        lambda text: text.replace('"numbers":[', f'"numbers":[{"1," * len(NUMBER_BOUNDS)}'),
        lambda text: "[]",
    ],
)
def test_a_record_that_is_none_is_refused(damage: object) -> None:
    text = Reference(MODEL, "b" * 64, drawn(500, 1)).to_json().decode()
    with pytest.raises(BrokenRecord, match="reference"):
        Reference.from_json(damage(text))  # type: ignore[operator]
