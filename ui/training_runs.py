"""Section "Runs" of the training page: the job that runs, and its folds or trials, live."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from loop.access import Permission, Person
from loop.errors import LoopError
from store.tracking import RunInfo
from ui.operations import Job, JobKind, JobState, TrainingJobs
from ui.run_book import RunBook
from ui.run_parts import SEARCH, Run
from ui.ticker import tick, ticker
from ui.training_html import Cell, area, notice, quiet, sorry, table, when, who
from ui.training_plots import learning_curves, trial_scores
from ui.training_run_view import choice, run_view, trial_choices
from ui.training_start import Guard

LATEST, ALL_TRIALS = "latest", "all"
_ALL = ("All of them", ALL_TRIALS)
_LINES_WHILE_RUNNING, _LINES_OF_A_FAILURE, _LINES_OF_A_LOG = 4, 15, 200
_MOST_JOBS = 10
# How often the time that is left is told anew between two epochs.
_TELL_TIME_EVERY_S = 20
_HIDDEN = {"api_visibility": "private", "show_progress": "hidden"}
_KINDS = {
    JobKind.KFOLD: "cross-validation",
    JobKind.PROPOSE: "measurement for a verdict",
    JobKind.MEASURE: "measurement",
    JobKind.STANDARD: "training",
    JobKind.SEARCH: "search",
    JobKind.STAGE: "stage",
}


def build_runs(guard: Guard, jobs: TrainingJobs, book: RunBook) -> None:
    look = ticker()
    # What is on the page, so that what has not changed is not sent and drawn again.
    shown = gr.State(None)
    with gr.Row(elem_classes="slt-actions"):
        job = area()
        stop = gr.Button("Stop this job", variant="stop", scale=0, min_width=130, visible=False)
    with gr.Row(elem_classes="slt-actions"):
        run = gr.Dropdown(
            choices=[("The latest run", LATEST)],
            value=LATEST,
            label="Run",
            info="The latest one is followed as soon as it starts.",
            filterable=True,
            elem_classes="slt-picker",
        )
        trial = gr.Dropdown(
            choices=[_ALL],
            value=ALL_TRIALS,
            label="Trial",
            info="One of the search's, with its folds.",
            visible=False,
            # The page may ask with a trial of the search that was shown before: that is none here.
            allow_custom_value=True,
            elem_classes="slt-picker",
        )
    summary = area(quiet("Reading …"))
    plot = gr.Plot(show_label=False, container=False, visible=False, elem_classes="slt-wide")
    with gr.Accordion("Jobs and their logs", open=False):
        all_jobs = area()
        with gr.Row(elem_classes="slt-actions"):
            which = gr.Dropdown(choices=[], label="Log of job", elem_classes="slt-picker")
        log = area()

    section = _Runs(jobs, book)
    inputs = [run, trial, shown]
    outputs = [job, stop, run, trial, summary, plot, all_jobs, which, look, shown]
    for event in (look.opened, look.ticked, run.input, trial.input):
        event(guard(Permission.SEE_MODELS, section.look), inputs, outputs, **_HIDDEN)
    stop.click(guard(Permission.TRAIN, section.stop), inputs, outputs, **_HIDDEN)
    which.input(guard(Permission.SEE_MODELS, section.log), which, log, **_HIDDEN)


class _Runs:
    def __init__(
        self, jobs: TrainingJobs, book: RunBook, clock: Callable[[], float] = time.time
    ) -> None:
        self._jobs = jobs
        self._book = book
        self._clock = clock

    def look(self, person: Person, chosen: str | None, trial: str | None, shown: Any) -> list[Any]:
        """All outputs of the section; those that are as they were are left alone."""
        try:
            jobs = self._jobs.jobs()
            runs = self._book.latest()
            run = self._run(chosen or LATEST, runs)
            seen = self._trial(run, trial)
        except LoopError as error:
            return [sorry(error), *[gr.skip()] * 7, tick(live=True), None]
        current = next((job for job in jobs if job.state.active), jobs[0] if jobs else None)
        lines = self._last_lines(current)
        now = self._clock()
        parts = {
            "job": current and (current.id, current.state, current.silence, lines),
            "runs": [(info.run_id, info.status) for info in runs],
            "trials": (run and run.id, run and run.trials, seen and seen.id),
            "summary": (seen, int(now / _TELL_TIME_EVERY_S) if seen and seen.live else 0),
            "plot": seen,
            "jobs": [(job.id, job.state, job.silence) for job in jobs[:_MOST_JOBS]],
        }
        before = shown if isinstance(shown, dict) else {}
        live = any(job.state.active for job in jobs) or (run is not None and run.live)
        return [
            *_if_new(parts, before, "job", lambda: _job(current, lines, person)),
            *_if_new(parts, before, "runs", lambda: [_choices(runs)]),
            *_if_new(parts, before, "trials", lambda: [_trials(run, seen)]),
            *_if_new(parts, before, "summary", lambda: [run_view(seen, now, _tried(run, seen))]),
            *_if_new(parts, before, "plot", lambda: [_plot(seen)]),
            *_if_new(parts, before, "jobs", lambda: _jobs(jobs[:_MOST_JOBS], person)),
            tick(live),
            parts,
        ]

    def stop(self, person: Person, chosen: str | None, trial: str | None, shown: Any) -> list[Any]:
        """The job that the page showed, whatever was started in the meantime."""
        job_id = (shown.get("job") or [""])[0] if isinstance(shown, dict) else ""
        running = (job.id for job in self._jobs.jobs() if job.state.active)
        if job_id in running:
            self._jobs.stop(job_id, actor=person.acting(Permission.TRAIN))
        else:
            gr.Info("It does not run any more.")
        return self.look(person, chosen, trial, shown)

    def log(self, person: Person, job_id: str | None) -> str:
        del person
        if not job_id:
            return ""
        text = self._jobs.log(job_id, _LINES_OF_A_LOG) or "It has printed nothing yet."
        return notice("info", f"Job {job_id}, its last lines:", lines=text)

    def _run(self, chosen: str, runs: list[RunInfo]) -> Run | None:
        run_id = chosen if chosen != LATEST else next((run.run_id for run in runs), None)
        return self._book.read(run_id) if run_id else None

    def _trial(self, run: Run | None, chosen: str | None) -> Run | None:
        """The run to show: of a search, the trial that is chosen among its own, or all of it."""
        if run is None or run.kind != SEARCH or chosen in (None, ALL_TRIALS):
            return run
        own = any(trial.id == chosen for trial in run.trials)
        return self._book.read(str(chosen)) if own else run

    def _last_lines(self, job: Job | None) -> str:
        if job is None or job.state in (JobState.SUCCEEDED, JobState.STOPPED):
            return ""
        return self._jobs.log(
            job.id, _LINES_OF_A_FAILURE if job.state is JobState.FAILED else _LINES_WHILE_RUNNING
        )


def _with_silence(state: str, job: Job) -> str:
    return f"{state}, as last known: its cluster does not answer" if job.silence else state


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


_OUTPUTS = {"job": 2, "runs": 1, "trials": 1, "summary": 1, "plot": 1, "jobs": 2}


def _job(job: Job | None, lines: str, person: Person) -> list[Any]:
    """The job that runs, or how the last one ended; and whether it can be stopped."""
    if job is None:
        return [quiet("No job has been started from here yet."), gr.Button(visible=False)]
    by = who(job.started_by, person.pseudonym)
    text = f"{_KINDS[job.kind].capitalize()}, job {job.id}, started {when(job.started_at)} by {by}"
    if job.state.active:
        word = "is ending: it saves what it has" if job.state is JobState.STOPPING else job.state
        shown = notice("info", f"{text}: {_with_silence(word, job)}.", lines=lines)
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
    return gr.Dropdown(
        choices=[("The latest run", LATEST), *((choice(run), run.run_id) for run in runs)]
    )


def _trials(run: Run | None, seen: Run | None) -> Any:
    if run is None or run.kind != SEARCH or not run.trials:
        return gr.Dropdown(choices=[_ALL], value=ALL_TRIALS, visible=False)
    chosen = ALL_TRIALS if seen is None or seen.id == run.id else seen.id
    return gr.Dropdown(
        choices=[_ALL, *trial_choices(run.trials)],
        value=chosen,
        visible=True,
    )


def _tried(run: Run | None, seen: Run | None) -> Mapping[str, str]:
    trials = run.trials if run is not None and seen is not None else ()
    return next((trial.values for trial in trials if seen and trial.id == seen.id), {})


def _plot(run: Run | None) -> Any:
    if run is None:
        return gr.Plot(visible=False)
    if run.kind == SEARCH:
        scored = any(trial.score is not None for trial in run.trials)
        return gr.Plot(trial_scores(run), visible=True) if scored else gr.Plot(visible=False)
    if not any(fold.epoch for fold in run.rows):
        return gr.Plot(visible=False)
    return gr.Plot(learning_curves(run), visible=True)


def _jobs(jobs: list[Job], person: Person) -> list[Any]:
    headers = ["Job", "What", "State", "Started", "Ended", "By", "Parameters", "Exit code"]
    rows: list[list[str | Cell]] = [
        [
            job.id,
            _KINDS[job.kind],
            _with_silence(job.state, job),
            when(job.started_at),
            when(job.ended_at),
            who(job.started_by, person.pseudonym),
            Cell(_told(job), "slt-wrap"),
            "" if job.exit_code is None else str(job.exit_code),
        ]
        for job in jobs
    ]
    shown = table(headers, rows, text_columns=range(7), empty="No job has been started from here.")
    choices = [(f"{job.id} · {_KINDS[job.kind]} · {when(job.started_at)}", job.id) for job in jobs]
    return [shown, gr.Dropdown(choices=choices)]
