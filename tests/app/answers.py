"""Answers given past the page, to bring the home into the state that a test begins with."""

from __future__ import annotations

from contextlib import suppress

from loop.agreement import AgreementSettings
from loop.boxes import Box
from loop.cases import CaseState
from loop.corrections import FinalBox, Origin
from loop.errors import Conflict
from loop.events import Actor, Role, new_id
from loop.ports import UnitsOfWork
from loop.review import FirstAnswer, SecondAnswer, submit_first, submit_second

FIRST = Actor("person-before", Role.REVIEWER)
SECOND = Actor("person-after", Role.ADJUDICATOR)
_STATES = (CaseState.FIRST, CaseState.REOPENED, CaseState.SECOND)


def settle_everything(units: UnitsOfWork, settings: AgreementSettings) -> None:
    """Accept what the model says, and settle what people disagree on with the first answer."""
    while waiting := [(state, id) for state in _STATES for id in _waiting(units, state)]:
        for state, case_id in waiting:
            # The browser of the test before may still be saying that it has left.
            with suppress(Conflict):
                _settle(units, case_id, state, settings)


def _settle(
    units: UnitsOfWork, case_id: str, state: CaseState, settings: AgreementSettings
) -> None:
    if state is not CaseState.SECOND:
        accept_first(units, case_id, settings, _whoever_holds(units, case_id, FIRST))
        return
    with units() as uow:
        first = uow.corrections.of_case(case_id)
    assert first is not None
    answer = SecondAnswer(blind=(), final=first.boxes, reason="agreed")
    submit_second(units, case_id, answer, actor=_whoever_holds(units, case_id, SECOND))


def accept_first(
    units: UnitsOfWork,
    case_id: str,
    settings: AgreementSettings,
    actor: Actor,
    *added: tuple[float, float, float, float, int],
) -> None:
    """Accept every detection, and add boxes (x1, y1, x2, y2, class id)."""
    with units() as uow:
        prediction = uow.predictions.get(uow.cases.get(case_id).prediction_id)
    boxes = [
        FinalBox.from_detection(new_id(), each.box, each.class_id, each)
        for each in prediction.detections
    ]
    boxes += [FinalBox(new_id(), Box(*b[:4]), int(b[4]), Origin.ADDED) for b in added]
    answer = FirstAnswer(tuple(boxes), no_finding=not boxes)
    submit_first(units, case_id, answer, actor=actor, settings=settings)


def _whoever_holds(units: UnitsOfWork, case_id: str, nobody: Actor) -> Actor:
    """The browser of the test before may have been closed with a case in its hands."""
    with units() as uow:
        hold = uow.leases.find(case_id)
    return Actor(hold.holder, nobody.role) if hold and hold.holder else nobody


def _waiting(units: UnitsOfWork, state: CaseState) -> list[str]:
    with units() as uow:
        return [case.id for case in uow.cases.waiting(state, limit=1000)]
