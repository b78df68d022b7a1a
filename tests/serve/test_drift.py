from __future__ import annotations

import random

from loop.boxes import Box
from loop.drift import MIN_IMAGES, Reference, profile_of
from loop.predictions import Detection
from serve.drift import DriftWindow, DriftWindows
from tests.serve.fakes import CLASSES, model_ref

ONE, TWO = model_ref("1"), model_ref("2")


def detections(*seen: tuple[int, float]) -> tuple[Detection, ...]:
    return tuple(
        Detection(f"d{place}", Box(0, 0, 1, 1), class_id, confidence)
        for place, (class_id, confidence) in enumerate(seen)
    )


def reference(version: str = "1") -> Reference:
    profile = profile_of([([0, 0, 1], [0.9, 0.6, 0.4])] * 300, CLASSES.names, 0.25)
    return Reference(model_ref(version), "a" * 64, profile)


def test_a_window_has_the_profile_of_its_last_images() -> None:
    rng = random.Random(1)
    images = [
        [(rng.randrange(2), rng.uniform(0.25, 1)) for _ in range(rng.randrange(12))]
        for _ in range(700)
    ]
    window = DriftWindow(reference(), 250)
    for image in images:
        window.add(detections(*image))
    last = [([c for c, _ in image], [s for _, s in image]) for image in images[-250:]]
    assert window.profile() == profile_of(last, CLASSES.names, 0.25)


def test_each_model_has_a_window_of_its_own() -> None:
    windows = DriftWindows()
    windows.begin(reference("1"), 500)
    windows.add(ONE, detections((0, 0.9)))
    windows.add(TWO, detections((0, 0.9)))
    windows.begin(reference("2"), 500)
    windows.add(TWO, ())
    windows.add(ONE, ())
    first, second = windows.find(ONE), windows.find(TWO)
    assert first is not None
    assert second is not None
    assert (first[1].images, second[1].images) == (2, 1)


def test_a_model_that_is_loaded_again_begins_anew() -> None:
    windows = DriftWindows()
    windows.begin(reference("1"), 500)
    windows.add(ONE, ())
    windows.begin(reference("1"), 500)
    found = windows.find(ONE)
    assert found is not None
    assert found[1].images == 0


def test_windows_of_models_long_gone_are_dropped() -> None:
    windows = DriftWindows()
    for version in range(1, 7):
        windows.begin(reference(str(version)), 500)
    assert windows.find(ONE) is None
    assert windows.find(model_ref("6")) is not None


def test_what_is_seen_as_before_does_not_drift_and_what_is_not_does() -> None:
    windows = DriftWindows()
    windows.begin(reference(), 400)
    for _ in range(MIN_IMAGES):
        windows.add(ONE, detections((0, 0.9), (0, 0.6), (1, 0.4)))
    same = windows.find(ONE)
    for _ in range(400):
        windows.add(ONE, detections((1, 0.3), (1, 0.3)))
    other = windows.find(ONE)
    assert same is not None and same[2].psi is not None and same[2].psi < 0.01
    assert other is not None and other[2].psi is not None and other[2].psi > 1
