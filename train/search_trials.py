"""The trials of a search, as its record has them: MLflow is where a search is resumed from."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from store.tracking import RunInfo, Tracking
from train.run_record import FAILURE_TAG
from train.search_space import SearchSpace, Value, path_of

TRIAL_KIND = "trial"
TRIAL_TAG, STATE_TAG = "loop.trial", "loop.trial_state"
# On a run whose trial was run again from its beginning: the id of the run that counts.
REPLACED_TAG = "loop.replaced_by"
# The metric that is searched for: the mean over the folds of the best mAP50-95 so far, by epoch.
OBJECTIVE = "objective"


class TrialState(StrEnum):
    UNFINISHED = "unfinished"
    FINISHED = "finished"
    STOPPED = "stopped"  # others were better after as many epochs
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SearchTrial:
    """One trial. ``objective`` is that of ``epoch``, in [0, 1], None before there is one.

    ``curve`` has the objective by epoch (from 1), where it was asked for. Times are RFC 3339 in
    UTC; ``ended_at`` is empty while it runs.
    """

    number: int
    state: TrialState
    values: Mapping[str, Value]
    objective: float | None = None
    epoch: int = 0
    run_id: str = ""
    started_at: str = ""
    ended_at: str = ""
    failure: str = ""
    curve: Mapping[int, float] = field(default_factory=dict)

    @property
    def settled(self) -> bool:
        return self.state is not TrialState.UNFINISHED


def objectives(curves: Mapping[int, Mapping[int, float]], folds: int) -> dict[int, float]:
    """The objective by epoch, for epochs that all of ``folds`` folds have.

    ``curves`` has the mAP50-95 by epoch, by fold. A fold counts with its best so far, for that
    is the model that would come out of it.
    """
    if len(curves) < folds:
        return {}
    common = sorted(set.intersection(*(set(curve) for curve in curves.values())))
    return {
        epoch: sum(_best_until(curve, epoch) for curve in curves.values()) / folds
        for epoch in common
    }


def read_trials(
    tracking: Tracking, search_run: str, space: SearchSpace, *, curves: bool = False
) -> list[SearchTrial]:
    """The trials of a search by number; of one that was run again, the run that counts."""
    runs = trial_runs(tracking, search_run)
    trials = [_trial(run, space) for run in runs.values()]
    if not curves:
        return trials
    return [_with_curve(tracking, trial) for trial in trials]


def trial_runs(tracking: Tracking, search_run: str) -> dict[int, RunInfo]:
    """The run of each trial that has begun, by its number: the newest one of each.

    MLflow has a run before it has its params: until then, or if its process died in between, it
    has not begun.
    """
    runs = tracking.child_runs(search_run)
    found = [run for run in runs if TRIAL_TAG in run.tags and run.params]
    by_number = {int(run.tags[TRIAL_TAG]): run for run in found}  # oldest first: the last stays
    return dict(sorted(by_number.items()))


def replace_older_runs(tracking: Tracking, search_run: str, number: int, run_id: str) -> None:
    """Say on each earlier run of the trial that it does not count any more."""
    for run in tracking.child_runs(search_run):
        same = run.tags.get(TRIAL_TAG) == str(number)
        if same and run.run_id != run_id and REPLACED_TAG not in run.tags:
            tracking.set_tags(run.run_id, {REPLACED_TAG: run_id})
            if run.status == "RUNNING":
                tracking.end_run(run.run_id, ok=False, killed=True)


def best_trial(trials: Sequence[SearchTrial]) -> SearchTrial | None:
    """The highest objective of those that were trained to the end; of all, if none was."""
    scored = [trial for trial in trials if trial.objective is not None]
    finished = [trial for trial in scored if trial.state is TrialState.FINISHED]
    return max(finished or scored, key=lambda t: (t.objective or 0.0, -t.number), default=None)


def write_csv(path: Path, trials: Sequence[SearchTrial], space: SearchSpace) -> None:
    """A row a trial."""
    names = [*space.dimensions]
    head = ["trial", "state", "map50_95", "epochs", *names, "started_at", "ended_at"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*head, "mlflow_run_id", "failure"])
        for trial in trials:
            writer.writerow(
                [
                    *(trial.number, trial.state.value, trial.objective, trial.epoch),
                    *(trial.values.get(name) for name in names),
                    *(trial.started_at, trial.ended_at, trial.run_id, trial.failure),
                ]
            )


def best_params(trial: SearchTrial, space: SearchSpace) -> str:
    """YAML as it goes into ``params.yaml``."""
    document: dict[str, Any] = {}
    for path, value in space.changes(trial.values).items():
        section, _, name = path.rpartition(".")
        (document.setdefault(section, {}) if section else document)[name] = value
    head = f"# Trial {trial.number}: mAP50-95 {trial.objective:.4f}, the mean over its folds.\n"
    return head + yaml.safe_dump(document, sort_keys=False)


def _best_until(curve: Mapping[int, float], epoch: int) -> float:
    return max(score for at, score in curve.items() if at <= epoch)


def _trial(run: RunInfo, space: SearchSpace) -> SearchTrial:
    state = TrialState(run.tags.get(STATE_TAG, TrialState.UNFINISHED))
    values = {
        name: dimension.read(run.params[path_of(name)])
        for name, dimension in space.dimensions.items()
    }
    return SearchTrial(
        number=int(run.tags[TRIAL_TAG]),
        state=state,
        values=values,
        objective=run.metrics.get(OBJECTIVE),
        epoch=int(run.metrics.get("epoch", 0)),
        run_id=run.run_id,
        started_at=run.started_at,
        ended_at=run.ended_at,
        failure=run.tags.get(FAILURE_TAG, "") if state is TrialState.FAILED else "",
    )


def _with_curve(tracking: Tracking, trial: SearchTrial) -> SearchTrial:
    points = tracking.metric_history(trial.run_id, OBJECTIVE)
    return replace(trial, curve={point.step: point.value for point in points})
