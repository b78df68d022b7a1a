from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from detector.ultralytics_env import prepare
from loop.errors import Misconfigured, NotEnoughData, TrainingFailed
from loop.synthetic import CLASSES
from store.snapshot_files import Snapshot
from tests.train.generated import generated_snapshot, small_spec
from train.training import EpochReport, TrainResult

pytestmark = pytest.mark.slow
TRAIN_ROWS, VAL_ROWS = [0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11]


@dataclass(frozen=True)
class Trained:
    snapshot: Snapshot
    result: TrainResult
    reports: list[EpochReport]
    checkpoints: dict[int, Path]
    folder: Path


def keep(into: Path, reports: list[EpochReport]) -> Callable[[EpochReport], None]:
    def on_epoch(report: EpochReport) -> None:
        reports.append(report)
        folder = into / str(report.epoch)
        folder.mkdir(parents=True)
        for file in (report.last, report.best, report.results):
            shutil.copy(file, folder)

    return on_epoch


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Three epochs, with a checkpoint kept after each."""
    prepare(tmp_path_factory.mktemp("ultralytics"))
    from train.trainer import train_detector

    snapshot = generated_snapshot(tmp_path_factory.mktemp("snapshot"), 12)
    folder, kept = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("kept")
    reports: list[EpochReport] = []
    result = train_detector(
        snapshot, TRAIN_ROWS, VAL_ROWS, small_spec(folder, epochs=3), keep(kept, reports)
    )
    checkpoints = {report.epoch: kept / str(report.epoch) / "last.pt" for report in reports}
    return Trained(snapshot, result, reports, checkpoints, folder)


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

    from train.trainer import _per_class

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
    scores = _per_class(metrics, CLASSES)
    assert set(scores) == {"round_cell", "ring"}
    assert scores["ring"]["map50"] == pytest.approx(1, abs=0.01)
    assert scores["ring"]["map50_95"] == pytest.approx(0.5, abs=0.01)
    assert scores["round_cell"]["map50"] == 0


def test_nothing_but_weights_and_tables_is_written(trained: Trained) -> None:
    written = {path.name for path in trained.folder.rglob("*") if path.is_file()}
    assert written == {"args.yaml", "best.pt", "data.yaml", "last.pt", "results.csv"}


def test_the_weights_know_classes_and_image_size(trained: Trained, tmp_path: Path) -> None:
    from detector.yolo import load_detector

    detector = load_detector(
        trained.result.best, config_dir=tmp_path, min_confidence=0.1, nms_iou=0.5
    )
    assert detector.classes == trained.snapshot.classes
    assert detector.image_size == 96


def test_a_resumed_run_goes_on_in_another_folder(trained: Trained, tmp_path: Path) -> None:
    from train.trainer import train_detector

    reports: list[EpochReport] = []
    result = train_detector(
        trained.snapshot,
        TRAIN_ROWS,
        VAL_ROWS,
        small_spec(tmp_path / "run", epochs=3),
        keep(tmp_path / "kept", reports),
        trained.checkpoints[1],
    )
    assert [report.epoch for report in reports] == [2, 3]
    assert result.epochs == 3
    assert len(reports[-1].results.read_text().splitlines()) == 1 + 3
    assert result.best.is_relative_to(tmp_path)


def test_a_run_that_only_lacked_its_evaluation_trains_no_epoch_again(
    trained: Trained, tmp_path: Path
) -> None:
    from train.trainer import train_detector

    reports: list[EpochReport] = []
    result = train_detector(
        trained.snapshot,
        TRAIN_ROWS,
        VAL_ROWS,
        small_spec(tmp_path / "run", epochs=3),
        reports.append,
        trained.checkpoints[3],
    )
    assert reports == []
    assert (result.epochs, result.best_epoch) == (3, trained.result.best_epoch)
    assert result.metrics == pytest.approx(trained.result.metrics)


def test_an_unreadable_checkpoint_is_named(trained: Trained, tmp_path: Path) -> None:
    from train.trainer import train_detector

    for name in ("last.pt", "best.pt", "results.csv"):
        (tmp_path / name).write_bytes(b"broken")
    with pytest.raises(TrainingFailed, match="cannot be read"):
        train_detector(
            trained.snapshot,
            TRAIN_ROWS,
            VAL_ROWS,
            small_spec(tmp_path / "run"),
            lambda _: None,
            tmp_path / "last.pt",
        )


def test_a_split_without_images_is_refused(trained: Trained, tmp_path: Path) -> None:
    from train.trainer import train_detector

    with pytest.raises(NotEnoughData, match="0 to validate"):
        train_detector(trained.snapshot, TRAIN_ROWS, [], small_spec(tmp_path), lambda _: None)


def test_a_wrong_value_of_a_hyperparameter_is_the_users_to_correct(
    trained: Trained, tmp_path: Path
) -> None:
    from train.trainer import train_detector

    spec = replace(small_spec(tmp_path), hyperparameters={"lr0": "fast"})
    with pytest.raises(Misconfigured, match="lr0"):
        train_detector(trained.snapshot, TRAIN_ROWS, VAL_ROWS, spec, lambda _: None)


def test_only_known_hyperparameters_can_be_set(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"train\.pretrained"):
        replace(small_spec(tmp_path), hyperparameters={"pretrained": "evil.pt"})
