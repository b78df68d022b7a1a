from __future__ import annotations

import base64
import json
from typing import Any

import gradio as gr
import numpy as np
import pytest

from loop.access import Permission, Person
from loop.cases import CaseState, Source
from loop.classes import ClassList
from loop.corrections import FinalBox, Origin
from loop.events import Actor, Role
from loop.intake import NewImage
from loop.progress import ActiveSeconds, Done, Verdicts
from loop.reliability import Reliability
from loop.review import FirstAnswer, SecondAnswer, submit_first, submit_second
from tests.loop.cases import BEN, SETTINGS, SURE, Clinic, accepted
from tests.strategies import CLASSES
from ui.guard import GUARDED, guard
from ui.progress import EVERYONE, MINE, _handler, build_progress, contents
from ui.progress_figures import Figures, read_figures

AT = "2026-02-10T12:00:00.000000Z"
ANA = Person("1", "ana@clinic", "Ana", "p-ana", frozenset({Role.REVIEWER}))
EVE = Actor("p-eve", Role.REVIEWER)
TILES, DAYS, DAYS_NOTE, WAITING, WAITING_NOTE, TIMES, TIMES_NOTE = range(7)
VERDICTS, VERDICTS_NOTE, AGREEMENT, TABLE, AGREEMENT_NOTE = range(7, 12)


def figures(**other: Any) -> Figures:
    given: dict[str, Any] = {
        "waiting": {},
        "done": Done(),
        "days": {},
        "today": AT[:10],
        "seconds": ActiveSeconds(),
        "verdicts": {},
        "sources": {},
        "agreement": (),
        "classes": CLASSES,
    }
    return Figures(**given | other)


def shown(place: Any) -> Any:
    """The Plotly figure that an answer puts into its place, as JSON; None if it hides the plot."""
    if not place.visible:
        return None
    return json.loads(place.value["plot"])


def text_of(found: list[Any]) -> str:
    """All that a page gets, in one piece."""
    return " ".join(place if isinstance(place, str) else str(place.value) for place in found)


@pytest.fixture
def clinic() -> Clinic:
    """Two cases: Ana's own, and Eve's, which Ben settled after drawing blind."""
    clinic = Clinic()
    for name, actor, escalate in (("one", ANA, False), ("two", EVE, True)):
        queued = clinic.queue(NewImage(name.encode(), "image/png", 100, 80), [SURE])
        own = actor.acting(Permission.REVIEW) if isinstance(actor, Person) else actor
        answer = FirstAnswer((accepted(SURE),), active_seconds=7, escalate=escalate)
        submit_first(clinic.units, queued.review_id, answer, actor=own, settings=SETTINGS)
    blind = (FinalBox("blind", SURE.box, 0, Origin.ADDED),)
    second = SecondAnswer(blind, (accepted(SURE),), "agreed", active_seconds=9)
    submit_second(clinic.units, queued.review_id, second, actor=BEN)
    return clinic


def test_everyones_work_is_counted_together_and_ones_own_apart(clinic: Clinic) -> None:
    with clinic.units() as uow:
        today = next(iter(uow.statistics.done_per_day("2000")))
    everyone = read_figures(clinic.units, None, f"{today}T23:00:00.000000Z")
    assert (everyone.done, everyone.days) == (Done(2, 1), {today: Done(2, 1)})
    assert everyone.seconds == ActiveSeconds((7, 7), (9,))
    own = read_figures(clinic.units, "p-ana", f"{today}T23:00:00.000000Z")
    assert (own.done, own.days) == (Done(1, 0), {today: Done(1, 0)})
    assert own.seconds == ActiveSeconds((7,), ())
    assert own.verdicts == {0: Verdicts(accepted=1)}
    assert own.waiting == everyone.waiting == {CaseState.SETTLED: 2}
    assert own.sources == {Source.FIRST: 1, Source.SECOND: 1}
    assert own.agreement == everyone.agreement


@pytest.mark.parametrize("whose", [EVERYONE, MINE])
def test_nobody_else_is_named_on_the_page(clinic: Clinic, whose: str) -> None:
    page = text_of(_handler(clinic.units)(ANA, whose))
    assert ("Done by you" in page) == (whose == MINE)
    for name in ("p-eve", "ben", "p-ana", "Ana"):
        assert name not in page


def test_what_lies_before_the_last_thirty_days_is_not_in_the_plot(clinic: Clinic) -> None:
    assert read_figures(clinic.units, None, "2999-01-01T00:00:00.000000Z").days == {}


def test_an_empty_home_says_so_in_words_and_shows_no_plot() -> None:
    found = contents(figures(classes=None), mine=False)
    assert [shown(found[place]) for place in (DAYS, WAITING, TIMES, VERDICTS, AGREEMENT)] == [
        None
    ] * 5
    page = text_of(found)
    for words in (
        "Nothing was done in the last 30 days.",
        "Nothing is waiting.",
        "No case was answered yet",
        "No box of the model was answered yet.",
        "No case had a second review yet.",
    ):
        assert words in page


def test_an_empty_database_can_be_shown() -> None:
    contents(read_figures(Clinic().units, None, AT), mine=True)


def test_days_without_work_stand_between_those_with_it() -> None:
    days = {"2026-02-08": Done(3, 1), "2026-02-10": Done(2, 0)}
    plot = shown(contents(figures(days=days), mine=False)[DAYS])
    first, second = plot["data"]
    assert len(first["x"]) == 30
    assert first["x"][-1].startswith("2026-02-10")
    assert first["y"][-3:] == [3, 0, 2]
    assert second["y"][-3:] == [1, 0, 0]
    assert "6 in the last 30 days, on 2 of them." in text_of(
        contents(figures(days=days), mine=False)
    )


def test_every_state_that_waits_has_its_bar_and_settled_ones_are_in_the_note() -> None:
    waiting = {CaseState.FIRST: 1200, CaseState.SETTLED: 7}
    found = contents(figures(waiting=waiting), mine=False)
    bars = {bar["y"][0]: bar["x"][0] for bar in shown(found[WAITING])["data"]}
    assert bars == {"First review": 1200, "Second review": 0, "Reopened": 0}
    assert "7 cases are settled." in found[WAITING_NOTE]
    assert "1,200" in found[TILES]


def test_times_are_shares_and_the_longest_are_in_the_last_point() -> None:
    seconds = ActiveSeconds(tuple([10.0] * 99 + [5000.0]), (30.0,))
    found = contents(figures(seconds=seconds), mine=False)
    first, second = shown(found[TIMES])["data"]
    assert sum(_numbers(first["y"])) == pytest.approx(100)
    assert sum(_numbers(second["y"])) == pytest.approx(100)
    assert max(_numbers(first["x"])) < 5000
    assert first["name"] == "First answers, median 10 s"
    assert second["name"] == "Second reviews, median 30 s"
    assert "10 s" in found[TILES]


def test_somebody_who_gave_no_second_review_has_one_line() -> None:
    found = contents(figures(seconds=ActiveSeconds((4.0, 5.0), ())), mine=True)
    assert len(shown(found[TIMES])["data"]) == 1


def test_what_became_of_boxes_is_shown_as_shares_of_each_class() -> None:
    verdicts = {
        0: Verdicts(accepted=3, moved=1, added=2),
        1: Verdicts(added=5),
        2: Verdicts(relabelled=1, rejected=1),
    }
    found = contents(figures(verdicts=verdicts), mine=False)
    bars = {bar["name"]: _numbers(bar["x"]) for bar in shown(found[VERDICTS])["data"]}
    assert bars == {
        "accepted": [75, 0],
        "moved": [25, 0],
        "relabelled": [0, 50],
        "rejected": [0, 50],
    }
    assert shown(found[VERDICTS])["data"][0]["y"] == ["cell (4)", "ring (2)"]
    assert "Boxes that had to be added: 5 rod, 2 cell." in found[VERDICTS_NOTE]
    assert "50 %" in found[TILES]  # three of six were accepted


def test_agreement_is_shown_with_its_interval_and_why_there_is_none() -> None:
    agreement = (
        Reliability(0, 40, 30, 90, 0.9, 0.0, (-0.1, 0.2)),
        Reliability(1, 40, 2, 3, 0.5, None, None, "2 images have it; 5 are needed."),
        Reliability(2, 40, 0, 0, None, None, None, "0 images have it; 5 are needed."),
    )
    found = contents(figures(agreement=agreement), mine=False)
    alpha, matched = shown(found[AGREEMENT])["data"]
    assert (alpha["y"], alpha["x"]) == (["cell"], [0.0])
    assert alpha["error_x"]["array"] == [0.2]
    assert alpha["error_x"]["arrayminus"] == [0.1]
    assert matched["y"] == ["cell", "rod"]
    assert "-0.10 to 0.20" in found[TABLE]
    assert "2 images have it; 5 are needed." in found[TABLE]
    assert "latest 40 images" in found[AGREEMENT_NOTE]


def test_a_class_name_is_text_and_never_markup() -> None:
    classes = ClassList(("<img src=x onerror=alert(1)>", "rod"))
    agreement = tuple(Reliability(n, 40, 30, 90, 0.9, 0.8, (0.7, 0.9)) for n in range(2))
    verdicts = {0: Verdicts(accepted=1)}
    page = text_of(
        contents(figures(classes=classes, agreement=agreement, verdicts=verdicts), mine=False)
    )
    assert "<img" not in page


def test_names_that_begin_alike_keep_a_row_each() -> None:
    long = "a very long name of a class that is cut off, number"
    classes = ClassList((f"{long} one", f"{long} two"))
    agreement = tuple(Reliability(n, 40, 30, 90, 0.9, 0.8, (0.7, 0.9)) for n in range(2))
    plot = shown(contents(figures(classes=classes, agreement=agreement), mine=False)[AGREEMENT])
    assert len(set(plot["data"][0]["y"])) == 2


def test_every_handler_of_the_tab_asks_for_the_permission(clinic: Clinic) -> None:
    with gr.Blocks() as page, gr.Tab("Progress"):
        build_progress(guard, clinic.units)
    handlers = [function for function in page.fns.values() if function.fn is not None]
    assert handlers
    for function in handlers:
        assert getattr(function.fn, GUARDED) is Permission.SEE_PROGRESS
        assert function.api_visibility == "private"
        assert len(function.outputs) == AGREEMENT_NOTE + 1


def _numbers(values: Any) -> list[float]:
    """Plotly packs arrays of NumPy's as base64."""
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"]).tolist()
    return list(values)
