"""Plots of a cross-validation: one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from train.results import FoldRow, Spread

_SHOWN = {"map50": "mAP50", "map50_95": "mAP50-95"}
# Okabe and Ito's palette, which people with any colour vision can tell apart.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000")


def write_plots(
    path: Path,
    rows: Sequence[FoldRow],
    spreads: Mapping[str, Spread],
    histories: Mapping[int, Sequence[Mapping[str, float]]],
) -> None:
    """Bars of each fold's scores with their mean and spread, and each fold's learning curves.

    ``histories`` has an entry an epoch for each fold, with ``epoch``, ``map50`` and losses.
    """
    figures = [
        _bars(rows, spreads),
        _curves(histories, "map50", "mAP50 on the fold's validation images"),
        _curves(histories, "map50_95", "mAP50-95 on the fold's validation images"),
        _curves(histories, "train_box_loss", "Box loss in training"),
    ]
    parts = [
        # The library once, inline: the file is opened from disk and inside MLflow.
        figure.to_html(full_html=False, include_plotlyjs=index == 0, default_height="450px")
        for index, figure in enumerate(figures)
    ]
    page = "<!doctype html><meta charset='utf-8'><title>Cross-validation</title>" + "".join(parts)
    path.write_text(page, encoding="utf-8")


def _bars(rows: Sequence[FoldRow], spreads: Mapping[str, Spread]) -> Any:
    figure = go.Figure()
    for colour, (name, label) in zip(_COLOURS, _SHOWN.items(), strict=False):
        value = spreads[name]
        figure.add_bar(
            name=label,
            x=[*(f"fold {row.fold}" for row in rows), "mean ± sd"],
            y=[*(getattr(row, name) for row in rows), value.mean],
            error_y={"type": "data", "array": [*(0.0 for _ in rows), value.std]},
            marker_color=colour,
        )
    return figure.update_layout(
        title="Best model of each fold", yaxis_title="score", yaxis_range=[0, 1], barmode="group"
    )


def _curves(histories: Mapping[int, Sequence[Mapping[str, float]]], metric: str, title: str) -> Any:
    figure = go.Figure()
    for fold, history in histories.items():
        figure.add_scatter(
            name=f"fold {fold}",
            x=[entry["epoch"] for entry in history],
            y=[entry.get(metric) for entry in history],
            mode="lines+markers",
            line_color=_COLOURS[fold % len(_COLOURS)],
        )
    return figure.update_layout(title=title, xaxis_title="epoch")
