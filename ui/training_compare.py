"""Section "Compare" of the training page: candidate and champion on the gold set."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from loop.access import Permission, Person
from loop.errors import Conflict, LoopError
from loop.gold import GoldDetections
from loop.metrics import PrecisionRecall, precision_recall
from loop.promotions import Promotion
from ui.gold_book import Candidate, GoldBook, Seen
from ui.keeping import keep
from ui.model_examples import Pictures, examples
from ui.operations import JobState, TrainingJobs
from ui.ticker import tick, ticker
from ui.training_html import area, heading, notice, quiet, sorry
from ui.training_plots import (
    CANDIDATE_COLOUR,
    CHAMPION_COLOUR,
    MOST_CLASSES,
    precision_recall_curves,
)
from ui.training_start import Guard
from ui.training_verdict import label, scores, sides, verdict

_LINES_OF_A_FAILURE = 15
_MOST_KEPT = 8
_HIDDEN = {"api_visibility": "private", "show_progress": "hidden"}


def build_compare(
    guard: Guard, jobs: TrainingJobs, book: GoldBook, pictures: Pictures, confidence: float
) -> None:
    """``confidence`` is from where on a detection counts in the examples."""
    look = ticker()
    waiting_for = gr.State("")  # the measurement that this page started, by its job's id
    with gr.Row(elem_classes="slt-actions"):
        which = gr.Dropdown(choices=[], label="Candidate", elem_classes="slt-picker")
        measure = gr.Button("Measure", scale=0, min_width=160, visible=False)
    message = area(quiet("Reading …"))
    numbers = area()
    curves_heading = area()
    curves = gr.Plot(show_label=False, container=False, visible=False, elem_classes="slt-wide")
    differing = area()

    section = _Compare(jobs, book, pictures, confidence)
    shown = [message, measure, numbers, curves_heading, curves, differing]
    outputs = [which, *shown, look, waiting_for]
    look.opened(
        guard(Permission.SEE_MODELS, section.open), [which, waiting_for], outputs, **_HIDDEN
    )
    look.ticked(
        guard(Permission.SEE_MODELS, section.wait), [which, waiting_for], outputs, **_HIDDEN
    )
    which.input(guard(Permission.SEE_MODELS, section.show), which, shown, **_HIDDEN)
    measure.click(guard(Permission.TRAIN, section.measure), which, outputs, **_HIDDEN)


class _Compare:
    def __init__(
        self, jobs: TrainingJobs, book: GoldBook, pictures: Pictures, confidence: float
    ) -> None:
        self._jobs = jobs
        self._book = book
        self._pictures = pictures
        self._confidence = confidence
        # These take seconds with thousands of gold images, and stay the same.
        self._curves: dict[tuple[str, str], dict[str, PrecisionRecall]] = {}
        self._drawn: dict[tuple[str, str, str], str] = {}

    def open(self, person: Person, version: str | None, job_id: str) -> list[Any]:
        try:
            candidates = self._book.candidates()
        except LoopError as error:
            return [gr.skip(), *_only(sorry(error)), tick(False), job_id]
        versions = [candidate.ref.version for candidate in candidates]
        if version not in versions:
            version = versions[0] if versions else None
        choices = [(label(candidate), candidate.ref.version) for candidate in candidates]
        menu = gr.Dropdown(choices=choices, value=version)
        shown = self._shown(person, candidates, version)
        return [menu, *shown, tick(bool(job_id)), job_id]

    def show(self, person: Person, version: str | None) -> list[Any]:
        try:
            return self._shown(person, self._book.candidates(), version)
        except LoopError as error:
            return _only(sorry(error))

    def measure(self, person: Person, version: str | None) -> list[Any]:
        """Measure what is not, as a job; the page is shown anew when it has ended."""
        actor = person.acting(Permission.TRAIN)
        try:
            candidate = self._candidate(self._book.candidates(), version)
            if candidate is None:
                raise Conflict("There is no such candidate any more.", hint="Reload the page.")
            if candidate.promotion is None:
                job = self._jobs.propose(candidate.ref.version, actor=actor)
            else:
                missing = self._book.seen(candidate.promotion).missing
                job = self._jobs.measure([ref.version for ref in missing], actor=actor)
        except LoopError as error:
            return [gr.skip(), sorry(error), *[gr.skip()] * 5, tick(False), ""]
        text = notice("info", f"Measuring on the gold set: job {job.id[:8]}.", "It takes a minute.")
        waiting = [text, gr.Button(interactive=False), *[gr.skip()] * 4]
        return [gr.skip(), *waiting, tick(True), job.id]

    def wait(self, person: Person, version: str | None, job_id: str) -> list[Any]:
        job = next((job for job in self._jobs.jobs() if job.id == job_id), None)
        if job is not None and job.state.active:
            return [*[gr.skip()] * 7, tick(True), job_id]
        shown = self.open(person, version, "")
        if job is not None and job.state is JobState.FAILED:
            lines = self._jobs.log(job.id, _LINES_OF_A_FAILURE)
            shown[1] = notice("bad", "The measurement failed.", "Its last lines:", lines=lines)
        return shown

    def _shown(self, person: Person, candidates: list[Candidate], version: str | None) -> list[Any]:
        candidate = self._candidate(candidates, version)
        if candidate is None:
            return _only(quiet("There is no candidate yet. A training registers one."))
        may = person.may(Permission.TRAIN)
        if candidate.promotion is None:
            text = notice("warn", f"Version {version} has not been measured on the gold set yet.")
            return [text, _button("Measure it", may), *_NOTHING]
        promotion = candidate.promotion
        seen = self._book.seen(promotion)
        text = verdict(promotion, person.pseudonym) + _remarks(seen)
        if seen.after is None or seen.missing:
            return [text, _button("Measure again", may), scores(promotion), *_NOTHING[1:]]
        return [text, gr.Button(visible=False), *self._measured(promotion, seen)]

    def _measured(self, promotion: Promotion, seen: Seen) -> list[Any]:
        sides_seen = zip(
            sides(promotion),
            (CHAMPION_COLOUR, CANDIDATE_COLOUR),
            (seen.before, seen.after),
            strict=True,
        )
        models = [
            (name, colour, self._curves_of(each))
            for name, colour, each in sides_seen
            if each is not None
        ]
        by_class = models[-1][2]
        names = _most_different([curves for _, _, curves in models], list(by_class))
        note = "101 recall points; the area under a curve is the class's AP50"
        if len(names) < len(by_class):
            note = f"the {len(names)} classes that differ most, of {len(by_class)}; {note}"
        ap50 = [{name: _area(curve) for name, curve in curves.items()} for _, _, curves in models]
        before_50 = ap50[0] if seen.before is not None else None
        # Scores by class at IoU 0.5 are those of the curves: only where both are of the verdict's.
        numbers = scores(promotion, before_50, ap50[-1]) if seen.same_gold else scores(promotion)
        return [
            numbers,
            heading("Precision and recall at IoU 0.5", note),
            gr.Plot(precision_recall_curves(models, names, promotion.id), visible=True),
            self._examples(promotion, seen),
        ]

    def _examples(self, promotion: Promotion, seen: Seen) -> str:
        if seen.before is None or seen.after is None:
            return quiet("There was no champion to differ from.")
        note = f"detections of confidence {self._confidence:.2f} and more, IoU 0.5"
        key = (promotion.id, promotion.state, seen.after.gold_sha256)
        drawn = self._drawn.get(key)
        if drawn is None:
            drawn = examples(
                seen.before, seen.after, sides(promotion), self._pictures, self._confidence
            )
            keep(self._drawn, key, drawn, _MOST_KEPT)
        return heading("Where they differ", note) + drawn

    def _curves_of(self, seen: GoldDetections) -> dict[str, PrecisionRecall]:
        key = (seen.gold_sha256, seen.model.digest)
        known = self._curves.get(key)
        if known is not None:
            return known
        curves = precision_recall(seen.truth, seen.detected, seen.classes)
        return keep(self._curves, key, curves, _MOST_KEPT)

    def _candidate(self, candidates: list[Candidate], version: str | None) -> Candidate | None:
        return next((each for each in candidates if each.ref.version == version), None)


# Numbers, heading of the curves, curves, examples.
_NOTHING: list[Any] = ["", "", gr.update(visible=False), ""]


def _only(text: str) -> list[Any]:
    return [text, gr.Button(visible=False), *_NOTHING]


def _button(text: str, enabled: bool) -> Any:
    return gr.Button(text, visible=True, interactive=enabled)


def _remarks(seen: Seen) -> str:
    parts = []
    if seen.missing:
        versions = " and ".join(f"version {ref.version}" for ref in seen.missing)
        parts.append(
            notice(
                "warn",
                f"What {versions} saw on the gold set is not kept, so that there are no curves and "
                "no examples.",
                "Measure again keeps it; the verdict stays as it is.",
            )
        )
    elif not seen.same_gold:
        parts.append(
            notice(
                "warn",
                "The gold set has changed since this verdict: curves and examples are of today's.",
            )
        )
    return "".join(parts)


def _most_different(curves: list[dict[str, PrecisionRecall]], names: list[str]) -> list[str]:
    """The classes to show, in their own order."""

    def change(name: str) -> float:
        areas = [_area(each[name]) for each in curves if name in each]
        return max(areas) - min(areas)

    chosen = sorted(names, key=change, reverse=True)[:MOST_CLASSES]
    return [name for name in names if name in chosen]


def _area(curve: PrecisionRecall) -> float:
    return float(np.mean(curve.precisions))
