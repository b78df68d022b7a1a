"""The page "What your corrections changed": each promoted model against the one it replaced."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr
import httpx

from loop.access import Permission, Person
from loop.agreement import AgreementSettings
from loop.errors import LoopError, NotFound
from loop.impact import Change, Impact, Promoted
from loop.measuring import measure
from loop.ports import ImageStore, UnitsOfWork
from store.model_registry import ModelRegistry
from store.tracking import Tracking
from ui import impact_html as html
from ui.before_after import gallery
from ui.detection import look
from ui.guard import Guard
from ui.impact_figures import MOST_PAIRS, read_impact, read_pairs, read_promoted
from ui.ticker import ticker
from ui.training_html import area, heading, notice, quiet, sorry

_NONE_YET = (
    "No model was promoted yet. Once one is, this page shows what it does better, class by class, "
    "and which cases it gets right that the model before it got wrong."
)
_QUIETLY: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
# What `_Page._contents` fills.
_PLACES = 9
_PICTURED = [Change.FIXED, Change.BROKEN, Change.STILL_WRONG]


def build_impact(
    guard: Guard,
    units: UnitsOfWork,
    images: ImageStore,
    tracking: Tracking,
    registry: ModelRegistry,
    client: httpx.Client,
    settings: AgreementSettings | None = None,
) -> None:
    """The tab's contents, read when it comes into view. ``client`` has the detection API's address
    as its base URL; ``settings`` say what agrees, as they do in review."""
    page = _Page(units, images, tracking, registry, client, settings or AgreementSettings())
    with gr.Column(elem_classes=["slt", "slf-page"]):
        with gr.Row(elem_classes=["slt-actions", "slf-bar"]):
            model = gr.Dropdown(
                [],
                label="Model",
                show_label=False,
                container=False,
                scale=0,
                min_width=420,
                visible=False,
                elem_classes="slt-picker",
            )
            refresh = gr.Button("Refresh", size="sm", scale=0, min_width=96)
            eye = ticker()
        summary = area(quiet("Reading …"))
        with gr.Row():
            with gr.Column(scale=1, min_width=380):
                plot = gr.Plot(
                    label="Change of each class",
                    show_label=False,
                    container=False,
                    visible=False,
                    buttons=[],
                )
            with gr.Column(scale=1, min_width=380):
                classes = area()
        class_note = area()
        area(heading("Past cases, looked at again"))
        with gr.Row(elem_classes=["slt-actions", "slf-bar"]):
            again = gr.Button(
                "Look at past cases", size="sm", scale=0, min_width=180, interactive=False
            )
            status = area()
        cases, case_note = area(), area()
        kind = gr.Radio(
            [(html.CHANGES[change], change.value) for change in _PICTURED],
            value=Change.FIXED.value,
            label="Cases to show",
            show_label=False,
            container=False,
            visible=False,
        )
        pictures = area()

    shown = [summary, plot, classes, class_note, again, cases, case_note, kind, pictures]
    show = guard(Permission.SEE_PROGRESS, page.show)
    for event in (eye.opened, refresh.click):
        event(show, [model, kind], [model, status, *shown], **_QUIETLY)
    chosen = guard(Permission.SEE_PROGRESS, page.choose)
    model.input(chosen, [model, kind], [status, *shown], **_QUIETLY)
    looked = guard(Permission.SEE_PROGRESS, page.look_again)
    again.click(looked, [model, kind], [status, *shown], **_QUIETLY, concurrency_limit=1)
    pictured = guard(Permission.SEE_PROGRESS, page.pictures)
    kind.input(pictured, [model, kind], pictures, **_QUIETLY)


class _Page:
    def __init__(
        self,
        units: UnitsOfWork,
        images: ImageStore,
        tracking: Tracking,
        registry: ModelRegistry,
        client: httpx.Client,
        settings: AgreementSettings,
    ) -> None:
        self._units = units
        self._images = images
        self._tracking = tracking
        self._registry = registry
        self._client = client
        self._settings = settings

    def show(self, person: Person, model: str | None, kind: str) -> list[Any]:
        """Everything; ``model`` is the id of a promotion, the newest if it is none."""
        promoted = read_promoted(self._units, self._registry)
        chosen = next((each for each in promoted if each.promotion.id == model), None)
        if chosen is None and promoted:
            chosen = promoted[0]
        choices = [(html.label(each), each.promotion.id) for each in promoted]
        value = chosen.promotion.id if chosen else None
        dropdown = gr.Dropdown(choices=choices, value=value, visible=bool(choices))
        return [dropdown, "", *self._contents(person, chosen, kind)]

    def choose(self, person: Person, model: str | None, kind: str) -> list[Any]:
        return ["", *self._contents(person, self._chosen(model), kind)]

    def look_again(self, person: Person, model: str | None, kind: str) -> Iterator[list[Any]]:
        chosen = self._chosen(model)
        steps = measure(
            self._units,
            self._images,
            partial(look, self._client),
            chosen.promotion.id,
            actor=person.acting(Permission.SEE_PROGRESS),
            settings=self._settings,
        )
        unchanged = [gr.skip()] * _PLACES
        try:
            for done, total in steps:
                yield [quiet(f"Looking at case {min(done + 1, total)} of {total} …"), *unchanged]
        except LoopError as error:
            yield [sorry(error), *unchanged]
        else:
            yield ["", *self._contents(person, chosen, kind)]

    def pictures(self, person: Person, model: str | None, kind: str) -> str:
        with self._units() as uow:
            impact = uow.impacts.find(self._chosen(model).promotion.id)
        return self._pictures(person, impact, kind) if impact else ""

    def _chosen(self, model: str | None) -> Promoted:
        for each in read_promoted(self._units, self._registry):
            if each.promotion.id == model:
                return each
        raise NotFound("This model is not among the promoted ones.", hint="Press Refresh.")

    def _contents(self, person: Person, chosen: Promoted | None, kind: str) -> list[Any]:
        if chosen is None:
            nothing = gr.Plot(value=None, visible=False)
            button = gr.Button(interactive=False)
            radio = gr.Radio(visible=False)
            return [notice("info", _NONE_YET), nothing, "", "", button, "", "", radio, ""]
        figures = read_impact(self._units, self._tracking, self._registry, chosen)
        plot, impact = html.change_plot(figures.changes), figures.impact
        return [
            html.summary(figures),
            gr.Plot(value=plot, visible=plot is not None),
            html.change_table(figures.changes),
            html.change_note(figures),
            gr.Button(
                "Look at past cases" if impact is None else "Look again",
                interactive=chosen.in_service,
            ),
            html.case_tiles(impact, person.pseudonym) if impact and impact.cases else "",
            html.case_note(figures),
            gr.Radio(visible=impact is not None and bool(impact.cases)),
            self._pictures(person, impact, kind) if impact and impact.cases else "",
        ]

    def _pictures(self, person: Person, impact: Impact, kind: str) -> str:
        change = Change(kind)
        count = impact.counts[change]
        if not count:
            return quiet(f"None of these cases is {html.CHANGES[change].lower()}.")
        pairs, classes = read_pairs(self._units, self._images, impact, change, person.pseudonym)
        more = f" The first {MOST_PAIRS} of {count:,}." if count > MOST_PAIRS else ""
        return quiet(html.PICTURES_NOTE + more) + gallery(pairs, classes)
