from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from loop.classes import ClassList
from store.tracking import EXPERIMENT, Tracking
from tests.train.generated import small_spec
from train.fold_checkpoints import Checkpoints
from train.fold_job import FoldResult, FoldState, FoldTask
from train.fold_log import FoldLog

pytestmark = pytest.mark.slow
CLASSES = ClassList(("round_cell", "rod"))
RESULT = FoldResult(
    {"map50": 0.5}, epochs=3, best_epoch=2, seconds=4.5, history=(), per_class={"rod": {"map50": 1}}
)


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    folder = tmp_path_factory.mktemp("mlflow")
    tracking = Tracking(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts")
    tracking.prepare()
    return tracking


@pytest.fixture
def task(tracking: Tracking, tmp_path: Path) -> FoldTask:
    run_id = tracking.start_run(EXPERIMENT, "fold", tags={}, params={})
    return FoldTask(0, run_id, tmp_path, (0,), (1,), small_spec(Path()), tmp_path)


def keep(folder: Path, epochs: int, *, validated: int = 1, resumed_after: int = 0) -> None:
    """What a worker keeps at the end of an epoch; every ``validated``-th has scores."""
    history = []
    for epoch in range(1, epochs + 1):
        scores = {"map50_95": epoch / 10} if epoch % validated == 0 else {}
        history.append({"epoch": float(epoch), "loss": 1 / epoch, **scores})
    ended_ms = [1_700_000_000_000 + 1000 * epoch for epoch in range(epochs)]
    state = FoldState(1.0, history, ended_ms, [resumed_after] if resumed_after else [])
    files = folder / "new"
    files.mkdir(parents=True)
    (files / "state.json").write_text(json.dumps(asdict(state)))
    Checkpoints(folder).keep(files)


def test_each_epoch_that_is_kept_is_logged_once_at_the_time_it_ended(
    tracking: Tracking, task: FoldTask, tmp_path: Path
) -> None:
    log = FoldLog(tracking, task, tmp_path)
    assert not log.follow()
    assert log.latest == {}
    keep(tmp_path, 1)
    assert log.follow()
    assert not log.follow()
    keep(tmp_path, 3, validated=2)
    assert log.follow()
    assert tracking.metric_steps(task.run_id, "loss") == [1, 2, 3]
    points = tracking.metric_history(task.run_id, "loss")
    assert points[2].at == "2023-11-14T22:13:22.000000Z"
    assert log.map50_95 == {2: 0.2}
    assert log.latest == {"epoch": 3, "loss": pytest.approx(1 / 3), "map50_95": 0.2}


def test_a_driver_that_takes_over_logs_the_rest(
    tracking: Tracking, task: FoldTask, tmp_path: Path
) -> None:
    keep(tmp_path, 2)
    FoldLog(tracking, task, tmp_path).follow()
    keep(tmp_path, 3, resumed_after=2)
    log = FoldLog(tracking, task, tmp_path)
    log.end(RESULT, CLASSES)
    log.end(RESULT, CLASSES)
    assert tracking.metric_steps(task.run_id, "loss") == [1, 2, 3]
    assert tracking.metric_steps(task.run_id, "best_map50") == [3]
    tags = tracking.run(task.run_id).tags
    assert (tags["loop.resumed_after_epoch"], tags["loop.precision"]) == ("2", "fp32")
    assert log.resumed == 1


def test_what_a_dead_driver_still_sends_changes_nothing(
    tracking: Tracking, task: FoldTask, tmp_path: Path
) -> None:
    dead, alive = (FoldLog(tracking, task, tmp_path) for _ in range(2))
    keep(tmp_path, 1)
    dead.follow()  # so that it knows what is logged, and will not ask again
    alive.follow()
    keep(tmp_path, 3)
    alive.follow()
    dead.follow()
    assert tracking.metric_steps(task.run_id, "loss") == [1, 2, 3]
    assert tracking.metric_steps(task.run_id, "map50_95") == [1, 2, 3]


def test_epochs_wait_for_an_mlflow_that_does_not_answer(
    tracking: Tracking, task: FoldTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path, 2)
    log = FoldLog(Tracking("http://127.0.0.1:9", tracking.artifacts), task, tmp_path)
    assert log.follow()
    assert log.map50_95 == {1: 0.1, 2: 0.2}
    monkeypatch.setattr(log, "_tracking", tracking)
    assert log.follow()
    assert tracking.metric_steps(task.run_id, "loss") == [1, 2]
