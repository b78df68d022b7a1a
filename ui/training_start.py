"""Section "Start" of the training page: a form that starts a cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from loop.access import Permission, Person
from loop.errors import InvalidInput, LoopError
from ui.operations import Job, Parameter, TrainingJobs
from ui.ticker import tick, ticker
from ui.training_html import area, heading, notice, quiet, sorry, when, who

Guard = Callable[[Permission, Callable[..., Any]], Callable[..., Any]]

_HIDDEN = {"api_visibility": "private", "show_progress": "hidden"}
_WHAT = (
    "Freezes today's settled answers into a snapshot, splits it into folds, trains them side by "
    "side, registers a final model as candidate and measures it on the gold set. "
    "Nothing is put into service by it."
)


def build_start(guard: Guard, jobs: TrainingJobs) -> None:
    fields = jobs.defaults()
    look = ticker()
    area(heading("Start a cross-validation") + quiet(_WHAT))
    with gr.Row(elem_classes="slt-form"):
        inputs = [_input(field) for field in fields]
    with gr.Row(elem_classes="slt-actions"):
        start = gr.Button("Start training", variant="primary", scale=0, min_width=160)
        reset = gr.Button("Values of params.yaml", scale=0, min_width=180)
    message = area()

    section = _Start(jobs, fields)
    state = [message, start, look]
    filled = gr.State(False)
    look.opened(
        guard(Permission.SEE_MODELS, section.open), filled, [*state, filled, *inputs], **_HIDDEN
    )
    look.ticked(guard(Permission.SEE_MODELS, section.look), None, state, **_HIDDEN)
    start.click(guard(Permission.TRAIN, section.start), inputs, state, **_HIDDEN)
    reset.click(guard(Permission.SEE_MODELS, section.values), None, inputs, **_HIDDEN)


class _Start:
    def __init__(self, jobs: TrainingJobs, fields: tuple[Parameter, ...]) -> None:
        self._jobs = jobs
        self._fields = fields

    def open(self, person: Person, filled: bool) -> list[Any]:
        """With params.yaml's values the first time; then whatever was typed stays."""
        values = [gr.skip()] * len(self._fields) if filled else self.values(person)
        return [*self.look(person), True, *values]

    def look(self, person: Person) -> list[Any]:
        try:
            job = self._jobs.blocking()
        except LoopError as error:
            return [sorry(error), gr.Button(interactive=False), tick(False)]
        return self._shown(person, job, _running(job, person) if job else "")

    def start(self, person: Person, *values: Any) -> list[Any]:
        try:
            parameters = self._parameters(values)
            job = self._jobs.start(parameters, actor=person.acting(Permission.TRAIN))
        except LoopError as error:
            return [sorry(error), *self.look(person)[1:]]
        return self._shown(person, job, _running(job, person))

    def values(self, person: Person) -> list[Any]:
        del person
        return [field.default for field in self._jobs.defaults()]

    def _shown(self, person: Person, job: Job | None, text: str) -> list[Any]:
        may_start = job is None and person.may(Permission.TRAIN)
        return [text, gr.Button(interactive=may_start), tick(live=job is not None)]

    def _parameters(self, values: tuple[Any, ...]) -> Mapping[str, Any]:
        given = dict(zip((field.name for field in self._fields), values, strict=True))
        for name, value in given.items():
            if value is None or value == "":
                raise InvalidInput(f"{name} has no value.", hint="Give one, or take params.yaml's.")
        return given


def _running(job: Job, person: Person) -> str:
    return notice(
        "info",
        f"Job {job.id} ({job.kind}) is {job.state} since {when(job.started_at)}, started by "
        f"{who(job.started_by, person.pseudonym)}.",
        "Only one runs at a time on this machine. Runs shows it, and its curves once the first "
        "epoch has ended.",
    )


def _input(field: Parameter) -> gr.components.Component:
    if isinstance(field.default, str):
        return gr.Textbox(
            value=field.default, label=field.name, info=field.text, max_length=200, min_width=220
        )
    return gr.Number(
        value=field.default,
        label=field.name,
        info=field.text,
        precision=0,
        minimum=field.minimum,
        maximum=field.maximum,
        step=field.step,
        min_width=220,
    )
