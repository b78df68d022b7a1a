from __future__ import annotations

import re
from dataclasses import replace

import pytest

from loop.agreement import LabelledBox
from loop.boxes import Box
from loop.classes import ClassList
from loop.confusion import confusion
from loop.metrics import PrecisionRecall
from tests.train.test_results import ROW
from train.figures import confusion_maps, learning_curves, precision_recall_curves
from train.plots import Page, Part, plots
from train.results import spread

NASTY = "<script>"
CURVE = PrecisionRecall((1.0,) * 50 + (0.0,) * 51, (0.9,) * 50 + (None,) * 51)


def history(*scores: float | None) -> list[dict[str, float]]:
    """An epoch for each score; None is one without a validation."""
    losses = {f"train_{name}_loss": 1.0 for name in ("box", "cls", "dfl")}
    return [
        {"epoch": float(epoch), **losses, **({} if score is None else {"map50_95": score})}
        for epoch, score in enumerate(scores, 1)
    ]


def page(folds: int = 2) -> Page:
    rows = [replace(ROW, fold=fold, map50=0.4 + fold / 5) for fold in range(folds)]
    classes = ClassList(("cell", NASTY))
    box = LabelledBox("b", Box(0, 0, 9, 9), 0)
    return Page(
        title="Cross-validation, 2 folds",
        facts={"MLflow run": "abc"},
        rows=rows,
        spreads=spread(rows),
        histories={fold: history(0.2, None, 0.4) for fold in range(folds)},
        per_class={
            name: {"map50_mean": 0.5, "map50_std": 0.1, "map50_95_mean": 0.3, "map50_95_std": 0.1}
            for name in classes
        },
        parts=[Part(f"fold {n}", 40, 7, 3, {"cell": 90, NASTY: 1}) for n in range(folds)],
        curves={"cell": CURVE, NASTY: CURVE},
        confusion=confusion([[box]], [[box]], classes),
    )


def test_the_page_shows_folds_their_mean_their_parts_and_every_class() -> None:
    html = plots(page())
    assert html.count("Plotly.newPlot(") == 5
    for text in ("fold 0", "fold 1", "mean ± sd", "mAP50-95", "<td>40</td>", "<td>90</td>", "abc"):
        assert text in html


def test_the_page_needs_no_network_and_takes_names_as_text() -> None:
    html = plots(page())
    assert not re.search(r"<script[^>]+src=", html)
    assert not re.search(r"<link[^>]+href=", html)
    assert "boxes: <script>" not in html
    assert "boxes: &lt;script&gt;" in html


def test_a_single_training_has_no_mean_and_no_spread() -> None:
    html = plots(page(folds=1))
    assert "± sd" not in html
    assert "mean" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL).lower()


def test_what_could_not_be_had_is_left_out() -> None:
    html = plots(replace(page(), curves={}, confusion=None, per_class={}))
    assert html.count("Plotly.newPlot(") == 2


def test_an_epoch_without_validation_has_a_loss_and_no_score() -> None:
    lines = learning_curves({0: history(0.2, None, 0.4), 1: history(0.4, None, None)}).data
    named = {(line.name, line.xaxis): line for line in lines}
    assert named["fold 0", "x"].x == (1, 3)
    assert named["fold 0", "x3"].x == (1, 2, 3)
    assert named["mean", "x"].y == pytest.approx((0.3, 0.4))
    assert [count for _, count in named["mean", "x"].customdata] == [2, 1]


def test_the_legend_says_each_class_s_average_precision() -> None:
    lines = precision_recall_curves({"cell": CURVE, NASTY: CURVE}).data
    assert [line.name for line in lines] == [
        "cell (AP50 0.495)",
        "&lt;script> (AP50 0.495)",
    ]


def test_the_truth_stands_in_the_rows_of_the_confusion_matrix() -> None:
    missed = LabelledBox("b", Box(0, 0, 9, 9), 0)
    counts, shares = confusion_maps(confusion([[missed]], [[]], ClassList(("cell",)))).data
    assert (counts.y, counts.z[0][1]) == (("cell", "background"), 1)
    assert shares.z[0][1] == 1.0
