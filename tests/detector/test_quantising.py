from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.engine import open_engine
from detector.exporting import export_model
from detector.formats import INT8, ExportFormat
from detector.quantising import quantise
from loop.errors import InvalidInput
from loop.synthetic import generate
from store.model_folder import folder_digest

pytestmark = pytest.mark.slow


def test_a_quantised_model_is_made_and_its_difference_is_told(
    checkpoint: Path, config_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = export_model(checkpoint, [ExportFormat.OPENVINO], tmp_path, config_dir=config_dir)
    export = made.folders[ExportFormat.OPENVINO]
    images = [np.ascontiguousarray(each.pixels) for each in generate(6, seed=3, size=64)]
    found = quantise(export, images[:4], images[4:], tmp_path / "out")
    again = quantise(export, images[:4], [], tmp_path / "again")
    assert folder_digest(again.folder) == folder_digest(found.folder)
    assert capsys.readouterr().out == ""  # it is for what a command prints as JSON
    assert found.images == 2
    assert found.boxes > 0
    assert found.difference.confidence > 0  # else nothing was quantised
    # The weights are a quarter of the size: bytes instead of floats.
    sizes = [(folder / "model.bin").stat().st_size for folder in (found.folder, export)]
    assert sizes[0] < sizes[1] / 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == [INT8]
    files = {INT8: found.folder, ExportFormat.OPENVINO.value: export}
    options = {"min_confidence": 0.25, "nms_iou": 0.6}
    for backend, name in ((INT8, INT8), ("auto", "openvino")):
        engine = open_engine(files, **options, backend=backend)
        assert engine.backend == name
        assert engine.detect(images[:1])[0]
        engine.close()
    with pytest.raises(InvalidInput, match="already"):
        quantise(export, images, [], tmp_path / "out")
    with pytest.raises(InvalidInput, match="calibrate"):
        quantise(export, [], images, tmp_path / "other")
