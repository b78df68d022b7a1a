from __future__ import annotations

import csv
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from detector.ultralytics_env import prepare
from loop.errors import Misconfigured, NotEnoughData
from loop.synthetic import CLASSES
from store.snapshot_files import Snapshot
from tests.train.generated import generated_snapshot, small_spec
from tests.train.test_same_as_ultralytics import weights_of
from train.detections_file import read_detections
from train.hyperparameters import HYPERPARAMETERS
from train.params import Precision
from train.training import EpochReport, TrainResult

pytestmark = pytest.mark.slow
TRAIN_ROWS, VAL_ROWS = [0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11]


@dataclass(frozen=True)
class Trained:
    snapshot: Snapshot
    result: TrainResult
    reports: list[EpochReport]
    folder: Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    prepare(tmp_path_factory.mktemp("ultralytics"))
    from train.trainer import train_detector

    snapshot = generated_snapshot(tmp_path_factory.mktemp("snapshot"), 12)
    folder = tmp_path_factory.mktemp("run")
    reports: list[EpochReport] = []
    result = train_detector(
        snapshot, TRAIN_ROWS, VAL_ROWS, small_spec(folder, epochs=3), reports.append
    )
    return Trained(snapshot, result, reports, folder)


def test_each_epoch_is_reported_once_and_the_final_evaluation_is_not(trained: Trained) -> None:
    assert [report.epoch for report in trained.reports] == [1, 2, 3]
    assert [report.finished for report in trained.reports] == [False, False, True]
    assert trained.result.epochs == 3
    assert 1 <= trained.result.best_epoch <= 3


def test_metrics_have_names_that_mlflow_takes(trained: Trained) -> None:
    metrics = trained.reports[-1].metrics
    assert {"map50", "map50_95", "precision", "recall", "train_box_loss", "val_box_loss"} <= set(
        metrics
    )
    assert not [name for name in metrics if "(" in name or "/" in name]
    assert metrics["train_box_loss"] > 0


def test_the_result_is_what_the_best_weights_score_on_the_validation_rows(
    trained: Trained,
) -> None:
    assert trained.result.best.is_file()
    best = max(trained.reports, key=lambda report: report.metrics["fitness"]).metrics
    # Its weights are stored with half the digits.
    assert trained.result.metrics["map50"] == pytest.approx(best["map50"], abs=0.05)


def test_each_class_that_the_validation_rows_show_has_its_score(trained: Trained) -> None:
    shown = {
        trained.snapshot.classes.name_of(box.class_id)
        for row in VAL_ROWS
        for box in trained.snapshot.samples[row].boxes
    }
    scores = trained.result.per_class
    assert set(scores) == shown
    for score in ("map50", "map50_95"):
        mean = sum(own[score] for own in scores.values()) / len(scores)
        assert mean == pytest.approx(trained.result.metrics[score])


def test_a_score_goes_to_its_own_class_and_none_to_one_that_no_image_shows() -> None:
    from ultralytics.utils.metrics import DetMetrics

    from train.scores import per_class

    metrics = DetMetrics({0: "round_cell", 1: "rod", 2: "ring"})
    hits = np.zeros((3, 10), dtype=bool)
    hits[:2, :5] = True  # both rings are found, up to IoU 0.7
    metrics.update_stats(
        {
            "tp": hits,
            "conf": np.array([0.9, 0.8, 0.7]),
            "pred_cls": np.array([2.0, 2.0, 0.0]),
            "target_cls": np.array([2.0, 2.0, 0.0]),
            "target_img": np.array([0.0, 2.0]),
            "im_name": "image",
        }
    )
    metrics.process()
    scores = per_class(metrics, CLASSES)
    assert set(scores) == {"round_cell", "ring"}
    assert scores["ring"]["map50"] == pytest.approx(1, abs=0.01)
    assert scores["ring"]["map50_95"] == pytest.approx(0.5, abs=0.01)
    assert scores["round_cell"]["map50"] == 0


def test_nothing_but_weights_and_tables_is_written(trained: Trained) -> None:
    written = {path.name for path in trained.folder.rglob("*") if path.is_file()}
    tables = {"results.csv", "val_detections.parquet"}
    assert written == {"args.yaml", "best.pt", "data.yaml", "last.pt"} | tables


def test_the_weights_know_classes_and_image_size(trained: Trained, tmp_path: Path) -> None:
    from detector.yolo import load_detector

    detector = load_detector(
        trained.result.best, config_dir=tmp_path, min_confidence=0.1, nms_iou=0.5
    )
    assert detector.classes == trained.snapshot.classes
    assert detector.image_size == 96


def test_a_split_without_images_is_refused(trained: Trained, tmp_path: Path) -> None:
    from train.trainer import train_detector

    with pytest.raises(NotEnoughData, match="0 to validate"):
        train_detector(trained.snapshot, TRAIN_ROWS, [], small_spec(tmp_path), lambda _: None)


def test_what_the_best_model_saw_is_kept_for_every_validation_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its id, in pixels of the image itself: not of the one that was padded and resized."""
    prepare(tmp_path)
    from train.trainer import train_detector
    from train.validator import Validator

    def see_the_truth(self: Validator, _: object) -> list[dict[str, torch.Tensor]]:
        height, width = self.batch["img"].shape[2:]
        found = []
        for place in range(len(self.batch["im_file"])):
            own = self.batch["batch_idx"] == place
            centre, size = (self.batch["bboxes"][own] * torch.tensor([width, height] * 2)).split(
                2, 1
            )
            found.append(
                {
                    "bboxes": torch.cat([centre - size / 2, centre + size / 2], 1),
                    "conf": torch.linspace(0.9, 0.5, int(own.sum())),
                    "cls": self.batch["cls"][own].view(-1),
                    "extra": torch.zeros(int(own.sum()), 0),
                }
            )
        return found

    def remember(self: Validator, batch: dict[str, Any]) -> dict[str, Any]:
        self.batch = preprocess(self, batch)
        return self.batch

    preprocess = Validator.preprocess
    monkeypatch.setattr(Validator, "preprocess", remember)
    monkeypatch.setattr(Validator, "postprocess", see_the_truth)
    snapshot = generated_snapshot(tmp_path / "snapshot", 12, width_px=60)
    rows = [0, *VAL_ROWS]
    samples = {snapshot.samples[row].image_id: snapshot.samples[row] for row in rows}
    spec = replace(small_spec(tmp_path / "run", epochs=1), image_size=160)
    result = train_detector(snapshot, TRAIN_ROWS, rows, spec, lambda _: None)

    assert result.metrics["map50_95"] > 0.95
    assert result.detections == spec.folder / "val_detections.parquet"
    found = read_detections(result.detections)
    assert [image.image_id for image in found] == sorted(samples)
    assert min(len(image.confidences) for image in found) == 0
    for image in found:
        truth = samples[image.image_id].boxes
        wanted = np.array([final.box.xyxy for final in truth]).reshape(-1, 4)
        assert image.boxes == pytest.approx(wanted, abs=0.01)
        assert image.class_ids.tolist() == [final.class_id for final in truth]


def test_epochs_between_validations_have_no_scores(trained: Trained, tmp_path: Path) -> None:
    from train.trainer import train_detector

    reports: list[EpochReport] = []
    spec = replace(small_spec(tmp_path, epochs=4), val_period=3, patience=1)
    result = train_detector(trained.snapshot, TRAIN_ROWS, VAL_ROWS, spec, reports.append)
    assert ["map50_95" in report.metrics for report in reports] == [False, False, True, True]
    assert ["fitness" in report.metrics for report in reports] == [False, False, True, True]
    assert ["val_box_loss" in report.metrics for report in reports] == [False, False, True, True]
    assert all(report.metrics["train_box_loss"] > 0 for report in reports)
    assert result.best_epoch in (3, 4)
    with (tmp_path / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["epoch"] for line in lines] == ["1", "2", "3", "4"]
    assert [line["metrics/mAP50(B)"] != "" for line in lines] == [False, False, True, True]


def test_a_training_without_validation_runs_all_epochs_and_keeps_the_last_model(
    trained: Trained, tmp_path: Path
) -> None:
    from train.trainer import train_detector

    reports: list[EpochReport] = []
    spec = replace(small_spec(tmp_path, epochs=3), val_period=0, patience=1)
    rows = [*TRAIN_ROWS, *VAL_ROWS]
    result = train_detector(trained.snapshot, rows, [], spec, reports.append)
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert (result.epochs, result.best_epoch) == (3, 3)
    assert (result.metrics, result.per_class, result.detections) == ({}, {}, None)
    assert not any(name.startswith(("map50", "val_")) for name in reports[-1].metrics)
    best, last = weights_of(result.best), weights_of(result.last)
    assert all(torch.equal(best[name], last[name]) for name in last)
    moved = weights_of(trained.result.last)
    assert any(not torch.equal(best[name], moved[name]) for name in moved)


def test_a_training_without_validation_takes_no_validation_images(
    trained: Trained, tmp_path: Path
) -> None:
    from train.trainer import train_detector

    spec = replace(small_spec(tmp_path), val_period=0)
    with pytest.raises(Misconfigured, match="no use for validation images"):
        train_detector(trained.snapshot, TRAIN_ROWS, VAL_ROWS, spec, lambda _: None)


def test_bf16_learns_the_same_where_it_is_only_emulated_too(
    trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from train.precision import has_bf16
    from train.trainer import train_detector

    reports: list[EpochReport] = []
    spec = replace(small_spec(tmp_path, epochs=3), precision=Precision.BF16)
    with caplog.at_level(logging.WARNING, "train.precision"):
        train_detector(trained.snapshot, TRAIN_ROWS, VAL_ROWS, spec, reports.append)
    assert ("only emulates" in caplog.text) is not has_bf16("cpu")
    for ours, full in zip(reports, trained.reports, strict=True):
        loss, wanted = ours.metrics["train_box_loss"], full.metrics["train_box_loss"]
        assert loss == pytest.approx(wanted, rel=0.02)
        # It did compute in other numbers.
        assert loss != wanted
    assert not torch.is_autocast_enabled("cpu")


def test_a_learning_rate_that_is_set_is_used_though_ultralytics_chooses_the_optimizer(
    trained: Trained, tmp_path: Path
) -> None:
    from train.trainer import train_detector

    reports: list[EpochReport] = []
    tuned = {"lr0": 0.0123, "lrf": 1.0, "warmup_epochs": 0.0}
    spec = replace(small_spec(tmp_path, epochs=1), hyperparameters=tuned)
    train_detector(trained.snapshot, TRAIN_ROWS, VAL_ROWS, spec, reports.append)
    assert reports[0].metrics["lr"] == pytest.approx(0.0123)


def test_every_hyperparameter_reaches_ultralytics(trained: Trained, tmp_path: Path) -> None:
    from train.trainer import train_detector

    values = {
        "optimizer": "SGD",
        "lr0": 0.02,
        "lrf": 0.1,
        "momentum": 0.8,
        "weight_decay": 0.001,
        "warmup_epochs": 0.5,
        "warmup_momentum": 0.7,
        "warmup_bias_lr": 0.05,
        "cos_lr": True,
        "nbs": 8,
        "freeze": [0],
        "cls_remap": False,
        "box": 5.0,
        "cls": 0.7,
        "dfl": 1.0,
        "cls_pw": 0.5,
        "max_det": 50,
        "multi_scale": 0.25,
        "rect": True,
        "mosaic": 0.5,
        "mixup": 0.1,
        "cutmix": 0.1,
        "bgr": 0.1,
        "flipud": 0.1,
        "fliplr": 0.4,
        "close_mosaic": 1,
        "hsv_h": 0.1,
        "hsv_s": 0.1,
        "hsv_v": 0.1,
        "translate": 0.2,
        "perspective": 0.0001,
        "degrees": 5.0,
        "shear": 1.0,
        "scale": [0.8, 1.2],
    }
    assert values.keys() == HYPERPARAMETERS.keys()
    spec = replace(small_spec(tmp_path, epochs=1), hyperparameters=values)
    train_detector(trained.snapshot, TRAIN_ROWS, VAL_ROWS, spec, lambda _: None)
    arguments = yaml.safe_load((tmp_path / "args.yaml").read_text())
    assert {name: arguments[name] for name in values} == values
