"""Plots of the training page: learning curves, a search's trials, precision against recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plotly.subplots import make_subplots

from loop.metrics import RECALLS, PrecisionRecall
from ui.plots import COLOURS, QUIET, SYMBOLS, figure, shorts, style
from ui.run_parts import TRAIN_LOSS, VAL_LOSS, Run

_PANELS = (
    ("map50_95", "mAP50-95 on the fold's validation images"),
    ("map50", "mAP50 on the fold's validation images"),
    (TRAIN_LOSS, "Loss in training (box + class + dfl)"),
    (VAL_LOSS, "Loss on the fold's validation images"),
)
_PR_COLUMNS, _PR_ROW_PX, _PR_SPACE_PX = 3, 250, 70
MOST_CLASSES = 9
CANDIDATE_COLOUR, CHAMPION_COLOUR = COLOURS[:2]
# Room for the legend and the first row's titles.
_TOP_PX = 56


def learning_curves(run: Run) -> Any:
    """Four panels, a line with symbols of its own for each fold."""
    panels = _panels(
        560,
        run.id,
        rows=2,
        cols=2,
        subplot_titles=[title for _, title in _PANELS],
        vertical_spacing=0.16,
        horizontal_spacing=0.07,
    )
    named: set[str] = set()
    for panel, (curve, _) in enumerate(_PANELS):
        for place, fold in enumerate(run.rows):
            points = fold.curves[curve]
            if not points:  # the final model is not validated
                continue
            look = style(place)
            panels.add_scatter(
                row=panel // 2 + 1,
                col=panel % 2 + 1,
                name=fold.name,
                legendgroup=fold.name,
                showlegend=fold.name not in named,
                x=[point.epoch for point in points],
                y=[point.value for point in points],
                mode="lines+markers",
                line={"color": look["colour"], "width": 1.5},
                marker={"symbol": look["symbol"], "size": 6, "color": look["colour"]},
                hovertemplate=f"{fold.name}, epoch %{{x}}: %{{y:.4f}}<extra></extra>",
            )
            named.add(fold.name)
    panels.update_xaxes(rangemode="tozero", dtick=_tick(run))
    panels.update_xaxes(title_text="epoch", row=2)
    panels.update_yaxes(rangemode="tozero")
    return panels


def trial_scores(run: Run) -> Any:
    """Each trial of a search by its number, by how it ended, and the best so far as a line."""
    plot = figure(height=320, x="trial", y="mAP50-95, mean over the folds", legend=True)
    scored = [trial for trial in run.trials if trial.score is not None]
    best, steps = 0.0, []
    for trial in scored:
        # One that was stopped early did not get as far as its score might have.
        best = max(best, trial.score or 0.0) if trial.finished else best
        steps.append(best or None)
    plot.add_scatter(
        name="best so far",
        x=[trial.number for trial in scored],
        y=steps,
        mode="lines",
        line={"color": QUIET, "width": 1.5, "shape": "hv"},
        hoverinfo="skip",
    )
    for place, (name, wanted) in enumerate((("finished", True), ("not trained to the end", False))):
        shown = [trial for trial in scored if trial.finished is wanted]
        plot.add_scatter(
            name=name,
            x=[trial.number for trial in shown],
            y=[trial.score for trial in shown],
            customdata=[
                ", ".join(f"{key} {value}" for key, value in trial.values.items()).replace(
                    "<", "&lt;"
                )
                for trial in shown
            ],
            mode="markers",
            marker={"symbol": SYMBOLS[place], "size": 10, "color": COLOURS[place]},
            hovertemplate="trial %{x}: %{y:.4f}<br>%{customdata}<extra></extra>",
        )
    plot.update_layout(uirevision=run.id)
    plot.update_xaxes(dtick=1 if len(run.trials) <= 20 else None)
    return plot


def precision_recall_curves(
    curves: Sequence[tuple[str, str, Mapping[str, PrecisionRecall]]], names: Sequence[str], key: str
) -> Any:
    """A panel for each class in ``names``; ``curves`` are (model's name, colour, its curves by
    class). The first one is dashed. ``key`` is the same for the same comparison."""
    rows = -(-len(names) // _PR_COLUMNS)
    height = rows * _PR_ROW_PX + _PR_SPACE_PX
    panels = _panels(
        height,
        key,
        rows=rows,
        cols=_PR_COLUMNS,
        subplot_titles=shorts(list(names)),
        shared_yaxes=True,
        horizontal_spacing=0.04,
        vertical_spacing=min(0.28, 60 / height) if rows > 1 else 0,
    )
    for panel, name in enumerate(names):
        for place, (model, colour, by_class) in enumerate(curves):
            if name not in by_class:
                continue
            curve = by_class[name]
            panels.add_scatter(
                row=panel // _PR_COLUMNS + 1,
                col=panel % _PR_COLUMNS + 1,
                name=model,
                legendgroup=model,
                showlegend=panel == 0,
                x=RECALLS.tolist(),
                y=list(curve.precisions),
                customdata=["" if c is None else f"{c:.2f}" for c in curve.confidences],
                mode="lines",
                line={"color": colour, "width": 2.5, "dash": "dash" if place == 0 else "solid"},
                hovertemplate=(
                    f"{model}: recall %{{x:.2f}}, precision %{{y:.2f}} "
                    "at confidence %{customdata}<extra></extra>"
                ),
            )
    panels.update_xaxes(range=[0, 1.02], dtick=0.25)
    panels.update_xaxes(title_text="recall", row=rows)
    panels.update_yaxes(range=[0, 1.04], dtick=0.25)
    panels.update_yaxes(title_text="precision", col=1)
    return panels


def _panels(height_px: int, key: str, **grid: Any) -> Any:
    """Empty panels in the look of all plots, a legend above them. ``key`` keeps which lines a
    person has hidden while the same run goes on."""
    look = figure(height=height_px, legend=True).layout.to_plotly_json()
    x, y = look.pop("xaxis"), look.pop("yaxis")
    panels = make_subplots(**grid)
    panels.update_layout(look, uirevision=key)
    panels.update_layout(margin_t=_TOP_PX, legend={"y": 1, "yref": "container", "yanchor": "top"})
    panels.update_xaxes(x)
    panels.update_yaxes(y)
    panels.update_annotations(font_size=13)
    return panels


def _tick(run: Run) -> int | None:
    """Whole epochs, however few there are."""
    return 1 if max((fold.epoch for fold in run.rows), default=0) <= 12 else None
