"""The stop switch: a person takes the model out of service, and a person puts it back.

It is one row in the database, which every replica follows: nothing else needs to answer. Nothing
but `resume_service` lifts it, no promotion, roll-back, trial or restart.
"""

from __future__ import annotations

from typing import Any

from loop.access import Permission, require
from loop.errors import Conflict, InvalidInput, Stopped
from loop.events import Actor, Event, new_id, now
from loop.ports import UnitOfWork, UnitsOfWork
from loop.predictions import ModelRef
from loop.serving_orders import ServingOrder, Stop

RESUME = "secondlook models resume --reason …"


def stop_service(units: UnitsOfWork, *, actor: Actor, reason: str) -> ServingOrder:
    """From the next look that a replica takes at the database on, none detects anything.

    Raises `NotAllowed`, `InvalidInput` without a reason, `Conflict` if it is stopped already.
    """
    require(actor, Permission.STOP)
    reason = _given(reason)
    with units() as uow:
        uow.lock()
        before = uow.serving_orders.find()
        if before is not None and before.stop is not None:
            raise Conflict(
                f"The service is stopped already: {told(before.stop)}",
                hint=f"A person lifts it: {RESUME}",
            )
        model, trial = (before.model, before.trial) if before else (None, None)
        stop = Stop(actor.pseudonym, now(), reason)
        order = ServingOrder(new_id(), model, trial, stop.at, stop)
        uow.serving_orders.put(order)
        details = {"trial_id": trial.id} if trial else {}
        uow.record(_event("model.stopped", actor, model, reason, details))
        uow.commit()
    return order


def resume_service(
    units: UnitsOfWork, champion: ModelRef | None, *, actor: Actor, reason: str
) -> ServingOrder:
    """Lift the stop: replicas load ``champion``, and the trial that ran beside it goes on.

    Raises `NotAllowed`, `InvalidInput` without a reason, `Conflict` if nothing is stopped.
    """
    require(actor, Permission.STOP)
    reason = _given(reason)
    with units() as uow:
        uow.lock()
        before = uow.serving_orders.find()
        if before is None or before.stop is None:
            raise Conflict("The service is not stopped.", hint="secondlook status shows it.")
        order = ServingOrder(new_id(), champion, before.trial, now())
        uow.serving_orders.put(order)
        uow.record(_event("model.resumed", actor, champion, reason))
        uow.commit()
    return order


def standing_stop(uow: UnitOfWork) -> Stop | None:
    """None while nothing is stopped."""
    order = uow.serving_orders.find()
    return order.stop if order else None


def refuse_while_stopped(uow: UnitOfWork) -> None:
    """Raise `Stopped` if a model must not be put into service now."""
    stop = standing_stop(uow)
    if stop is not None:
        raise Stopped(
            f"The service is stopped, and nothing is put into it: {told(stop)}",
            hint=f"A person lifts the stop first: {RESUME}",
        )


def told(stop: Stop) -> str:
    """Who, when and why, for those who may know."""
    return f"by {stop.by}, at {stop.at[:19]}Z. Reason: {stop.reason}"


def _given(reason: str) -> str:
    if not reason.strip():
        raise InvalidInput("This needs a reason.", hint='Add --reason "…".')
    return reason.strip()


def _event(
    type: str,
    actor: Actor,
    model: ModelRef | None,
    reason: str,
    details: dict[str, Any] | None = None,
) -> Event:
    return Event(
        type=type,
        actor=actor,
        subject={"model": model.as_dict() if model else None},
        details=details or {},
        reason=reason,
    )
