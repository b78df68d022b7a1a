from __future__ import annotations

from pathlib import Path

import pytest

from loop.errors import NotFound
from loop.events import Actor, Event, Role
from loop.ports import UnitsOfWork
from loop.predictions import ModelRef
from loop.trial_counts import TrialCounts
from loop.trials import Trial, TrialKind, TrialState
from store.database import migrate, open_engine
from store.unit_of_work import units_of_work
from tests.loop.looks import look


@pytest.fixture
def units(tmp_path: Path) -> UnitsOfWork:
    engine = open_engine(f"sqlite:///{tmp_path}/trials.db")
    migrate(engine)
    return units_of_work(engine)


def keep(units: UnitsOfWork, trial: Trial, *, new: bool = False) -> None:
    with units() as uow:
        (uow.trials.add if new else uow.trials.update)(trial)
        uow.record(Event("test.happened", Actor("engineer-1", Role.ENGINEER), {}))
        uow.commit()


def a_trial(number: int) -> Trial:
    return Trial(
        f"t{number}",
        TrialKind.CANARY,
        0.05,
        ModelRef("detector", "2", "2" * 64),
        ModelRef("detector", "1", "1" * 64),
        TrialState.RUNNING,
        "engineer-1",
        f"2026-01-0{number}T00:00:00.000000Z",
    )


def test_a_trial_is_found_while_it_is_open_and_watched_until_it_is_closed(
    units: UnitsOfWork,
) -> None:
    trial = a_trial(1)
    keep(units, trial, new=True)
    with units() as uow:
        assert uow.trials.get("t1") == uow.trials.find_open() == trial
        assert uow.trials.unfinished() == [trial]
    ended = trial.ended(TrialState.STOPPED, at="2026-01-02T00:00:00.000000Z", reason="enough")
    keep(units, ended)
    with units() as uow:
        assert uow.trials.find_open() is None
        assert uow.trials.find_latest() == ended
        assert uow.trials.unfinished() == [ended]
        uow.trials.close("t1")
        uow.commit()
    with units() as uow:
        assert uow.trials.unfinished() == []


def test_the_latest_is_the_one_that_began_last(units: UnitsOfWork) -> None:
    for number in (2, 3, 1):
        keep(units, a_trial(number), new=True)
    with units() as uow:
        assert uow.trials.find_latest() == a_trial(3)


def test_counts_are_kept_without_an_event_as_they_were(units: UnitsOfWork) -> None:
    keep(units, a_trial(1), new=True)
    counts = TrialCounts()
    counts.add_pair(look(("rod", 0, 0.9)), look(("ring", 0, 0.3)))
    with units() as uow:
        uow.trials.note_counts("t1", {"r1": counts})
        uow.commit()
    with units() as uow:
        assert uow.trials.counts("t1") == {"r1": counts}


def test_a_change_of_a_trial_needs_an_event(units: UnitsOfWork) -> None:
    with units() as uow, pytest.raises(RuntimeError, match="audit event"):
        uow.trials.add(a_trial(1))
        uow.commit()


def test_what_is_not_there_is_not_found(units: UnitsOfWork) -> None:
    with units() as uow:
        assert uow.trials.find_latest() is None
        for ask in (uow.trials.get, uow.trials.counts, uow.trials.close):
            with pytest.raises(NotFound):
                ask("t9")
