from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.app_figures import champion_families, gauge, job_families, queue_families
from cluster.app_metrics import AppMetrics, Read
from cluster.log_figures import LogWatch
from cluster.training_figures import TrainingWatch
from loop.cases import CaseState
from loop.errors import Unavailable
from loop.events import Actor, Authentication, Event, Outcome, Role
from loop.predictions import ModelRef
from loop.promotions import PromotionState
from store.audit_log import AuditLog
from store.figures import QueueFigures
from tests.cluster.fakes import proposal
from tests.deploy.exposed import fold_ended
from tests.fakes import FakeDatabase
from tests.store.logs import put, sqlite_log
from ui.operations import Job, JobKind, JobState

ACTOR = Actor("ana", Role.ENGINEER, Authentication.OPERATING_SYSTEM)
OLD, NEW, THIRD = (ModelRef("detector", str(n), f"{n}" * 64) for n in (1, 2, 3))


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def samples(text: bytes) -> dict[str, float]:
    """By name and labels, as ``name{a=b}``."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            inside = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            found[sample.name + (f"{{{inside}}}" if inside else "")] = sample.value
    return found


def told(families: Any) -> dict[str, float]:
    read: Read = lambda: families  # noqa: E731
    metrics = AppMetrics([("part", 1.0, read)], patience_seconds=30)
    found = samples(metrics.text())
    metrics.close()
    return {name: value for name, value in found.items() if not name.startswith("secondlook_part")}


class Part:
    """Counts how often it is read, and fails or waits when told to."""

    def __init__(self) -> None:
        self.reads = 0
        self.fails = False
        self.may_end = threading.Event()
        self.may_end.set()

    def __call__(self) -> list[Any]:
        self.reads += 1
        assert self.may_end.wait(30)
        if self.fails:
            raise Unavailable("The database cannot be used.")
        return [gauge("reads", "How often.", self.reads)]


@pytest.fixture
def part() -> Part:
    return Part()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(part: Part, clock: Clock) -> Iterator[AppMetrics]:
    parts: list[tuple[str, float, Read]] = [
        ("slow", 10.0, part),
        ("sure", 10.0, lambda: [gauge("one", "One.", 1)]),
    ]
    metrics = AppMetrics(parts, patience_seconds=30, seconds=clock)
    yield metrics
    part.may_end.set()
    metrics.close()


def test_scraping_often_reads_no_more_often(metrics: AppMetrics, part: Part, clock: Clock) -> None:
    for _ in range(3):
        assert samples(metrics.text())["secondlook_reads"] == 1
    clock.seconds += 9
    assert samples(metrics.text())["secondlook_part_age_seconds{part=slow}"] == 9
    clock.seconds += 1
    assert samples(metrics.text())["secondlook_reads"] == 2
    assert part.reads == 2


def test_a_part_that_fails_keeps_the_others_and_leaves_no_old_figures(
    metrics: AppMetrics, part: Part, clock: Clock
) -> None:
    assert samples(metrics.text())["secondlook_part_read{part=slow}"] == 1
    part.fails = True
    clock.seconds += 10
    found = samples(metrics.text())
    assert "secondlook_reads" not in found
    assert found["secondlook_part_read{part=slow}"] == 0
    assert found["secondlook_part_age_seconds{part=slow}"] == 10
    assert (found["secondlook_part_read{part=sure}"], found["secondlook_one"]) == (1, 1)
    part.fails = False
    clock.seconds += 10
    assert samples(metrics.text())["secondlook_part_read{part=slow}"] == 1


def test_a_part_that_takes_long_holds_up_no_scrape_and_is_read_once(
    part: Part, clock: Clock
) -> None:
    part.may_end.clear()
    metrics = AppMetrics([("slow", 1.0, part)], patience_seconds=0.01, seconds=clock)
    for _ in range(3):
        clock.seconds += 5
        assert "secondlook_reads" not in samples(metrics.text())
    assert part.reads == 1
    part.may_end.set()
    metrics._threads.shutdown(wait=True)
    clock.seconds -= 5  # nothing is due
    assert samples(generate(metrics))["secondlook_reads"] == 1


def generate(metrics: AppMetrics) -> bytes:
    """What a scrape would give if nothing were due."""
    metrics._parts[0].asked_at = metrics._seconds()
    return metrics.text()


def test_settled_cases_are_counted_up_only_whatever_is_erased() -> None:
    settled = [5]

    def read(at: str) -> QueueFigures:
        cases = dict.fromkeys(CaseState, 0) | {CaseState.SETTLED: settled[0], CaseState.FIRST: 2}
        came = at.replace(at[:4], "2000")
        return QueueFigures(cases, {CaseState.FIRST: came}, 3, 2)

    families = queue_families(read)
    counted = []
    for settled[0] in (5, 8, 6, 7):
        found = told(families())
        counted.append(found["secondlook_cases_settled_total"])
    assert counted == [0, 3, 3, 4]
    assert found["secondlook_cases{state=settled}"] == 7
    assert found["secondlook_oldest_case_seconds{state=first}"] > 20 * 365 * 86400
    assert found["secondlook_oldest_case_seconds{state=second}"] == 0
    assert (found["secondlook_leases"], found["secondlook_reviewers_active"]) == (3, 2)


def test_jobs_are_counted_and_the_one_that_runs_is_timed() -> None:
    running = Job("j1", JobKind.KFOLD, JobState.RUNNING, "ana", {}, "1970-01-01T00:01:40Z")
    failed = replace(running, id="j2", state=JobState.FAILED)
    found = told(job_families([running, failed, failed], lambda _: 130.0, 150.0))
    assert found["secondlook_jobs{kind=kfold,state=running}"] == 1
    assert found["secondlook_jobs{kind=kfold,state=failed}"] == 2
    assert found["secondlook_jobs{kind=measure,state=failed}"] == 0
    assert found["secondlook_job_seconds{kind=kfold}"] == 50
    assert found["secondlook_job_silent_seconds{kind=kfold}"] == 20
    assert "secondlook_job_seconds{kind=kfold}" not in told(job_families([failed], lambda _: 0, 1))


def test_of_several_jobs_that_run_at_once_the_longest_is_told_once() -> None:
    first = Job("j1", JobKind.KFOLD, JobState.RUNNING, "ana", {}, "1970-01-01T00:01:40Z")
    second = replace(first, id="j2", started_at="1970-01-01T00:02:00Z")
    heard = {"j1": 145.0, "j2": 130.0}
    families = job_families([second, first], heard.__getitem__, 150.0)
    samples = [sample for family in families[1:] for sample in family.samples]
    assert [(sample.name, sample.value) for sample in samples] == [
        ("secondlook_job_seconds", 50),
        ("secondlook_job_silent_seconds", 20),
    ]


class Registry:
    def __init__(self, champion: ModelRef | None) -> None:
        self._champion = champion

    def find_alias(self, alias: str) -> ModelRef | None:
        assert alias == "champion"
        return self._champion

    def created_at(self, ref: ModelRef) -> str:
        assert ref == self._champion
        return "1970-01-01T00:00:30.000000Z"


def test_the_champion_has_the_score_it_was_last_measured_with() -> None:
    database = FakeDatabase()
    promoted = replace(
        proposal(NEW, OLD),
        state=PromotionState.PROMOTED,
        history=({"state": "promoted", "by": "ana", "reason": "", "at": "1970-01-01T00:01:00Z"},),
    )
    with database.units() as uow:
        uow.promotions.add(promoted)
        uow.promotions.add(replace(proposal(THIRD, NEW), created_at="2026-01-02T00:00:00.000000Z"))
        uow.record(Event("test.happened", ACTOR, {}))
        uow.commit()
    registry: Any = Registry(NEW)
    found = told(champion_families(database.units, registry))
    assert found["secondlook_champion_info{name=detector,version=2}"] == 1
    assert found["secondlook_champion_map50_95"] == 0.5  # as the third one's opponent
    assert found["secondlook_champion_since_timestamp_seconds"] == 60
    assert found["secondlook_candidates{state=proposed}"] == 1
    assert found["secondlook_candidates{state=approved}"] == 0


@pytest.mark.parametrize("champion", [OLD, None], ids=["from outside", "none"])
def test_a_champion_that_was_never_measured_has_no_score(champion: ModelRef | None) -> None:
    registry: Any = Registry(champion)
    found = told(champion_families(FakeDatabase().units, registry))
    assert "secondlook_champion_map50_95" not in found
    since = found.get("secondlook_champion_since_timestamp_seconds")
    assert since == (30 if champion else None)


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return sqlite_log(tmp_path / "home", 3)


def test_a_log_says_what_waits_and_why_it_stands_still(log: AuditLog, clock: Clock) -> None:
    found = told(LogWatch(log).families())
    assert (found["secondlook_log_entries"], found["secondlook_checkpoint_entries"]) == (3, 3)
    assert (found["secondlook_log_failed"], found["secondlook_outbox_events"]) == (0, 0)
    assert found["secondlook_checkpoint_age_seconds"] >= 0
    put(log.rows.engine, 3, 4)
    log.rows.say("No space left on device.")
    found = told(LogWatch(log).families())
    assert (found["secondlook_log_failed"], found["secondlook_outbox_events"]) == (1, 2)
    assert found["secondlook_outbox_oldest_seconds"] > 0
    assert found["secondlook_checkpoint_entries"] == 3


def test_a_log_whose_files_are_elsewhere_or_not_begun_has_no_checkpoint(tmp_path: Path) -> None:
    found = told(LogWatch(sqlite_log(tmp_path / "new")).families())
    assert found["secondlook_log_entries"] == 0
    assert "secondlook_checkpoint_age_seconds" not in found


def test_a_witness_is_behind_since_it_last_moved(log: AuditLog, clock: Clock) -> None:
    seen = {"w.example": 3}
    log.witnesses.sizes = lambda note: dict(seen)  # type: ignore[method-assign]
    watch = LogWatch(log, clock)

    def behind(seconds: float, entries: int) -> tuple[float, float]:
        clock.seconds += seconds
        seen["w.example"] = entries
        found = told(watch.families())
        names = ("witness_behind_seconds", "witness_entries")
        first, second = (found[f"secondlook_{name}{{witness=w.example}}"] for name in names)
        return first, second

    assert behind(0, 3) == (0, 3)
    put(log.rows.engine, 3, 4)
    log.integrate()
    assert behind(10, 3) == (10, 3)
    assert behind(10, 3) == (20, 3)
    assert behind(10, 4) == (0, 4)  # it keeps up with a log that grows on
    assert behind(10, 4) == (10, 4)
    assert behind(10, 5) == (0, 5)


def test_trainings_are_told_from_the_log_and_counted_from_the_start_of_the_app(
    log: AuditLog,
) -> None:
    log.rows.put(fold_ended())
    log.integrate()
    watch = TrainingWatch(log)
    found = told(watch.families())
    assert found["secondlook_trainings_ended_total{kind=fold,outcome=done}"] == 0
    assert found["secondlook_fold_seconds{fold=0}"] == 60
    assert found["secondlook_fold_map50_95{fold=0}"] == 0.5
    assert found["secondlook_training_ended_timestamp_seconds{outcome=failed}"] == 0
    for fold in range(1, 4):
        log.rows.put(fold_ended(fold, Outcome.FAILED))
    log.integrate()
    for _ in range(2):
        found = told(watch.families())
        assert found["secondlook_trainings_ended_total{kind=fold,outcome=failed}"] == 3
        assert found["secondlook_trainings_open{kind=fold}"] == 0
        assert found["secondlook_training_event_timestamp_seconds"] > 1e9
