"""Telling the service what to serve."""

from __future__ import annotations

from loop.events import Actor, Event, Outcome, new_id, now
from loop.ports import UnitsOfWork
from loop.predictions import ModelRef
from loop.serving_orders import ServingOrder
from loop.stopping import refuse_while_stopped, standing_stop
from loop.trials import TrialPlan


def give_order(
    units: UnitsOfWork,
    model: ModelRef | None,
    trial: TrialPlan | None,
    actor: Actor,
    *,
    while_stopped: bool = False,
) -> ServingOrder:
    """Tell all replicas, those of now and those to come, what to serve.

    No order lifts a stop (`loop.stopping`). It raises `Stopped`, or else, ``while_stopped``, keeps
    the stop and counts once that is lifted.
    """
    with units() as uow:
        uow.lock()
        if not while_stopped:
            refuse_while_stopped(uow)
        order = ServingOrder(new_id(), model, trial, now(), standing_stop(uow))
        uow.serving_orders.put(order)
        uow.record(
            Event(
                type="serving.ordered",
                actor=actor,
                subject={"order_id": order.id, "model": model.as_dict() if model else None},
                details={"trial": trial.as_dict() if trial else None},
                outcome=Outcome.INTENDED,
            )
        )
        uow.commit()
    return order


def latest_order(units: UnitsOfWork) -> ServingOrder | None:
    """The one that counts; None before the first."""
    with units() as uow:
        return uow.serving_orders.find()
