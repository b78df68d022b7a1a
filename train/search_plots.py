"""Plots of a search: one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects as go
from optuna.importance import PedAnovaImportanceEvaluator

from train.search_space import Range, SearchSpace
from train.search_study import quieten, study_of
from train.search_table import in_words
from train.search_trials import SearchTrial, TrialState, best_trial

# Okabe and Ito's palette, which people with any colour vision can tell apart.
_COLOURS = {
    TrialState.FINISHED: "#0072B2",
    TrialState.STOPPED: "#E69F00",
    TrialState.FAILED: "#D55E00",
    TrialState.UNFINISHED: "#999999",
}
_BEST = "#009E73"
# What a hyperparameter has to do with being among the best quarter of all trials.
_TOP_SHARE = 0.25
# At fewer, which trials are among the best is mostly chance.
_FEW_TRIALS = 20
_FEWEST_TRIALS = 4
_RESAMPLES = 100
_INTERVAL = (5, 95)


def write_search_plots(path: Path, trials: Sequence[SearchTrial], space: SearchSpace) -> None:
    """History, importance, learning curves, and the objective over each hyperparameter.

    ``trials`` come with their curves.
    """
    scored = [trial for trial in trials if trial.objective is not None]
    figures = [
        _history(scored),
        _importance(scored, space),
        _curves(scored),
        *(_slice(scored, space, name) for name in space.dimensions),
    ]
    parts = [
        # The library once, inline: the file is opened from disk and inside MLflow.
        figure.to_html(full_html=False, include_plotlyjs=index == 0, default_height="450px")
        for index, figure in enumerate(figures)
    ]
    page = "<!doctype html><meta charset='utf-8'><title>Search</title>" + "".join(parts)
    path.write_text(page, encoding="utf-8")


def importances(trials: Sequence[SearchTrial], space: SearchSpace) -> dict[str, list[float]]:
    """By hyperparameter: its importance, and the 5th and 95th percentile of it over resamples.

    PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023): how much the values of the best quarter
    of the trials differ from those of all. It only asks which trials are among the best, so it
    may be given those that ASHA stopped. The percentiles are of a bootstrap over trials. Empty
    for fewer than four trials with an objective.
    """
    quieten()
    scored = [trial for trial in trials if trial.objective is not None]
    if len(scored) < _FEWEST_TRIALS:
        return {}
    whole = _importances(scored, space)
    draw = np.random.default_rng(0)
    resampled = [
        _importances([scored[i] for i in draw.integers(len(scored), size=len(scored))], space)
        for _ in range(_RESAMPLES)
    ]
    found = {}
    for name, value in whole.items():
        low, high = np.percentile([each.get(name, 0.0) for each in resampled], _INTERVAL)
        found[name] = [value, float(low), float(high)]
    return found


def _importances(trials: Sequence[SearchTrial], space: SearchSpace) -> dict[str, float]:
    complete = dict.fromkeys(TrialState, optuna.trial.TrialState.COMPLETE)
    study, _ = study_of(trials, space, as_state=complete)
    evaluator = PedAnovaImportanceEvaluator(target_quantile=_TOP_SHARE)
    if len({trial.objective for trial in trials}) == 1:
        return dict.fromkeys(space.dimensions, 0.0)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def _history(trials: Sequence[SearchTrial]) -> Any:
    figure = go.Figure()
    for state, colour in _COLOURS.items():
        own = [trial for trial in trials if trial.state is state]
        if own:
            figure.add_scatter(
                name=state.value,
                x=[trial.number for trial in own],
                y=[trial.objective for trial in own],
                text=[in_words(trial.values) for trial in own],
                mode="markers",
                marker={"color": colour, "size": 9},
            )
    finished = [trial for trial in trials if trial.state is TrialState.FINISHED]
    if finished:
        scores = np.maximum.accumulate([trial.objective or 0.0 for trial in finished])
        figure.add_scatter(
            name="best so far",
            x=[trial.number for trial in finished],
            y=scores.tolist(),
            mode="lines",
            line={"shape": "hv", "color": _BEST},
        )
    return figure.update_layout(
        title="History: mean mAP50-95 over the folds; a stopped trial's is that of its last epoch",
        xaxis_title="trial",
        yaxis_title="mAP50-95",
    )


def _importance(trials: Sequence[SearchTrial], space: SearchSpace) -> Any:
    found = importances(trials, space)
    title = f"Importance for being among the best quarter of {len(trials)} trials (PED-ANOVA)"
    if not found:
        title += ": too few trials to say"
    elif len(trials) < _FEW_TRIALS:
        title += f": uncertain, as are all of fewer than {_FEW_TRIALS} trials"
    names = sorted(found, key=lambda name: found[name][0])
    values = [found[name][0] for name in names]
    figure = go.Figure()
    figure.add_bar(
        x=values,
        y=names,
        orientation="h",
        marker_color=_COLOURS[TrialState.FINISHED],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [max(0.0, found[name][2] - found[name][0]) for name in names],
            "arrayminus": [max(0.0, found[name][0] - found[name][1]) for name in names],
        },
    )
    return figure.update_layout(
        title=title,
        xaxis_title="share; the line is where nine of ten resamplings of the trials put it",
        xaxis_range=[0, 1],
    )


def _curves(trials: Sequence[SearchTrial]) -> Any:
    best = best_trial(trials)
    figure = go.Figure()
    for trial in trials:
        is_best = best is not None and trial.number == best.number
        figure.add_scatter(
            name=f"trial {trial.number}, {trial.state.value}",
            x=[*trial.curve],
            y=[*trial.curve.values()],
            mode="lines+markers",
            line={
                "color": _BEST if is_best else _COLOURS[trial.state],
                "width": 4 if is_best else 1,
            },
        )
    return figure.update_layout(
        title="Learning curves: each fold's best so far, mean over the folds",
        xaxis_title="epoch",
        yaxis_title="mAP50-95",
    )


def _slice(trials: Sequence[SearchTrial], space: SearchSpace, name: str) -> Any:
    figure = go.Figure()
    for state, colour in _COLOURS.items():
        own = [trial for trial in trials if trial.state is state]
        if own:
            figure.add_scatter(
                name=state.value,
                x=[trial.values[name] for trial in own],
                y=[trial.objective for trial in own],
                text=[f"trial {trial.number}" for trial in own],
                mode="markers",
                marker={"color": colour, "size": 9},
            )
    dimension = space.dimensions[name]
    log = isinstance(dimension, Range) and dimension.log
    figure.update_xaxes(type="log" if log else None, title=name, exponentformat="e")
    return figure.update_layout(title=f"mAP50-95 over {name}", yaxis_title="mAP50-95")
