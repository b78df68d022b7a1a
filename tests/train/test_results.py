from __future__ import annotations

import csv
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train.generated import small_spec
from train.fold_job import FoldOutcome, FoldResult, FoldTask
from train.results import (
    FoldRow,
    best_row,
    class_spread,
    row_of,
    spread,
    spread_metrics,
    write_csv,
)
from train.training import ClassScores

ROW = FoldRow(0, 0.5, 0.25, 0.75, 0.125, 12, 10, 31.5, 80, 40, "run", "media/fold_0/best.pt")
scores = st.floats(0, 1)


def test_the_row_of_a_fold_says_what_it_was_trained_on(tmp_path: Path) -> None:
    task = FoldTask(2, "run", tmp_path, (1, 2, 3), (4,), small_spec(tmp_path), tmp_path)
    metrics = {"map50": 0.5, "map50_95": 0.25, "precision": 0.75, "recall": 0.125}
    result = FoldResult(metrics, epochs=12, best_epoch=10, seconds=31.5, history=())
    row = row_of(FoldOutcome(task, result, Path("media/fold_2")))
    assert row == replace(ROW, fold=2, train_images=3, val_images=1, weights="media/fold_2/best.pt")


def test_the_spread_is_the_sample_standard_deviation() -> None:
    rows = [replace(ROW, fold=fold, map50=value) for fold, value in enumerate((0.4, 0.5, 0.6))]
    found = spread(rows)["map50"]
    assert (found.mean, found.std) == (pytest.approx(0.5), pytest.approx(0.1))


def test_one_fold_has_no_spread() -> None:
    assert spread([ROW])["map50"].std == 0.0
    assert spread_metrics(spread([ROW]))["map50_mean"] == 0.5


def test_a_class_is_averaged_over_the_folds_that_show_it(tmp_path: Path) -> None:
    def outcome(fold: int, per_class: ClassScores) -> FoldOutcome:
        task = FoldTask(fold, "run", tmp_path, (1,), (2,), small_spec(tmp_path), tmp_path)
        return FoldOutcome(task, FoldResult({}, 1, 1, 1.0, (), per_class), tmp_path)

    found = class_spread(
        [
            outcome(0, {"rod": {"map50": 0.4, "map50_95": 0.2}}),
            outcome(
                1,
                {
                    "rod": {"map50": 0.6, "map50_95": 0.2},
                    "ring": {"map50": 1.0, "map50_95": 0.5},
                },
            ),
            FoldOutcome(outcome(2, {}).task, None, tmp_path, reason="failed"),
        ]
    )
    assert found["rod"]["map50_mean"] == pytest.approx(0.5)
    assert found["rod"]["map50_std"] == pytest.approx(0.1414, abs=1e-4)
    assert found["ring"] == {
        "map50_mean": 1.0,
        "map50_std": 0.0,
        "map50_95_mean": 0.5,
        "map50_95_std": 0.0,
    }


@given(st.lists(st.tuples(scores, scores), min_size=1, max_size=8))
def test_no_fold_is_better_than_the_best(values: list[tuple[float, float]]) -> None:
    rows = [
        replace(ROW, fold=fold, map50=map50, map50_95=map50_95)
        for fold, (map50, map50_95) in enumerate(values)
    ]
    best = best_row(rows)
    assert best.map50_95 == max(row.map50_95 for row in rows)
    assert best.fold == min(
        row.fold for row in rows if (row.map50_95, row.map50) == (best.map50_95, best.map50)
    )


def test_the_csv_has_a_row_a_fold(tmp_path: Path) -> None:
    rows = [ROW, replace(ROW, fold=1)]
    write_csv(tmp_path / "kfold_results.csv", rows)
    with (tmp_path / "kfold_results.csv").open() as file:
        read = list(csv.DictReader(file))
    assert read == [{name: str(value) for name, value in asdict(row).items()} for row in rows]
