"""The figures of a training's page, in Plotly: folds, learning curves, classes, errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from loop.confusion import Confusion
from loop.curves import mean_curve
from loop.metrics import RECALLS, PrecisionRecall
from train.results import FoldRow, Spread

# Okabe and Ito's palette, which people with any colour vision can tell apart; its yellow is left
# out, it is lost on white. https://jfly.uni-koeln.de/color/
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_MEAN, _BAND = "#1f2933", "rgba(31, 41, 51, 0.14)"
_SHOWN = {"map50": "mAP50", "map50_95": "mAP50-95"}
_LOSSES = ("box_loss", "cls_loss", "dfl_loss")
# With more classes, numbers in the cells would not be read.
_MOST_CELLS_WITH_TEXT = 16
_CELL_PX = 46

# Of a fold, by epoch (from 1).
Curve = Mapping[int, float]
History = Sequence[Mapping[str, float]]


def fold_bars(rows: Sequence[FoldRow], spreads: Mapping[str, Spread]) -> Any:
    figure = go.Figure()
    several = len(rows) > 1
    names = [f"fold {row.fold}" for row in rows] if several else ["validation"]
    for colour, (score, label) in zip(_COLOURS, _SHOWN.items(), strict=False):
        values = [getattr(row, score) for row in rows]
        spread = spreads[score]
        figure.add_bar(
            name=label,
            x=[*names, "mean ± sd"] if several else names,
            y=[*values, spread.mean] if several else values,
            error_y={"type": "data", "array": [*(0.0 for _ in rows), spread.std][: len(rows) + 1]},
            marker_color=colour,
            hovertemplate=f"%{{x}}: {label} %{{y:.3f}}<extra></extra>",
        )
    figure.update_layout(barmode="group", yaxis={"title": "score", "range": [0, 1]})
    return _styled(figure, 380)


def learning_curves(histories: Mapping[int, History]) -> Any:
    """A panel a score and a loss: each fold thin, their mean thick, ± one sd as a band."""
    panels = {
        "mAP50-95, validation images": _each(histories, ["map50_95"]),
        "mAP50, validation images": _each(histories, ["map50"]),
        "Loss in training": _each(histories, [f"train_{name}" for name in _LOSSES]),
        "Loss on validation images": _each(histories, [f"val_{name}" for name in _LOSSES]),
    }
    figure = make_subplots(
        2, 2, subplot_titles=list(panels), vertical_spacing=0.14, horizontal_spacing=0.07
    )
    for place, curves in enumerate(panels.values()):
        where = {"row": place // 2 + 1, "col": place % 2 + 1}
        for line in _fold_lines(curves, legend=place == 0):
            figure.add_trace(line, **where)
        if len(curves) > 1:
            for line in _mean_lines(list(curves.values()), legend=place == 0):
                figure.add_trace(line, **where)
    figure.update_xaxes(title_text="epoch", row=2)
    figure.update_yaxes(rangemode="tozero")
    return _styled(figure, 680)


def class_bars(scores: Mapping[str, Mapping[str, float]]) -> Any:
    """``scores`` are by class name, as `train.results.class_spread` gives them."""
    figure = go.Figure()
    for colour, (score, label) in zip(
        _COLOURS, {"map50": "AP50", "map50_95": "AP50-95"}.items(), strict=False
    ):
        figure.add_bar(
            name=label,
            x=[_text(name) for name in scores],
            y=[each[f"{score}_mean"] for each in scores.values()],
            error_y={"type": "data", "array": [each[f"{score}_std"] for each in scores.values()]},
            marker_color=colour,
            hovertemplate=f"%{{x}}: {label} %{{y:.3f}}<extra></extra>",
        )
    figure.update_layout(barmode="group", yaxis={"title": "score", "range": [0, 1]})
    return _styled(figure, 380)


def precision_recall_curves(curves: Mapping[str, PrecisionRecall]) -> Any:
    """A line a class; its mean, which the legend says, is the class's AP50."""
    figure = go.Figure()
    for place, (name, curve) in enumerate(curves.items()):
        ap50 = sum(curve.precisions) / len(curve.precisions)
        turn, kind = divmod(place, len(_COLOURS))
        figure.add_scatter(
            name=f"{_text(name)} (AP50 {ap50:.3f})",
            x=RECALLS.tolist(),
            y=list(curve.precisions),
            customdata=["none" if c is None else f"{c:.2f}" for c in curve.confidences],
            mode="lines",
            line={"color": _COLOURS[kind], "dash": _DASHES[turn % len(_DASHES)], "width": 2},
            hovertemplate=(
                f"{_text(name)}: recall %{{x:.2f}}, precision %{{y:.2f}} "
                "at confidence %{customdata}<extra></extra>"
            ),
        )
    figure.update_layout(
        xaxis={"title": "recall", "range": [0, 1.01]},
        yaxis={"title": "precision", "range": [0, 1.02]},
    )
    return _styled(figure, 480)


def confusion_maps(found: Confusion) -> Any:
    """Counts, and each row's shares: the truth in rows, what was detected in columns."""
    labels = [_text(label) for label in found.labels]
    titles = ("Counts", "Share of each true class")
    figure = make_subplots(1, 2, subplot_titles=titles, horizontal_spacing=0.16)
    with_text = len(labels) <= _MOST_CELLS_WITH_TEXT
    for place, (values, form) in enumerate(((found.counts, "d"), (found.shares, ".2f"))):
        rows = values.tolist()
        figure.add_heatmap(
            row=1,
            col=place + 1,
            x=labels,
            y=labels,
            z=rows,
            text=[[format(value, form) if value else "" for value in row] for row in rows],
            texttemplate="%{text}" if with_text else "",
            colorscale="Blues",
            zmin=0,
            showscale=False,
            hovertemplate="true %{y}, detected as %{x}: %{z:.3~g}<extra></extra>",
        )
    figure.update_xaxes(title_text="detected", side="bottom")
    figure.update_yaxes(title_text="true", autorange="reversed", col=1)
    figure.update_yaxes(autorange="reversed", col=2)
    return _styled(figure, max(360, _CELL_PX * len(labels) + 160))


def _each(histories: Mapping[int, History], parts: Sequence[str]) -> dict[int, Curve]:
    """By fold: the sum of ``parts`` at the epochs that have them all."""
    return {
        fold: {
            int(entry["epoch"]): sum(entry[part] for part in parts)
            for entry in history
            if all(part in entry for part in parts)
        }
        for fold, history in histories.items()
    }


def _fold_lines(curves: Mapping[int, Curve], *, legend: bool) -> list[Any]:
    return [
        go.Scatter(
            name=f"fold {fold}",
            legendgroup=f"fold {fold}",
            showlegend=legend,
            x=list(curve),
            y=list(curve.values()),
            mode="lines+markers",
            line={"color": _COLOURS[place % len(_COLOURS)], "width": 1.2},
            marker={"size": 4},
            hovertemplate=f"fold {fold}, epoch %{{x}}: %{{y:.4f}}<extra></extra>",
        )
        for place, (fold, curve) in enumerate(curves.items())
    ]


def _mean_lines(curves: Sequence[Curve], *, legend: bool) -> list[Any]:
    points = mean_curve(curves)
    epochs = [point.epoch for point in points]
    upper = [point.mean + point.std for point in points]
    lower = [point.mean - point.std for point in points]
    band = go.Scatter(
        name="± sd",
        legendgroup="spread",
        showlegend=legend,
        x=[*epochs, *reversed(epochs)],
        y=[*upper, *reversed(lower)],
        fill="toself",
        fillcolor=_BAND,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
    )
    mean = go.Scatter(
        name="mean",
        legendgroup="mean",
        showlegend=legend,
        x=epochs,
        y=[point.mean for point in points],
        customdata=[[point.std, point.count] for point in points],
        mode="lines",
        line={"color": _MEAN, "width": 3},
        hovertemplate=(
            "epoch %{x}: mean %{y:.4f} ± %{customdata[0]:.4f} of %{customdata[1]} folds"
            "<extra></extra>"
        ),
    )
    return [band, mean]


def _styled(figure: Any, height_px: int) -> Any:
    return figure.update_layout(
        template="plotly_white",
        height=height_px,
        autosize=True,
        font={"family": "system-ui, sans-serif", "size": 13, "color": _MEAN},
        margin={"l": 60, "r": 20, "t": 72, "b": 50},
        legend={"orientation": "h", "y": 1.0, "yref": "container", "yanchor": "top", "x": 0},
    )


def _text(name: str) -> str:
    """Plotly takes some of HTML; a class's name is text."""
    return name.replace("&", "&amp;").replace("<", "&lt;")
