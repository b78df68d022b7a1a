"""Section "Runs" of the training page: the job that runs, and the curves of each fold, live."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from loop.access import Permission, Person
from loop.errors import LoopError
from store.tracking import RunInfo
from ui.operations import Job, JobKind, JobState, TrainingJobs
from ui.run_book import TRAIN_LOSS, Fold, Run, RunBook, state_of
from ui.ticker import tick, ticker
from ui.training_html import Cell, area, heading, notice, quiet, score, sorry, table, when, who
from ui.training_plots import learning_curves
from ui.training_start import Guard, active_job

LATEST = "latest"
_LINES_WHILE_RUNNING, _LINES_OF_A_FAILURE, _LINES_OF_A_LOG = 4, 15, 200
_MOST_JOBS = 10
_HIDDEN = {"api_visibility": "private", "show_progress": "hidden"}
_KINDS = {
    JobKind.KFOLD: "cross-validation",
    JobKind.PROPOSE: "measurement for a verdict",
    JobKind.MEASURE: "measurement",
}


def build_runs(guard: Guard, jobs: TrainingJobs, book: RunBook) -> None:
    look = ticker()
    # What is on the page, so that what has not changed is not sent and drawn again.
    shown = gr.State(None)
    with gr.Row(elem_classes="slt-actions"):
        job = area()
        stop = gr.Button("Stop this job", variant="stop", scale=0, min_width=130, visible=False)
    run = gr.Dropdown(
        choices=[("The latest run", LATEST)],
        value=LATEST,
        label="Run",
        info="The latest one is followed as soon as it starts.",
        filterable=True,
        elem_classes="slt-picker",
    )
    summary = area(quiet("Reading …"))
    plot = gr.Plot(show_label=False, container=False, visible=False)
    with gr.Accordion("Jobs and their logs", open=False):
        all_jobs = area()
        with gr.Row(elem_classes="slt-actions"):
            which = gr.Dropdown(choices=[], label="Log of job", elem_classes="slt-picker")
        log = area()

    section = _Runs(jobs, book)
    outputs = [job, stop, run, summary, plot, all_jobs, which, look, shown]
    for event in (look.opened, look.ticked, run.input):
        event(guard(Permission.SEE_MODELS, section.look), [run, shown], outputs, **_HIDDEN)
    stop.click(guard(Permission.TRAIN, section.stop), [run, shown], outputs, **_HIDDEN)
    which.input(guard(Permission.SEE_MODELS, section.log), which, log, **_HIDDEN)


class _Runs:
    def __init__(self, jobs: TrainingJobs, book: RunBook) -> None:
        self._jobs = jobs
        self._book = book

    def look(self, person: Person, chosen: str | None, shown: Any) -> list[Any]:
        """All outputs of the section; those that are as they were are left alone."""
        try:
            jobs = self._jobs.jobs()
            runs = self._book.latest()
            run = self._run(chosen or LATEST, runs)
        except LoopError as error:
            return [sorry(error), *[gr.skip()] * 6, tick(live=True), None]
        current = next((job for job in jobs if job.state.active), jobs[0] if jobs else None)
        lines = self._last_lines(current)
        parts = {
            "job": current and (current.id, current.state, lines),
            "runs": [(info.run_id, info.status) for info in runs],
            "run": run and (run.id, run.state, [(fold.epoch, fold.state) for fold in run.folds]),
            "jobs": [(job.id, job.state) for job in jobs[:_MOST_JOBS]],
        }
        before = shown if isinstance(shown, dict) else {}
        live = any(job.state.active for job in jobs) or (run is not None and run.live)
        return [
            *_if_new(parts, before, "job", lambda: _job(current, lines, person)),
            *_if_new(parts, before, "runs", lambda: [_choices(runs)]),
            *_if_new(parts, before, "run", lambda: [_summary(run), _plot(run)]),
            *_if_new(parts, before, "jobs", lambda: _jobs(jobs[:_MOST_JOBS], person)),
            tick(live),
            parts,
        ]

    def stop(self, person: Person, chosen: str | None, shown: Any) -> list[Any]:
        job = active_job(self._jobs)
        if job is None:
            gr.Info("Nothing runs any more.")
        else:
            self._jobs.stop(job.id, actor=person.acting(Permission.TRAIN))
        return self.look(person, chosen, shown)

    def log(self, person: Person, job_id: str | None) -> str:
        del person
        if not job_id:
            return ""
        text = self._jobs.log(job_id, _LINES_OF_A_LOG) or "It has printed nothing yet."
        return notice("info", f"Job {job_id[:8]}, its last lines:", lines=text)

    def _run(self, chosen: str, runs: list[RunInfo]) -> Run | None:
        run_id = chosen if chosen != LATEST else next((run.run_id for run in runs), None)
        return self._book.read(run_id) if run_id else None

    def _last_lines(self, job: Job | None) -> str:
        if job is None or job.state in (JobState.SUCCEEDED, JobState.STOPPED):
            return ""
        return self._jobs.log(
            job.id, _LINES_OF_A_FAILURE if job.state is JobState.FAILED else _LINES_WHILE_RUNNING
        )


def _told(job: Job) -> str:
    """A job's parameters in words."""
    return ", ".join(
        f"{name} {', '.join(value) if isinstance(value, list) else value}"
        for name, value in job.parameters.items()
    )


def _if_new(parts: Mapping[str, Any], before: Mapping[str, Any], name: str, make: Any) -> list[Any]:
    if name in before and before[name] == parts[name]:
        return [gr.skip()] * _OUTPUTS[name]
    made: list[Any] = make()
    return made


_OUTPUTS = {"job": 2, "runs": 1, "run": 2, "jobs": 2}


def _job(job: Job | None, lines: str, person: Person) -> list[Any]:
    """The job that runs, or how the last one ended; and whether it can be stopped."""
    if job is None:
        return [quiet("No job has been started from here yet."), gr.Button(visible=False)]
    by = who(job.started_by, person.pseudonym)
    text = (
        f"{_KINDS[job.kind].capitalize()}, job {job.id[:8]}, started {when(job.started_at)} by {by}"
    )
    if job.state.active:
        word = "is ending: it saves what it has" if job.state is JobState.STOPPING else job.state
        shown = notice("info", f"{text}: {word}.", lines=lines)
        may_stop = person.may(Permission.TRAIN) and job.state is not JobState.STOPPING
        return [shown, gr.Button(visible=True, interactive=may_stop)]
    ended = f"{text}: {job.state} {when(job.ended_at)}."
    if job.state is JobState.FAILED:
        code = "it ended without a word" if job.exit_code is None else f"exit code {job.exit_code}"
        return [
            notice("bad", ended, f"{code}; its last lines:", lines=lines),
            gr.Button(visible=False),
        ]
    return [quiet(ended), gr.Button(visible=False)]


def _choices(runs: list[RunInfo]) -> Any:
    choices = [("The latest run", LATEST)]
    choices += [
        (
            f"{when(run.started_at)} · {run.params.get('K_FOLDS', '?')} folds, "
            f"{run.params.get('EPOCHS', '?')} epochs · {state_of(run)} · {run.run_id[:8]}",
            run.run_id,
        )
        for run in runs
    ]
    return gr.Dropdown(choices=choices)


def _summary(run: Run | None) -> str:
    if run is None:
        return quiet("There is no run yet. Start one under Start.")
    shown = ("EPOCHS", "BATCH_SIZE", "IMG_SIZE", "PATIENCE", "SEED", "BASE_MODEL")
    told = ", ".join(f"{name} {run.parameters[name]}" for name in shown if name in run.parameters)
    ended = f", ended {when(run.ended_at)}" if run.ended_at else ""
    parts = [
        heading(f"Run {run.id[:8]}: {run.state}", f"started {when(run.started_at)}{ended}"),
        quiet(told),
    ]
    if run.failure:
        parts.append(notice("bad", run.failure))
    headers = ["Fold", "Epoch", "Loss", "mAP50", "mAP50-95", "Best mAP50-95", "Last epoch", "State"]
    rows = [_fold_row(fold) for fold in run.folds]
    parts.append(table(headers, rows, text_columns=(0, 6, 7), empty="No fold has started yet."))
    if run.spread is not None:
        mean, deviation = run.spread
        text = f"Best mAP50-95 over the folds: {mean:.3f} ± {deviation:.3f} (standard deviation)."
        parts.append(quiet(text + (f" Gate: {run.decision}." if run.decision else "")))
    return "".join(parts)


def _fold_row(fold: Fold) -> list[str | Cell]:
    best = fold.best
    tone = "slt-worse" if fold.state.startswith("failed") else ""
    return [
        fold.name,
        f"{fold.epoch}/{fold.epochs}",
        score(fold.last(TRAIN_LOSS)),
        score(fold.last("map50")),
        score(fold.last("map50_95")),
        f"{best.value:.3f} (epoch {best.epoch})" if best else "",
        when(fold.heard_at),
        Cell(fold.state, tone),
    ]


def _plot(run: Run | None) -> Any:
    if run is None or not any(fold.epoch for fold in run.folds):
        return gr.Plot(visible=False)
    return gr.Plot(learning_curves(run), visible=True)


def _jobs(jobs: list[Job], person: Person) -> list[Any]:
    headers = ["Job", "What", "State", "Started", "Ended", "By", "Parameters", "Exit code"]
    rows = [
        [
            job.id[:8],
            _KINDS[job.kind],
            job.state.value,
            when(job.started_at),
            when(job.ended_at),
            who(job.started_by, person.pseudonym),
            Cell(_told(job), "slt-wrap"),
            "" if job.exit_code is None else str(job.exit_code),
        ]
        for job in jobs
    ]
    shown = table(headers, rows, text_columns=range(7), empty="No job has been started from here.")
    choices = [
        (f"{job.id[:8]} · {_KINDS[job.kind]} · {when(job.started_at)}", job.id) for job in jobs
    ]
    return [shown, gr.Dropdown(choices=choices)]
