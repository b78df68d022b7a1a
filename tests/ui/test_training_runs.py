"""The section's handlers, on runs and jobs in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import gradio as gr

from loop.errors import Unavailable
from loop.events import Role
from tests.ui.training_fakes import (
    AT,
    AUDITOR,
    ENGINEER,
    FakeJobs,
    FakeTracking,
    acting,
    person,
)
from ui.operations import JobState
from ui.run_book import RunBook
from ui.training_runs import ALL_TRIALS, LATEST, _Runs

OTTER_AS_ANOTHER = person(Role.ENGINEER, pseudonym="loud-heron")


class Outputs(NamedTuple):
    job: Any
    stop: Any
    menu: Any
    trials: Any
    summary: Any
    plot: Any
    jobs: Any
    logs: Any
    look: str
    shown: Any


def skipped(update: Any) -> bool:
    return isinstance(update, dict) and update == gr.skip()


def look(
    jobs: FakeJobs, tracking: FakeTracking, chosen: str = LATEST, trial: str = ALL_TRIALS
) -> Outputs:
    return Outputs(*_Runs(jobs, RunBook(tracking)).look(ENGINEER, chosen, trial, None))


def test_the_latest_run_is_shown_live() -> None:
    tracking = FakeTracking()
    tracking.cv("old", "FINISHED")
    tracking.fold(tracking.cv("new"), 0, 3)
    shown = look(FakeJobs(), tracking)
    assert "Cross-validation new: training" in shown.summary
    assert "3/5" in shown.summary
    assert "0.300 (epoch 3)" in shown.summary
    assert "&lt;champion&gt;" in shown.summary
    assert shown.plot.visible
    assert shown.look.startswith("live")
    assert [value for _, value in shown.menu.choices] == [LATEST, "new", "old"]
    assert not shown.trials.visible


def test_an_earlier_run_can_be_chosen() -> None:
    tracking = FakeTracking()
    tracking.fold(tracking.cv("old", "FAILED", **{"loop.failure": "no <memory>"}), 0, 0)
    tracking.cv("new")
    shown = look(FakeJobs(), tracking, "old")
    assert "Cross-validation old: failed" in shown.summary
    assert "no &lt;memory&gt;" in shown.summary
    assert not shown.plot.visible


def test_a_search_shows_its_trials_and_each_of_them_its_folds() -> None:
    tracking = FakeTracking()
    search = tracking.cv("s", **{"loop.kind": "search"})
    tracking.trial(search, 0, 0.2, "FINISHED", lr0="0.01")
    second = tracking.trial(search, 1, 0.3, lr0="0.02")
    tracking.fold(second, 0, 2)
    shown = look(FakeJobs(), tracking)
    assert "Search s: training" in shown.summary
    assert "The best so far is trial 0" in shown.summary
    assert ">lr0<" in shown.summary
    assert ">0.02<" in shown.summary
    assert shown.plot.visible
    assert [value for _, value in shown.trials.choices] == [ALL_TRIALS, "s-trial-0", "s-trial-1"]
    assert (shown.trials.visible, shown.trials.value) == (True, ALL_TRIALS)
    one = look(FakeJobs(), tracking, trial=second)
    assert "Trial 1 s-trial-: training" in one.summary
    assert "lr0 0.02" in one.summary
    assert "2/5" in one.summary
    assert one.trials.value == second


def test_a_trial_of_another_search_is_not_shown_in_this_one() -> None:
    tracking = FakeTracking()
    first = tracking.cv("a", **{"loop.kind": "search"})
    other = tracking.trial(first, 0, 0.2)
    tracking.trial(tracking.cv("b", **{"loop.kind": "search"}), 0, 0.2)
    shown = look(FakeJobs(), tracking, "b", other)
    assert "Search b" in shown.summary
    assert shown.trials.value == ALL_TRIALS


def test_a_stage_that_failed_before_it_trained_says_why() -> None:
    tracking = FakeTracking()
    kind = {"loop.kind": "data_collection", "loop.failure": "There is <no> image."}
    tracking.cv("data_collection failed", "FAILED", **kind)
    shown = look(FakeJobs(), tracking)
    assert "There is &lt;no&gt; image." in shown.summary
    assert "Stage data_collection" in shown.summary
    assert "Fold" not in shown.summary
    assert "stage data_collection · failed" in shown.menu.choices[1][0]


def test_what_has_not_changed_is_not_sent_again() -> None:
    tracking, now = FakeTracking(), [0.0]
    tracking.fold(tracking.cv("a"), 0, 1)
    section = _Runs(FakeJobs(), RunBook(tracking), clock=lambda: now[0])

    def changed(before: Any) -> tuple[set[str], Outputs]:
        outputs = Outputs(*section.look(ENGINEER, LATEST, ALL_TRIALS, before))
        told = dict(zip(Outputs._fields[:-2], outputs[:-2], strict=True))
        return {name for name, update in told.items() if not skipped(update)}, outputs

    _, first = changed(None)
    same, second = changed(first.shown)
    assert (same, second.look.startswith("live")) == (set(), True)
    now[0] += 60  # what is left is less by now
    assert changed(second.shown)[0] == {"summary"}
    tracking.fold("a", 0, 2)
    assert changed(second.shown)[0] == {"summary", "plot"}


def test_what_is_left_is_told_from_the_pace_so_far() -> None:
    tracking = FakeTracking()
    tracking.fold(tracking.cv("a"), 0, 3)  # of 5, 30 s each
    tracking.fold("a", 1, 0)
    book = RunBook(tracking)
    heard = book.read("a").folds[0].heard
    section = _Runs(FakeJobs(), book, clock=lambda: heard + 20)
    shown = Outputs(*section.look(ENGINEER, LATEST, ALL_TRIALS, None))
    assert "3 of 10 epochs are done." in shown.summary
    assert ">48 s<" in shown.summary  # two epochs and a validation, less 20 s
    assert "About 3 min left" in shown.summary  # fold 1 waits for its place
    assert ">waiting<" in shown.summary


def test_nothing_runs_and_nothing_was() -> None:
    shown = look(FakeJobs(), FakeTracking())
    assert "No job" in shown.job
    assert "no run yet" in shown.summary
    assert not (shown.stop.visible or shown.plot.visible or shown.look.startswith("live"))


def test_a_failed_job_shows_its_last_lines() -> None:
    jobs = FakeJobs()
    jobs.start({"EPOCHS": 5}, actor=acting())
    jobs.end(JobState.FAILED, 1)
    jobs.text = "\n".join(f"line {number} <b>" for number in range(40))
    shown = look(jobs, FakeTracking())
    assert "exit code 1" in shown.job
    assert "line 39 &lt;b&gt;" in shown.job
    assert "line 20" not in shown.job
    assert not shown.stop.visible


def test_a_job_is_stopped_by_the_person_who_presses() -> None:
    jobs = FakeJobs()
    started = jobs.start({"EPOCHS": 5}, actor=acting())
    section = _Runs(jobs, RunBook(FakeTracking()))
    shown = Outputs(*section.look(OTTER_AS_ANOTHER, LATEST, ALL_TRIALS, None)).shown
    section.stop(OTTER_AS_ANOTHER, LATEST, ALL_TRIALS, shown)
    assert jobs.stopped == [(started.id, acting(OTTER_AS_ANOTHER))]


def test_a_job_that_was_started_after_the_page_was_drawn_is_not_the_one_that_is_stopped() -> None:
    jobs = FakeJobs()
    jobs.start({"EPOCHS": 5}, actor=acting())
    section = _Runs(jobs, RunBook(FakeTracking()))
    shown = Outputs(*section.look(ENGINEER, LATEST, ALL_TRIALS, None)).shown
    jobs.end(JobState.SUCCEEDED, 0)
    jobs.start({"EPOCHS": 6}, actor=acting())
    section.stop(ENGINEER, LATEST, ALL_TRIALS, shown)
    section.stop(ENGINEER, LATEST, ALL_TRIALS, None)
    assert jobs.stopped == []


def test_who_only_sees_cannot_stop() -> None:
    jobs = FakeJobs()
    jobs.start({"EPOCHS": 5}, actor=acting())
    section = _Runs(jobs, RunBook(FakeTracking()))
    assert not Outputs(*section.look(AUDITOR, LATEST, ALL_TRIALS, None)).stop.interactive


def test_a_log_is_text() -> None:
    jobs = FakeJobs()
    jobs.text = "<script>"
    section = _Runs(jobs, RunBook(FakeTracking()))
    assert "&lt;script&gt;" in section.log(ENGINEER, "a" * 32)
    assert section.log(ENGINEER, None) == ""


def test_mlflow_s_silence_is_said_and_asked_again() -> None:
    class Silent(FakeTracking):
        def top_runs(self, limit: int) -> list[Any]:
            del limit
            raise Unavailable("MLflow does not answer.", hint="Check it.")

    shown = look(FakeJobs(), Silent())
    assert "MLflow does not answer." in shown.job
    assert all(skipped(update) for update in shown[1:-2])
    assert shown.look.startswith("live")


def test_when_a_fold_was_heard_of_is_said() -> None:
    tracking = FakeTracking()
    tracking.fold(tracking.cv("a"), 0, 1)
    assert AT[:16].replace("T", " ") in look(FakeJobs(), tracking).summary


def test_a_job_whose_cluster_does_not_answer_is_said_to_be_as_last_known() -> None:
    jobs = FakeJobs()
    jobs.made.append(replace(jobs.start({"EPOCHS": 5}, actor=acting()), silence="It is away."))
    del jobs.made[0]
    shown = look(jobs, FakeTracking())
    assert "its cluster does not answer" in shown.job
    assert "its cluster does not answer" in shown.jobs
