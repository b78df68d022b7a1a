"""One trial of a search, without Ray: a whole cross-validation with the trial's hyperparameters."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from loop.errors import LoopError, TrainingStopped
from store.model_registry import open_model_registry
from store.settings import Settings
from store.snapshot_files import open_snapshot
from store.tracking import Tracking, open_tracking
from store.unit_of_work import open_units_of_work
from train.fold_job import run_fold
from train.fold_worker import FoldJob
from train.params import Params
from train.results import spread, spread_metrics
from train.run_record import FAILURE_TAG
from train.search_space import SearchSpace, Values
from train.search_trials import (
    OBJECTIVE,
    STATE_TAG,
    TRIAL_TAG,
    TrialState,
    objectives,
    replace_older_runs,
    trial_runs,
)
from train.session import Context, Plan, Trained, training


@dataclass(frozen=True, slots=True)
class SearchJob:
    """What all trials of a search have in common. ``search_run`` is its MLflow run.

    ``plan.out`` is a folder of this search's own; ``job`` is what a fold's worker does.
    """

    settings: Settings
    params: Params
    space: SearchSpace
    plan: Plan
    snapshot: Path
    workspace: Path
    search_run: str
    job: FoldJob = run_fold


@dataclass(frozen=True, slots=True)
class TrialEnd:
    """How a trial ended, after ``epoch``; its ``objective`` if it was trained to the end."""

    state: TrialState
    epoch: int = 0
    objective: float | None = None
    failure: str = ""
    hint: str = ""


# Told (epoch, objective) of each epoch that all folds have.
Report = Callable[[int, float], None]


def run_trial(
    job: SearchJob, number: int, values: Values, report: Report, stopped: Callable[[], bool]
) -> TrialEnd:
    """Train all folds with ``values``, until ``stopped``. A trial whose process died goes on.

    Its run in MLflow, below the search's, has the objective by epoch, and says how it ended.
    """
    return _Trial(job, number, values, report, stopped).run()


@dataclass(slots=True)
class _Trial:
    job: SearchJob
    number: int
    values: Values
    report: Report
    stopped: Callable[[], bool]
    tracking: Tracking = field(init=False)
    run_id: str = ""
    logged: set[int] = field(default_factory=set)
    reported: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tracking = open_tracking(self.job.settings)

    def run(self) -> TrialEnd:
        job = self.job
        plan = replace(
            job.plan,
            out=job.plan.out / f"trial_{self.number}",
            tags={TRIAL_TAG: str(self.number)},
        )
        try:
            context = self._context()
            with training(
                plan, context, parent=job.search_run, watch=self._watch, job=job.job
            ) as trained:
                return self._finish(trained)
        except TrainingStopped as error:
            return self._ended(TrialState.STOPPED, error.message)
        except LoopError as error:
            return self._ended(TrialState.FAILED, error.message, error.hint)
        except Exception as error:  # one trial must not end the others
            return self._ended(TrialState.FAILED, f"{type(error).__name__}: {error}")
        finally:
            shutil.rmtree(plan.out, ignore_errors=True)  # weights that nobody asks for

    def _context(self) -> Context:
        job = self.job
        return Context(
            settings=job.settings,
            params=job.space.applied(job.params, self.values),
            snapshot=open_snapshot(job.snapshot, verify=False),  # the driver verified it
            units=open_units_of_work(job.settings),
            tracking=self.tracking,
            registry=open_model_registry(job.settings),
            workspace=job.workspace,
        )

    def _watch(self, curves: Mapping[int, Mapping[int, float]]) -> None:
        for epoch, objective in objectives(curves, len(self.job.plan.splits)).items():
            if epoch not in self.reported:
                self.reported[epoch] = objective
                self._log(epoch, objective)
                self.report(epoch, objective)
        if self.stopped():
            raise TrainingStopped(
                f"After {max(self.reported, default=0)} epochs other trials were better."
            )

    def _finish(self, trained: Trained) -> TrialEnd:
        spreads = spread(trained.rows)
        epoch = max(row.epochs for row in trained.rows)
        objective = spreads["map50_95"].mean
        self._log(epoch, objective, final=True)
        trained.record.log_metrics(spread_metrics(spreads))
        self.tracking.set_tags(trained.record.run_id, {STATE_TAG: TrialState.FINISHED.value})
        trained.record.end({"trial": self.number, OBJECTIVE: objective, "epochs": epoch})
        return TrialEnd(TrialState.FINISHED, epoch, objective)

    def _ended(self, state: TrialState, failure: str, hint: str = "") -> TrialEnd:
        with suppress(LoopError):  # how it ended is told to the driver in any case
            if self._find_run():
                tags = {STATE_TAG: state.value}
                if state is TrialState.FAILED:
                    tags[FAILURE_TAG] = failure
                self.tracking.set_tags(self.run_id, tags)
        return TrialEnd(state, max(self.reported, default=0), None, failure, hint)

    def _log(self, epoch: int, objective: float, *, final: bool = False) -> None:
        """Log an epoch once; the last one may get another value, of the best models' own test."""
        if self._find_run() and (final or epoch not in self.logged):
            self.tracking.log_metrics(
                self.run_id, {OBJECTIVE: objective, "epoch": float(epoch)}, epoch
            )
            self.logged.add(epoch)

    def _find_run(self) -> bool:
        if not self.run_id:
            run = trial_runs(self.tracking, self.job.search_run).get(self.number)
            if run is None:
                return False
            self.run_id = run.run_id
            self.logged = set(self.tracking.metric_steps(self.run_id, OBJECTIVE))
            replace_older_runs(self.tracking, self.job.search_run, self.number, self.run_id)
        return True
