from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.ultralytics_env import prepare
from loop.agreement import LabelledBox
from loop.boxes import Box, as_array, iou_matrix
from loop.classes import ClassList
from loop.errors import NotEnoughData
from loop.metrics import (
    IOU_THRESHOLDS,
    RECALLS,
    AveragePrecision,
    PrecisionRecall,
    average_precision,
    precision_recall,
)
from tests.strategies import few_examples

CLASSES = ClassList(("cell", "rod"))
Boxes = list[list[LabelledBox]]
seeds = st.integers(0, 2**32 - 1)


def _data(seed: int, images: int = 6, jitter_px: float = 5.0) -> tuple[Boxes, Boxes]:
    """Truth, and detections of most of it, shifted a little, with false ones in between."""
    rng = np.random.default_rng(seed)
    truth: Boxes = []
    detected: Boxes = []
    for _ in range(images):
        true = [_box(rng, f"t{n}") for n in range(rng.integers(1, 6))]
        found = [_box(rng, f"f{n}") for n in range(rng.integers(0, 4))]
        for n, box in enumerate(true):
            if rng.random() < 0.85:
                edges = np.array(box.box.xyxy) + rng.normal(0, jitter_px, 4)
                class_id = box.class_id if rng.random() < 0.9 else 1 - box.class_id
                found.append(LabelledBox(f"d{n}", Box.of(edges.tolist()), class_id, rng.random()))
        truth.append(true)
        detected.append(found)
    truth[0] += [LabelledBox("c", Box(0, 0, 40, 40), 0), LabelledBox("r", Box(50, 0, 90, 40), 1)]
    return truth, detected


def _box(rng: np.random.Generator, id: str) -> LabelledBox:
    x, y = rng.uniform(0, 300, 2)
    width, height = rng.uniform(30, 80, 2)
    box = Box(x, y, x + width, y + height)
    return LabelledBox(id, box, int(rng.integers(0, 2)), float(rng.random()))


@few_examples
@given(seeds)
def test_perfect_detections_score_one(seed: int) -> None:
    truth, _ = _data(seed)
    found = average_precision(truth, truth, CLASSES)
    assert found == AveragePrecision(1.0, 1.0, {"cell": 1, "rod": 1}, {"cell": 1, "rod": 1})


@few_examples
@given(seeds)
def test_no_detections_score_nothing(seed: int) -> None:
    truth, _ = _data(seed)
    found = average_precision(truth, [[] for _ in truth], CLASSES)
    assert (found.map50, found.map50_95) == (0, 0)


@few_examples
@given(seeds)
def test_scores_are_between_0_and_1_and_a_looser_threshold_scores_no_less(seed: int) -> None:
    found = average_precision(*_data(seed), CLASSES)
    assert 0 <= found.map50_95 <= found.map50 <= 1
    for name, score in found.per_class.items():
        assert 0 <= score <= found.per_class_50[name] <= 1


@few_examples
@given(seeds)
def test_the_order_of_images_and_boxes_does_not_matter(seed: int) -> None:
    truth, detected = _data(seed)
    rng = np.random.default_rng(seed + 1)
    order = rng.permutation(len(truth))
    shuffled = (
        [[truth[i][j] for j in rng.permutation(len(truth[i]))] for i in order],
        [[detected[i][j] for j in rng.permutation(len(detected[i]))] for i in order],
    )
    assert average_precision(*shuffled, CLASSES) == average_precision(truth, detected, CLASSES)


@few_examples
@given(seeds)
def test_a_false_detection_below_all_others_never_raises_the_score(seed: int) -> None:
    truth, detected = _data(seed)
    before = average_precision(truth, detected, CLASSES)
    false = LabelledBox("false", Box(900, 900, 950, 950), seed % 2, 0.0)
    detected[seed % len(detected)].append(false)
    after = average_precision(truth, detected, CLASSES)
    assert after.map50 <= before.map50
    assert after.map50_95 <= before.map50_95


@few_examples
@given(seeds)
def test_a_false_detection_above_all_others_never_raises_the_score(seed: int) -> None:
    truth, detected = _data(seed)
    before = average_precision(truth, detected, CLASSES)
    detected[0].append(LabelledBox("false", Box(900, 900, 950, 950), 0, 1.0))
    after = average_precision(truth, detected, CLASSES)
    assert after.map50_95 <= before.map50_95


@few_examples
@given(seeds)
def test_scores_are_those_of_the_definition_read_literally(seed: int) -> None:
    truth, detected = _data(seed)
    found = average_precision(truth, detected, CLASSES)
    for class_id, name in enumerate(CLASSES):
        confidences, hits, positives = _matched(truth, detected, class_id)
        aps = [_literal_ap(confidences, hits[:, t], positives) for t in range(len(IOU_THRESHOLDS))]
        assert found.per_class_50[name] == pytest.approx(aps[0])
        assert found.per_class[name] == pytest.approx(np.mean(aps))


def test_scores_are_near_those_of_ultralytics(tmp_path: Path) -> None:
    prepare(tmp_path)
    from ultralytics.utils.metrics import ap_per_class

    differences = []
    for seed in range(20):
        truth, detected = _data(seed, images=20)
        columns = [_matched(truth, detected, class_id) for class_id in range(len(CLASSES))]
        theirs = ap_per_class(
            np.concatenate([hits for _, hits, _ in columns]),
            np.concatenate([confidences for confidences, _, _ in columns]),
            np.repeat([0, 1], [len(confidences) for confidences, _, _ in columns]),
            np.repeat([0, 1], [positives for _, _, positives in columns]),
        )[5]
        ours = average_precision(truth, detected, CLASSES)
        differences.append(ours.map50 - theirs[:, 0].mean())
        differences.append(ours.map50_95 - theirs.mean())
    # Ultralytics joins the points of the precision curve by straight lines and integrates by
    # trapezia; COCO reads a staircase at 101 points and takes their mean. Here: 0.0034 at most.
    assert np.abs(differences).max() < 0.01


def test_the_second_detection_of_one_box_is_a_false_one() -> None:
    box = Box(0, 0, 10, 10)
    truth = [[LabelledBox("t", box, 0)], [LabelledBox("t", box, 0)]]
    twice = [LabelledBox("a", box, 0, 0.9), LabelledBox("b", box, 0, 0.8)]
    alone = [LabelledBox("c", box, 0, 0.7)]
    found = average_precision(truth, [twice, alone], CLASSES)
    # Precision 1 up to recall 0.5 (51 of 101 points), then two hits of three detections.
    assert found.map50 == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_the_threshold_itself_is_enough() -> None:
    truth = [[LabelledBox("t", Box(0, 0, 10, 10), 0)]]
    half = [[LabelledBox("d", Box(0, 0, 10, 5), 0, 0.9)]]
    found = average_precision(truth, half, CLASSES)
    assert found.map50 == 1
    assert found.map50_95 == pytest.approx(0.1)


def test_classes_that_do_not_occur_in_the_truth_do_not_count() -> None:
    truth = [[LabelledBox("t", Box(0, 0, 10, 10), 0)]]
    detected = [[*truth[0], LabelledBox("d", Box(0, 0, 10, 10), 1)]]
    found = average_precision(truth, detected, CLASSES)
    assert found.per_class == {"cell": 1.0}
    assert found.map50_95 == 1.0


def test_without_a_true_box_there_is_no_score() -> None:
    with pytest.raises(NotEnoughData) as caught:
        average_precision([[]], [[]], CLASSES)
    assert caught.value.hint


def test_truth_and_detections_of_different_images_are_refused() -> None:
    with pytest.raises(ValueError, match="2 images of truth, 1 of detections"):
        average_precision([[], []], [[]], CLASSES)


@few_examples
@given(seeds, st.sampled_from([0.5, 0.75]))
def test_the_area_under_a_curve_is_the_average_precision(seed: int, iou: float) -> None:
    truth, detected = _data(seed)
    curves = precision_recall(truth, detected, CLASSES, iou)
    for class_id, name in enumerate(CLASSES):
        expected = _literal_ap(*_at(_matched(truth, detected, class_id), iou))
        assert np.mean(curves[name].precisions) == pytest.approx(expected, abs=1e-12)
    if iou == 0.5:
        areas = {name: float(np.mean(curve.precisions)) for name, curve in curves.items()}
        assert areas == average_precision(truth, detected, CLASSES).per_class_50


@few_examples
@given(seeds)
def test_more_recall_never_comes_with_more_precision_or_a_higher_threshold(seed: int) -> None:
    for curve in precision_recall(*_data(seed), CLASSES).values():
        assert list(curve.precisions) == sorted(curve.precisions, reverse=True)
        reached = [each for each in curve.confidences if each is not None]
        assert reached == sorted(reached, reverse=True)
        assert all(precision == 0 for precision in curve.precisions[len(reached) :])


@few_examples
@given(seeds)
def test_detections_from_a_point_s_threshold_up_are_as_good_as_it_says(seed: int) -> None:
    truth, detected = _data(seed)
    for class_id, name in enumerate(CLASSES):
        curve = precision_recall(truth, detected, CLASSES)[name]
        for recall, precision, threshold in zip(
            RECALLS, curve.precisions, curve.confidences, strict=True
        ):
            if threshold is not None:
                sure = [[b for b in boxes if b.confidence >= threshold] for boxes in detected]
                _, hits, positives = _at(_matched(truth, sure, class_id), 0.5)
                assert hits.sum() / positives >= recall
                assert hits.mean() == pytest.approx(precision)


def test_a_class_that_was_never_detected_has_a_curve_at_zero() -> None:
    truth = [[LabelledBox("t", Box(0, 0, 10, 10), 0)]]
    nothing = PrecisionRecall((0.0,) * 101, (None,) * 101)
    assert precision_recall(truth, [[]], CLASSES) == {"cell": nothing}


def _matched(truth: Boxes, detected: Boxes, class_id: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Confidences, hits of shape (detections, thresholds), and how many true boxes there are."""
    confidences, hits, positives = [], [], 0
    for true_boxes, found_boxes in zip(truth, detected, strict=True):
        true = [box for box in true_boxes if box.class_id == class_id]
        found = [box for box in found_boxes if box.class_id == class_id]
        positives += len(true)
        taken: list[set[str]] = [set() for _ in IOU_THRESHOLDS]
        for box in sorted(found, key=lambda each: each.confidence, reverse=True):
            confidences.append(box.confidence)
            hits.append([_take(box, true, taken[t], at) for t, at in enumerate(IOU_THRESHOLDS)])
    return np.array(confidences), np.array(hits, dtype=bool).reshape(-1, 10), positives


def _at(
    matched: tuple[np.ndarray, np.ndarray, int], iou: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """The same for one threshold alone."""
    confidences, hits, positives = matched
    return confidences, hits[:, int(np.argmin(abs(IOU_THRESHOLDS - iou)))], positives


def _take(box: LabelledBox, true: list[LabelledBox], taken: set[str], threshold: float) -> bool:
    free = [
        (iou_matrix(as_array([box.box]), as_array([each.box])).item(), each.id)
        for each in true
        if each.id not in taken
    ]
    iou, best = max(free, default=(-1.0, ""))
    if iou < threshold:
        return False
    taken.add(best)
    return True


def _literal_ap(confidences: np.ndarray, hits: np.ndarray, positives: int) -> float:
    """The mean, over 101 recalls, of the best precision at that recall or a greater one."""
    ranked = hits[np.argsort(-confidences)]
    points = [
        (int(ranked[:n].sum()) / positives, int(ranked[:n].sum()) / n)
        for n in range(1, len(ranked) + 1)
    ]
    recalls = np.linspace(0, 1, 101)
    at_least = [[p for recall, p in points if recall >= wanted] for wanted in recalls]
    return float(np.mean([max(precisions, default=0.0) for precisions in at_least]))
