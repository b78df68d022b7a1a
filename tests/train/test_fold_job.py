from __future__ import annotations

import errno
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from loop.errors import TrainingFailed
from store.snapshot_files import Snapshot
from tests.train.generated import generated_snapshot, small_spec
from tests.train.light_job import light_fold
from train.fold_job import FoldFailure, FoldResult, FoldTask, read_state, run_fold

EPOCHS = 3


class WorkerDied(BaseException):
    """Stands for a process that is gone: nothing after it happens."""


class Kept:
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
    config_dir: Path

    def task(self) -> FoldTask:
        return FoldTask(
            fold=0,
            run_id="run",
            snapshot=self.snapshot.folder,
            train_rows=(0, 1, 2, 3, 4, 5),
            val_rows=(6, 7, 8, 9),
            spec=small_spec(Path(), epochs=EPOCHS),
            config_dir=self.config_dir,
        )


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Fixture:
    snapshot = generated_snapshot(tmp_path_factory.mktemp("snapshot"), 10)
    return Fixture(snapshot, tmp_path_factory.mktemp("ultralytics"))


def work(tmp_path: Path, name: str = "work") -> Path:
    folder = tmp_path / name
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_a_fold_keeps_each_epoch_and_its_result(given: Fixture, tmp_path: Path) -> None:
    keep = Kept(tmp_path / "kept")
    result = run_fold(given.task(), work(tmp_path), None, keep)
    assert isinstance(result, FoldResult)
    assert (result.epochs, len(result.history)) == (EPOCHS, EPOCHS)
    assert len(keep.kept) == EPOCHS + 1
    names = {path.name for path in keep.kept[-1].iterdir()}
    assert names == {"best.pt", "results.csv", "state.json", "val_detections.parquet"}
    assert result.per_class
    state = read_state(keep.kept[-1])
    assert state.fold_result() == result
    assert sorted(state.ended_ms) == state.ended_ms
    assert len(state.ended_ms) == EPOCHS


@pytest.mark.slow
@pytest.mark.parametrize(("dies_at", "keeps_it"), [(2, False), (3, True), (4, False), (4, True)])
def test_a_fold_whose_worker_died_ends_as_if_it_had_not(
    given: Fixture, tmp_path: Path, dies_at: int, keeps_it: bool
) -> None:
    first, second = Kept(tmp_path / "1", dies_at, keeps_it=keeps_it), Kept(tmp_path / "2")
    with pytest.raises(WorkerDied):
        run_fold(given.task(), work(tmp_path, "w1"), None, first)
    result = run_fold(given.task(), work(tmp_path, "w2"), first.kept[-1], second)
    assert isinstance(result, FoldResult)
    assert [entry["epoch"] for entry in result.history] == [1, 2, 3]
    last = (second.kept or first.kept)[-1]
    expected = [] if not second.kept else [min(len(first.kept), EPOCHS)]
    assert read_state(last).resumed_after == expected


def test_a_fold_that_is_done_is_not_trained_again(given: Fixture, tmp_path: Path) -> None:
    keep = Kept(tmp_path / "kept")
    result = light_fold(given.task(), work(tmp_path), None, keep)
    again = Kept(tmp_path / "again")
    assert light_fold(given.task(), work(tmp_path, "w2"), keep.kept[-1], again) == result
    assert again.kept == []


def test_what_trying_again_would_not_change_is_a_failure_and_not_a_crash(
    given: Fixture, tmp_path: Path
) -> None:
    def refuses(*_: object) -> FoldResult:
        raise TrainingFailed("Losses are not finite.", hint="Lower lr0.")

    result = run_fold(
        given.task(),
        work(tmp_path),
        None,
        Kept(tmp_path / "kept"),
        train=refuses,  # type: ignore[arg-type]
    )
    assert result == FoldFailure("Losses are not finite.", "Lower lr0.")


def test_a_full_disk_is_named(given: Fixture, tmp_path: Path) -> None:
    def full(folder: Path, metrics: Mapping[str, float]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    task = replace(given.task(), fold=7)
    result = light_fold(task, work(tmp_path), None, full)
    assert isinstance(result, FoldFailure)
    assert result.message == "A checkpoint of fold 7 cannot be written: No space left on device."
    assert "resume" in result.hint
