"""What Tune is told: which values come next, and who is stopped. No trial is trained here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from loop.snapshots import Labels
from store.settings import Settings
from train.params import Params
from train.search_space import search_space
from train.search_study import study_of
from train.search_trials import OBJECTIVE, SearchTrial, TrialState
from train.session import Plan
from train.trial import SearchJob, TrialEnd
from train.tune_policy import Hopeless, Suggestions, halving

pytestmark = pytest.mark.slow  # imports Tune

PARAMS = Params(
    EPOCHS=27,
    SEED=3,
    search={
        "lr0": {"low": 0.0001, "high": 0.1, "log": True},
        "close_mosaic": {"low": 0, "high": 20, "step": 5},
        "optimizer": {"choices": ["SGD", "AdamW"]},
    },
)
PLAN = Plan("trial", "trial", Labels.ADJUDICATED, (), "folds", "0" * 64, Path())
JOB = SearchJob(
    Settings(), PARAMS, search_space(PARAMS), PLAN, Path("snapshot"), Path(), "search-run"
)


def suggestions(past: Sequence[SearchTrial] = (), params: Params = PARAMS) -> Any:
    job = replace(JOB, params=params, space=search_space(params))
    return Suggestions(job, past)


def end(search: Any, trial_id: str, score: float) -> None:
    finished = TrialEnd(TrialState.FINISHED, 27, score)
    search.on_trial_complete(trial_id, {"epoch": 27, OBJECTIVE: score, "end": finished})


def trained(number: int, values: dict[str, Any], score: float) -> SearchTrial:
    curve = {27: score}
    return SearchTrial(number, TrialState.FINISHED, values, score, 27, "run", curve=curve)


def test_an_interrupted_search_goes_on_as_if_nothing_had_been() -> None:
    """More than the ten trials that Optuna draws at random before it learns."""
    whole, past, expected = suggestions(), list[SearchTrial](), list[dict[str, Any]]()
    for number in range(14):
        config = whole.suggest(f"t{number}")
        expected.append(config)
        end(whole, f"t{number}", 1 / (1 + config["values"]["close_mosaic"]))
    for number in range(12):
        values = expected[number]["values"]
        past.append(trained(number, values, 1 / (1 + values["close_mosaic"])))
    resumed = suggestions(past)
    for number in (12, 13):
        config = resumed.suggest(f"r{number}")
        assert config == expected[number]
        end(resumed, f"r{number}", 1 / (1 + config["values"]["close_mosaic"]))


def test_trials_that_were_not_settled_come_first_under_their_own_numbers() -> None:
    values = {"lr0": 0.001, "close_mosaic": 5, "optimizer": "SGD"}
    past = [
        trained(0, values, 0.5),
        SearchTrial(1, TrialState.UNFINISHED, values | {"lr0": 0.002}),
        trained(2, values, 0.6),
        SearchTrial(3, TrialState.UNFINISHED, values | {"lr0": 0.004}),
    ]
    search = suggestions(past)
    found = [search.suggest(name) for name in "abc"]
    assert [config["number"] for config in found] == [1, 3, 4]
    assert [config["values"]["lr0"] for config in found[:2]] == [0.002, 0.004]
    assert found[2]["values"]["lr0"] not in {0.002, 0.004}


def test_the_values_that_are_there_now_are_tried_first() -> None:
    now = {"lr0": 0.01, "close_mosaic": 10, "optimizer": "SGD"}
    search = suggestions(params=PARAMS.model_copy(update={"train": now}))
    assert search.suggest("a") == {"number": 0, "values": now}
    assert search.suggest("b")["number"] == 1


def test_what_came_of_a_trial_is_told_to_optuna_as_what_it_was() -> None:
    search = suggestions()
    for name in "abcd":
        search.suggest(name)
    end(search, "a", 0.5)
    search.on_trial_result("b", {"epoch": 3, OBJECTIVE: 0.1})
    search.on_trial_complete("b", {"epoch": 4, OBJECTIVE: 0.2})
    failed = TrialEnd(TrialState.FAILED, 1, None, "No number.")
    search.on_trial_complete("c", {"epoch": 1, "end": failed})
    search.on_trial_complete("d", error=True)
    told = search._study.trials
    states = optuna.trial.TrialState
    assert [trial.state for trial in told] == [
        states.COMPLETE,
        states.PRUNED,
        states.FAIL,
        states.FAIL,
    ]
    assert told[1].intermediate_values == {3: 0.1, 4: 0.2}
    assert [trial.value for trial in told] == [0.5, 0.2, None, None]
    # As it is read from the record, the same trials make the same study.
    values = [trial.params for trial in told]
    past = [
        trained(0, values[0], 0.5),
        SearchTrial(1, TrialState.STOPPED, values[1], 0.2, 4, curve={3: 0.1, 4: 0.2}),
        SearchTrial(2, TrialState.FAILED, values[2]),
    ]
    again, _ = study_of(past, JOB.space)
    kept = ("state", "value", "params", "distributions")
    for old, new in zip(told, again.trials, strict=False):
        assert [getattr(old, name) for name in kept] == [getattr(new, name) for name in kept]


def decision(scheduler: Any, name: str, curve: dict[int, float]) -> tuple[str, int]:
    trial = SimpleNamespace(trial_id=name)
    scheduler.on_trial_add(None, trial)
    for epoch, score in curve.items():
        said = scheduler.on_trial_result(None, trial, {"epoch": epoch, OBJECTIVE: score})
        if said == TrialScheduler.STOP:
            return said, epoch
    return TrialScheduler.CONTINUE, max(curve)


def rising(top: float) -> dict[int, float]:
    return {epoch: top * epoch / 27 for epoch in range(1, 28)}


def test_a_trial_that_falls_behind_is_stopped_at_the_first_look_and_a_good_one_never() -> None:
    scheduler = halving(PARAMS, [])
    assert decision(scheduler, "a", rising(0.6)) == (TrialScheduler.CONTINUE, 27)
    assert decision(scheduler, "b", rising(0.3)) == (TrialScheduler.STOP, 3)
    assert decision(scheduler, "c", rising(0.9)) == (TrialScheduler.CONTINUE, 27)
    late = {epoch: score for epoch, score in rising(0.95).items() if epoch < 5}
    assert decision(scheduler, "d", late | {9: 0.2}) == (TrialScheduler.STOP, 9)


def test_after_an_interruption_a_trial_is_compared_with_those_before_it() -> None:
    values = {"lr0": 0.001, "close_mosaic": 5, "optimizer": "SGD"}
    past = [
        SearchTrial(0, TrialState.FINISHED, values, 0.6, 27, curve=rising(0.6)),
        SearchTrial(1, TrialState.FAILED, values),
    ]
    scheduler = halving(PARAMS, past)
    assert decision(scheduler, "b", rising(0.3)) == (TrialScheduler.STOP, 3)
    assert decision(scheduler, "c", rising(0.7)) == (TrialScheduler.CONTINUE, 27)


def test_with_a_single_epoch_there_is_nothing_to_stop() -> None:
    one = PARAMS.model_copy(update={"EPOCHS": 1})
    assert isinstance(halving(one, []), FIFOScheduler)
    two = PARAMS.model_copy(update={"EPOCHS": 2})
    scheduler = halving(two, [])
    assert decision(scheduler, "a", {1: 0.5, 2: 0.6}) == (TrialScheduler.CONTINUE, 2)
    assert decision(scheduler, "b", {1: 0.1, 2: 0.6}) == (TrialScheduler.STOP, 1)


def test_a_search_whose_first_trials_all_failed_is_given_up() -> None:
    failed = {"end": TrialEnd(TrialState.FAILED, 0, None, "No number.")}
    hopeless = Hopeless([SearchTrial(0, TrialState.FAILED, {})])
    hopeless("a", failed)
    assert not hopeless.stop_all()
    hopeless("b", failed)
    assert hopeless.stop_all()
    with_hope = Hopeless([])
    with_hope("a", {"epoch": 1, OBJECTIVE: 0.1})
    for name in "bcde":
        with_hope(name, failed)
    assert not with_hope.stop_all()
