from __future__ import annotations

import io
from collections.abc import Mapping

from rich.console import Console

from loop.errors import Unavailable
from train.fold_table import FoldTable


class FakeMetrics:
    """What MLflow would say, by run id; an error in its place is raised."""

    def __init__(self) -> None:
        self.by_run: dict[str, Mapping[str, float] | Exception] = {}

    def __call__(self, run_id: str) -> Mapping[str, float]:
        found = self.by_run.get(run_id, {})
        if isinstance(found, Exception):
            raise found
        return found


def table(metrics: FakeMetrics, *, terminal: bool) -> tuple[FoldTable, io.StringIO]:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=100, color_system=None)
    made = FoldTable(console, "Training 2 folds", metrics)
    made.add("fold 0", "run-0", 3)
    made.add("fold 1", "run-1", 3)
    return made, text


def epoch(number: int) -> dict[str, float]:
    return {"epoch": number, "map50": 0.5, "map50_95": 0.25, "train_box_loss": 1.5}


def test_without_a_terminal_each_epoch_is_one_line() -> None:
    metrics = FakeMetrics()
    shown, text = table(metrics, terminal=False)
    with shown:
        shown.update()
        metrics.by_run["run-0"] = epoch(1)
        shown.update()
        shown.update()
        metrics.by_run["run-0"] = epoch(2)
        shown.update()
        shown.end("run-0", "done")
    assert text.getvalue().splitlines() == [
        "fold 0: epoch 1/3, loss 1.500, mAP50 0.500, mAP50-95 0.250",
        "fold 0: epoch 2/3, loss 1.500, mAP50 0.500, mAP50-95 0.250",
        "fold 0: done",
    ]


def test_the_last_epoch_is_shown_even_if_it_came_with_the_end() -> None:
    metrics = FakeMetrics()
    shown, text = table(metrics, terminal=False)
    with shown:
        metrics.by_run["run-1"] = epoch(3)
        shown.end("run-1", "done")
    assert text.getvalue().splitlines()[0].startswith("fold 1: epoch 3/3")


def test_on_a_terminal_all_folds_stand_in_one_table() -> None:
    metrics = FakeMetrics()
    shown, text = table(metrics, terminal=True)
    with shown:
        metrics.by_run["run-1"] = epoch(2)
        shown.update()
        shown.end("run-1", "failed: out of memory")
    last = text.getvalue()
    assert "Training 2 folds" in last
    assert "waiting" in last
    assert "2/3" in last
    assert "failed: out of memory" in last


def test_a_busy_mlflow_does_not_end_the_training() -> None:
    metrics = FakeMetrics()
    metrics.by_run["run-0"] = Unavailable("busy")
    shown, text = table(metrics, terminal=False)
    with shown:
        shown.update()
        shown.end("run-0", "done")
    assert text.getvalue() == "fold 0: done\n"
