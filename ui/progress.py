"""The progress page: what is done and waiting, how long it takes, and how far people agree."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import gradio as gr

from loop.access import Permission, Person
from loop.cases import CaseState, Source
from loop.classes import ClassList
from loop.events import now
from loop.ports import UnitsOfWork
from loop.progress import Done, Verdicts
from loop.reliability import Reliability
from ui import progress_plots as plots
from ui.guard import Guard
from ui.progress_figures import DAYS, Figures, read_figures
from ui.ticker import ticker
from ui.tiles import tiles
from ui.training_html import Cell, area, heading, quiet, table

EVERYONE, MINE = "Everyone", "Only mine"
_SOURCES = {
    Source.FIRST: "from first answers",
    Source.SECOND: "settled by two",
    Source.IMPORTED: "imported",
}
_AGREEMENT_NOTE = (
    "Krippendorff's alpha per class: 1 is full agreement, 0 (line) is what chance gives, 0.8 "
    "(dotted) is the customary bar. Two boxes agree from IoU 0.5 up. These are the latest {images} "
    "images that had a second review: mostly those on which model and first reviewer differed, so "
    "that agreement over all images is likely higher. First reviewers saw the model's boxes, "
    "second reviewers drew blind. Everyone is counted, whatever is chosen above."
)


def build_progress(guard: Guard, units: UnitsOfWork) -> None:
    """The tab's contents, read when it comes into view. A person sees everyone's totals and their
    own figures, and of nobody else anything."""
    with gr.Column(elem_classes=["slt", "slf-page"]):
        with gr.Row(elem_classes=["slt-actions", "slf-bar"]):
            whose = gr.Radio(
                [EVERYONE, MINE],
                value=EVERYONE,
                label="Whose work",
                show_label=False,
                container=False,
                scale=0,
                min_width=260,
            )
            refresh = gr.Button("Refresh", size="sm", scale=0, min_width=96)
            eye = ticker()
        outputs: list[Any] = [area(quiet("Reading …"))]
        with gr.Row():
            outputs += _place("Cases done per day (UTC)", scale=3)
            outputs += _place("Waiting", scale=2)
        with gr.Row():
            outputs += _place("Time per case")
            outputs += _place("What became of the model's boxes")
        area(heading("Agreement between people"))
        with gr.Row():
            with gr.Column(min_width=380):
                outputs.append(_plot("Agreement between people"))
            with gr.Column(min_width=380):
                outputs.append(area())
        outputs.append(area())

    show = guard(Permission.SEE_PROGRESS, _handler(units))
    for event in (eye.opened, refresh.click, whose.change):
        event(show, whose, outputs, api_visibility="private", show_progress="hidden")


def _place(title: str, *, scale: int = 1) -> list[Any]:
    """A column with a heading, a plot, and a line below it."""
    with gr.Column(scale=scale, min_width=380):
        area(heading(title))
        return [_plot(title), area()]


def _plot(title: str) -> gr.Plot:
    return gr.Plot(label=title, show_label=False, container=False, visible=False, buttons=[])


def _handler(units: UnitsOfWork) -> Callable[[Person, str], list[Any]]:
    def show(person: Person, whose: str) -> list[Any]:
        mine = person.pseudonym if whose == MINE else None
        return contents(read_figures(units, mine, now()), mine=mine is not None)

    return show


def contents(figures: Figures, *, mine: bool) -> list[Any]:
    """For each place of the page, in their order."""
    return [
        _tiles(figures, mine=mine),
        *_done(figures),
        *_waiting(figures),
        *_times(figures),
        *_verdicts(figures),
        *_agreement(figures),
    ]


def _shown(figure: Any) -> Any:
    return gr.Plot(value=figure, visible=True)


def _hidden() -> Any:
    return gr.Plot(value=None, visible=False)


def _tiles(figures: Figures, *, mine: bool) -> str:
    waiting = {state: figures.waiting.get(state, 0) for state in plots.STATES}
    by_state = " · ".join(f"{n:,} {state}" for state, n in waiting.items())
    done, today = figures.done, figures.days.get(figures.today, Done())
    medians = [
        "—" if median is None else f"{median:.0f} s"
        for median in (figures.seconds.median_first, figures.seconds.median_second)
    ]
    verdicts = sum(figures.verdicts.values(), Verdicts())
    changed = "—" if verdicts.overridden is None else f"{100 * verdicts.overridden:.0f} %"
    sources = " · ".join(
        f"{figures.sources[source]:,} {text}"
        for source, text in _SOURCES.items()
        if figures.sources.get(source)
    )
    own = "you " if mine else ""
    rows = [
        ("Waiting", f"{sum(waiting.values()):,}", by_state),
        (
            f"Done{' by you' if mine else ''}",
            f"{done.total:,}",
            f"{done.first:,} first · {done.second:,} second",
        ),
        ("Today (UTC)", f"{today.total:,}", f"{today.first:,} first · {today.second:,} second"),
        ("Median time", medians[0], f"a first answer · {medians[1]} a second review"),
        ("Boxes changed", changed, f"of {verdicts.detections:,} that {own or 'people '}answered"),
        ("Annotations", f"{sum(figures.sources.values()):,}", sources or "none yet"),
    ]
    return tiles(rows)


def _done(figures: Figures) -> tuple[Any, str]:
    if not figures.days:
        return _hidden(), quiet(f"Nothing was done in the last {DAYS} days.")
    last = datetime.fromisoformat(figures.today).date()
    total = sum(done.total for done in figures.days.values())
    note = f"{total:,} in the last {DAYS} days, on {len(figures.days)} of them."
    first = last - timedelta(days=DAYS - 1)
    return _shown(plots.per_day(figures.days, first, last)), quiet(note)


def _waiting(figures: Figures) -> tuple[Any, str]:
    waits = sum(figures.waiting.get(state, 0) for state in plots.STATES)
    if not waits:
        return _hidden(), quiet("Nothing is waiting.")
    settled = figures.waiting.get(CaseState.SETTLED, 0)
    return _shown(plots.waiting(figures.waiting)), quiet(f"{settled:,} cases are settled.")


def _times(figures: Figures) -> tuple[Any, str]:
    first, second = len(figures.seconds.first), len(figures.seconds.second)
    if not first + second:
        return _hidden(), quiet("No case was answered yet, so that there is no time to show.")
    note = (
        f"The latest {first:,} first answers and {second:,} second reviews; only time in which "
        "something was done counts. The last point holds all that took longer."
    )
    return _shown(plots.times(figures.seconds)), quiet(note)


def _verdicts(figures: Figures) -> tuple[Any, str]:
    if figures.classes is None or not any(v.detections for v in figures.verdicts.values()):
        return _hidden(), quiet("No box of the model was answered yet.")
    note = f"The latest answers. {plots.added(figures.verdicts, figures.classes)}"
    return _shown(plots.verdicts(figures.verdicts, figures.classes)), quiet(note)


def _agreement(figures: Figures) -> tuple[Any, str, str]:
    classes, found = figures.classes, figures.agreement
    images = found[0].images if found else 0
    if classes is None or not images:
        return _hidden(), "", quiet("No case had a second review yet.")
    rows = [_agreement_row(each, classes) for each in found]
    headers = ["Class", "Alpha", "95 % interval", "Matched", "Images", "Boxes"]
    note = quiet(_AGREEMENT_NOTE.format(images=f"{images:,}"))
    return _shown(plots.agreement(found, classes)), table(headers, rows), note


def _agreement_row(each: Reliability, classes: ClassList) -> list[str | Cell]:
    alpha = "—" if each.alpha is None else f"{each.alpha:.2f}"
    interval: str | Cell = Cell(each.reason, "slf-reason")
    if each.interval is not None:
        interval = "{:.2f} to {:.2f}".format(*each.interval)
    matched = "—" if each.matched is None else f"{100 * each.matched:.0f} %"
    return [
        classes.name_of(each.class_id),
        alpha,
        interval,
        matched,
        f"{each.shown:,}",
        f"{each.boxes:,}",
    ]
