from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from loop.impact import class_metrics
from store.snapshot_files import Snapshot
from store.tracking import EXPERIMENT, Tracking
from tests.train.generated import generated_snapshot, small_spec
from train.fold_job import FoldFailure, FoldResult, FoldTask, run_fold

pytestmark = pytest.mark.slow
EPOCHS = 3


class WorkerDied(Exception):
    """Stands for a process that is gone: nothing after it happens."""


class Checkpoints:
    """Keeps checkpoints, and dies when asked to keep number ``dies_at``, before or after it."""

    def __init__(self, folder: Path, dies_at: int = 0, *, keeps_it: bool = False) -> None:
        self.folder = folder
        self.kept: list[Path] = []
        self._dies_at = dies_at
        self._keeps_it = keeps_it

    def __call__(self, folder: Path, metrics: Mapping[str, float]) -> None:
        number = len(self.kept) + 1
        if number == self._dies_at and not self._keeps_it:
            raise WorkerDied
        self.kept.append(Path(shutil.copytree(folder, self.folder / str(number))))
        if number == self._dies_at:
            raise WorkerDied


@dataclass(frozen=True)
class Fixture:
    snapshot: Snapshot
    tracking: Tracking
    config_dir: Path

    def task(self) -> FoldTask:
        run_id = self.tracking.start_run(EXPERIMENT, "fold", tags={}, params={})
        return FoldTask(
            fold=0,
            run_id=run_id,
            snapshot=self.snapshot.folder,
            train_rows=(0, 1, 2, 3, 4, 5),
            val_rows=(6, 7, 8, 9),
            spec=small_spec(Path(), epochs=EPOCHS),
            tracking_uri=self.tracking.uri,
            artifacts=self.tracking.artifacts,
            config_dir=self.config_dir,
        )


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Fixture:
    folder = tmp_path_factory.mktemp("mlflow")
    tracking = Tracking(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts")
    tracking.prepare()
    snapshot = generated_snapshot(tmp_path_factory.mktemp("snapshot"), 10)
    return Fixture(snapshot, tracking, tmp_path_factory.mktemp("ultralytics"))


def test_a_fold_logs_each_epoch_and_its_best_scores(given: Fixture, tmp_path: Path) -> None:
    task, keep = given.task(), Checkpoints(tmp_path / "kept")
    result = run_fold(task, tmp_path / "work", None, keep)
    assert isinstance(result, FoldResult)
    assert (result.epochs, len(result.history)) == (EPOCHS, EPOCHS)
    assert len(keep.kept) == EPOCHS + 1
    names = {path.name for path in keep.kept[-1].iterdir()}
    assert names == {"best.pt", "results.csv", "state.json"}
    assert given.tracking.metric_steps(task.run_id, "map50") == [1, 2, 3]
    logged = given.tracking.latest_metrics(task.run_id)
    assert logged["best_map50"] == pytest.approx(result.metrics["map50"])
    assert logged["best_epoch"] == result.best_epoch
    assert result.per_class
    assert logged.items() >= class_metrics(result.per_class, given.snapshot.classes).items()


@pytest.mark.parametrize("keeps_it", [False, True])
@pytest.mark.parametrize("dies_at", [2, 3, 4])
def test_a_fold_whose_worker_died_ends_as_if_it_had_not(
    given: Fixture, tmp_path: Path, dies_at: int, keeps_it: bool
) -> None:
    task = given.task()
    first = Checkpoints(tmp_path / "first", dies_at, keeps_it=keeps_it)
    with pytest.raises(WorkerDied):
        run_fold(task, tmp_path / "work1", None, first)
    result = run_fold(task, tmp_path / "work2", first.kept[-1], Checkpoints(tmp_path / "second"))
    assert isinstance(result, FoldResult)
    assert [entry["epoch"] for entry in result.history] == [1, 2, 3]
    assert given.tracking.metric_steps(task.run_id, "map50") == [1, 2, 3]
    assert given.tracking.metric_steps(task.run_id, "best_map50") == [EPOCHS]
    [logged, *_] = class_metrics(result.per_class, given.snapshot.classes)
    assert given.tracking.metric_steps(task.run_id, logged) == [EPOCHS]
    noted = given.tracking.run(task.run_id).tags["loop.resumed_after_epoch"]
    assert noted == str(min(len(first.kept), EPOCHS))


def test_an_epoch_that_was_logged_and_then_lost_is_not_logged_twice(
    given: Fixture, tmp_path: Path
) -> None:
    task, first = given.task(), Checkpoints(tmp_path / "first", dies_at=3)
    with pytest.raises(WorkerDied):
        run_fold(task, tmp_path / "work1", None, first)
    before_the_lost_one = first.kept[0]
    run_fold(task, tmp_path / "work2", before_the_lost_one, Checkpoints(tmp_path / "second"))
    assert given.tracking.metric_steps(task.run_id, "map50") == [1, 2, 3]


def test_what_trying_again_would_not_change_is_a_failure_and_not_a_crash(
    given: Fixture, tmp_path: Path
) -> None:
    task = replace(given.task(), val_rows=())
    result = run_fold(task, tmp_path / "work", None, Checkpoints(tmp_path / "kept"))
    assert isinstance(result, FoldFailure)
    assert "0 to validate" in result.message
