"""The plot, the table and the sentences of the page about promoted models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loop.impact import Change, ClassChange, Impact, Promoted
from ui.impact_figures import ImpactFigures
from ui.plots import GAIN, LOSS, QUIET, figure, rows_height, shorts
from ui.tiles import tiles
from ui.training_html import Cell, difference, notice, quiet, score, table, when

CHANGES = {
    Change.FIXED: "Fixed",
    Change.STILL_WRONG: "Still wrong",
    Change.BROKEN: "Broken",
    Change.STILL_RIGHT: "Still right",
}
_NOTES = {
    Change.FIXED: "wrong before, right now",
    Change.STILL_WRONG: "wrong before and now",
    Change.BROKEN: "right before, wrong now",
    Change.STILL_RIGHT: "right before and now",
}
_LEAST_RANGE = 0.05
# Distances between the ticks of an axis, of which the first is taken that makes few of them.
_TICK_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_MOST_TICKS_A_SIDE = 4


def label(promoted: Promoted) -> str:
    """For the list of models."""
    state = " (in service)" if promoted.in_service else ""
    state = " (rolled back)" if promoted.rolled_back else state
    return f"Version {promoted.promotion.candidate.version}, promoted {when(promoted.at)}{state}"


def summary(figures: ImpactFigures) -> str:
    promotion = figures.promoted.promotion
    after, before = promotion.candidate_score, promotion.champion_score
    on = f"on the gold set of {after.images:,} images, which no training sees"
    if before is None or promotion.champion is None:
        text = f"The first model, with mAP50-95 {after.map50_95:.3f} {on}: it replaced none."
    else:
        text = (
            f"Version {promotion.candidate.version} replaced version "
            f"{promotion.champion.version}: mAP50-95 went from {before.map50_95:.3f} to "
            f"{after.map50_95:.3f} ({after.map50_95 - before.map50_95:+.3f}) {on}."
        )
    parts = [notice("info", text)]
    if figures.promoted.rolled_back:
        parts.append(notice("warn", "It was rolled back: the model before it was put back."))
    if figures.trouble:
        parts.append(notice("warn", "The folds cannot be read.", figures.trouble))
    return "".join(parts)


def change_plot(changes: Sequence[ClassChange]) -> Any:
    """A bar a class, with the spread over folds as its whisker; None without a model before."""
    known = [(each, each.change) for each in changes if each.change is not None]
    if not known:
        return None
    names = shorts([each.name for each, _ in known])
    spreads = [each.spread or 0.0 for each, _ in known]
    plot = figure(height=rows_height(len(known)), x="change of AP50-95 on the gold set")
    plot.add_bar(
        orientation="h",
        y=names,
        x=[change for _, change in known],
        width=0.55,
        marker={
            "color": [GAIN if change >= 0 else LOSS for _, change in known],
            "pattern": {
                "shape": ["" if change >= 0 else "/" for _, change in known],
                "fillmode": "overlay",
                "fgcolor": "white",
                "fgopacity": 0.6,
            },
        },
        error_x={"type": "data", "array": spreads, "color": QUIET, "thickness": 1.5, "width": 6},
        customdata=[f"{change:+.3f}" for _, change in known],
        hovertemplate="%{y}: %{customdata}<extra></extra>",
    )
    reach = [abs(change) + spread for (_, change), spread in zip(known, spreads, strict=True)]
    side = max(_LEAST_RANGE, *reach) * 1.15
    plot.add_vline(x=0, line={"color": QUIET, "width": 1})
    ticks = _ticks(side)
    plot.update_xaxes(
        range=[-side, side], tickvals=ticks, ticktext=[f"{t:+.2f}" if t else "0" for t in ticks]
    )
    return plot.update_yaxes(autorange="reversed", showgrid=False)


def change_table(changes: Sequence[ClassChange]) -> str:
    headers = ["Class", "Before", "After", "Change", "Over the folds"]
    rows: list[list[str | Cell]] = [
        [
            each.name,
            score(each.before),
            score(each.after),
            difference(each.before, each.after),
            _over_folds(each),
        ]
        for each in changes
    ]
    return table(headers, rows, empty="No class was measured.")


def change_note(figures: ImpactFigures) -> str:
    text = "AP50-95 on the gold set, in [0, 1]. "
    if figures.folds:
        text += (
            f"Whiskers and last column: one standard deviation over the {figures.folds} folds that "
            "the model was chosen from, each on its own validation images. A change that is "
            "smaller than this may be chance."
        )
    else:
        text += "No folds recorded: how far a change may be chance is not known."
    return quiet(text)


def case_tiles(impact: Impact, pseudonym: str) -> str:
    """How many of the cases became what, and how many were fixed by this person's answers."""
    counts = impact.counts
    own = sum(pseudonym in case.reviewers for case in impact.of(Change.FIXED))
    rows = [(name, f"{counts[change]:,}", _NOTES[change]) for change, name in CHANGES.items()]
    return tiles([*rows, ("Your corrections", f"{own:,}", "of the fixed cases had your answer")])


def case_note(figures: ImpactFigures) -> str:
    impact = figures.impact
    if impact is None:
        if figures.promoted.in_service:
            return quiet("Not looked at yet: press the button.")
        return quiet("Not looked at while this model was in service, and it is not any more.")
    cases = len(impact.cases)
    if not cases:
        return quiet("No case had been settled with an earlier model before this one.")
    known = (
        f"at most {impact.settled_by(figures.frozen_at):,} of these {cases:,} were settled when "
        "its snapshot was frozen"
        if figures.frozen_at
        else "how many of these is not known"
    )
    return quiet(
        f"The latest {cases:,} cases that people settled before the promotion and on which an "
        f"earlier model had been asked, looked at again on {when(impact.measured_at)}. Right means "
        "that no second review would have been needed. The model may have been trained on some of "
        f"these very images ({known}), so that part of this may be memory: the gold set above is "
        "the fair comparison."
    )


PICTURES_NOTE = (
    "Boxes in colour are the model's, with the class it gave; dashed black and white is what "
    "people settled, on the day below."
)


def _ticks(side: float) -> list[float]:
    """Round numbers from ``-side`` to ``side``, 0 among them."""
    step = next((s for s in _TICK_STEPS if side / s <= _MOST_TICKS_A_SIDE), _TICK_STEPS[-1])
    count = int(side / step)
    return [round(step * place, 2) for place in range(-count, count + 1)]


def _over_folds(each: ClassChange) -> str:
    if not each.folds:
        return "no folds recorded"
    mean = sum(each.folds) / len(each.folds)
    if each.spread is None:
        return f"{mean:.3f}, in one fold only"
    return f"{mean:.3f} ± {each.spread:.3f}"
