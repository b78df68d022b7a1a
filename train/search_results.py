"""What comes out of a search: files in the workspace, the same in MLflow, and a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loop.errors import TrainingFailed
from train.results import write_summary
from train.run_record import RunRecord
from train.search_plots import write_search_plots
from train.search_space import SearchSpace, Value
from train.search_trials import (
    OBJECTIVE,
    SearchTrial,
    TrialState,
    best_params,
    best_trial,
    read_trials,
    write_csv,
)

RESULTS_CSV = "search_results.csv"
PLOTS = "plots.html"
BEST_PARAMS = "best_params.yaml"


@dataclass(frozen=True, slots=True)
class SearchResult:
    """``changes`` are what has to be set in ``params.yaml`` for the best trial; the results are in
    ``out``, relative to the workspace."""

    run_id: str
    trials: tuple[SearchTrial, ...]
    best: SearchTrial
    changes: dict[str, Value]
    out: Path

    def as_dict(self) -> dict[str, Any]:
        return {
            "mlflow_run_id": self.run_id,
            "trials": [_trial_as_dict(trial) for trial in self.trials],
            "best": _trial_as_dict(self.best) | {"params": self.changes},
            "results": str(self.out / RESULTS_CSV),
        }


def collect_results(
    record: RunRecord, space: SearchSpace, out: Path, workspace: Path, *, why_none: str = ""
) -> SearchResult:
    """Write the results below ``out`` of the workspace, and log them to the search's run.

    Raises `TrainingFailed`, with ``why_none``, if no trial came to a score.
    """
    tracking, run_id = record.tracking, record.run_id
    trials = tuple(read_trials(tracking, run_id, space, curves=True))
    folder = workspace / out
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / RESULTS_CSV, trials, space)
    tracking.log_file(run_id, folder / RESULTS_CSV)
    best = best_trial(trials)
    if best is None:
        reasons = [trial.failure for trial in trials if trial.failure]
        reason = next(iter(reasons), why_none or "none of them came to an epoch")
        raise TrainingFailed(
            f"None of the {len(trials)} trials could be trained: {reason.rstrip('.')}.",
            hint=f"Train once with `secondlook train kfold`. MLflow run {run_id} has the trials.",
        )
    result = SearchResult(run_id, trials, best, space.changes(best.values), out)
    write_search_plots(folder / PLOTS, trials, space)
    text = best_params(best, space)
    (folder / BEST_PARAMS).write_text(text, encoding="utf-8")
    write_summary(folder / "summary.json", result.as_dict())
    for name in (PLOTS, BEST_PARAMS):
        tracking.log_file(run_id, folder / name)
    _log_metrics(record, trials, best)
    return result


def _log_metrics(record: RunRecord, trials: Sequence[SearchTrial], best: SearchTrial) -> None:
    counts = {
        f"trials_{state.value}": float(sum(trial.state is state for trial in trials))
        for state in TrialState
    }
    record.log_metrics({OBJECTIVE: best.objective or 0.0, "best_trial": best.number} | counts)
    so_far = 0.0
    for trial in trials:
        if trial.objective is not None:
            if trial.state is TrialState.FINISHED:
                so_far = max(so_far, trial.objective)
            record.tracking.log_metrics(
                record.run_id,
                {"trial_objective": trial.objective, "best_so_far": so_far},
                trial.number,
                at_ms=record.started_ms,  # the same value at the same time is kept once
            )


def _trial_as_dict(trial: SearchTrial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "state": trial.state.value,
        "map50_95": trial.objective,
        "epochs": trial.epoch,
        "values": dict(trial.values),
        "mlflow_run_id": trial.run_id,
        "failure": trial.failure,
    }
