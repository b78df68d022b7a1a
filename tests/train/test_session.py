"""Sessions from their beginning to their end, with a light job on one Ray for all tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from loop.errors import Conflict, NotEnoughData, NotFound, TrainingFailed, TrainingStopped
from loop.events import Event
from store.audit_log import open_audit_log
from store.settings import Settings
from store.tracking import EXPERIMENT, RunInfo, Tracking
from tests.train import light_session
from tests.train.generated import generated_snapshot
from tests.train.light_job import light_fold
from train.fold_job import FoldFailure, FoldResult, FoldTask, Keep
from train.ray_connection import connected
from train.resuming import find_resumable, resumable
from train.session import Context, Plan, Split, Trained, training
from train.session_state import SessionState, storage_of

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(600)]

EPOCHS, FOLDS = 4, 2
Scores = Mapping[int, Mapping[int, float]]


@pytest.fixture(scope="module", autouse=True)
def ray_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), ray_address="")
    with connected(settings, most_workers=4):
        yield


@dataclass(frozen=True)
class Given:
    plan: Plan
    context: Context

    @property
    def tracking(self) -> Tracking:
        return self.context.tracking

    @property
    def storage(self) -> Path:
        return storage_of(self.context.settings.home)

    def run(self, run_id: str) -> RunInfo:
        return self.tracking.run(run_id)

    def runs(self, kind: str = "cv") -> list[RunInfo]:
        return self.tracking.runs({"loop.kind": kind}, limit=100)

    def events(self, type: str) -> list[Event]:
        log = open_audit_log(self.context.settings)
        log.integrate()
        return [entry.event for entry in log.tail(1000) if entry.event.type == type]

    def states(self) -> list[SessionState]:
        found = [SessionState.read(folder) for folder in self.storage.iterdir()]
        return [state for state in found if state is not None]

    def train(
        self,
        *,
        plan: Plan | None = None,
        parent: str | None = None,
        resume: str | None = None,
        watch: Callable[[Scores], None] | None = None,
    ) -> Trained:
        with training(
            plan or self.plan,
            self.context,
            parent=parent,
            resume=resume,
            watch=watch,
            job=light_fold,
        ) as trained:
            trained.record.end({})
        return trained


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Given:
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "SECONDLOOK_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SECONDLOOK_HOME", str(tmp_path / "var"))
    monkeypatch.chdir(tmp_path)
    generated_snapshot(light_session.SNAPSHOT, 8)
    return Given(*light_session.session(EPOCHS, FOLDS))


def after(epoch: int, error: BaseException) -> Callable[[Scores], None]:
    def watch(scores: Scores) -> None:
        if any(epoch in by_epoch for by_epoch in scores.values()):
            raise error

    return watch


def test_whoever_watches_is_told_each_epoch_and_may_stop_the_folds(given: Given) -> None:
    told: list[Scores] = []

    def watch(scores: Scores) -> None:
        told.append({fold: dict(by_epoch) for fold, by_epoch in scores.items()})
        raise TrainingStopped("Others do better.")

    parent = given.tracking.start_run(EXPERIMENT, "search", tags={}, params={})
    with pytest.raises(TrainingStopped) as caught:
        given.train(parent=parent, watch=watch)
    assert caught.value.recorded
    [scores] = told
    assert {by_epoch[1] for by_epoch in scores.values() if by_epoch} == {0.005}
    [cv] = given.runs()
    assert cv.tags["mlflow.parentRunId"] == parent
    folds = given.tracking.child_runs(cv.run_id)
    killed = [run for run in (cv, *folds) if run.status == "KILLED"]
    assert {run.status for run in folds if run not in killed} <= {"FINISHED"}
    assert len(killed) >= 2
    for run in killed:
        assert run.tags["loop.stopped"] == "Others do better."
        assert "loop.failure" not in run.tags
    assert [event.reason for event in given.events("kfold.ended")] == ["Others do better."]
    assert not list(given.storage.iterdir())


def test_an_interrupted_training_is_resumed_and_ends_as_one(given: Given) -> None:
    with pytest.raises(KeyboardInterrupt):
        given.train(watch=after(2, KeyboardInterrupt()))
    [listed] = resumable(given.context.settings)
    [cv] = given.runs()
    assert (cv.status, cv.tags["loop.failure"]) == ("FAILED", "interrupted")
    assert (listed.run_id, listed.failure) == (cv.run_id, "interrupted")
    assert (listed.stage, listed.workspace) == ("kfold_model_training", Path.cwd())
    assert max(listed.epochs.values()) >= 2

    trained = given.train(resume=cv.run_id[:6])
    assert trained.record.run_id == cv.run_id
    [again] = given.runs()
    assert again.status == "FINISHED"
    assert "loop.failure" not in again.tags
    folds = given.tracking.child_runs(cv.run_id)
    assert [run.status for run in folds] == ["FINISHED"] * FOLDS
    for run in folds:
        assert given.tracking.metric_steps(run.run_id, "map50") == [1, 2, 3, 4]
    [resumed] = given.events("kfold.resumed")
    assert resumed.reason == "interrupted"
    assert resumed.cause == given.events("kfold.started")[0].id
    assert sum(resumed.details["epochs"].values()) >= 2
    assert resumable(given.context.settings) == []


def test_what_may_not_change_is_named(given: Given) -> None:
    with pytest.raises(KeyboardInterrupt):
        given.train(watch=after(1, KeyboardInterrupt()))
    params = given.context.params.model_copy(
        update={"BATCH_SIZE": 2, "train": {"lr0": 0.1}, "CPUS_PER_FOLD": 1}
    )
    plan = replace(given.plan, index_sha256="1" * 64)
    changed = Given(plan, replace(given.context, params=params))
    with pytest.raises(Conflict, match="BATCH_SIZE was 4, is 2") as caught:
        changed.train(resume="last")
    for text in (
        "folds was 000000000000, is 111111111111",
        "train.lr0 was not set, is 0.1",
        "train.nbs was 4, is not set",
    ):
        assert text in caught.value.message
    assert "CPUS_PER_FOLD" not in caught.value.message
    with pytest.raises(NotFound, match="nothing") as missing:
        given.train(resume="nothing")
    assert given.runs()[0].run_id[:8] in missing.value.hint


def test_a_session_that_failed_before_anything_was_safe_is_not_kept(given: Given) -> None:
    def fails(
        task: FoldTask, folder: Path, checkpoint: Path | None, keep: Keep
    ) -> FoldResult | FoldFailure:
        del folder, checkpoint, keep
        return FoldFailure(f"Nothing to learn in {task.fold}.", "Look elsewhere.")

    with (
        pytest.raises(TrainingFailed, match=r"Fold 0 failed: Nothing.*Fold 1 failed") as caught,
        training(given.plan, given.context, job=fails),
    ):
        pass
    assert caught.value.recorded
    assert caught.value.hint == "Look elsewhere."
    assert {run.status for run in (*given.runs(), *given.runs("fold"))} == {"FAILED"}
    assert not list(given.storage.iterdir())


def test_a_full_disk_fails_the_session_clearly_and_it_goes_on_from_there(given: Given) -> None:
    with pytest.raises(KeyboardInterrupt):
        given.train(watch=after(EPOCHS, KeyboardInterrupt()))
    blocked = replace(given.plan, out=given.context.workspace / "params.yaml" / "out")
    (given.context.workspace / "params.yaml").touch()
    with pytest.raises(TrainingFailed, match="cannot be written: Not a directory") as caught:
        given.train(plan=blocked, resume="last")
    assert "resume" in caught.value.hint
    [cv] = given.runs()
    assert (cv.status, "cannot be written" in cv.tags["loop.failure"]) == ("FAILED", True)
    given.train(resume="last")
    assert given.run(cv.run_id).status == "FINISHED"


def test_a_training_below_another_one_is_taken_up_with_it(given: Given) -> None:
    rows = tuple(range(8))
    refit = replace(
        given.plan,
        kind="refit",
        noun="refit",
        splits=(Split(0, rows, ()),),
        one_run=True,
        validates=False,
    )
    parent = given.tracking.start_run(EXPERIMENT, "cv", tags={}, params={})
    with pytest.raises(KeyboardInterrupt):
        given.train(plan=refit, parent=parent, watch=after(2, KeyboardInterrupt()))
    assert resumable(given.context.settings) == []  # a person resumes what is above it
    trained = given.train(plan=refit, parent=parent)
    [run] = given.runs("refit")
    assert (run.run_id, run.status) == (trained.record.run_id, "FINISHED")
    assert trained.rows == ()
    assert given.tracking.metric_steps(run.run_id, "epoch") == [1, 2, 3, 4]
    assert given.tracking.child_runs(run.run_id) == []
    given.train(plan=refit, parent=parent)
    assert len(given.runs("refit")) == 2


def test_a_session_that_runs_is_not_resumed(given: Given) -> None:
    def watch(_: Scores) -> None:
        [state] = given.states()
        with pytest.raises(Conflict, match="still running"):
            find_resumable(given.context.settings, state.run_id)
        raise TrainingStopped("That was all.")

    with pytest.raises(TrainingStopped):
        given.train(watch=watch)


def test_a_session_of_another_machine_lives_as_long_as_it_shows_life(given: Given) -> None:
    with pytest.raises(KeyboardInterrupt):
        given.train(watch=after(1, KeyboardInterrupt()))
    [file] = given.storage.glob("*/session.json")
    raw = json.loads(file.read_text())
    raw["driver"]["host"], raw["status"] = "elsewhere", "running"
    file.write_text(json.dumps(raw))
    given.tracking.reopen(raw["run_id"])
    assert resumable(given.context.settings) == []
    (file.parent / "alive").unlink()
    [listed] = resumable(given.context.settings)
    assert listed.failure == "The process that ran it is gone."
    assert given.run(raw["run_id"]).status == "FAILED"


def test_splits_without_images_are_refused_before_anything_is_opened(given: Given) -> None:
    plan = replace(given.plan, splits=(Split(0, (0, 1), ()),))
    with pytest.raises(NotEnoughData, match="0 to validate"):
        given.train(plan=plan)
    assert given.runs() == []
