"""The tab with the stop switch: what is in service, and the button that takes it out."""

from __future__ import annotations

from typing import Any, Protocol

import gradio as gr

from loop.access import Permission, Person
from loop.errors import InvalidInput, LoopError
from loop.ordering import latest_order
from loop.ports import UnitsOfWork
from loop.predictions import ModelRef
from loop.promoting import CHAMPION
from loop.serving_orders import ServingOrder
from loop.stopping import resume_service, stop_service
from ui.guard import Guard
from ui.ticker import ticker
from ui.training_html import area, heading, notice, quiet, sorry, when, who

_MOST_LETTERS = 500
_REASON_NOTE = "Kept in the audit log for good: no names, nothing about patients."
_EFFECT = (
    "Every replica answers that the model is out of service within a second, also after a restart, "
    "and nothing can be promoted, until a person puts it back. Review and training go on."
)
_BACK = "The champion is loaded again, which takes seconds."


class Champions(Protocol):
    def find_alias(self, alias: str) -> ModelRef | None: ...


def build_service(guard: Guard, units: UnitsOfWork, registry: Champions) -> None:
    """Fill the tab. ``guard`` makes a handler of a function that takes the person who asks."""
    with gr.Column(elem_classes=["slt"]):
        area(heading("In service"))
        state = area(quiet("Reading …"))
        message = area()
        reason = gr.Textbox(
            label="Reason",
            info=_REASON_NOTE,
            lines=2,
            max_lines=4,
            max_length=_MOST_LETTERS,
            elem_classes="slt-reason",
        )
        with gr.Row(elem_classes="slt-actions"):
            stop = gr.Button(
                "Stop the model", variant="stop", visible=False, scale=0, min_width=220, size="lg"
            )
            resume = gr.Button("Put it back into service", visible=False, scale=0, min_width=220)
        with gr.Column(visible=False, elem_classes="slt-confirm") as confirm:
            area(notice("warn", "Take the model out of service now?", _EFFECT))
            with gr.Row(elem_classes="slt-actions"):
                yes = gr.Button("Yes, stop it now", variant="stop", scale=0, min_width=180)
                no = gr.Button("No, leave it", scale=0, min_width=140)
        eye = ticker()

    acts = _Acts(units, registry)
    view = [state, message, stop, resume, confirm]
    for event, act, inputs, outputs in (
        (eye.opened, acts.look, None, view),
        (stop.click, acts.ask, reason, view),
        (no.click, acts.look, None, view),
        (yes.click, acts.stop, reason, [*view, reason]),
        (resume.click, acts.resume, reason, [*view, reason]),
    ):
        event(
            guard(Permission.STOP, act),
            inputs,
            outputs,
            api_visibility="private",
            show_progress="hidden",
        )


class _Acts:
    """Handlers: each takes the person who asks, and answers with what is to be shown."""

    def __init__(self, units: UnitsOfWork, registry: Champions) -> None:
        self._units = units
        self._registry = registry

    def look(self, person: Person, message: str = "", *, asks: bool = False) -> list[Any]:
        order = latest_order(self._units)
        stopped = order is not None and order.stop is not None
        return [
            _told(order, person.pseudonym),
            message,
            gr.Button(visible=not stopped and not asks),
            gr.Button(visible=stopped),
            gr.Column(visible=asks),
        ]

    def ask(self, person: Person, reason: str | None) -> list[Any]:
        try:
            _given(reason)
        except InvalidInput as error:
            return self.look(person, sorry(error))
        return self.look(person, asks=True)

    def stop(self, person: Person, reason: str | None) -> list[Any]:
        try:
            stop_service(self._units, actor=person.acting(Permission.STOP), reason=_given(reason))
        except LoopError as error:
            return [*self.look(person, sorry(error)), gr.skip()]
        return [*self.look(person, notice("good", "The model is out of service.")), ""]

    def resume(self, person: Person, reason: str | None) -> list[Any]:
        try:
            champion = self._registry.find_alias(CHAMPION)
            actor = person.acting(Permission.STOP)
            resume_service(self._units, champion, actor=actor, reason=_given(reason))
        except LoopError as error:
            return [*self.look(person, sorry(error)), gr.skip()]
        said = notice("good", "The stop is lifted.", _BACK)
        return [*self.look(person, said), ""]


def _told(order: ServingOrder | None, viewer: str) -> str:
    if order is not None and order.stop is not None:
        stop = order.stop
        text = f"Stopped by {who(stop.by, viewer)}, {when(stop.at)}. Reason: {stop.reason}"
        return notice("bad", text, word="Out of service.")
    if order is None or order.model is None:
        return notice("info", "No model was put into service yet.")
    beside = f", and version {order.trial.model.version} is tried beside it" if order.trial else ""
    return notice("info", f"Version {order.model.version} is the one to serve{beside}.")


def _given(reason: str | None) -> str:
    """As the use cases want it; their hint is for the command line. Raises `InvalidInput`."""
    text = (reason or "").strip()
    if not text:
        raise InvalidInput("This needs a reason.", hint="Write why, then press the button again.")
    if len(text) > _MOST_LETTERS:
        raise InvalidInput(f"This reason has more than {_MOST_LETTERS} letters.")
    return text
