from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from loop.access import Permission, Person
from loop.errors import NotAllowed
from loop.events import Actor, Role
from loop.ordering import give_order, latest_order
from loop.trials import TrialKind, TrialPlan
from tests.fakes import FakeDatabase
from tests.ui.training_fakes import AUDITOR, ENGINEER, model, person
from ui.guard import GUARDED, guard
from ui.service import _Acts, build_service

ONE, TWO = model("1"), model("2")
ADMIN = person(Role.ADMIN, pseudonym="calm-heron")


class Registry:
    def find_alias(self, alias: str) -> Any:
        return {"champion": ONE}.get(alias)


@pytest.fixture
def database() -> FakeDatabase:
    database = FakeDatabase()
    plan = TrialPlan("t1", TrialKind.CANARY, 0.1, TWO)
    give_order(database.units, ONE, plan, Actor("up", Role.SYSTEM))
    return database


@pytest.fixture
def acts(database: FakeDatabase) -> _Acts:
    return _Acts(database.units, Registry())


def buttons(view: list[Any]) -> tuple[bool, bool, bool]:
    """Whether stop, resume and the question are to be seen."""
    return view[2].visible, view[3].visible, view[4].visible


def test_every_handler_is_behind_the_permission(database: FakeDatabase) -> None:
    with gr.Blocks() as page:
        build_service(guard, database.units, Registry())
    handlers = [function.fn for function in page.fns.values()]
    assert len(handlers) == 5
    for handler in handlers:
        assert getattr(handler, GUARDED) is Permission.STOP
    assert all(function.api_visibility == "private" for function in page.fns.values())


def test_it_tells_what_is_served_and_offers_to_stop_it(acts: _Acts) -> None:
    view = acts.look(ENGINEER)
    assert "Version 1 is the one to serve, and version 2 is tried beside it." in view[0]
    assert buttons(view) == (True, False, False)


def test_the_button_asks_first_and_wants_a_reason(database: FakeDatabase, acts: _Acts) -> None:
    refused = acts.ask(ENGINEER, "  ")
    assert "needs a reason" in refused[1]
    assert buttons(refused) == (True, False, False)
    assert buttons(acts.ask(ENGINEER, "bad")) == (False, False, True)
    order = latest_order(database.units)
    assert order is not None and order.stop is None


@pytest.mark.parametrize("who", [ENGINEER, ADMIN])
def test_stopped_and_resumed(database: FakeDatabase, acts: _Acts, who: Person) -> None:
    *view, reason = acts.stop(who, "It misses <rods>.")
    assert reason == ""
    assert "Out of service." in view[0]
    assert f"{who.pseudonym} (you)" in view[0]
    assert "It misses &lt;rods&gt;." in view[0]
    assert buttons(view) == (False, True, False)
    assert "calm-heron" in acts.look(ENGINEER)[0] or who is ENGINEER
    *view, reason = acts.resume(who, "mended")
    assert buttons(view) == (True, False, False)
    assert "lifted" in view[1]
    types = [event.type for event in database.events]
    assert types == ["serving.ordered", "model.stopped", "model.resumed"]


def test_what_is_refused_is_told_in_words_and_the_reason_kept(acts: _Acts) -> None:
    acts.stop(ENGINEER, "bad")
    *view, reason = acts.stop(ADMIN, "worse")
    assert "stopped already" in view[1]
    assert reason == gr.skip()
    *view, _ = acts.resume(ADMIN, "")
    assert "needs a reason" in view[1]
    *view, _ = acts.resume(ADMIN, "x" * 501)
    assert "more than 500" in view[1]
    assert buttons(view) == (False, True, False)


def test_before_anything_was_served_it_says_so() -> None:
    view = _Acts(FakeDatabase().units, Registry()).look(ENGINEER)
    assert "No model was put into service yet." in view[0]


def test_the_acts_themselves_ask_who_asks(acts: _Acts) -> None:
    *view, _ = acts.stop(AUDITOR, "bad")
    assert "permission" in view[1]
    with pytest.raises(NotAllowed):
        AUDITOR.acting(Permission.STOP)
