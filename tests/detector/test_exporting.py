from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector import export_check, exporting
from detector.base import Detector, Pixels, smoke_test
from detector.comparing import Difference, Tolerance, difference
from detector.export_check import TOLERANCE
from detector.exported import format_of, load_exported, open_network
from detector.exporting import Exports, export_model
from detector.formats import ExportFormat
from detector.loading import WEIGHTS, open_model
from detector.yolo import load_detector
from loop.errors import InvalidInput, NotFound
from tests.detector.checkpoints import NAMES, write_checkpoint

pytestmark = pytest.mark.slow
FORMATS = tuple(ExportFormat)
NMS_IOU = 0.6
# What is promised is `TOLERANCE`: 1 px and 0.01. What is seen is far below that.
SEEN = Tolerance(box_px=0.05, confidence=0.001)


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def torch_model(weights: Path, config_dir: Path, min_confidence: float = 0.25) -> Detector:
    return load_detector(
        weights, config_dir=config_dir, min_confidence=min_confidence, nms_iou=NMS_IOU, device="cpu"
    )


def compared(
    torch: Detector, exported: Detector, images: Sequence[Pixels], min_confidence: float = 0.25
) -> Difference:
    worst = Difference()
    for left, right in zip(torch.detect(images), exported.detect(images), strict=True):
        assert left
        worst |= difference(
            left, right, min_confidence=min_confidence, nms_iou=NMS_IOU, tolerance=SEEN
        )
    return worst


@pytest.fixture(scope="module")
def exports(
    checkpoint: Path, config_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Exports:
    out = tmp_path_factory.mktemp("exports")
    return export_model(checkpoint, FORMATS, out, config_dir=config_dir)


@pytest.fixture(params=FORMATS)
def exported(request: pytest.FixtureRequest, exports: Exports) -> Detector:
    folder = exports.folders[request.param]
    return load_exported(folder, min_confidence=0.25, nms_iou=NMS_IOU, threads=1)


def test_every_format_is_made_and_nothing_else_is_left(exports: Exports) -> None:
    assert exports.refused == {}
    assert set(exports.folders) == set(FORMATS)
    (out,) = {folder.parent for folder in exports.folders.values()}
    assert {path.name for path in out.iterdir()} == {"onnx", "openvino"}
    for name, folder in exports.folders.items():
        assert format_of(folder) == name


def test_an_export_says_what_it_was_made_of(exports: Exports, checkpoint: Path) -> None:
    for folder in exports.folders.values():
        _, info = open_network(folder)
        assert info.classes.names == NAMES
        assert (info.image_size, info.stride) == (64, 32)
        assert info.weights_sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()


def test_an_export_shows_the_boxes_of_the_checkpoint(
    exported: Detector, checkpoint: Path, config_dir: Path
) -> None:
    smoke_test(exported.detect)
    shapes = [(64, 64), (40, 90), (120, 30), (7, 200), (500, 700)]
    images = [noise(height, width, seed) for seed, (height, width) in enumerate(shapes)]
    assert compared(torch_model(checkpoint, config_dir), exported, images).within(SEEN)


def test_boxes_of_an_image_do_not_depend_on_its_company(exported: Detector) -> None:
    images = [noise(64, 64, 1), noise(40, 90, 2), noise(64, 64, 3), noise(50, 64, 4)]
    for together, image in zip(exported.detect(images), images, strict=True):
        (alone,) = exported.detect([image])
        assert [d.class_id for d in together] == [d.class_id for d in alone]
        for left, right in zip(together, alone, strict=True):
            np.testing.assert_allclose(left.box.xyxy, right.box.xyxy, atol=0.01)
    assert exported.detect([]) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1)])
def test_an_image_of_an_odd_shape_is_no_error(exported: Detector, shape: tuple[int, int]) -> None:
    (found,) = exported.detect([np.full((*shape, 3), 128, dtype=np.uint8)])
    assert all(detection.box.inside(shape[1], shape[0]) for detection in found)


def test_an_export_that_sees_other_boxes_is_refused_with_the_reason(
    checkpoint: Path, config_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_checkpoint(tmp_path / "other.pt", config_dir=config_dir, seed=1)
    read = export_check.read_checkpoint
    # The network of another checkpoint stands for a conversion that goes wrong.
    monkeypatch.setattr(export_check, "read_checkpoint", lambda *_: read(other, config_dir))
    exports = export_model(checkpoint, FORMATS, tmp_path / "out", config_dir=config_dir)
    assert exports.folders == {}
    assert set(exports.refused) == set(FORMATS)
    assert "other boxes" in exports.refused[ExportFormat.ONNX]
    assert list((tmp_path / "out").iterdir()) == []


def test_a_format_that_cannot_be_written_does_not_keep_the_other_from_it(
    checkpoint: Path, config_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("It is not built for this machine.")

    monkeypatch.setattr(exporting, "import_openvino", broken)
    exports = export_model(checkpoint, FORMATS, tmp_path / "out", config_dir=config_dir)
    assert set(exports.folders) == {ExportFormat.ONNX}
    assert "not built" in exports.refused[ExportFormat.OPENVINO]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_export_is_refused_with_a_hint(
    exports: Exports, kind: ExportFormat, tmp_path: Path
) -> None:
    folder = shutil.copytree(exports.folders[kind], tmp_path / "damaged")
    file = folder / kind.file
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InvalidInput) as refusal:
        load_exported(folder, min_confidence=0.25, nms_iou=NMS_IOU)
    assert refusal.value.hint
    with pytest.raises(NotFound):
        load_exported(tmp_path, min_confidence=0.25, nms_iou=NMS_IOU)


def test_a_model_is_opened_as_what_it_has(exports: Exports, checkpoint: Path) -> None:
    files = {WEIGHTS: checkpoint} | dict(exports.folders)
    options = {"min_confidence": 0.25, "nms_iou": NMS_IOU}
    image = noise(60, 80)
    answers = [
        open_model(files, **options, backend=backend).detect([image])[0]
        for backend in ("auto", "openvino", "onnx", WEIGHTS)
    ]
    assert len({len(answer) for answer in answers}) == 1
    with pytest.raises(InvalidInput, match="onnx"):
        open_model({WEIGHTS: checkpoint}, **options, backend="onnx")


_WITHOUT_TORCH = """
import json, sys
from pathlib import Path
from detector.base import smoke_image
from detector.exported import load_exported
detector = load_exported(Path(sys.argv[1]), min_confidence=0.25, nms_iou=0.6)
found = len(detector.detect([smoke_image()])[0])
print(json.dumps([found, sorted({"torch", "ultralytics"} & set(sys.modules))]))
"""


@pytest.mark.parametrize("kind", FORMATS)
def test_an_export_runs_without_torch(exports: Exports, kind: ExportFormat) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_TORCH, str(exports.folders[kind])],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    found, loaded = json.loads(done.stdout)
    assert found > 0
    assert loaded == []


def test_exports_of_trained_weights_show_their_boxes_on_blood_cells(
    blood_cells: Path, config_dir: Path, tmp_path: Path
) -> None:
    weights = blood_cells / "weights" / "bccd-yolo11n-320.pt"
    paths = sorted((blood_cells / "bccd" / "JPEGImages").glob("*.jpg"))[:4]
    images = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    exports = export_model(weights, FORMATS, tmp_path, config_dir=config_dir, images=images[:2])
    assert exports.refused == {}
    # Part of one image: another rectangle than that of the whole ones.
    images.append(images[0][:200, :333])
    for floor in (0.25, 0.001):
        torch = torch_model(weights, config_dir, floor)
        for folder in exports.folders.values():
            exported = load_exported(folder, min_confidence=floor, nms_iou=NMS_IOU)
            found = compared(torch, exported, images, floor)
            assert found.within(TOLERANCE)
            assert found.within(SEEN)
