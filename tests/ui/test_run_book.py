from __future__ import annotations

import pytest

from loop.errors import NotFound
from tests.ui.training_fakes import AT, FakeTracking
from ui.run_book import TRAIN_LOSS, VAL_LOSS, Point, RunBook


def test_a_run_has_its_folds_in_order_with_their_curves() -> None:
    tracking = FakeTracking()
    tracking.cv("a")
    for number in range(11):
        tracking.fold("a", number, epochs=2)
    run = RunBook(tracking).read("a")
    assert [fold.name for fold in run.folds] == [f"fold {number}" for number in range(11)]
    fold = run.folds[0]
    assert (fold.epoch, fold.epochs, fold.state, fold.heard_at) == (2, 5, "training", AT)
    assert fold.curves["map50"] == (Point(1, 0.1), Point(2, 0.2))
    assert fold.last(TRAIN_LOSS) == 3.0
    assert fold.best == Point(2, 0.2)


def test_a_loss_is_the_sum_at_the_epochs_that_all_parts_have() -> None:
    tracking = FakeTracking()
    run_id = tracking.fold(tracking.cv("a"), 0, epochs=3)
    tracking.histories[run_id, "val_dfl_loss"].pop()
    curves = RunBook(tracking).read("a").folds[0].curves
    assert [point.epoch for point in curves[VAL_LOSS]] == [1, 2]
    assert [point.epoch for point in curves[TRAIN_LOSS]] == [1, 2, 3]


def test_a_fold_waits_until_its_first_epoch() -> None:
    tracking = FakeTracking()
    tracking.fold(tracking.cv("a"), 0, epochs=0)
    (fold,) = RunBook(tracking).read("a").folds
    assert (fold.state, fold.epoch, fold.best, fold.last("map50")) == ("waiting", 0, None, None)


def test_a_failed_run_and_its_folds_say_why() -> None:
    tracking = FakeTracking()
    tracking.cv("a", "FAILED", **{"loop.failure": "Fold 1 failed: no memory"})
    tracking.fold("a", 0, 5, "FINISHED")
    tracking.fold("a", 1, 2, "FAILED", **{"loop.failure": "no memory"})
    run = RunBook(tracking).read("a")
    assert (run.state, run.failure) == ("failed", "Fold 1 failed: no memory")
    assert [fold.state for fold in run.folds] == ["done", "failed: no memory"]
    assert run.spread is None


def test_what_somebody_stopped_did_not_fail() -> None:
    tracking = FakeTracking()
    tracking.cv("a", "FAILED", **{"loop.failure": "interrupted"})
    tracking.fold("a", 0, 2, "FAILED", **{"loop.failure": "interrupted"})
    run = RunBook(tracking).read("a")
    assert (run.state, run.failure, run.folds[0].state) == ("interrupted", "", "interrupted")


def test_the_spread_is_that_of_all_folds_best_scores() -> None:
    tracking = FakeTracking()
    tracking.cv("a")
    tracking.fold("a", 0, 4, "FINISHED")
    tracking.fold("a", 1, 2)
    book = RunBook(tracking)
    assert book.read("a").spread is None
    tracking.fold("a", 1, 2, "FINISHED")
    tracking.cv("a", "FINISHED", **{"loop.decision": "promote"})
    run = book.read("a")
    assert run.spread == (pytest.approx(0.3), pytest.approx(0.1 * 2**0.5))
    assert (run.decision, run.live) == ("promote", False)


def test_curves_are_read_again_only_with_a_new_epoch() -> None:
    tracking = FakeTracking()
    tracking.cv("a")
    tracking.fold("a", 0, 1)
    tracking.fold("a", 1, 1)
    book = RunBook(tracking)
    book.read("a")
    asked = tracking.asked["metric_history"]
    book.read("a")
    assert tracking.asked["metric_history"] == asked
    tracking.fold("a", 1, 2)
    assert [fold.epoch for fold in book.read("a").folds] == [1, 2]
    assert tracking.asked["metric_history"] == asked * 3 // 2


def test_a_run_that_has_ended_is_read_once() -> None:
    tracking = FakeTracking()
    tracking.fold(tracking.cv("a", "FINISHED"), 0, 5, "FINISHED")
    book = RunBook(tracking)
    first, asked = book.read("a"), dict(tracking.asked)
    assert book.read("a") is first
    assert tracking.asked == asked


def test_the_latest_cross_validations_come_first_and_nothing_else() -> None:
    tracking = FakeTracking()
    tracking.fold(tracking.cv("a"), 0, 1)
    tracking.cv("b")
    assert [run.run_id for run in RunBook(tracking).latest()] == ["b", "a"]


def test_an_unknown_run_is_not_found() -> None:
    with pytest.raises(NotFound):
        RunBook(FakeTracking()).read("' or 1=1")
