from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from store.settings import Settings
from store.tracking import EXPERIMENT, Tracking, open_tracking
from train.params import Params
from train.search_space import search_space
from train.search_trials import (
    OBJECTIVE,
    REPLACED_TAG,
    STATE_TAG,
    TRIAL_TAG,
    SearchTrial,
    TrialState,
    best_params,
    best_trial,
    objectives,
    read_trials,
    replace_older_runs,
    trial_runs,
    write_csv,
)

SPACE = search_space(
    Params(
        search={
            "lr0": {"low": 0.00001, "high": 0.1, "log": True},
            "BATCH_SIZE": {"choices": [4, 8]},
        }
    )
)
TRIAL = SearchTrial(0, TrialState.FINISHED, {"lr0": 1e-05, "BATCH_SIZE": 4}, 0.5, 9, "run-0")


def test_the_objective_is_there_for_epochs_that_all_folds_have() -> None:
    curves = {0: {1: 0.2, 2: 0.4}, 1: {1: 0.4}}
    assert objectives(curves, folds=2) == {1: pytest.approx(0.3)}
    assert objectives(curves, folds=3) == {}
    assert objectives({}, folds=2) == {}
    assert objectives({0: {2: 0.1, 4: 0.3}, 1: {2: 0.3, 4: 0.3}}, 2) == {
        2: pytest.approx(0.2),
        4: pytest.approx(0.3),
    }


def test_each_fold_counts_with_its_best_epoch_so_far() -> None:
    curves = {0: {1: 0.2, 2: 0.6, 3: 0.1}, 1: {1: 0.4, 2: 0.2, 3: 0.5}}
    assert objectives(curves, folds=2) == pytest.approx({1: 0.3, 2: 0.5, 3: 0.55})


score = st.floats(0, 1)


@given(st.lists(st.lists(score, min_size=1, max_size=8), min_size=1, max_size=5))
def test_the_objective_never_falls_and_lies_between_the_folds(folds: list[list[float]]) -> None:
    curves = {i: dict(enumerate(curve, start=1)) for i, curve in enumerate(folds)}
    found = list(objectives(curves, len(folds)).values())
    assert len(found) == min(map(len, folds))
    assert found == sorted(found)
    assert found[-1] <= max(map(max, folds)) + 1e-9


def test_the_best_trial_is_one_that_was_trained_to_the_end() -> None:
    stopped = replace(TRIAL, number=1, state=TrialState.STOPPED, objective=0.9)
    failed = replace(TRIAL, number=2, state=TrialState.FAILED, objective=None)
    equal = replace(TRIAL, number=3)
    assert best_trial([failed, stopped, equal, TRIAL]) == TRIAL
    assert best_trial([failed, stopped]) == stopped
    assert best_trial([failed]) is None
    assert best_trial([]) is None


def test_the_csv_has_a_row_a_trial(tmp_path: Path) -> None:
    failed = replace(TRIAL, number=1, state=TrialState.FAILED, objective=None, failure="No, or so")
    write_csv(tmp_path / "results.csv", [TRIAL, failed], SPACE)
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == ["0", "1"]
    assert (rows[0]["state"], rows[0]["map50_95"], rows[0]["lr0"]) == ("finished", "0.5", "1e-05")
    assert (rows[1]["map50_95"], rows[1]["failure"]) == ("", "No, or so")


def test_the_best_values_are_written_as_params_yaml_has_them() -> None:
    read = yaml.safe_load(best_params(TRIAL, SPACE))
    assert read == {"train": {"optimizer": "AdamW", "lr0": 1e-05}, "BATCH_SIZE": 4}


@pytest.fixture
def tracking(tmp_path: Path) -> Tracking:
    found = open_tracking(Settings(home=tmp_path))
    found.prepare()
    return found


def begin(tracking: Tracking, parent: str, number: int, lr0: float, **tags: str) -> str:
    return tracking.start_run(
        EXPERIMENT,
        f"trial {number}",
        tags={TRIAL_TAG: str(number)} | tags,
        params={"train.lr0": lr0, "BATCH_SIZE": 8},
        parent=parent,
    )


@pytest.mark.slow
def test_trials_are_read_from_their_runs(tracking: Tracking) -> None:
    search = tracking.start_run(EXPERIMENT, "search", tags={}, params={})
    tracking.start_run(EXPERIMENT, "something else", tags={}, params={}, parent=search)
    ids = [
        begin(tracking, search, 1, 0.02, **{STATE_TAG: "failed", "loop.failure": "Too fast."}),
        begin(tracking, search, 0, 0.001, **{STATE_TAG: "finished"}),
    ]
    for epoch, value in ((1, 0.1), (2, 0.3), (2, 0.25)):
        tracking.log_metrics(ids[1], {OBJECTIVE: value, "epoch": epoch}, epoch)
    failed_first = read_trials(tracking, search, SPACE, curves=True)
    assert [trial.number for trial in failed_first] == [0, 1]
    finished, failed = failed_first
    assert finished.values == {"lr0": 0.001, "BATCH_SIZE": 8}
    assert (finished.state, finished.objective, finished.epoch) == (TrialState.FINISHED, 0.25, 2)
    assert finished.curve == {1: 0.1, 2: 0.25}
    assert (failed.state, failed.failure) == (TrialState.FAILED, "Too fast.")
    assert failed.objective is None


@pytest.mark.slow
def test_of_a_trial_that_was_run_again_the_last_run_counts(tracking: Tracking) -> None:
    search = tracking.start_run(EXPERIMENT, "search", tags={}, params={})
    first = begin(tracking, search, 0, 0.001)
    other = begin(tracking, search, 1, 0.001)
    second = begin(tracking, search, 0, 0.001)
    replace_older_runs(tracking, search, 0, second)
    assert {n: run.run_id for n, run in trial_runs(tracking, search).items()} == {
        0: second,
        1: other,
    }
    assert tracking.run(first).tags[REPLACED_TAG] == second
    assert tracking.run(first).status == "KILLED"
    assert {tracking.run(run).status for run in (other, second)} == {"RUNNING"}
