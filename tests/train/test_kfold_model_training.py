from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from loop.errors import BrokenRecord, TrainingFailed
from loop.events import Event, Outcome
from loop.impact import class_scores
from loop.snapshots import Labels
from store.audit_log import open_audit_log
from store.model_registry import open_model_registry
from store.settings import Settings, load_settings
from store.snapshot_files import open_snapshot
from store.tracking import open_tracking
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
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    return Place(load_settings(), tmp_path)


@pytest.mark.timeout(600)
def test_two_folds_are_trained_registered_and_put_on_record(place: Place) -> None:
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
    assert {path.name for path in artifacts.iterdir()} == {
        "kfold_results.csv",
        "plots.html",
        "model",
    }
    children = [tracking.run(run_id) for run_id in tracking.children(parent.run_id)]
    assert [child.tags["loop.fold"] for child in children] == ["0", "1"]
    for child in children:
        assert (child.status, child.tags["loop.kind"]) == ("FINISHED", "fold")
        assert child.tags["loop.cv_id"] == summary["cv_id"]
        assert child.tags["loop.snapshot_sha256"] == summary["snapshot_sha256"]
        assert child.tags["loop.folds_sha256"] == summary["folds_sha256"]
        assert {"loop.dvc_rev", "loop.git_commit", "loop.base_weights_sha256"} <= set(child.tags)
        assert child.tags["loop.seed"] == "0"
        assert child.metrics["epoch"] == EPOCHS
        assert tracking.metric_steps(child.run_id, "map50") == [1, 2]
        own = summary["per_class"][int(child.tags["loop.fold"])]["scores"]
        assert class_scores(child.metrics, classes, "map50_95") == pytest.approx(
            {name: scores["map50_95"] for name, scores in own.items()}
        )


def _check_registry(place: Place, summary: dict[str, Any]) -> None:
    registry = open_model_registry(place.settings)
    candidate = registry.resolve("candidate")
    assert candidate.as_dict() == summary["candidate"]
    version = registry.versions()[0]
    assert version.run_id == summary["mlflow_run_id"]
    assert version.tags["loop.folds_sha256"] == summary["folds_sha256"]
    assert registry.fetch(candidate).read_bytes() == (PATHS.kfold_runs / "best.pt").read_bytes()


def _check_events(place: Place, summary: dict[str, Any]) -> None:
    events = place.events()
    assert [event.type for event in events][:3] == ["kfold.started", *["fold.started"] * 2]
    assert [event.type for event in events][3:] == [
        *["fold.ended"] * 2,
        "model.registered",
        "kfold.ended",
    ]
    started = events[0]
    assert {event.outcome for event in events[:3]} == {Outcome.INTENDED}
    assert {event.outcome for event in events[3:]} == {Outcome.DONE}
    assert {event.cause for event in events[1:]} == {started.id}
    for event in events:
        assert event.subject["snapshot_sha256"] == summary["snapshot_sha256"]
        assert event.subject["mlflow_run_id"] == summary["mlflow_run_id"]


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


@pytest.mark.timeout(600)
def test_folds_that_fail_are_named_and_on_record(place: Place) -> None:
    broken = PARAMS | {"train": {"lr0": "fast"}}
    (place.folder / "params.yaml").write_text(yaml.safe_dump(broken))
    with pytest.raises(TrainingFailed, match=r"Fold 0 failed.*lr0.*Fold 1 failed"):
        kfold_model_training.main()
    ended = {event.type: event for event in place.events() if event.type.endswith("ended")}
    assert {event.outcome for event in ended.values()} == {Outcome.FAILED}
    assert "lr0" in ended["kfold.ended"].reason
    tracking = open_tracking(place.settings)
    parent = tracking.run(ended["kfold.ended"].subject["mlflow_run_id"])
    assert parent.status == "FAILED"
    assert "lr0" in parent.tags["loop.failure"]
    assert {tracking.run(run_id).status for run_id in tracking.children(parent.run_id)} == {
        "FAILED"
    }
