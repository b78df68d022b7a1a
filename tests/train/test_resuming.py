"""A training that goes on from a checkpoint is the one that was never stopped."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from detector.ultralytics_env import prepare
from loop.errors import TrainingFailed
from store.snapshot_files import Snapshot
from tests.train.generated import SIZE_PX, generated_snapshot, small_spec
from tests.train.test_same_as_ultralytics import table_of, weights_of
from train.decoded import DecodedImages, decode_images
from train.training import EpochReport, TrainResult, TrainSpec

pytestmark = pytest.mark.slow
TRAIN_ROWS, VAL_ROWS = range(8), range(8, 12)
EPOCHS = 4
# Gradients of three batches make a step, so that some are waiting at the end of most epochs; the
# mosaics end half-way.
HYPERPARAMETERS = {"optimizer": "AdamW", "lr0": 0.005, "nbs": 12, "close_mosaic": 2, "mosaic": 0.7}


@dataclass(frozen=True)
class Run:
    snapshot: Snapshot
    spec: TrainSpec
    result: TrainResult
    reports: list[EpochReport]
    kept: Path


def keep(into: Path, reports: list[EpochReport]) -> Callable[[EpochReport], None]:
    def on_epoch(report: EpochReport) -> None:
        reports.append(report)
        folder = into / str(report.epoch)
        folder.mkdir(parents=True)
        for file in (report.last, report.best, report.results):
            if file.exists():
                shutil.copy(file, folder)

    return on_epoch


def scores(reports: list[EpochReport]) -> list[dict[str, float]]:
    return [{k: v for k, v in report.metrics.items() if k != "seconds"} for report in reports]


# Four images a batch fill all batches of an epoch, three do not: loaders draw differently.
@pytest.fixture(scope="module", params=[4, 3], ids=["full batches", "a smaller last batch"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    prepare(tmp_path_factory.mktemp("ultralytics"))
    from train.trainer import train_detector

    snapshot = generated_snapshot(tmp_path_factory.mktemp("snapshot"), 12)
    spec = replace(
        small_spec(tmp_path_factory.mktemp("run"), epochs=EPOCHS),
        batch_size=request.param,
        val_period=2,
        hyperparameters=HYPERPARAMETERS,
    )
    kept, reports = tmp_path_factory.mktemp("kept"), list[EpochReport]()
    result = train_detector(snapshot, TRAIN_ROWS, VAL_ROWS, spec, keep(kept, reports))
    return Run(snapshot, spec, result, reports, kept)


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_resumed_training_ends_in_the_same_model(whole: Run, tmp_path: Path, epoch: int) -> None:
    from train.trainer import train_detector

    random.seed(epoch)  # a new process is in another state
    torch.manual_seed(epoch)
    reports: list[EpochReport] = []
    spec = replace(whole.spec, folder=tmp_path)
    result = train_detector(
        whole.snapshot,
        TRAIN_ROWS,
        VAL_ROWS,
        spec,
        reports.append,
        whole.kept / str(epoch) / "last.pt",
    )
    assert [report.epoch for report in reports] == list(range(epoch + 1, EPOCHS + 1))
    assert scores(reports) == scores(whole.reports)[epoch:]
    assert table_of(tmp_path / "results.csv") == table_of(whole.spec.folder / "results.csv")
    assert (result.metrics, result.best_epoch) == (whole.result.metrics, whole.result.best_epoch)
    for ours, wanted in ((result.last, whole.result.last), (result.best, whole.result.best)):
        weights = weights_of(wanted)
        assert all(torch.equal(value, weights[name]) for name, value in weights_of(ours).items())


def test_a_training_that_only_lacked_its_evaluation_trains_no_epoch_again(
    whole: Run, tmp_path: Path
) -> None:
    from train.trainer import train_detector

    reports: list[EpochReport] = []
    result = train_detector(
        whole.snapshot,
        TRAIN_ROWS,
        VAL_ROWS,
        replace(whole.spec, folder=tmp_path),
        reports.append,
        whole.kept / str(EPOCHS) / "last.pt",
    )
    assert reports == []
    assert result.metrics == whole.result.metrics
    assert (result.epochs, result.best_epoch) == (EPOCHS, whole.result.best_epoch)


def test_images_decoded_before_change_nothing_resumed_or_not(whole: Run, tmp_path: Path) -> None:
    from train.trainer import train_detector

    images = DecodedImages(list(decode_images(whole.snapshot, range(12), SIZE_PX)))
    for start, last in ((0, None), (1, whole.kept / "1" / "last.pt")):
        reports: list[EpochReport] = []
        spec = replace(whole.spec, folder=tmp_path / str(start))
        train_detector(
            *(whole.snapshot, TRAIN_ROWS, VAL_ROWS, spec, reports.append, last), images=images
        )
        assert scores(reports) == scores(whole.reports)[start:]


def test_a_training_may_have_no_patience_left_when_it_is_resumed(
    whole: Run, tmp_path: Path
) -> None:
    from train.trainer import train_detector

    last = whole.kept / "3" / "last.pt"
    state = torch.load(last, weights_only=True)
    state["validated"], state["stopper"]["best_epoch"] = True, 1
    shutil.copytree(last.parent, tmp_path / "kept")
    torch.save(state, tmp_path / "kept" / "last.pt")
    result = train_detector(
        whole.snapshot,
        TRAIN_ROWS,
        VAL_ROWS,
        replace(whole.spec, folder=tmp_path / "run", patience=2),
        lambda _: pytest.fail("no epoch was to be trained"),
        tmp_path / "kept" / "last.pt",
    )
    assert result.epochs == 3


def test_an_unreadable_checkpoint_is_named(whole: Run, tmp_path: Path) -> None:
    from train.trainer import train_detector

    for name in ("last.pt", "best.pt", "results.csv"):
        (tmp_path / name).write_bytes(b"broken")
    spec = replace(whole.spec, folder=tmp_path / "run")
    with pytest.raises(TrainingFailed, match="cannot be read"):
        train_detector(
            whole.snapshot, TRAIN_ROWS, VAL_ROWS, spec, lambda _: None, tmp_path / "last.pt"
        )
