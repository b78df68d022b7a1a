"""The sections' handlers, on runs, jobs and models in memory."""

from __future__ import annotations

import inspect
import json
from typing import Any

import gradio as gr
import pytest

from loop.access import Permission, Person
from loop.agreement import LabelledBox
from loop.boxes import Box
from loop.classes import ClassList
from loop.errors import Unavailable
from loop.events import Outcome, Role
from loop.gold import GoldDetections
from loop.predictions import ModelRef
from loop.promoting import Swap
from loop.promotions import PromotionState, Verdict
from tests.fakes import FakeDatabase, FakeImageStore
from tests.ui.training_fakes import (
    AUDITOR,
    ENGINEER,
    GOLD,
    FakeJobs,
    FakeRegistry,
    FakeTracking,
    acting,
    database,
    model,
    person,
    promotion,
)
from ui.gold_book import GoldBook
from ui.guard import GUARDED, guard
from ui.model_examples import Pictures
from ui.operations import JobState, Operations
from ui.run_book import RunBook
from ui.training import build_training
from ui.training_compare import _Compare
from ui.training_decide import _Decide
from ui.training_runs import LATEST, _Runs
from ui.training_start import _Start

CLASSES = ClassList(("cell", "rod"))
OTTER_AS_ANOTHER = person(Role.ENGINEER, pseudonym="loud-heron")


def skipped(update: Any) -> bool:
    return isinstance(update, dict) and update == gr.skip()


def enabled(*updates: Any) -> list[bool]:
    return [update.interactive for update in updates]


def live(value: str) -> bool:
    return value.startswith("live")


class TestTheTab:
    @pytest.fixture
    def page(self) -> gr.Blocks:
        tracking = FakeTracking()
        tracking.fold(tracking.cv("secret-run"), 0, 1)
        jobs = FakeJobs()
        jobs.start({"EPOCHS": 5}, actor=acting())
        registry = FakeRegistry("1", "2", champion="1", candidate="2")
        made = database(promotion("2", "1"))
        with gr.Blocks() as page:
            build_training(
                guard, made.units, FakeImageStore(), tracking, registry, Operations(jobs, no_swap)
            )
        assert tracking.asked == {}
        return page

    def test_every_handler_is_guarded_by_the_permission_for_what_it_does(
        self, page: gr.Blocks
    ) -> None:
        found = {
            (function.fn.__name__, getattr(function.fn, GUARDED, None))
            for function in page.fns.values()
        }
        train, decide = Permission.TRAIN, Permission.DECIDE
        assert {pair for pair in found if pair[1] is not Permission.SEE_MODELS} == {
            *(("start", train), ("stop", train), ("measure", train)),
            *(("approve", decide), ("refuse", decide)),
            *(("promote", decide), ("roll_back", decide)),
        }
        assert {name for name, permission in found if permission is Permission.SEE_MODELS} == {
            *("open", "look", "wait", "show", "log", "values"),
        }

    def test_every_handler_answers_as_many_outputs_as_it_is_wired_to(
        self, page: gr.Blocks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ui.guard.person_of", lambda request: ENGINEER)
        for function in page.fns.values():
            inputs = [getattr(part, "value", None) for part in function.inputs]
            answer = function.fn(gr.Request(), *inputs)
            for outputs in answer if inspect.isgenerator(answer) else [answer]:
                got = outputs if isinstance(outputs, list) else [outputs]
                assert len(got) == len(function.outputs), function.fn.__name__

    def test_no_handler_is_part_of_a_public_api(self, page: gr.Blocks) -> None:
        assert {function.api_visibility for function in page.fns.values()} == {"private"}

    def test_nothing_is_in_the_page_before_somebody_asks(self, page: gr.Blocks) -> None:
        config = json.dumps(page.get_config_file(), default=str)
        for secret in ("secret-run", "quiet-otter", "promotion-2", GOLD):
            assert secret not in config


class TestStart:
    def section(self, jobs: FakeJobs) -> _Start:
        return _Start(jobs, jobs.defaults())

    def test_a_training_starts_with_what_the_form_says(self) -> None:
        jobs = FakeJobs()
        message, start, look = self.section(jobs).start(ENGINEER, 12, "champion")
        assert jobs.made[0].parameters == {"EPOCHS": 12, "BASE_MODEL": "champion"}
        assert jobs.made[0].started_by == ENGINEER.pseudonym
        assert "quiet-otter (you)" in message
        assert enabled(start) == [False]
        assert live(look)

    @pytest.mark.parametrize("epochs", [0, None])
    def test_a_wrong_value_is_named_and_the_form_stays(self, epochs: int | None) -> None:
        jobs = FakeJobs()
        message, start, look = self.section(jobs).start(ENGINEER, epochs, "champion")
        assert "EPOCHS" in message
        assert enabled(start) == [True]
        assert not live(look)
        assert jobs.made == []

    def test_while_another_job_runs_nothing_starts(self) -> None:
        jobs = FakeJobs()
        jobs.propose("1", actor=acting())
        section = self.section(jobs)
        message, start, look = section.look(OTTER_AS_ANOTHER)
        assert "started by quiet-otter." in message
        assert (enabled(start), live(look)) == ([False], True)
        message, start, _ = section.start(ENGINEER, 5, "champion")
        assert "Another job is running" in message
        assert enabled(start) == [False]

    def test_who_only_sees_cannot_press(self) -> None:
        _, start, _ = self.section(FakeJobs()).look(AUDITOR)
        assert enabled(start) == [False]

    def test_values_come_from_the_workspace_once_and_then_stay_as_typed(self) -> None:
        section = self.section(FakeJobs())
        assert section.open(ENGINEER, False)[3:] == [True, 50, "champion"]
        again = section.open(ENGINEER, True)[4:]
        assert all(skipped(update) for update in again)


def seen(version: str, *detected: LabelledBox) -> GoldDetections:
    truth = (LabelledBox("t", Box(0, 0, 20, 20), 0),)
    return GoldDetections(model(version), GOLD, CLASSES, ("f" * 64,), (truth,), (detected,))


HIT = LabelledBox("d", Box(0, 0, 20, 20), 0, 0.9)


class TestCompare:
    def section(
        self,
        made: FakeDatabase,
        registry: FakeRegistry,
        tracking: FakeTracking,
        jobs: FakeJobs | None = None,
    ) -> _Compare:
        book = GoldBook(made.units, registry, tracking)
        return _Compare(jobs or FakeJobs(), book, Pictures(FakeImageStore()), 0.25)

    def kept(self) -> tuple[FakeDatabase, FakeRegistry, FakeTracking]:
        tracking = FakeTracking()
        tracking.keep(seen("1"))
        tracking.keep(seen("2", HIT))
        registry = FakeRegistry("1", "2", champion="1", candidate="2")
        return database(promotion("2", "1")), registry, tracking

    def test_the_newest_candidate_is_compared_with_the_champion(self) -> None:
        menu, message, measure, numbers, title, curves, differing, look, _ = self.section(
            *self.kept()
        ).open(ENGINEER, None, "")
        assert menu.value == "2"
        assert "The gate says: promote." in message
        assert not measure.visible
        assert "▲ +0.100" in numbers
        assert "cell, AP50<" in numbers
        assert "IoU 0.5" in title
        lines = json.loads(curves.value["plot"])["data"]
        assert [line["name"] for line in lines] == ["version 1 (champion)", "version 2 (candidate)"]
        assert "gains cell" in differing
        assert not live(look)

    def test_where_the_detections_are_not_kept_measuring_again_is_offered(self) -> None:
        made, registry, tracking = self.kept()
        tracking.texts.clear()
        message, measure, numbers, title, curves, differing = self.section(
            made, registry, tracking
        ).show(ENGINEER, "2")
        assert "version 2 and version 1" in message
        assert (measure.visible, measure.value, measure.interactive) == (
            *(True, "Measure again", True),
        )
        assert "+0.100" in numbers
        assert (title, differing) == ("", "")
        assert curves == gr.update(visible=False)

    def test_measuring_again_is_a_job_after_which_the_page_is_shown_anew(self) -> None:
        made, registry, tracking = self.kept()
        tracking.texts.clear()
        jobs = FakeJobs()
        section = self.section(made, registry, tracking, jobs)
        *_, look, job_id = section.measure(ENGINEER, "2")
        assert jobs.made[0].parameters == {"versions": ["2", "1"]}
        assert (live(look), job_id) == (True, jobs.made[0].id)
        *outputs, look, job_id = section.wait(ENGINEER, "2", job_id)
        assert all(skipped(update) for update in outputs)
        assert live(look)
        jobs.end(JobState.SUCCEEDED, 0)
        tracking.keep(seen("1"))
        tracking.keep(seen("2", HIT))
        *outputs, look, job_id = section.wait(ENGINEER, "2", job_id)
        assert "gains cell" in outputs[-1]
        assert (live(look), job_id) == (False, "")

    def test_a_measurement_that_fails_says_so(self) -> None:
        made, registry, tracking = self.kept()
        tracking.texts.clear()
        jobs = FakeJobs()
        section = self.section(made, registry, tracking, jobs)
        *_, job_id = section.measure(ENGINEER, "2")
        jobs.end(JobState.FAILED, 1)
        jobs.text = "Error: no disk"
        shown = section.wait(ENGINEER, "2", job_id)
        assert "Error: no disk" in shown[1]

    def test_a_candidate_that_was_not_measured_is_proposed_by_measuring_it(self) -> None:
        jobs = FakeJobs()
        registry = FakeRegistry("1", "2", champion="1", candidate="2")
        section = self.section(database(), registry, FakeTracking(), jobs)
        message, measure, *_ = section.show(ENGINEER, "2")
        assert "not been measured" in message
        assert measure.value == "Measure it"
        section.measure(ENGINEER, "2")
        assert jobs.made[0].parameters == {"version": "2"}

    def test_while_a_job_runs_nothing_is_measured(self) -> None:
        jobs = FakeJobs()
        jobs.start({"EPOCHS": 5}, actor=acting())
        made, registry, _ = self.kept()
        shown = self.section(made, registry, FakeTracking(), jobs).measure(ENGINEER, "2")
        assert "Another job is running" in shown[1]

    def test_who_only_sees_cannot_measure(self) -> None:
        made, registry, _ = self.kept()
        _, measure, *_ = self.section(made, registry, FakeTracking()).show(AUDITOR, "2")
        assert enabled(measure) == [False]

    def test_without_a_candidate_the_page_says_so(self) -> None:
        section = self.section(database(), FakeRegistry("1", champion="1"), FakeTracking())
        menu, message, *_ = section.open(ENGINEER, None, "")
        assert menu.choices == []
        assert "no candidate yet" in message


class Service:
    """Takes every model but those it refuses."""

    def __init__(self, *refuses: str) -> None:
        self.serving: ModelRef | None = None
        self._refuses = refuses

    def swap(self, ref: ModelRef) -> None:
        if ref.version in self._refuses:
            raise Unavailable("The model <does> not load.")
        self.serving = ref


OTHER_ENGINEER = person(Role.ENGINEER, pseudonym="brisk-heron")


def no_swap() -> Swap | None:
    return None


class TestDecide:
    """Outputs: menu, message, verdict, in service, history, approve, refuse, promote, back."""

    def section(
        self, made: FakeDatabase, registry: FakeRegistry, service: Service | None = None
    ) -> _Decide:
        book = GoldBook(made.units, registry, FakeTracking())
        return _Decide(
            made.units, registry, book, lambda: service.swap if service is not None else None
        )

    def registry(self) -> FakeRegistry:
        return FakeRegistry("1", "2", champion="1", candidate="2")

    @pytest.mark.parametrize(
        ("state", "expected"),
        [
            (PromotionState.PROPOSED, [True, True, False, False]),
            (PromotionState.APPROVED, [False, False, True, False]),
            (PromotionState.REFUSED, [False, False, False, False]),
            (PromotionState.FAILED, [False, False, True, False]),
            (PromotionState.PROMOTED, [False, False, False, False]),
        ],
    )
    def test_only_buttons_that_the_state_allows_can_be_pressed(
        self, state: PromotionState, expected: list[bool]
    ) -> None:
        section = self.section(database(promotion("2", "1", state=state)), self.registry())
        shown = section.show(ENGINEER, "2")
        assert enabled(*shown[-4:]) == expected
        assert enabled(*section.show(AUDITOR, "2")[-4:]) == [False] * 4

    def test_the_candidate_that_waits_for_somebody_is_shown_first(self) -> None:
        registry = FakeRegistry("1", "2", "3", "4", champion="1")
        made = database(
            promotion("2", "1", state=PromotionState.APPROVED),
            promotion("3", "1", state=PromotionState.PROPOSED),
            promotion("4", "1", state=PromotionState.REFUSED),
        )
        section = self.section(made, registry)
        assert section.open(ENGINEER, None)[0].value == "3"
        assert section.open(ENGINEER, "4")[0].value == "4"

    def test_rolling_back_needs_a_champion_before(self) -> None:
        registry = FakeRegistry("1", "2", champion="2", previous="1")
        made = database(promotion("2", "1", state=PromotionState.PROMOTED))
        shown = self.section(made, registry).show(ENGINEER, "2")
        assert enabled(shown[-1]) == [True]
        assert "champion: version 2; the one before: version 1" in shown[3]

    @pytest.mark.parametrize(("refuse", "state"), [(False, "approved"), (True, "refused")])
    def test_a_decision_is_the_person_s_with_its_reason(self, refuse: bool, state: str) -> None:
        made = database(promotion("2", "1"))
        section = self.section(made, self.registry())
        decide = section.refuse if refuse else section.approve
        *shown, reason = decide(ENGINEER, "2", "  rods <b>matter</b>  ")
        assert f"Version 2 is {state}." in shown[1]
        assert reason == ""
        (event,) = made.events
        assert event.type == f"promotion.{state}"
        assert (event.actor, event.reason) == (acting(), "rods <b>matter</b>")
        assert "rods &lt;b&gt;matter&lt;/b&gt;" in shown[4]
        assert "quiet-otter (you)" in shown[4]
        assert (f"Version 2 (candidate) · {state}", "2") in shown[0].choices

    @pytest.mark.parametrize("reason", ["", "   ", None, "x" * 501])
    def test_without_a_reason_nothing_is_decided_and_what_was_typed_stays(
        self, reason: str | None
    ) -> None:
        made = database(promotion("2", "1"))
        *shown, typed = self.section(made, self.registry()).approve(ENGINEER, "2", reason or "")
        assert "reason" in shown[1]
        assert skipped(typed)
        assert made.events == []

    def test_approving_against_the_gate_is_pointed_out(self) -> None:
        made = database(promotion("2", "1", verdict=Verdict.REFUSE))
        shown = self.section(made, self.registry()).show(ENGINEER, "2")
        assert "The gate says: refuse." in shown[2]
        assert "overrules the gate" in shown[2]

    def test_who_has_approved_sees_who_is_missing_and_cannot_approve_again(self) -> None:
        made = database(promotion("2", "1", approvers=2))
        section = self.section(made, self.registry())
        *shown, typed = section.approve(ENGINEER, "2", "fewer rods are missed")
        assert "You have approved it. One other person must approve it too." in shown[1]
        assert typed == ""
        assert "2 different people to approve it, 1 more, or for one to refuse it" in shown[2]
        assert "Approved by quiet-otter (you): “fewer rods are missed”" in shown[2]
        assert "approved by one" in shown[4]
        assert enabled(*shown[-4:]) == [False, True, False, False]
        again = section.approve(ENGINEER, "2", "once more")
        assert "quiet-otter has approved this already" in again[1]
        other = section.show(OTHER_ENGINEER, "2")
        assert enabled(*other[-4:]) == [True, True, False, False]
        *shown, _ = section.approve(OTHER_ENGINEER, "2", "I agree")
        assert "Version 2 is approved." in shown[1]
        assert "quiet-otter" in shown[2]
        assert "brisk-heron (you)" in shown[2]
        assert enabled(*shown[-4:]) == [False, False, True, False]

    def test_settings_of_now_can_ask_for_more_people_than_the_proposal(self) -> None:
        made = database(promotion("2", "1"))
        book = GoldBook(made.units, self.registry(), FakeTracking())
        section = _Decide(made.units, self.registry(), book, no_swap, 2)
        assert "2 different people to approve it, or for one" in section.show(ENGINEER, "2")[2]
        *shown, _ = section.approve(ENGINEER, "2", "good")
        assert "One other person" in shown[1]

    def test_a_promotion_is_said_to_be_under_way_and_then_serves(self) -> None:
        made = database(promotion("2", "1", state=PromotionState.APPROVED))
        registry, service = self.registry(), Service()
        steps = self.section(made, registry, service).promote(ENGINEER, "2")
        waiting = next(steps)
        assert "Promoting version 2 …" in waiting[1]
        assert enabled(*waiting[-4:]) == [False] * 4
        assert service.serving is None
        (shown,) = steps
        assert "serves now" in shown[1]
        assert service.serving == model("2")
        assert registry.aliases == {"champion": model("2"), "previous": model("1")}
        assert enabled(*shown[-4:]) == [False, False, False, True]

    def test_a_promotion_without_a_service_says_when_it_serves(self) -> None:
        made = database(promotion("2", "1", state=PromotionState.APPROVED))
        *_, shown = self.section(made, self.registry()).promote(ENGINEER, "2")
        assert "next time" in shown[1]

    def test_a_service_that_does_not_take_it_is_said_in_words(self) -> None:
        made = database(promotion("2", "1", state=PromotionState.APPROVED))
        registry = self.registry()
        *_, shown = self.section(made, registry, Service("2")).promote(ENGINEER, "2")
        assert "The model &lt;does&gt; not load." in shown[1]
        assert "What was reported: The model &lt;does&gt; not load." in shown[2]
        assert '<div class="slt-notice slt-warn"' in shown[2]
        assert registry.aliases["champion"] == model("1")
        assert made.events[-1].outcome is Outcome.FAILED
        assert enabled(*shown[-4:]) == [False, False, True, False]

    def test_rolling_back_serves_the_one_before(self) -> None:
        registry, service = FakeRegistry("1", "2", champion="2", previous="1"), Service()
        made = database(promotion("2", "1", state=PromotionState.PROMOTED))
        steps = self.section(made, registry, service).roll_back(ENGINEER, "2", "misses rods")
        waiting = next(steps)
        assert "Rolling back …" in waiting[1]
        assert service.serving is None
        (shown,) = steps
        assert "Version 1 is the champion and serves now." in shown[1]
        assert shown[-1] == ""
        assert "It was promoted, and rolled back later." in shown[2]
        assert "Rolled back by quiet-otter (you): “misses rods”" in shown[2]
        assert shown[0].choices[0][0].endswith("rolled back")
        assert made.events[-1].reason == "misses rods"
        assert registry.aliases["champion"] == model("1")

    def test_rolling_back_needs_a_reason(self) -> None:
        registry, service = FakeRegistry("1", "2", champion="2", previous="1"), Service()
        *_, shown = self.section(database(), registry, service).roll_back(ENGINEER, None, " ")
        assert "This needs a reason." in shown[1]
        assert service.serving is None

    @pytest.mark.parametrize("version", [None, "9", "' or 1=1"])
    def test_a_candidate_that_is_not_there_is_not_decided(self, version: str | None) -> None:
        made = database()
        *shown, _ = self.section(made, self.registry()).approve(ENGINEER, version, "because")
        assert "Choose a candidate first." in shown[1]
        assert made.events == []

    def test_without_a_measured_candidate_the_page_says_what_to_do(self) -> None:
        shown = self.section(database(), self.registry()).open(ENGINEER, None)
        assert "No candidate has been measured yet." in shown[2]
        assert not live(shown[-1])


def test_a_person_without_the_role_is_refused_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def reviewer(request: object) -> Person:
        return person(Role.REVIEWER)

    monkeypatch.setattr("ui.guard.person_of", reviewer)
    tracking = FakeTracking()
    section = _Runs(FakeJobs(), RunBook(tracking))
    with pytest.raises(gr.Error, match="see models"):
        guard(Permission.SEE_MODELS, section.look)(gr.Request(), LATEST, None, None)
    assert tracking.asked == {}
