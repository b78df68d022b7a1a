"""The same trainer on a GPU."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from detector.ultralytics_env import prepare
from tests.train.generated import generated_snapshot, small_spec
from tests.train.test_same_as_ultralytics import weights_of
from train.detections_file import read_detections
from train.params import Precision
from train.training import EpochReport

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]


@pytest.mark.parametrize("precision", list(Precision))
def test_a_gpu_trains_validates_and_resumes(tmp_path: Path, precision: Precision) -> None:
    prepare(tmp_path / "ultralytics")
    from train.trainer import train_detector

    def on_epoch(report: EpochReport) -> None:
        reports.append(report)
        if report.epoch == 1:
            (tmp_path / "kept").mkdir()
            for file in (report.last, report.best, report.results):
                shutil.copy(file, tmp_path / "kept")

    snapshot = generated_snapshot(tmp_path / "snapshot", 12)
    spec = replace(small_spec(tmp_path / "run", epochs=3), device="0", precision=precision)
    reports: list[EpochReport] = []
    whole = train_detector(snapshot, range(8), range(8, 12), spec, on_epoch)
    losses = [report.metrics["train_box_loss"] for report in reports]
    assert whole.detections is not None
    assert len(read_detections(whole.detections)) == 4
    # A model's file is for any machine.
    assert all(value.device.type == "cpu" for value in weights_of(whole.best).values())

    reports.clear()
    resumed = replace(spec, folder=tmp_path / "resumed")
    last = tmp_path / "kept" / "last.pt"
    train_detector(snapshot, range(8), range(8, 12), resumed, reports.append, last)
    assert [report.metrics["train_box_loss"] for report in reports] == pytest.approx(
        losses[1:], rel=0.02
    )
