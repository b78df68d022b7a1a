from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from loop.errors import Misconfigured
from store.settings import Settings
from store.tracking import EXPERIMENT, open_tracking
from tests.train.generated import generated_snapshot, small_spec
from train.fold_job import FoldFailure, FoldOutcome, FoldResult, FoldTask, Keep, run_fold
from train.fold_runner import Resources, run_folds

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
EPOCHS = 3
DIES_AT_EPOCH = 2


def dies_once(
    task: FoldTask, folder: Path, checkpoint: Path | None, keep: Keep
) -> FoldResult | FoldFailure:
    """As `run_fold`, but fold 0's first worker is killed when its second epoch was kept."""
    marker = task.artifacts / f"died-{task.fold}"

    def keep_and_die(kept: Path, metrics: Mapping[str, float]) -> None:
        keep(kept, metrics)
        if task.fold == 0 and metrics.get("epoch") == DIES_AT_EPOCH and not marker.exists():
            marker.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)

    return run_fold(task, folder, checkpoint, keep_and_die)


def fails(
    task: FoldTask, folder: Path, checkpoint: Path | None, keep: Keep
) -> FoldResult | FoldFailure:
    """Fold 0 says why it cannot; fold 1 breaks in a way that nobody foresaw."""
    if task.fold == 0:
        return FoldFailure("There is nothing to learn.", "Look elsewhere.")
    raise ZeroDivisionError("one by nothing")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings(home=tmp_path_factory.mktemp("home"), ray_address="")
    open_tracking(settings).prepare()
    settings.artifacts.mkdir(parents=True, exist_ok=True)
    return settings


def tasks(settings: Settings, snapshot: Path, count: int) -> list[FoldTask]:
    tracking = open_tracking(settings)
    return [
        FoldTask(
            fold=fold,
            run_id=tracking.start_run(EXPERIMENT, f"fold {fold}", tags={}, params={}),
            snapshot=snapshot,
            train_rows=(0, 1, 2, 3, 4, 5),
            val_rows=(6, 7, 8, 9),
            spec=small_spec(Path(), epochs=EPOCHS),
            tracking_uri=settings.tracking,
            artifacts=settings.artifacts,
            config_dir=settings.home / "ultralytics",
        )
        for fold in range(count)
    ]


@pytest.mark.timeout(600)
def test_a_fold_whose_worker_is_killed_resumes_and_the_others_do_not_notice(
    settings: Settings, tmp_path: Path
) -> None:
    generated_snapshot(tmp_path / "snapshot", 10)
    tracking = open_tracking(settings)
    two = tasks(settings, tmp_path / "snapshot", 2)
    ended: list[FoldOutcome] = []
    outcomes = run_folds(
        two,
        settings,
        Resources(cpus=1, gpus=0),
        name="killed",
        out=tmp_path / "out",
        on_end=ended.append,
        on_wait=lambda: None,
        job=dies_once,
    )
    assert (settings.artifacts / "died-0").exists()
    assert [outcome.reason for outcome in outcomes] == ["", ""]
    assert sorted(outcome.task.fold for outcome in ended) == [0, 1]
    for task, outcome in zip(two, outcomes, strict=True):
        assert outcome.result is not None
        assert [entry["epoch"] for entry in outcome.result.history] == [1, 2, 3]
        assert tracking.metric_steps(task.run_id, "map50") == [1, 2, 3]
        assert (tmp_path / "out" / f"fold_{task.fold}" / "best.pt").is_file()
    assert "loop.resumed_after_epoch" in tracking.run(two[0].run_id).tags
    assert "loop.resumed_after_epoch" not in tracking.run(two[1].run_id).tags
    assert not list((settings.home / "training").iterdir())


@pytest.mark.timeout(600)
def test_a_fold_that_cannot_be_trained_says_why(settings: Settings, tmp_path: Path) -> None:
    outcomes = run_folds(
        tasks(settings, tmp_path, 2),
        settings,
        Resources(cpus=0.5, gpus=0),
        name="failing",
        out=tmp_path / "out",
        on_end=lambda _: None,
        on_wait=lambda: None,
        job=fails,
    )
    assert [outcome.result for outcome in outcomes] == [None, None]
    assert (outcomes[0].reason, outcomes[0].hint) == (
        "There is nothing to learn.",
        "Look elsewhere.",
    )
    assert "ZeroDivisionError" in outcomes[1].reason
    assert "one by nothing" in outcomes[1].reason


def test_a_fold_that_asks_for_more_than_there_is_does_not_wait_for_it(
    settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(Misconfigured, match="10000 CPU") as caught:
        run_folds(
            [],
            settings,
            Resources(cpus=10_000, gpus=0),
            name="big",
            out=tmp_path,
            on_end=lambda _: None,
            on_wait=lambda: None,
        )
    assert "CPUS_PER_FOLD" in caught.value.hint
