from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from detector.exported import open_network
from loop.errors import BrokenRecord, Misconfigured
from loop.events import Event, Outcome
from loop.impact import class_scores
from loop.snapshots import Labels
from store.audit_log import open_audit_log
from store.model_registry import open_model_registry
from store.settings import Settings, load_settings
from store.snapshot_files import open_snapshot
from store.tracking import RunInfo, open_tracking
from tests.train.generated import ARCHITECTURE, SIZE_PX, generated_snapshot
from train import kfold_model_training, model_training
from train.indices import write_folds, write_split
from train.paths import StagePaths

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
PATHS = StagePaths(Labels.ADJUDICATED)
IMAGES, EPOCHS = 12, 2
PARAMS: dict[str, Any] = {
    "K_FOLDS": 2,
    "EPOCHS": EPOCHS,
    "BATCH_SIZE": 4,
    "IMG_SIZE": SIZE_PX,
    "ARCHITECTURE": str(ARCHITECTURE),
    "FINAL_MODEL": "best_fold",
    "EXPORTS": [],
    "train": {"lr0": 0.005, "nbs": 4},
}


@dataclass(frozen=True)
class Place:
    settings: Settings
    folder: Path

    def events(self) -> list[Event]:
        log = open_audit_log(self.settings)
        log.integrate()
        return [entry.event for entry in log.tail(1000)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A folder like a workspace's, with a snapshot, two folds and a split."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECONDLOOK_HOME", str(tmp_path / "var"))
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "SECONDLOOK_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    snapshot = generated_snapshot(PATHS.snapshot, IMAGES)
    write_folds(PATHS.folds, snapshot, np.arange(IMAGES, dtype=np.int8) % 2, k=2, seed=0)
    parts = ["val" if i % 3 == 0 else "train" for i in range(IMAGES)]
    write_split(PATHS.split, snapshot, parts, val_fraction=0.33, seed=0)
    place = Place(load_settings(), tmp_path)
    set_params(place)
    return place


def set_params(place: Place, **changes: Any) -> None:
    (place.folder / "params.yaml").write_text(yaml.safe_dump(PARAMS | changes))


@pytest.mark.timeout(600)
def test_two_folds_and_a_refit_are_trained_registered_and_put_on_record(place: Place) -> None:
    set_params(place, FINAL_MODEL="refit", EXPORTS=["onnx", "openvino"])
    kfold_model_training.main()
    summary = json.loads((PATHS.kfold_runs / "summary.json").read_text())
    _check_csv(summary)
    _check_mlflow(place, summary)
    _check_registry(place, summary)
    _check_events(place, summary)
    _check_no_image_was_written(place)


def _check_csv(summary: dict[str, Any]) -> None:
    with (PATHS.kfold_runs / "kfold_results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["fold"] for row in rows] == ["0", "1"]
    assert list(rows[0]) == list(summary["folds"][0])
    for row in rows:
        assert (row["train_images"], row["val_images"]) == ("6", "6")
        assert float(row["seconds"]) > 0
        assert Path(row["weights"]).is_file()
    best = PATHS.kfold_runs / f"fold_{summary['best_fold']}" / "best.pt"
    assert (PATHS.kfold_runs / "best.pt").read_bytes() == best.read_bytes()


def _check_mlflow(place: Place, summary: dict[str, Any]) -> None:
    tracking = open_tracking(place.settings)
    parent = tracking.run(summary["mlflow_run_id"])
    assert (parent.status, parent.tags["loop.kind"]) == ("FINISHED", "cv")
    assert parent.params["IMG_SIZE"] == str(SIZE_PX)
    assert parent.params["train.lr0"] == "0.005"
    assert parent.metrics["map50_mean"] == pytest.approx(summary["mean"]["map50"])
    assert "map50_95_std" in parent.metrics
    classes = open_snapshot(PATHS.snapshot).classes
    averaged = class_scores(parent.metrics, classes, "map50_95_mean")
    assert set(averaged) == {name for fold in summary["per_class"] for name in fold["scores"]}
    artifacts = Path(parent.artifact_uri.removeprefix("file://"))
    assert {path.name for path in artifacts.iterdir()} >= {
        "confusion_matrix.json",
        "kfold_results.csv",
        "model",
        "out_of_fold.parquet",
        "plots.html",
        "precision_recall.csv",
    }
    assert "loop.publishing_failed" not in parent.tags
    *children, refit = [tracking.run(run_id) for run_id in tracking.children(parent.run_id)]
    _check_refit(refit, summary)
    assert [child.tags["loop.fold"] for child in children] == ["0", "1"]
    for child in children:
        assert (child.status, child.tags["loop.kind"]) == ("FINISHED", "fold")
        assert child.tags["loop.cv_id"] == summary["cv_id"]
        assert child.tags["loop.snapshot_sha256"] == summary["snapshot_sha256"]
        assert child.tags["loop.folds_sha256"] == summary["folds_sha256"]
        assert {"loop.dvc_rev", "loop.git_commit", "loop.base_weights_sha256"} <= set(child.tags)
        assert child.tags["loop.seed"] == "0"
        assert child.tags["loop.precision"] in ("fp32", "bf16")
        assert child.metrics["epoch"] == EPOCHS
        assert tracking.metric_steps(child.run_id, "map50") == [1, 2]
        own = summary["per_class"][int(child.tags["loop.fold"])]["scores"]
        assert class_scores(child.metrics, classes, "map50_95") == pytest.approx(
            {name: scores["map50_95"] for name, scores in own.items()}
        )


def _check_refit(refit: RunInfo, summary: dict[str, Any]) -> None:
    final = summary["final_model"]
    assert (final["kind"], final["mlflow_run_id"]) == ("refit", refit.run_id)
    assert final["epochs"] == median_epoch(summary)
    assert "estimate" in final["note"]
    assert "fold" not in final
    assert (refit.status, refit.tags["loop.kind"]) == ("FINISHED", "refit")
    assert refit.tags["loop.folds_sha256"] == summary["folds_sha256"]
    assert refit.tags["loop.cv_id"] != summary["cv_id"]
    assert refit.metrics["epoch"] == final["epochs"]
    assert "map50" not in refit.metrics
    assert (PATHS.kfold_runs / "final.pt").read_bytes() != (
        PATHS.kfold_runs / "best.pt"
    ).read_bytes()


def median_epoch(summary: dict[str, Any]) -> int:
    return round(sum(fold["best_epoch"] for fold in summary["folds"]) / 2)


def _check_registry(place: Place, summary: dict[str, Any]) -> None:
    registry = open_model_registry(place.settings)
    candidate = registry.resolve("candidate")
    assert candidate.as_dict() == summary["candidate"]
    version = registry.versions()[0]
    assert version.run_id == summary["mlflow_run_id"]
    assert version.tags["loop.folds_sha256"] == summary["folds_sha256"]
    assert version.tags["loop.final_model"] == "refit"
    assert "loop.fold" not in version.tags
    final = PATHS.kfold_runs / "final.pt"
    assert registry.fetch(candidate).read_bytes() == final.read_bytes()
    assert set(version.exports) == {"onnx", "openvino"}
    for format in version.exports:
        _, info = open_network(registry.fetch_export(candidate, format))
        assert info.weights_sha256 == candidate.digest
        assert info.image_size == SIZE_PX


def _check_events(place: Place, summary: dict[str, Any]) -> None:
    events = place.events()
    assert [event.type for event in events][:3] == ["kfold.started", *["fold.started"] * 2]
    assert [event.type for event in events][3:] == [
        *["fold.ended"] * 2,
        "refit.started",
        "refit.ended",
        "model.registered",
        "kfold.ended",
    ]
    own = [event for event in events if not event.type.startswith("refit")]
    intended = {event.type for event in events if event.outcome is Outcome.INTENDED}
    assert intended == {"kfold.started", "fold.started", "refit.started"}
    assert {event.cause for event in own[1:]} == {own[0].id}
    assert {event.subject["snapshot_sha256"] for event in events} == {summary["snapshot_sha256"]}
    assert {event.subject["mlflow_run_id"] for event in own} == {summary["mlflow_run_id"]}
    registered = events[-2].details
    version = open_model_registry(place.settings).versions()[0]
    assert registered["exports"] == version.exports
    assert registered["exports_refused"] == {}
    assert registered["final_model"] == summary["final_model"]


@pytest.mark.timeout(600)
def test_first_answers_end_in_a_final_model_that_is_not_registered(place: Place) -> None:
    paths = StagePaths(Labels.FIRST_REVIEWER)
    shutil.copytree(PATHS.snapshot, paths.snapshot)
    shutil.copy(PATHS.folds, paths.folds)
    set_params(place, EPOCHS=1)
    kfold_model_training.main(Labels.FIRST_REVIEWER)
    summary = json.loads((paths.kfold_runs / "summary.json").read_text())
    best = paths.kfold_runs / f"fold_{summary['best_fold']}" / "best.pt"
    assert (paths.kfold_runs / "final.pt").read_bytes() == best.read_bytes()
    assert summary["final_model"]["fold"] == summary["best_fold"]
    assert summary["candidate"] is None
    assert open_model_registry(place.settings).versions() == []


def _check_no_image_was_written(place: Place) -> None:
    written = [path for path in place.folder.rglob("*") if path.is_file()]
    assert not [path for path in written if path.suffix in {".png", ".jpg", ".npy", ".cache"}]


@pytest.mark.timeout(600)
def test_the_standard_training_leaves_one_run(place: Place) -> None:
    model_training.main()
    summary = json.loads((PATHS.standard_runs / "summary.json").read_text())
    tracking = open_tracking(place.settings)
    run = tracking.run(summary["mlflow_run_id"])
    assert (run.status, run.tags["loop.kind"]) == ("FINISHED", "standard")
    assert tracking.children(run.run_id) == []
    assert tracking.metric_steps(run.run_id, "map50") == [1, 2]
    assert (PATHS.standard_runs / "best.pt").is_file()
    assert [event.type for event in place.events()] == ["training.started", "training.ended"]
    assert (summary["train_images"], summary["val_images"]) == (8, 4)


def test_folds_of_another_snapshot_are_refused(place: Place) -> None:
    other = generated_snapshot(place.folder / "other", IMAGES - 1)
    write_folds(PATHS.folds, other, np.arange(IMAGES - 1, dtype=np.int8) % 2, k=2, seed=0)
    with pytest.raises(BrokenRecord, match="was made for snapshot"):
        kfold_model_training.main()


def test_a_hyperparameter_that_is_none_is_refused_before_anything_is_trained(place: Place) -> None:
    set_params(place, train={"lr0": "fast"})
    with pytest.raises(Misconfigured, match="lr0"):
        kfold_model_training.main()
    assert "fold.started" not in [event.type for event in place.events()]
