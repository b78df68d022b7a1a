"""The figures of the progress page, and what each of them says in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np

from loop.cases import CaseState
from loop.classes import ClassList
from loop.progress import ActiveSeconds, Done, Verdicts
from loop.reliability import Reliability
from ui.plots import QUIET, figure, filling, rows_height, shorts, style

STATES = {
    CaseState.FIRST: "First review",
    CaseState.SECOND: "Second review",
    CaseState.REOPENED: "Reopened",
}
# From what stands to what goes, each with the number of its look.
VERDICTS = {"accepted": 0, "moved": 4, "relabelled": 1, "rejected": 3}
_KINDS = ("First answers", "Second reviews")
_PLOT_PX = 280
_FEW = 6  # cases
_BINS = 24
# The slowest answers, of people called away, would squeeze all others into the first bars.
_LONGEST_PERCENTILE = 98
# Krippendorff's custom, in "Content Analysis": from here on, conclusions can be drawn.
_CUSTOMARY = 0.8


def per_day(done: Mapping[str, Done], first_day: date, last_day: date) -> Any:
    days = [first_day + timedelta(n) for n in range((last_day - first_day).days + 1)]
    counts = [done.get(day.isoformat(), Done()) for day in days]
    plot = figure(height=_PLOT_PX, y="cases", legend=True, hover="x unified")
    for number, values in enumerate(([c.first for c in counts], [c.second for c in counts])):
        plot.add_bar(name=_KINDS[number], x=days, y=values, marker=filling(number))
    plot.update_layout(barmode="stack", bargap=0.15)
    plot.update_xaxes(tickformat="%-d %b", hoverformat="%A, %-d %B %Y", showgrid=False)
    return plot.update_yaxes(rangemode="tozero", tickformat="d")


def waiting(counts: Mapping[CaseState, int]) -> Any:
    values = [counts.get(state, 0) for state in STATES]
    plot = figure(height=_PLOT_PX, x="cases")
    for number, (state, value) in enumerate(zip(STATES, values, strict=True)):
        plot.add_bar(
            orientation="h",
            y=[STATES[state]],
            x=[value],
            text=[f"{value:,}"],
            textposition="outside",
            cliponaxis=False,
            marker=filling(number),
            hovertemplate="%{y}: %{x:,}<extra></extra>",
        )
    plot.update_layout(margin_r=56, barmode="stack")
    plot.update_yaxes(autorange="reversed", showgrid=False)
    if max(values) < _FEW:  # ticks in between would all be rounded to the same numbers
        plot.update_xaxes(dtick=1)
    return plot.update_xaxes(rangemode="tozero", tickformat="d", nticks=6)


def times(seconds: ActiveSeconds) -> Any:
    """Shares of answers by how long they took; a line for each kind, and one at its median."""
    plot = figure(height=_PLOT_PX, x="seconds of activity in a case", y="% of cases", legend=True)
    longest = float(np.percentile([*seconds.first, *seconds.second], _LONGEST_PERCENTILE))
    edges = np.linspace(0, max(longest, 1.0), _BINS + 1)
    medians = (seconds.median_first, seconds.median_second)
    for number, (values, median) in enumerate(
        zip((seconds.first, seconds.second), medians, strict=True)
    ):
        if median is None:
            continue
        look = style(number)
        counts, _ = np.histogram(np.minimum(values, edges[-1]), edges)
        plot.add_scatter(
            name=f"{_KINDS[number]}, median {median:.0f} s",
            x=(edges[:-1] + edges[1:]) / 2,
            y=100 * counts / len(values),
            mode="lines+markers",
            line={"color": look["colour"], "dash": look["dash"], "width": 2},
            marker={"symbol": look["symbol"], "size": 7},
            hovertemplate="about %{x:.0f} s: %{y:.1f} %<extra></extra>",
        )
        plot.add_vline(x=median, line={"color": look["colour"], "dash": look["dash"], "width": 1})
    plot.update_xaxes(range=[0, edges[-1]], showgrid=False)
    return plot.update_yaxes(rangemode="tozero")


def agreement(found: Sequence[Reliability], classes: ClassList) -> Any:
    """Alpha with its interval for each class, and beside it the share that is matched."""
    names = shorts(list(classes))
    plot = figure(height=rows_height(len(found), legend=True), x="agreement", legend=True)
    known = [
        (names[each.class_id], each.alpha, *each.interval)
        for each in found
        if each.alpha is not None and each.interval is not None
    ]
    look = style(0)
    plot.add_scatter(
        name="beyond chance (alpha), with 95 % interval",
        x=[alpha for _, alpha, _, _ in known],
        y=[name for name, *_ in known],
        mode="markers",
        marker={"color": look["colour"], "symbol": look["symbol"], "size": 11},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - alpha for _, alpha, _, high in known],
            "arrayminus": [alpha - low for _, alpha, low, _ in known],
            "thickness": 2,
            "width": 6,
        },
        hovertemplate="%{y}: alpha %{x:.2f}<extra></extra>",
    )
    matched = [(names[r.class_id], r.matched) for r in found if r.matched is not None]
    look = style(3)
    plot.add_scatter(
        name="share of boxes with a partner",
        x=[value for _, value in matched],
        y=[name for name, _ in matched],
        mode="markers",
        marker={"color": look["colour"], "symbol": "diamond-open", "size": 11, "line_width": 2},
        hovertemplate="%{y}: %{x:.0%} of boxes have a partner<extra></extra>",
    )
    lowest = min([0.0, *(low for _, _, low, _ in known)])
    plot.add_vline(x=0, line={"color": QUIET, "width": 1})
    plot.add_vline(x=_CUSTOMARY, line={"color": QUIET, "width": 1, "dash": "dot"})
    plot.update_yaxes(categoryorder="array", categoryarray=names, range=[len(names) - 0.5, -0.5])
    return plot.update_xaxes(range=[lowest - 0.05, 1.05], tickformat=".1f", dtick=0.2)


def verdicts(found: Mapping[int, Verdicts], classes: ClassList) -> Any:
    """What became of each class's detections, as shares of them."""
    known = {class_id: each for class_id, each in found.items() if each.detections}
    names = shorts([classes.name_of(class_id) for class_id in known])
    labels = [
        f"{name} ({each.detections:,})" for name, each in zip(names, known.values(), strict=True)
    ]
    plot = figure(
        height=max(_PLOT_PX, rows_height(len(known), legend=True)),
        x="% of the model's boxes",
        legend=True,
    )
    for name, number in VERDICTS.items():
        counts = [getattr(each, name) for each in known.values()]
        totals = [each.detections for each in known.values()]
        plot.add_bar(
            name=name,
            orientation="h",
            y=labels,
            x=[100 * count / total for count, total in zip(counts, totals, strict=True)],
            customdata=counts,
            marker=filling(number),
            hovertemplate=f"%{{y}}: %{{customdata}} {name}, %{{x:.0f}} %<extra></extra>",
        )
    plot.update_layout(barmode="stack")
    plot.update_yaxes(autorange="reversed", showgrid=False)
    return plot.update_xaxes(range=[0, 100], dtick=20)


def added(found: Mapping[int, Verdicts], classes: ClassList) -> str:
    """Which boxes the model had missed, in words."""
    missed = {classes.name_of(class_id): each.added for class_id, each in found.items()}
    most = sorted(((n, name) for name, n in missed.items() if n), reverse=True)
    if not most:
        return "No box had to be added."
    listed = ", ".join(f"{n:,} {name}" for n, name in most[:6])
    more = f", and {sum(n for n, _ in most[6:]):,} of other classes" if len(most) > 6 else ""
    return f"Boxes that had to be added: {listed}{more}."
