"""A search for hyperparameters: trials, each a whole cross-validation, and what came out of them.

Nothing is registered, and no trial sees the gold set: what was chosen by it could not be judged
by it any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from loop.snapshots import Labels
from store.model_registry import open_model_registry
from store.settings import Settings
from store.snapshot_files import open_snapshot
from store.tracking import open_tracking
from store.unit_of_work import open_units_of_work
from train.fold_job import run_fold
from train.fold_worker import FoldJob
from train.params import Params
from train.paths import StagePaths
from train.ray_connection import connected
from train.run_record import FAILURE_TAG, RunRecord
from train.search_record import (
    SearchSpec,
    begin_search,
    check_unchanged,
    find_search,
    read_spec,
    record_of,
    trial_plan,
)
from train.search_results import SearchResult, collect_results
from train.search_session import SearchSession, close_lost_search, search_session
from train.search_table import SearchTable
from train.search_trials import STATE_TAG, TrialState, read_trials, trial_runs
from train.session import Context
from train.trial import SearchJob, TrialEnd
from train.tune_runner import Crash, run_trials, share_here


def start_search(
    settings: Settings,
    params: Params,
    labels: Labels,
    *,
    workspace: Path,
    trials: int,
    at_once: int | None,
    console: Console,
    job: FoldJob = run_fold,
) -> SearchResult:
    """Search the space in ``params`` on the folds of ``workspace``, with so many ``trials``.

    ``at_once`` of them run side by side, by default as many as there is room for. Raises
    `TrainingFailed` if none could be trained.
    """
    context = _context(settings, params, labels, workspace)
    spec, record = begin_search(context, labels, trials)
    return _run(context, spec, record, trials, at_once, console, job)


def resume_search(
    settings: Settings,
    run: str,
    *,
    workspace: Path,
    trials: int | None,
    at_once: int | None,
    console: Console,
    job: FoldJob = run_fold,
) -> SearchResult:
    """Go on with a search, whatever ended it, until it has had ``trials`` of them.

    ``run`` is its MLflow run, the beginning of its id, or ``last``. One that is complete gives
    its results again. Raises `NotFound`, and `Conflict` for one that still runs or whose data has
    changed.
    """
    tracking = open_tracking(settings)
    run_id = find_search(tracking, run).run_id
    spec = read_spec(tracking, run_id)
    record = record_of(settings, tracking, spec)
    past = read_trials(tracking, run_id, spec.space)
    wanted = spec.trials if trials is None else trials
    settled = sum(trial.settled for trial in past)
    if settled >= wanted:
        return collect_results(record, spec.space, StagePaths(spec.labels).search_runs, workspace)
    failure = close_lost_search(settings.home, record)
    context = _context(settings, spec.params, spec.labels, workspace)
    check_unchanged(spec, context)
    record.resume(failure, {"trials": wanted, "settled": settled})
    return _run(context, spec, record, wanted, at_once, console, job)


def note_written(settings: Settings, result: SearchResult) -> None:
    """Put on record that the best hyperparameters were written to ``params.yaml``."""
    tracking = open_tracking(settings)
    record = record_of(settings, tracking, read_spec(tracking, result.run_id))
    details = {"trial": result.best.number, "params": result.changes}
    record.note("search.applied", {}, details)


def _context(settings: Settings, params: Params, labels: Labels, workspace: Path) -> Context:
    return Context(
        settings=settings,
        params=params,
        snapshot=open_snapshot(workspace / StagePaths(labels).snapshot),
        units=open_units_of_work(settings),
        tracking=open_tracking(settings),
        registry=open_model_registry(settings),
        workspace=workspace,
    )


def _run(
    context: Context,
    spec: SearchSpec,
    record: RunRecord,
    trials: int,
    at_once: int | None,
    console: Console,
    job: FoldJob,
) -> SearchResult:
    home, out = context.settings.home, StagePaths(spec.labels).search_runs
    _introduce(spec, record, trials, console)
    with search_session(home, context.workspace, spec.labels.value, record, console) as session:
        what = SearchJob(
            settings=context.settings,
            params=spec.params,
            space=spec.space,
            plan=replace(trial_plan(context, spec.labels), out=session.folder / "trials"),
            snapshot=context.snapshot.folder.absolute(),
            workspace=context.workspace,
            search_run=record.run_id,
            job=job,
        )
        ends, crashes = _train(what, record, session, trials, at_once, console)
        _note_crashes(record, crashes)
        reasons = [*(end.failure for end in ends), *(crash.reason for crash in crashes)]
        why_none = next((reason for reason in reasons if reason), "")
        result = collect_results(record, spec.space, out, context.workspace, why_none=why_none)
        record.end({"best": result.as_dict()["best"], "trials": len(result.trials)})
    return result


def _train(
    job: SearchJob,
    record: RunRecord,
    session: SearchSession,
    trials: int,
    at_once: int | None,
    console: Console,
) -> tuple[list[TrialEnd], list[Crash]]:
    settings, params, folds = job.settings, job.params, len(job.plan.splits)
    tracking, run_id = record.tracking, record.run_id
    with connected(
        settings,
        most_workers=2 * folds + 2,
        mark=session.state.mark,
        on_start=session.note_ray,
    ):
        share = share_here(params, folds, own_ray=not settings.ray_address)
        if share.cpus_per_fold < params.CPUS_PER_FOLD:
            console.print(
                f"The {folds} folds of a trial share this machine's cores, so that each epoch of "
                "all of them shows whether the trial is worth going on with.",
                highlight=False,
            )
        job = replace(job, params=params.model_copy(update={"CPUS_PER_FOLD": share.cpus_per_fold}))
        past = read_trials(tracking, run_id, job.space, curves=True)
        table = SearchTable(
            console,
            lambda: read_trials(tracking, run_id, job.space),
            trials=trials,
            epochs=params.EPOCHS,
        )

        def on_wait() -> None:
            table.update()
            session.show_life()

        with table:
            return run_trials(
                job,
                past,
                trials=trials,
                at_once=at_once or share.at_once,
                scratch=session.folder / "tune",
                on_wait=on_wait,
            )


def _introduce(spec: SearchSpec, record: RunRecord, trials: int, console: Console) -> None:
    tried = ", ".join(spec.space.dimensions)
    console.print(f"Search {record.run_id[:8]}: {trials} trials of {tried}.", highlight=False)
    for name, value in spec.space.fixed.items():
        console.print(
            f"All of them with {name}: {value}. With optimizer: auto, Ultralytics would choose "
            "the learning rate and momentum itself.",
            highlight=False,
        )


def _note_crashes(record: RunRecord, crashes: Sequence[Crash]) -> None:
    """A trial whose process died every time could not say so."""
    runs = trial_runs(record.tracking, record.run_id)
    for crash in crashes:
        run = runs.get(crash.number)
        if run is not None:
            tags = {STATE_TAG: TrialState.FAILED.value, FAILURE_TAG: crash.reason}
            record.tracking.set_tags(run.run_id, tags)
            record.tracking.end_run(run.run_id, ok=False)
