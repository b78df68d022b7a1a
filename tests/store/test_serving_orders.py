from __future__ import annotations

from sqlalchemy import Engine

from loop.events import Actor, Role
from loop.ordering import give_order
from loop.predictions import ModelRef
from loop.trials import TrialKind, TrialPlan
from store.unit_of_work import units_of_work

ONE = ModelRef("detector", "1", "1" * 64)
PLAN = TrialPlan("t1", TrialKind.SHADOW, 0.1, ModelRef("detector", "2", "2" * 64))
ACTOR = Actor("engineer-1", Role.SYSTEM)


def test_the_latest_order_is_the_one_that_counts(engine: Engine) -> None:
    units = units_of_work(engine)
    with units() as uow:
        assert uow.serving_orders.find() is None
    for model, trial in ((ONE, None), (ONE, PLAN), (None, None)):
        order = give_order(units, model, trial, ACTOR)
        with units() as uow:
            assert uow.serving_orders.find() == order
        assert (order.model, order.trial) == (model, trial)
