from __future__ import annotations

import pytest

from loop.errors import NotFound
from tests.ui.training_fakes import EPOCH_SECONDS, FakeTracking, at_epoch
from ui.run_book import RunBook
from ui.run_parts import TRAIN_LOSS, VAL_LOSS, Point

SEARCH = {"loop.kind": "search"}


def test_a_run_has_its_folds_in_order_with_their_curves() -> None:
    tracking = FakeTracking()
    tracking.cv("a")
    for number in range(11):
        tracking.fold("a", number, epochs=2)
    run = RunBook(tracking).read("a")
    assert [fold.name for fold in run.folds] == [f"fold {number}" for number in range(11)]
    fold = run.folds[0]
    assert (fold.epoch, fold.epochs, fold.state) == (2, 5, "training")
    assert (fold.heard_at, fold.pace) == (at_epoch(2), EPOCH_SECONDS)
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


def test_an_epoch_that_was_not_validated_counts_all_the_same() -> None:
    tracking = FakeTracking()
    run_id = tracking.fold(tracking.cv("a"), 0, epochs=3)
    for name in ("map50", "map50_95"):
        del tracking.histories[run_id, name][::2]
    (fold,) = RunBook(tracking).read("a").folds
    assert (fold.epoch, fold.last("map50_95"), fold.best) == (3, 0.2, Point(2, 0.2))


def test_a_fold_waits_then_starts_and_is_finishing_after_its_last_epoch() -> None:
    tracking = FakeTracking()
    run_id = tracking.fold(tracking.cv("a"), 0, epochs=0)
    (fold,) = RunBook(tracking).read("a").folds
    assert (fold.state, fold.epoch, fold.best, fold.last("map50")) == ("waiting", 0, None, None)
    tracking.machine(run_id)
    assert RunBook(tracking).read("a").folds[0].state == "starting"
    tracking.fold("a", 0, epochs=5)
    assert RunBook(tracking).read("a").folds[0].state == "finishing"


def test_a_fold_that_was_taken_up_again_says_how_often() -> None:
    tracking = FakeTracking()
    tracking.fold(tracking.cv("a"), 0, 3)
    book = RunBook(tracking)
    assert book.read("a").folds[0].resumed == 0
    tracking.fold("a", 0, 3, **{"loop.resumed_after_epoch": "1, 3"})
    assert book.read("a").folds[0].resumed == 2


def test_a_failed_run_and_its_folds_say_why() -> None:
    tracking = FakeTracking()
    tracking.cv("a", "FAILED", **{"loop.failure": "Fold 1 failed: no memory"})
    tracking.fold("a", 0, 5, "FINISHED")
    tracking.fold("a", 1, 2, "FAILED", **{"loop.failure": "no memory"})
    run = RunBook(tracking).read("a")
    assert (run.state, run.failure) == ("failed", "Fold 1 failed: no memory")
    assert [fold.state for fold in run.folds] == ["done", "failed: no memory"]
    assert (run.spread, run.left(0)) == (None, None)


def test_what_somebody_stopped_did_not_fail() -> None:
    tracking = FakeTracking()
    tracking.cv("a", "FAILED", **{"loop.failure": "interrupted"})
    tracking.fold("a", 0, 2, "FAILED", **{"loop.failure": "interrupted"})
    run = RunBook(tracking).read("a")
    assert (run.state, run.failure, run.folds[0].state) == ("interrupted", "", "interrupted")


def test_a_run_that_was_ended_early_says_by_what() -> None:
    tracking = FakeTracking()
    tracking.cv("a", "KILLED", **{"loop.stopped": "Other trials were better."})
    run = RunBook(tracking).read("a")
    assert (run.state, run.failure) == ("stopped", "Other trials were better.")


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


def test_the_final_model_is_no_fold() -> None:
    tracking = FakeTracking()
    tracking.cv("a")
    tracking.fold("a", 0, 5, "FINISHED")
    tracking.fold("a", 1, 5, "FINISHED")
    refit = tracking.fold("a", 7, 2, **{"loop.kind": "refit"})
    for name in ("map50", "map50_95"):
        tracking.histories[refit, name] = []
    run = RunBook(tracking).read("a")
    assert [fold.name for fold in run.rows] == ["fold 0", "fold 1", "final model"]
    assert run.spread is not None
    assert run.left(run.rows[-1].heard) == 3.25 * EPOCH_SECONDS


def test_a_single_training_is_its_own_fold() -> None:
    tracking = FakeTracking()
    tracking.fold(tracking.cv("group"), 0, 3, **{"loop.kind": "standard"})
    tracking.children["group-0"] = []
    (fold,) = RunBook(tracking).read("group-0").folds
    assert (fold.name, fold.epoch, len(fold.curves["map50"])) == ("training", 3, 3)


def test_a_search_has_its_trials_by_number_with_what_they_try() -> None:
    tracking = FakeTracking()
    search = tracking.cv("s", **SEARCH)
    tracking.trial(search, 2, None, lr0="0.03")
    tracking.trial(search, 0, 0.25, "FINISHED", lr0="0.01", **{"loop.trial_state": "finished"})
    tracking.trial(
        search,
        1,
        0.3,
        "KILLED",
        lr0="0.02",
        **{"loop.trial_state": "stopped", "loop.stopped": "Others were better."},
    )
    tracking.trial(search, 3, 0.9, "KILLED", lr0="0.04", **{"loop.replaced_by": "s-trial-2"})
    run = RunBook(tracking).read("s")
    assert [trial.number for trial in run.trials] == [0, 1, 2]
    assert [trial.values for trial in run.trials] == [
        *({"lr0": "0.01"}, {"lr0": "0.02"}, {"lr0": "0.03"}),
    ]
    assert [trial.state for trial in run.trials] == [
        "finished",
        "stopped: Others were better.",
        "training",
    ]
    best = run.best_trial
    assert best is not None
    assert best.number == 0  # the better one was not trained to the end


def test_a_search_without_a_finished_trial_has_the_best_of_all() -> None:
    tracking = FakeTracking()
    search = tracking.cv("s", **SEARCH)
    tracking.trial(search, 0, 0.2)
    tracking.trial(search, 1, 0.3)
    best = RunBook(tracking).read("s").best_trial
    assert best is not None
    assert best.number == 1


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


def test_the_latest_come_first_and_nothing_but_trainings_and_failures() -> None:
    tracking = FakeTracking()
    tracking.fold(tracking.cv("a"), 0, 1)
    tracking.cv("imported", "FINISHED", **{"loop.kind": "import"})
    tracking.cv("stage", "FAILED", **{"loop.kind": "data_collection"})
    tracking.cv("b", **SEARCH)
    assert [run.run_id for run in RunBook(tracking).latest()] == ["b", "stage", "a"]


def test_an_unknown_run_is_not_found() -> None:
    with pytest.raises(NotFound):
        RunBook(FakeTracking()).read("' or 1=1")
