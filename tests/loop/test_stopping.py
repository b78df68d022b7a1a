from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from loop.access import Permission, roles_with
from loop.errors import Conflict, InvalidInput, NotAllowed, Stopped
from loop.events import Actor, Role
from loop.ordering import give_order, latest_order
from loop.predictions import ModelRef
from loop.promoting import CHAMPION, PREVIOUS, promote, roll_back
from loop.promotions import PromotionState
from loop.serving_orders import ServingOrder, Stop
from loop.stopping import resume_service, stop_service
from loop.trials import TrialKind, TrialPlan
from loop.trying_out import start_trial
from tests.cluster.fakes import FakeRegistry, FakeService, model, proposal
from tests.fakes import FakeDatabase

ONE, TWO = model("1"), model("2")
PLAN = TrialPlan("t1", TrialKind.SHADOW, 0.1, TWO)
ENGINEER, ADMIN = Actor("eva", Role.ENGINEER), Actor("root", Role.ADMIN)


def serving(model: ModelRef | None = ONE, trial: TrialPlan | None = None) -> FakeDatabase:
    database = FakeDatabase()
    give_order(database.units, model, trial, Actor("up", Role.SYSTEM))
    return database


def order_in(database: FakeDatabase) -> ServingOrder:
    order = latest_order(database.units)
    assert order is not None
    return order


def test_a_stop_leaves_nothing_to_serve_and_says_who_when_and_why() -> None:
    database = serving(ONE, PLAN)
    order = stop_service(database.units, actor=ADMIN, reason=" It misses rods. ")
    assert order == order_in(database)
    assert (order.served, order.tried) == (None, None)
    assert order.stop == Stop("root", order.at, "It misses rods.")
    event = database.events[-1]
    assert (event.type, event.actor, event.reason) == ("model.stopped", ADMIN, "It misses rods.")
    assert event.subject == {"model": ONE.as_dict()}
    assert event.details == {"trial_id": "t1"}


def test_it_can_be_stopped_before_anything_was_served() -> None:
    database = FakeDatabase()
    stop_service(database.units, actor=ENGINEER, reason="not yet")
    assert order_in(database).stop is not None
    assert database.events[-1].subject == {"model": None}


def test_resuming_orders_the_champion_and_the_trial_of_before() -> None:
    database = serving(TWO, PLAN)
    stop_service(database.units, actor=ENGINEER, reason="bad")
    order = resume_service(database.units, ONE, actor=ADMIN, reason="mended")
    assert (order.served, order.tried, order.stop) == (ONE, PLAN, None)
    assert order == order_in(database)
    event = database.events[-1]
    assert (event.type, event.actor, event.reason) == ("model.resumed", ADMIN, "mended")


def test_every_stop_and_every_resumption_is_an_order_of_its_own() -> None:
    database, ids = serving(), set[str]()
    for _ in range(3):
        ids.add(stop_service(database.units, actor=ENGINEER, reason="bad").id)
        ids.add(resume_service(database.units, ONE, actor=ENGINEER, reason="good").id)
    assert len(ids) == 6


def test_nothing_is_stopped_twice_or_resumed_without_a_stop() -> None:
    database = serving()
    with pytest.raises(Conflict):
        resume_service(database.units, ONE, actor=ENGINEER, reason="why not")
    stop_service(database.units, actor=ENGINEER, reason="the first reason")
    with pytest.raises(Conflict, match="the first reason"):
        stop_service(database.units, actor=ADMIN, reason="the second")


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_both_need_a_reason(reason: str) -> None:
    database = serving()
    with pytest.raises(InvalidInput):
        stop_service(database.units, actor=ENGINEER, reason=reason)
    stop_service(database.units, actor=ENGINEER, reason="bad")
    with pytest.raises(InvalidInput):
        resume_service(database.units, ONE, actor=ENGINEER, reason=reason)


@pytest.mark.parametrize("role", [r for r in Role if r not in (Role.ENGINEER, Role.ADMIN)])
def test_only_engineers_and_admins_stop_and_resume(role: Role) -> None:
    database = serving()
    before = order_in(database)
    with pytest.raises(NotAllowed):
        stop_service(database.units, actor=Actor("x", role), reason="bad")
    with pytest.raises(NotAllowed):
        resume_service(database.units, ONE, actor=Actor("x", role), reason="good")
    assert order_in(database) == before
    assert roles_with(Permission.STOP) == [Role.ENGINEER, Role.ADMIN]


def test_no_order_lifts_a_stop() -> None:
    database = serving()
    stop = stop_service(database.units, actor=ENGINEER, reason="bad").stop
    with pytest.raises(Stopped):
        give_order(database.units, TWO, None, ENGINEER)
    kept = give_order(database.units, TWO, PLAN, ENGINEER, while_stopped=True)
    assert (kept.stop, kept.model, kept.served, kept.tried) == (stop, TWO, None, None)


def _promote(database: FakeDatabase) -> None:
    service = FakeService(ONE)
    promote(database.units, FakeRegistry(champion=ONE), TWO, actor=ENGINEER, swap=service.swap)


def _roll_back(database: FakeDatabase) -> None:
    registry = FakeRegistry(**{CHAMPION: TWO, PREVIOUS: ONE})
    roll_back(database.units, registry, actor=ENGINEER, reason="bad", swap=FakeService(TWO).swap)


def _try_out(database: FakeDatabase) -> None:
    start_trial(
        database.units,
        FakeRegistry(champion=ONE),
        TWO,
        kind=TrialKind.SHADOW,
        share=1.0,
        actor=ENGINEER,
        service=None,  # type: ignore[arg-type]
        open_record=lambda trial: "run",
    )


@pytest.mark.parametrize("act", [_promote, _roll_back, _try_out])
def test_nobody_puts_a_model_into_service_while_it_is_stopped(
    act: Callable[[FakeDatabase], None],
) -> None:
    database = serving()
    approved = replace(proposal(TWO, ONE), state=PromotionState.APPROVED)
    database.tables.promotions[approved.id] = approved
    stop_service(database.units, actor=ENGINEER, reason="it misses rods")
    events = list(database.events)
    with pytest.raises(Stopped, match="it misses rods") as refusal:
        act(database)
    assert "resume" in refusal.value.hint
    assert database.events == events
    assert order_in(database).stop is not None


def test_orders_from_before_there_was_a_stop_switch_are_read() -> None:
    order = ServingOrder("o1", ONE, None, "2026-01-01T00:00:00.000000Z")
    document = order.as_dict()
    assert ServingOrder.from_dict(document) == order
    del document["stop"]
    assert ServingOrder.from_dict(document) == order
    stopped = replace(order, stop=Stop("eva", order.at, "bad"))
    assert ServingOrder.from_dict(stopped.as_dict()) == stopped
