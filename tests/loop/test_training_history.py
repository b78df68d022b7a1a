from __future__ import annotations

from typing import Any

from loop.events import Actor, Authentication, Event, Outcome, Role
from loop.training_history import FoldFigures, TrainingHistory

ACTOR = Actor("ana", Role.ENGINEER, Authentication.OPERATING_SYSTEM)


def event(
    type: str, run: str = "r1", minute: int = 0, *, failed: bool = False, **details: Any
) -> Event:
    fold = details.pop("fold", None)
    own = {} if fold is None else {"fold": fold, "fold_run_id": f"{run}-{fold}"}
    outcome = Outcome.FAILED if failed else Outcome.DONE
    at = f"2026-01-01T00:{minute:02}:00.000000Z"
    return Event(type, ACTOR, {"mlflow_run_id": run, **own}, details, outcome, at=at)


def told(*events: Event, new: bool = True) -> TrainingHistory:
    history = TrainingHistory()
    for each in events:
        history.add(each, new=new)
    return history


def test_what_began_is_open_until_it_ends() -> None:
    history = told(
        event("kfold.started"), event("fold.started", fold=0), event("fold.started", fold=1)
    )
    assert (history.open("kfold", ""), history.open("fold", "")) == (1, 2)
    history.add(event("fold.ended", fold=0))
    history.add(event("fold.ended", fold=0))  # said twice
    assert history.open("fold", "") == 1
    history.add(event("fold.ended", fold=1, failed=True))
    history.add(event("kfold.ended", failed=True))
    assert (history.open("kfold", ""), history.open("fold", "")) == (0, 0)


def test_what_is_resumed_is_open_again_and_what_is_old_is_not() -> None:
    history = told(event("kfold.started"), event("kfold.ended"), event("kfold.resumed", minute=9))
    assert history.open("kfold", "2026-01-01T00:09:00.000000Z") == 1
    assert history.open("kfold", "2026-01-01T00:09:01.000000Z") == 0


def test_only_what_is_new_is_counted_and_the_rest_is_known() -> None:
    history = told(event("kfold.ended", minute=1, failed=True), new=False)
    assert history.ended == {}
    assert history.last_ended == {Outcome.FAILED: "2026-01-01T00:01:00.000000Z"}
    history.add(event("refit.ended", minute=2))
    history.add(event("fold.ended", fold=0, minute=3, failed=True))
    assert history.ended == {("refit", Outcome.DONE): 1, ("fold", Outcome.FAILED): 1}
    # A fold that fails is not yet a training that failed.
    assert history.last_ended[Outcome.FAILED] == "2026-01-01T00:01:00.000000Z"
    assert history.last_heard == "2026-01-01T00:03:00.000000Z"


def test_folds_are_those_of_the_newest_cross_validation() -> None:
    def ended(run: str, fold: int) -> Event:
        figures = {"metrics": {"map50_95": 0.5 + fold / 10}, "seconds": 60.0 + fold}
        return event("fold.ended", run, fold=fold, **figures)

    history = told(ended("r1", 0), ended("r1", 1))
    assert history.folds == {0: FoldFigures(60.0, 0.5), 1: FoldFigures(61.0, 0.6)}
    history.add(event("fold.started", "r2", fold=0))
    assert history.folds == {}
    history.add(event("fold.ended", "r2", fold=0, failed=True))
    history.add(event("fold.ended", "r2", fold=1))
    assert history.folds == {1: FoldFigures(None, None)}


def test_other_events_say_nothing() -> None:
    history = told(event("search_trial.ended", failed=True), event("stage.failed", failed=True))
    assert (history.last_heard, history.last_ended, history.ended) == ("", {}, {})
