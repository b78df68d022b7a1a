from __future__ import annotations

import io
import re
from collections.abc import Mapping

from rich.console import Console

from loop.errors import Unavailable
from train.fold_table import FoldTable

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LOSSES = {"train_box_loss": 0.5, "train_cls_loss": 0.5, "train_dfl_loss": 0.5}
STARTED = {"system/cpu_utilization_percentage": 50.0}


class FakeMetrics:
    """What MLflow would say, by run id; an error in its place is raised."""

    def __init__(self) -> None:
        self.by_run: dict[str, Mapping[str, float] | Exception] = {}

    def __call__(self, run_id: str) -> Mapping[str, float]:
        found = self.by_run.get(run_id, {})
        if isinstance(found, Exception):
            raise found
        return found


class Shown:
    """A table of folds with three epochs each, and what it has written."""

    def __init__(
        self,
        *,
        terminal: bool,
        width: int = 80,
        folds: int = 2,
        epochs: int = 3,
        val_period: int = 1,
    ) -> None:
        self.metrics = FakeMetrics()
        self.now = 0.0
        self._text = io.StringIO()
        console = Console(
            file=self._text,
            force_terminal=terminal,
            width=width,
            color_system=None,
            height=40,
            soft_wrap=True,  # as the stages' console is
        )
        self.table = FoldTable(
            console, f"Training {folds} folds", self.metrics, clock=lambda: self.now
        )
        for fold in range(folds):
            self.table.add(f"fold {fold}", f"run-{fold}", epochs, val_period=val_period)

    def tell(self, fold: int, metrics: Mapping[str, float] | Exception, after: float = 0.0) -> None:
        self.now += after
        self.metrics.by_run[f"run-{fold}"] = metrics
        self.table.update()

    @property
    def lines(self) -> list[str]:
        return self._text.getvalue().splitlines()

    @property
    def last(self) -> list[str]:
        """The table as it stood last."""
        whole = _CONTROL.sub("", self._text.getvalue().replace("\r", ""))
        return whole[whole.rindex("Training ") :].splitlines()

    def row(self, fold: int) -> list[str]:
        return next(line for line in self.last if line.startswith(f"fold {fold} ")).split()


def epoch(number: int, score: float | None = 0.25) -> dict[str, float]:
    scores = {} if score is None else {"map50": 2 * score, "map50_95": score}
    return {"epoch": float(number), "seconds": 10.0, **LOSSES, **scores}


def test_without_a_terminal_each_epoch_is_one_line_with_what_is_left() -> None:
    shown = Shown(terminal=False)
    with shown.table:
        shown.table.update()
        shown.tell(0, epoch(1), after=10)
        shown.tell(0, epoch(1))
        shown.tell(0, epoch(2), after=20)
        shown.table.end("run-0", "done")
    assert shown.lines == [
        "fold 0: epoch 1/3, loss 1.500, mAP50 0.500, mAP50-95 0.250, 20 s left",
        "fold 0: epoch 2/3, loss 1.500, mAP50 0.500, mAP50-95 0.250, 20 s left",
        "fold 0: done",
    ]


def test_without_a_terminal_all_folds_are_summed_up_once_a_minute() -> None:
    shown = Shown(terminal=False, epochs=50)
    with shown.table:
        for number in range(1, 14):
            shown.tell(0, epoch(number), after=10)
    summaries = [line for line in shown.lines if line.startswith("Training")]
    # Fold 1 waits for the one place that there is: 50 epochs and a validation of its own.
    assert summaries == [
        "Training 2 folds: 6/100 epochs, 1 waiting, 16 min left",
        "Training 2 folds: 12/100 epochs, 1 waiting, 15 min left",
    ]


def test_an_epoch_that_was_not_validated_has_no_score() -> None:
    shown = Shown(terminal=False, folds=1, val_period=2)
    with shown.table:
        shown.tell(0, epoch(1, None))
        shown.tell(0, epoch(2, 0.25))
        shown.tell(0, epoch(3, 0.25))
    assert ["mAP50" in line for line in shown.lines] == [False, True, True]


def test_the_last_epoch_is_shown_even_if_it_came_with_the_end() -> None:
    shown = Shown(terminal=False)
    with shown.table:
        shown.metrics.by_run["run-1"] = epoch(3)
        shown.table.end("run-1", "done")
    assert shown.lines[0].startswith("fold 1: epoch 3/3")


def test_a_busy_mlflow_is_asked_again() -> None:
    shown = Shown(terminal=False)
    with shown.table:
        shown.tell(0, Unavailable("MLflow is busy."))
        shown.tell(0, epoch(1))
    assert len(shown.lines) == 1


def test_on_a_terminal_all_folds_stand_in_one_table_of_80_columns() -> None:
    shown = Shown(terminal=True, folds=12, epochs=100)
    with shown.table:
        for number in range(1, 100):
            for fold in range(4):
                shown.metrics.by_run[f"run-{fold}"] = epoch(number, 0.2 + number / 1000)
            shown.tell(4, STARTED, after=25)
        shown.table.resumed("run-1", 3)
        shown.table.end("run-2", "done")
        shown.table.end(
            "run-3", f"failed: RuntimeError: no memory [of any kind] is left{' and more' * 5}"
        )
        shown.table.update()
    assert max(map(len, shown.last)) <= 80
    assert shown.row(0) == [
        *("fold", "0", "99/100", "1.500", "0.598", "0.299", "0.299", "25.0", "31", "s", "training"),
    ]
    assert shown.row(1)[-2:] == ["resumed", "3x"]
    assert (shown.row(2)[-1], shown.row(3)[-1]) == ("done", "failed")
    assert (shown.row(4)[-1], shown.row(11)[-1]) == ("starting", "waiting")
    text = "\n".join(shown.last)
    assert "fold 3: failed: RuntimeError: no memory [of any kind] is left and more" in text
    assert text.rstrip().endswith("and more")
    assert "1 done, 1 failed, 7 waiting" in text
    assert "…" not in text


def test_the_best_score_stays_when_the_last_one_is_worse() -> None:
    shown = Shown(terminal=True, folds=1, epochs=9)
    with shown.table:
        for number, score in ((1, 0.3), (2, 0.4), (3, 0.1)):
            shown.tell(0, epoch(number, score), after=10)
    assert shown.row(0)[2:7] == ["3/9", "1.500", "0.200", "0.100", "0.400"]


def test_folds_that_wait_are_counted_by_how_many_run_at_once() -> None:
    shown = Shown(terminal=True, folds=4, epochs=10)
    with shown.table:
        for number in range(1, 6):
            shown.metrics.by_run["run-0"] = epoch(number)
            shown.tell(1, epoch(number), after=10)
    # 52.5 s for those that run, then twice the two that wait: 102.5 s, side by side.
    assert any("10/40 epochs, 2 waiting, 3 min left" in line for line in shown.last)


def test_after_its_last_epoch_a_fold_is_validated_once_more() -> None:
    shown = Shown(terminal=True, folds=1)
    with shown.table:
        shown.tell(0, epoch(3))
    assert shown.row(0)[-1] == "finishing"


def test_a_training_without_validation_has_losses_only() -> None:
    shown = Shown(terminal=True, folds=1, val_period=0)
    with shown.table:
        shown.tell(0, epoch(1, None), after=10)
    assert shown.row(0) == [
        *("fold", "0", "1/3", "1.500", "-", "-", "-", "10.0", "22", "s", "training"),
    ]


def test_a_narrow_terminal_gets_fewer_columns_and_nothing_cut_off() -> None:
    shown = Shown(terminal=True, width=60)
    with shown.table:
        shown.tell(0, epoch(1))
    assert max(map(len, shown.last)) <= 60
    assert "…" not in "\n".join(shown.last)
