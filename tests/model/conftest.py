from __future__ import annotations

from pathlib import Path

import pytest

from detector.base import Detector, Pixels
from detector.yolo import load_detector
from loop.predictions import Detection
from store.image_codec import Limits, decode

DATA = Path(__file__).parents[2] / "../shared/data"
# Spread over the set. Each shows a white blood cell, and red ones.
_IMAGES = tuple(f"BloodImage_{number:05d}" for number in (0, 45, 148, 244, 331))


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    weights = DATA / "weights/bccd-yolo11n-320.pt"
    if not weights.exists():
        pytest.skip("the trained weights are not on this machine")
    config_dir = tmp_path_factory.mktemp("ultralytics")
    return load_detector(
        weights, config_dir=config_dir, min_confidence=0.25, nms_iou=0.7, device="cpu"
    )


@pytest.fixture(scope="session")
def smears() -> list[Pixels]:
    """Blood smears of 640 x 480 pixels."""
    paths = [DATA / f"bccd/JPEGImages/{name}.jpg" for name in _IMAGES]
    found = [path for path in paths if path.exists()]
    if not found:
        pytest.skip("the blood-cell images are not on this machine")
    limits = Limits(max_bytes=10_000_000, max_pixels=1_000_000)
    return [decode(path.read_bytes(), limits).pixels for path in found]


@pytest.fixture(scope="session")
def detections(detector: Detector, smears: list[Pixels]) -> list[tuple[Detection, ...]]:
    """What is seen in `smears` as they are."""
    return detector.detect(smears)
