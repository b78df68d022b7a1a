from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from train.params import Params
from train.search_plots import importances, write_search_plots
from train.search_space import search_space
from train.search_trials import SearchTrial, TrialState

SPACE = search_space(
    Params(
        search={
            "lr0": {"low": 0.0001, "high": 0.1, "log": True},
            "mosaic": {"low": 0, "high": 1},
            "optimizer": {"choices": ["SGD", "AdamW"]},
        }
    )
)


def trials(count: int, score: Callable[[float, float], float]) -> list[SearchTrial]:
    """``score`` is told lr0's place in its range, in [0, 1], and mosaic."""
    draw = np.random.default_rng(1)
    made = []
    for number in range(count):
        place, mosaic = draw.random(2)
        value = score(place, mosaic)
        values = {
            "lr0": float(0.0001 * 1000**place),
            "mosaic": float(mosaic),
            "optimizer": "SGD" if number % 2 else "AdamW",
        }
        state = TrialState.STOPPED if number % 3 else TrialState.FINISHED
        curve = {1: value / 2, 2: value}
        made.append(SearchTrial(number, state, values, value, 2, f"run-{number}", curve=curve))
    return made


def test_the_hyperparameter_that_decides_is_the_most_important_one() -> None:
    of_lr0 = importances(trials(60, lambda place, _: 1 - abs(place - 0.5)), SPACE)
    of_mosaic = importances(trials(60, lambda _, mosaic: 1 - mosaic), SPACE)
    assert max(of_lr0, key=lambda name: of_lr0[name][0]) == "lr0"
    assert max(of_mosaic, key=lambda name: of_mosaic[name][0]) == "mosaic"
    for found in (of_lr0, of_mosaic):
        assert sum(value for value, _, _ in found.values()) == pytest.approx(1)
        assert all(0 <= low <= high <= 1 for _, low, high in found.values())


def test_more_trials_make_it_more_certain() -> None:
    few, many = (importances(trials(n, lambda place, _: place), SPACE)["lr0"] for n in (8, 80))
    assert many[2] - many[1] < few[2] - few[1]


def test_three_trials_say_nothing_and_equal_ones_neither() -> None:
    assert importances(trials(3, lambda place, _: place), SPACE) == {}
    assert {value for value, _, _ in importances(trials(9, lambda *_: 0.5), SPACE).values()} == {0}


@pytest.fixture
def page(tmp_path: Path) -> str:
    made = trials(9, lambda place, _: place)
    made.append(SearchTrial(9, TrialState.FAILED, made[0].values, failure="No number."))
    write_search_plots(tmp_path / "plots.html", made, SPACE)
    return (tmp_path / "plots.html").read_text(encoding="utf-8")


def test_the_page_shows_history_importance_curves_and_each_hyperparameter(page: str) -> None:
    assert page.count("Plotly.newPlot(") == 3 + len(SPACE.dimensions)
    for text in ("History", "best so far", "Learning curves", "trial 8, stopped", "over optimizer"):
        assert text in page
    assert "uncertain, as are all of fewer than 20 trials" in page


def test_the_page_needs_no_network(page: str) -> None:
    assert not re.search(r"<script[^>]+src=", page)
    assert not re.search(r"<link[^>]+href=", page)


def test_a_single_trial_makes_a_page_too(tmp_path: Path) -> None:
    write_search_plots(tmp_path / "plots.html", trials(1, lambda *_: 0.5), SPACE)
    assert "too few trials to say" in (tmp_path / "plots.html").read_text(encoding="utf-8")
