"""Trials as the command line and the watcher see them, with a real database and a real MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from cluster.commands.trials import asked_for
from cluster.trials import TrialWatch, open_run
from loop import promoting
from loop.errors import InvalidInput, Unavailable
from loop.events import Actor, Event, Role, now
from loop.ports import UnitsOfWork
from loop.trial_counts import TrialCounts
from loop.trials import Trial, TrialKind, TrialPlan, TrialState
from loop.trying_out import start_trial, stop_trial
from store.audit_log import open_audit_log
from store.settings import Settings
from store.tracking import Tracking, open_tracking
from store.unit_of_work import open_units_of_work
from tests.cluster.fakes import FakeRegistry, model
from tests.cluster.fakes import FakeService as FakeSwaps
from tests.cluster.test_models import propose
from tests.loop.looks import look

ENGINEER = Actor("engineer-1", Role.ENGINEER)


class FakeTrials:
    def __init__(self) -> None:
        self.plan: TrialPlan | None = None
        self.counted: dict[str, TrialCounts] = {}
        self.failure: str | None = None
        self.away = False

    def put(self, plan: TrialPlan | None) -> None:
        self.plan = plan

    def counts(self, trial_id: str) -> Mapping[str, TrialCounts]:
        if self.away:
            raise Unavailable("The API does not tell.")
        return self.counted

    def error(self, trial_id: str) -> str | None:
        return self.failure

    def see(self, replica: str, images: int) -> None:
        counts = self.counted.setdefault(replica, TrialCounts())
        for _ in range(images):
            counts.add_pair(look(("rod", 0, 0.9)), look(("rod", 1, 0.8), ("ring", 50, 0.5)))


class World:
    def __init__(self, settings: Settings) -> None:
        self.units: UnitsOfWork = open_units_of_work(settings)
        self.tracking: Tracking = open_tracking(settings)
        self.registry = FakeRegistry(champion=model("1"))
        self.service = FakeTrials()
        self.watch = TrialWatch(self.units, self.tracking, lambda: self.service)

    def start(self) -> Trial:
        return start_trial(
            self.units,
            self.registry,
            model("2"),
            kind=TrialKind.SHADOW,
            share=0.5,
            actor=ENGINEER,
            service=self.service,
            open_record=lambda trial: open_run(self.tracking, trial),
        )

    def on_record(self, trial: Trial) -> Trial:
        with self.units() as uow:
            return uow.trials.get(trial.id)

    def unfinished(self) -> list[Trial]:
        with self.units() as uow:
            return uow.trials.unfinished()


@pytest.fixture
def world(settings: Settings) -> World:
    return World(settings)


@pytest.mark.parametrize(
    ("canary", "shadow", "share", "meant"),
    [
        ("5%", False, "", (TrialKind.CANARY, 0.05)),
        ("0.05", False, "", (TrialKind.CANARY, 0.05)),
        ("", True, "", (TrialKind.SHADOW, 1.0)),
        ("", True, "20%", (TrialKind.SHADOW, 0.2)),
    ],
)
def test_the_options_of_promote_say_what_is_tried(
    canary: str, shadow: bool, share: str, meant: tuple[TrialKind, float]
) -> None:
    assert asked_for(canary, shadow=shadow, share=share) == meant


@pytest.mark.parametrize(
    ("canary", "shadow", "share"),
    [("5%", True, ""), ("5%", False, "20%"), ("", False, "20%"), ("5", False, "")],
)
def test_options_that_do_not_go_together_are_refused(canary: str, shadow: bool, share: str) -> None:
    with pytest.raises(InvalidInput):
        asked_for(canary, shadow=shadow, share=share)


def test_the_comparison_is_in_mlflow_while_the_trial_runs_and_after_it(world: World) -> None:
    trial = world.start()
    world.watch.look()
    run = world.tracking.run(trial.run_id)
    assert run.tags["loop.kind"] == "trial"
    assert (run.tags["loop.champion_version"], run.tags["loop.candidate_version"]) == ("1", "2")
    assert run.tags["loop.trial_share"] == "0.5"
    world.service.see("r1", 3)
    world.watch.look()
    world.service.see("r2", 2)
    world.watch.look()
    world.watch.look()  # nothing new: nothing is written again
    assert world.tracking.metric_steps(trial.run_id, "pairs/all/matched") == [3, 5]
    assert world.tracking.latest_metrics(trial.run_id)["rates/all/difference"] == 1.0

    stop_trial(world.units, actor=ENGINEER, reason="seen enough", service=world.service)
    world.watch.look()
    run = world.tracking.run(trial.run_id)
    assert run.status == "FINISHED"
    kept = json.loads(world.tracking.read_text(trial.run_id, "comparison.json"))
    assert kept["trial"]["reason"] == "seen enough"
    assert kept["comparison"]["pairs"]["all"]["only_candidate"] == 5
    assert kept["comparison"]["candidate"]["scores"]["ring"][4] == 5
    assert world.unfinished() == []


def test_a_replica_that_is_gone_and_an_api_that_is_away_lose_nothing(world: World) -> None:
    trial = world.start()
    world.service.see("r1", 3)
    world.watch.look()
    world.service.counted = {}
    world.service.see("r2", 1)
    world.watch.look()
    world.service.away = True
    world.watch.look()
    assert world.tracking.latest_metrics(trial.run_id)["pairs/images"] == 4


def test_a_trial_that_a_replica_cannot_go_on_with_has_failed(
    world: World, settings: Settings
) -> None:
    trial = world.start()
    world.service.failure = "Not a checkpoint."
    world.watch.look()
    assert world.on_record(trial).state is TrialState.FAILED
    assert world.service.plan is None
    entry = open_audit_log(settings).tail(1)[-1]
    assert (entry.event.type, entry.event.reason) == ("trial.failed", "Not a checkpoint.")
    assert entry.event.actor == Actor("trial", Role.SYSTEM)
    world.watch.look()
    assert world.tracking.run(trial.run_id).status == "FAILED"


@pytest.mark.parametrize("refuses", [frozenset(), frozenset("2")])
def test_promoting_ends_a_trial_whether_the_swap_succeeds_or_not(
    world: World, refuses: frozenset[str]
) -> None:
    trial = world.start()
    world.service.see("r1", 2)
    world.watch.look()
    propose(world.units, "2", "1")
    promoting.approve(world.units, model("2"), actor=ENGINEER, reason="better")
    swaps = FakeSwaps(model("1"), refuses)
    try:
        promoting.promote(
            world.units,
            world.registry,  # type: ignore[arg-type]
            model("2"),
            actor=ENGINEER,
            swap=swaps.swap,
        )
    except Unavailable:
        assert refuses
    assert world.on_record(trial).state is TrialState.STOPPED
    world.watch.look()
    assert world.tracking.run(trial.run_id).status == "FINISHED"
    assert world.tracking.latest_metrics(trial.run_id)["pairs/images"] == 2


def being_started(world: World, at: str) -> Trial:
    kind, state = TrialKind.CANARY, TrialState.STARTING
    trial = Trial("t1", kind, 0.05, model("2"), model("1"), state, "engineer-1", at)
    with world.units() as uow:
        uow.trials.add(trial)
        uow.record(Event("test.happened", ENGINEER, {}))
        uow.commit()
    return trial


@pytest.mark.parametrize("up", [True, False])
def test_a_trial_whose_starter_was_killed_has_failed(world: World, up: bool) -> None:
    trial = being_started(world, "2026-01-01T00:00:00.000000Z")
    world.service.plan = trial.plan
    service = world.service if up else None
    TrialWatch(world.units, world.tracking, lambda: service).look()
    ended = world.on_record(trial)
    assert (ended.state, ended.reason) == (
        TrialState.FAILED,
        "Whoever started it went away before it ran.",
    )
    assert world.service.plan == (None if up else trial.plan)


def test_a_trial_that_is_being_started_is_left_to_whoever_starts_it(world: World) -> None:
    trial = being_started(world, now())
    world.service.failure = "Not yet."
    world.watch.look()
    assert world.on_record(trial) == trial
