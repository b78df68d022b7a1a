from __future__ import annotations

from collections.abc import Mapping

import pytest

from loop.ending_trials import end_for_release
from loop.errors import Conflict, InvalidInput, NotAllowed, NotFound, Unavailable
from loop.events import Actor, Event, Outcome, Role
from loop.predictions import ModelRef
from loop.trial_counts import TrialCounts
from loop.trials import Trial, TrialKind, TrialPlan, TrialState
from loop.trying_out import fail_trial, note_counts, start_trial, stop_trial
from tests.fakes import FakeDatabase
from tests.loop.looks import look

ONE, TWO = (ModelRef("detector", version, version * 64) for version in "12")
ENGINEER = Actor("engineer-1", Role.ENGINEER)


class Registry:
    def __init__(self, champion: ModelRef | None = ONE) -> None:
        self.champion = champion

    def find_alias(self, alias: str) -> ModelRef | None:
        return self.champion if alias == "champion" else None

    def set_alias(self, alias: str, ref: ModelRef) -> None:
        raise AssertionError("a trial moves no alias")

    def delete_alias(self, alias: str) -> None:
        raise AssertionError("a trial moves no alias")


class Service:
    """Tries what it is told to, unless it cannot load it."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.put_in: list[TrialPlan | None] = []
        self.counted: dict[str, TrialCounts] = {}

    def put(self, plan: TrialPlan | None) -> None:
        self.put_in.append(plan)
        if plan is not None and self.failure is not None:
            raise self.failure

    def counts(self, trial_id: str) -> Mapping[str, TrialCounts]:
        return self.counted

    def error(self, trial_id: str) -> str | None:
        return None


def begin(
    database: FakeDatabase,
    service: Service,
    *,
    actor: Actor = ENGINEER,
    candidate: ModelRef = TWO,
    registry: Registry | None = None,
    kind: TrialKind = TrialKind.SHADOW,
    share: float = 1.0,
) -> Trial:
    return start_trial(
        database.units,
        registry or Registry(),
        candidate,
        kind=kind,
        share=share,
        actor=actor,
        service=service,
        open_record=lambda _: "run-1",
    )


def told(database: FakeDatabase) -> list[tuple[str, Outcome]]:
    return [(event.type, event.outcome) for event in database.events]


def last(database: FakeDatabase) -> Event:
    return database.events[-1]


def counted() -> TrialCounts:
    counts = TrialCounts()
    counts.add_pair(look(("rod", 0, 0.9)), look(("rod", 0, 0.9), ("ring", 50, 0.5)))
    return counts


def test_a_trial_is_on_record_before_and_after_it_starts() -> None:
    database, service = FakeDatabase(), Service()
    trial = begin(database, service)
    assert told(database) == [
        ("trial.starting", Outcome.INTENDED),
        ("trial.started", Outcome.DONE),
    ]
    assert service.put_in == [trial.plan]
    assert database.tables.trials == {trial.id: trial}
    assert (trial.state, trial.run_id) == (TrialState.RUNNING, "run-1")
    assert last(database).details == {"kind": "shadow", "share": 1.0, "run_id": "run-1"}
    assert last(database).subject["champion"] == ONE.as_dict()


def test_there_is_one_trial_at_a_time() -> None:
    database, service = FakeDatabase(), Service()
    begin(database, service)
    with pytest.raises(Conflict, match="being tried already"):
        begin(database, service)
    assert len(service.put_in) == 1


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.ENGINEER])
def test_only_who_may_decide_may_try(role: Role) -> None:
    database, service = FakeDatabase(), Service()
    somebody = Actor("somebody", role)
    with pytest.raises(NotAllowed):
        begin(database, service, actor=somebody)
    with pytest.raises(NotAllowed):
        stop_trial(database.units, actor=somebody, reason="", service=service)
    assert (database.events, service.put_in) == ([], [])


def test_what_cannot_be_compared_is_not_tried() -> None:
    database, service = FakeDatabase(), Service()
    with pytest.raises(Conflict, match="no champion"):
        begin(database, service, registry=Registry(None))
    with pytest.raises(InvalidInput, match="champion itself"):
        begin(database, service, candidate=ONE)
    with pytest.raises(InvalidInput, match="answers everything"):
        begin(database, service, kind=TrialKind.CANARY, share=1.0)
    assert (database.events, service.put_in) == ([], [])


def test_a_candidate_that_is_not_taken_leaves_a_failed_trial_and_nothing_in_service() -> None:
    database, service = FakeDatabase(), Service(Unavailable("Not a checkpoint."))
    with pytest.raises(Unavailable, match="Not a checkpoint"):
        begin(database, service)
    assert told(database)[-1] == ("trial.failed", Outcome.FAILED)
    (trial,) = database.tables.trials.values()
    assert (trial.state, trial.reason) == (TrialState.FAILED, "Not a checkpoint.")
    assert service.put_in == [trial.plan, None]
    begin(database, Service())  # and it is no dead end


def test_stopping_takes_it_out_first_and_keeps_what_was_counted() -> None:
    database, service = FakeDatabase(), Service()
    begin(database, service)
    service.counted = {"r1": counted(), "r2": counted()}
    trial = stop_trial(database.units, actor=ENGINEER, reason="seen enough", service=service)
    assert trial.state is TrialState.STOPPED
    assert service.put_in[-1] is None
    event = last(database)
    assert (event.type, event.reason) == ("trial.stopped", "seen enough")
    assert event.details["comparison"] == {
        "images": {"champion": 2, "candidate": 2},
        "errors": {"champion": 0, "candidate": 0},
        "skipped": 0,
        "pairs": {"matched": 2, "only_champion": 0, "only_candidate": 2, "relabelled": 0},
    }
    with pytest.raises(NotFound, match="No version is being tried"):
        stop_trial(database.units, actor=ENGINEER, reason="", service=service)


def test_a_trial_can_be_stopped_while_nothing_runs() -> None:
    database = FakeDatabase()
    begin(database, Service())
    stopped = stop_trial(database.units, actor=ENGINEER, reason="", service=None)
    assert not stopped.open


def test_what_a_replica_counted_that_is_gone_is_kept() -> None:
    database = FakeDatabase()
    trial = begin(database, Service())
    note_counts(database.units, trial.id, {"r1": counted()})
    note_counts(database.units, trial.id, {"r2": counted()})
    note_counts(database.units, trial.id, {})
    assert sorted(database.tables.trial_counts[trial.id]) == ["r1", "r2"]


def test_a_release_ends_the_trial_in_its_own_transaction() -> None:
    database = FakeDatabase()
    trial = begin(database, Service())
    with database.units() as uow:
        end_for_release(uow, ENGINEER, TWO)
    assert database.tables.trials[trial.id].open  # nothing is kept without the commit
    with database.units() as uow:
        end_for_release(uow, ENGINEER, TWO)
        uow.commit()
    assert database.tables.trials[trial.id].reason == "Version 2 was to be swapped in."
    with database.units() as uow:
        end_for_release(uow, ENGINEER, TWO)  # nothing is being tried any more
        uow.commit()
    assert [kind for kind, _ in told(database)].count("trial.stopped") == 1


def test_a_trial_that_fails_later_is_taken_out() -> None:
    database, service = FakeDatabase(), Service()
    trial = begin(database, service)
    fail_trial(database.units, trial.id, "A new replica cannot.", actor=ENGINEER, service=service)
    assert database.tables.trials[trial.id].state is TrialState.FAILED
    assert service.put_in[-1] is None
