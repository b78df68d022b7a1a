"""The gate's figures: how far luck could have made the difference, and what each class may lose."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from loop.bootstrap import Change, Interval
from loop.gate import Evidence
from loop.gate_record import GateRecord

_BAR, _LINE, _LIMIT = "#56B4E9", "#0072B2", "#D55E00"  # Okabe and Ito's palette
_BINS = 60


def gate_page(record: GateRecord, evidence: Evidence, title: str) -> str:
    """One HTML page that needs no network."""
    settings, bootstrap = record.settings, evidence.bootstrap
    figures = [
        _gain("Gain in mAP50-95", bootstrap.map50_95, record.map50_95, settings.min_gain),
        _gain("Gain in mAP50", bootstrap.map50, record.map50, settings.min_gain_50),
        _classes(record),
    ]
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=index == 0, default_height="380px")
        for index, figure in enumerate(figures)
    ]
    return f"<!doctype html><meta charset='utf-8'><title>{title}</title>" + "".join(parts)


def _gain(name: str, change: Change, interval: Interval, least: float) -> Any:
    figure = go.Figure()
    figure.add_histogram(x=change.resampled, nbinsx=_BINS, marker_color=_BAR)
    marks = [("measured", interval.estimate, _LINE, "solid"), ("must exceed", least, _LIMIT, "dot")]
    if interval.lower is not None:
        marks.append(("lower bound", interval.lower, _LINE, "dash"))
    for text, at, colour, dash in marks:
        figure.add_vline(x=at, line_color=colour, line_dash=dash, annotation_text=text)
    return figure.update_layout(
        title=f"{name}: on {len(change.resampled):,} resampled gold sets",
        xaxis_title="candidate less champion",
        yaxis_title="sets",
        showlegend=False,
    )


def _classes(record: GateRecord) -> Any:
    names = list(record.classes)
    intervals = [each.interval for each in record.classes.values()]
    figure = go.Figure()
    figure.add_scatter(
        x=[each.estimate for each in intervals],
        y=names,
        mode="markers",
        marker={"size": 10, "color": _LINE},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [_or(each.upper, 1.0) - each.estimate for each in intervals],
            "arrayminus": [each.estimate - _or(each.lower, -1.0) for each in intervals],
        },
    )
    limit = -record.settings.max_class_loss
    figure.add_vline(
        x=limit, line_color=_LIMIT, line_dash="dot", annotation_text="may not be below"
    )
    figure.add_vline(x=0, line_color="#888888", line_width=1)
    return figure.update_layout(
        title="Change of each class's AP50-95, with its one-sided 95 % bounds",
        xaxis_title="candidate less champion",
    )


def _or(bound: float | None, otherwise: float) -> float:
    return otherwise if bound is None else bound
