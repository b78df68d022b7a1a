from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.base import Detector, Pixels, smoke_test
from detector.yolo import load_classes, load_detector
from loop.errors import InvalidInput, Misconfigured, NotFound
from loop.predictions import Detection
from tests.detector.checkpoints import NAMES, write_checkpoint, write_hostile


def load(weights: Path, config_dir: Path, min_confidence: float = 0.25) -> Detector:
    return load_detector(
        weights, config_dir=config_dir, min_confidence=min_confidence, nms_iou=0.6, device="cpu"
    )


@pytest.fixture(scope="module")
def detector(checkpoint: Path, config_dir: Path) -> Detector:
    return load(checkpoint, config_dir)


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def assert_same(left: tuple[Detection, ...], right: tuple[Detection, ...]) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.class_id == b.class_id
        # Batches of other sizes add up in another order.
        np.testing.assert_allclose(a.box.xyxy, b.box.xyxy, atol=0.01)
        assert a.confidence == pytest.approx(b.confidence, abs=1e-4)


def test_classes_and_image_size_come_from_the_checkpoint(detector: Detector) -> None:
    assert detector.classes.names == NAMES
    assert detector.image_size == 64


def test_the_class_list_can_be_read_alone(checkpoint: Path, config_dir: Path) -> None:
    assert load_classes(checkpoint, config_dir).names == NAMES


def test_a_smoke_test_passes_on_a_loaded_model(detector: Detector) -> None:
    smoke_test(detector.detect)


def test_boxes_lie_inside_their_image_and_the_surest_comes_first(detector: Detector) -> None:
    (found,) = detector.detect([noise(50, 90)])
    assert found
    assert all(detection.box.inside(90, 50) for detection in found)
    assert [d.confidence for d in found] == sorted((d.confidence for d in found), reverse=True)
    assert len({detection.id for detection in found}) == len(found)


def test_detections_below_the_floor_are_dropped(checkpoint: Path, config_dir: Path) -> None:
    image = noise(64, 64)
    (all_of_them,) = load(checkpoint, config_dir, 0.01).detect([image])
    middle = sorted(d.confidence for d in all_of_them)[len(all_of_them) // 2]
    (sure,) = load(checkpoint, config_dir, middle).detect([image])
    assert 0 < len(sure) < len(all_of_them)
    assert min(detection.confidence for detection in sure) >= middle


def test_a_batch_of_mixed_sizes_gives_the_boxes_of_one_by_one(detector: Detector) -> None:
    shapes = [(64, 64), (40, 90), (64, 64), (120, 30), (40, 90), (7, 200)]
    images = [noise(height, width, seed) for seed, (height, width) in enumerate(shapes)]
    for together, image in zip(detector.detect(images), images, strict=True):
        assert_same(together, detector.detect([image])[0])


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (2, 2)])
def test_an_image_of_an_odd_shape_is_no_error(detector: Detector, shape: tuple[int, int]) -> None:
    assert len(detector.detect([noise(*shape)])) == 1


def test_no_images_give_no_answers(detector: Detector) -> None:
    assert detector.detect([]) == []


def test_several_threads_get_the_boxes_of_one(detector: Detector) -> None:
    images = [noise(48, 48 + 8 * index, index) for index in range(6)]
    alone = [detector.detect([image])[0] for image in images]
    answers: dict[int, tuple[Detection, ...]] = {}

    def ask(index: int) -> None:
        answers[index] = detector.detect([images[index]])[0]

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, expected in enumerate(alone):
        assert_same(answers[index], expected)


@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_runs_none(
    tmp_path: Path, config_dir: Path, archive: bool
) -> None:
    weights, proof = tmp_path / "hostile.pt", tmp_path / "executed"
    write_hostile(weights, proof, archive=archive)
    with pytest.raises(InvalidInput) as refusal:
        load(weights, config_dir)
    assert refusal.value.detail_code == "invalid_weights"
    assert refusal.value.hint
    assert not proof.exists()


def test_nothing_is_loaded_by_a_torch_that_cannot_do_it_safely(
    tmp_path: Path, config_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    weights, proof = tmp_path / "hostile.pt", tmp_path / "executed"
    write_hostile(weights, proof)
    monkeypatch.delattr(torch.serialization, "get_unsafe_globals_in_checkpoint")
    with pytest.raises(Misconfigured, match="would run code"):
        load(weights, config_dir)
    assert not proof.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 and then nothing"])
def test_a_file_that_is_no_checkpoint_is_refused_with_a_hint(
    tmp_path: Path, config_dir: Path, content: bytes
) -> None:
    weights = tmp_path / "junk.pt"
    weights.write_bytes(content)
    with pytest.raises(InvalidInput) as refusal:
        load(weights, config_dir)
    assert refusal.value.hint


def test_a_cut_off_checkpoint_is_refused(
    tmp_path: Path, config_dir: Path, checkpoint: Path
) -> None:
    weights = tmp_path / "cut.pt"
    weights.write_bytes(checkpoint.read_bytes()[:-2000])
    with pytest.raises(InvalidInput):
        load(weights, config_dir)


def test_a_missing_file_is_not_looked_for_elsewhere(tmp_path: Path, config_dir: Path) -> None:
    with pytest.raises(NotFound):
        load(tmp_path / "yolo11n.pt", config_dir)


def test_class_names_that_repeat_are_refused(tmp_path: Path, config_dir: Path) -> None:
    weights = write_checkpoint(tmp_path / "w.pt", config_dir=config_dir, names=("a", "a"))
    with pytest.raises(InvalidInput, match="class names"):
        load(weights, config_dir)


def test_trained_weights_find_blood_cells(blood_cells: Path, config_dir: Path) -> None:
    detector = load(blood_cells / "weights" / "bccd-yolo11n-320.pt", config_dir)
    assert detector.classes.names == ("RBC", "WBC", "Platelets")
    paths = sorted((blood_cells / "bccd" / "JPEGImages").glob("*.jpg"))[:3]
    images = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    for found in detector.detect(images):
        assert len(found) > 5
        assert found[0].confidence > 0.5
