"""A stage that fails is on record, in MLflow and in the audit log."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from loop.errors import LoopError, NotEnoughData
from loop.events import Outcome
from loop.snapshots import Labels
from store.snapshot_files import write_snapshot
from store.tracking import RunInfo, open_tracking
from tests.train.conftest import CLASSES, Loop
from train import data_collection, data_formatting, kfold_data_formatting
from train.paths import StagePaths
from train.stage import run_stage

SNAPSHOT = StagePaths(Labels.ADJUDICATED).snapshot


def failed_run(state: Loop, kind: str) -> RunInfo:
    """The latest one."""
    return open_tracking(state.settings).runs({"loop.kind": kind}, limit=10)[0]


def fail(error: Exception) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


def test_an_empty_snapshot_fewer_subjects_than_folds_and_a_rare_class_are_failed_runs(
    loop_state: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    """In turn, as they happen to somebody who brings in a little more each time."""
    Path("params.yaml").write_text("K_FOLDS: 3\n")
    write_snapshot(SNAPSHOT, Labels.ADJUDICATED, CLASSES, [], lambda _: b"")
    assert run_stage(data_formatting.main, "data_formatting") == 1
    assert "no images to split" in failed_run(loop_state, "data_formatting").tags["loop.failure"]
    shutil.rmtree(SNAPSHOT)

    assert run_stage(data_collection.main, "data_collection") == 1
    assert "secondlook import" in capsys.readouterr().err
    empty = failed_run(loop_state, "data_collection")
    assert (empty.status, empty.tags["loop.failure"]) == ("FAILED", "Nothing is annotated yet.")
    assert "loop.snapshot_sha256" not in empty.tags

    for number in range(2):
        loop_state.truth(number)
    data_collection.main()
    assert run_stage(kfold_data_formatting.main, "kfold_data_formatting") == 1
    assert "3 folds need 3 subjects, and there are 2" in capsys.readouterr().err
    few = failed_run(loop_state, "kfold_data_formatting")
    assert few.status == "FAILED"
    assert few.tags["loop.failure"].startswith("3 folds need 3 subjects")
    (record,) = _snapshots(loop_state)
    assert few.tags["loop.snapshot_sha256"] == record

    loop_state.truth(2, [0, 1])
    data_collection.main()
    assert run_stage(data_formatting.main, "data_formatting") == 1
    assert "ALLOW_RARE_CLASSES" in capsys.readouterr().err
    assert "rod" in failed_run(loop_state, "data_formatting").tags["loop.failure"]

    events = loop_state.events("stage.failed")
    assert [event.subject["stage"] for event in events] == [
        "data_formatting",
        "data_collection",
        "kfold_data_formatting",
        "data_formatting",
    ]
    assert {event.outcome for event in events} == {Outcome.FAILED}
    assert events[2].subject["mlflow_run_id"] == few.run_id
    assert events[2].subject["snapshot_sha256"] == record
    assert events[2].reason == few.tags["loop.failure"]

    Path("params.yaml").write_text("K_FOLDS: 3\nALLOW_RARE_CLASSES: true\n")
    assert run_stage(data_formatting.main, "data_formatting") == 0
    assert "Warning: All images to train on that show rod" in capsys.readouterr().out
    assert len(loop_state.events("stage.failed")) == 4


def test_a_corrupt_shard_is_named_and_a_failed_run(
    loop_state: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("params.yaml").write_text("K_FOLDS: 2\n")
    for number in range(4):
        loop_state.truth(number)
    data_collection.main()
    shard = next((SNAPSHOT / "images").iterdir())
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert run_stage(kfold_data_formatting.main, "kfold_data_formatting") == 1
    printed = capsys.readouterr().err
    assert shard.name in printed
    assert "dvc checkout" in printed
    run = failed_run(loop_state, "kfold_data_formatting")
    assert run.status == "FAILED"
    assert shard.name in run.tags["loop.failure"]
    assert run.tags["loop.snapshot_sha256"] == _snapshots(loop_state)[0]


def test_a_mistake_in_the_code_is_a_failed_run_too_of_the_labels_it_was_for(
    loop_state: Loop,
) -> None:
    with pytest.raises(ZeroDivisionError):
        run_stage(fail(ZeroDivisionError("by zero")), "first_reviewer_data_formatting")
    tags = failed_run(loop_state, "data_formatting").tags
    assert tags["loop.failure"] == "ZeroDivisionError: by zero"
    assert tags["loop.labels"] == "first_reviewer"


def test_what_was_put_on_record_already_is_not_again(loop_state: Loop) -> None:
    error = LoopError("Fold 1 failed.")
    error.recorded = True
    assert run_stage(fail(error), "kfold_model_training") == 1
    assert loop_state.events("stage.failed") == []
    assert not LoopError("Another.").recorded


def test_with_mlflow_down_the_error_is_still_the_stages_own(
    loop_state: Loop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
    assert run_stage(fail(NotEnoughData("Too few.", hint="Bring in more.")), "data_formatting") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["Error: Too few.", "  Try: Bring in more."]
    assert "not on record" in lines[2]
    (event,) = loop_state.events("stage.failed")
    assert (event.reason, event.subject["mlflow_run_id"]) == ("Too few.", None)


def test_outside_a_workspace_no_home_is_made_for_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SECONDLOOK_HOME", raising=False)
    assert run_stage(kfold_data_formatting.main, "kfold_data_formatting") == 1
    assert list(tmp_path.iterdir()) == []


def _snapshots(state: Loop) -> list[str]:
    with state.units() as uow:
        return [record.sha256 for record in uow.snapshots.list()]
