"""The desk over HTTP: cases, leases, drafts and answers.

Each route asks `loop.desk` in the role that the work needs; nothing is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from loop.access import Permission, Person
from loop.boxes import Box
from loop.cases import CaseState
from loop.corrections import Dropped, FinalBox, How, Lineage, Origin, final_box
from loop.desk import SKIP_REASONS, Desk
from loop.desk_views import Opened
from loop.errors import InvalidAnswer
from loop.events import Actor
from loop.picking import permission_for
from loop.ports import UnitsOfWork
from loop.predictions import Prediction
from loop.queue import MOST_ROWS, Filters, Order, Work
from loop.review import FirstAnswer
from loop.settling import SETTLE_REASONS, SettledAnswer
from ui.case_view import case_row, case_view, coded, lease_view, reasons
from ui.gate import person_of
from ui.routes import schemas

Json = dict[str, Any]

# Three of them fit into a lease of the default length, so that one that is lost loses nothing.
HEARTBEAT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class DeskRoutes:
    """``lease_seconds`` is told to the page; the desk's own clock decides."""

    desk: Desk
    units: UnitsOfWork
    lease_seconds: float

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/desk")
        router.get("/me")(self.me)
        router.get("/counts")(self.counts)
        router.get("/queue")(self.queue)
        router.post("/next")(self.take_next)
        router.post("/cases/{case_id}/open")(self.open)
        router.post("/cases/{case_id}/draft")(self.draft)
        router.post("/cases/{case_id}/heartbeat")(self.heartbeat)
        router.post("/cases/{case_id}/release", status_code=204)(self.release)
        router.post("/cases/{case_id}/submit")(self.submit)
        router.post("/cases/{case_id}/reveal")(self.reveal)
        router.post("/cases/{case_id}/settle")(self.settle)
        router.post("/cases/{case_id}/skip")(self.skip)
        router.post("/cases/{case_id}/reopen")(self.reopen)
        router.delete("/drafts/{draft_id}", status_code=204)(self.discard_draft)
        return router

    def me(self, request: Request) -> Json:
        """Who is signed in, and what the page needs to know to begin."""
        person = person_of(request)
        with self.units() as uow:
            classes = uow.classes.find()
        return {
            "name": person.name,
            "pseudonym": person.pseudonym,
            "roles": sorted(role.value for role in person.roles),
            "permissions": sorted(permission.value for permission in person.permissions),
            "classes": [{"id": id, "name": name} for id, name in enumerate(classes or ())],
            "lease_seconds": self.lease_seconds,
            "heartbeat_seconds": HEARTBEAT_SECONDS,
            "skip_reasons": coded(SKIP_REASONS),
            "settle_reasons": coded(SETTLE_REASONS),
            "works": [work.value for work in Work if person.may(permission_for(work.state))],
        }

    def counts(self, request: Request) -> Json:
        """How many cases this person could take, by class of work."""
        person = person_of(request)
        counts = self.desk.counts(person.acting(Permission.REVIEW))
        return {state.value: counts.get(state, 0) for state in CaseState}

    def queue(
        self,
        request: Request,
        state: CaseState = CaseState.FIRST,
        order: Order = Order.UNCERTAIN,
        class_id: Annotated[int | None, Query(ge=0)] = None,
        model: Annotated[str | None, Query(max_length=256)] = None,
        cursor: Annotated[str | None, Query(max_length=512)] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 50,
    ) -> Json:
        """A page of the queue, and the models that it could be narrowed to."""
        actor = _reader(person_of(request), state)
        page = self.desk.page(
            state, order, Filters(class_id, model), actor=actor, cursor=cursor, limit=limit
        )
        return {
            "rows": [case_row(case, blind=case.state is CaseState.SECOND) for case in page.cases],
            "cursor": page.cursor,
            "total": page.total,
            "models": self.desk.models(state, actor=actor),
        }

    def take_next(self, request: Request, body: schemas.TakeCase) -> Json:
        return {"case": self._next(person_of(request), body, body.tab)}

    def open(self, request: Request, case_id: schemas.Id, body: schemas.OpenCase) -> Json:
        opened = self.desk.open_case(
            case_id,
            actor=self._actor(person_of(request), case_id),
            tab=body.tab,
            take_over=body.take_over,
        )
        return case_view(opened)

    def draft(self, request: Request, case_id: schemas.Id, body: schemas.SaveDraft) -> Json:
        draft, lease = self.desk.save_draft(
            case_id,
            actor=self._actor(person_of(request), case_id),
            tab=body.tab,
            token=body.token,
            rev=body.rev,
            document=body.document,
        )
        return {"rev": draft.rev, "saved_at": draft.saved_at, "lease": lease_view(lease)}

    def heartbeat(self, request: Request, case_id: schemas.Id, body: schemas.Held) -> Json:
        actor = self._actor(person_of(request), case_id)
        lease = self.desk.heartbeat(case_id, actor=actor, tab=body.tab, token=body.token)
        return {"lease": lease_view(lease)}

    def release(self, request: Request, case_id: schemas.Id, body: schemas.Held) -> None:
        actor = self._actor(person_of(request), case_id)
        self.desk.release(case_id, actor=actor, tab=body.tab, token=body.token)

    def submit(self, request: Request, case_id: schemas.Id, body: schemas.Submit) -> Json:
        person = person_of(request)
        outcome = self.desk.submit_first(
            case_id,
            FirstAnswer(
                boxes=self._drawn(case_id, body.boxes),
                rejected=tuple(body.rejected),
                no_finding=body.no_finding,
                comment=body.comment,
                active_seconds=body.active_seconds,
                escalate=body.escalate,
                bulk_accepted=body.bulk_accepted,
            ),
            key=body.key,
            actor=person.acting(Permission.REVIEW),
            tab=body.tab,
            token=body.token,
        )
        state = CaseState.SECOND if outcome.annotation is None else CaseState.SETTLED
        why = reasons([reason.value for reason in outcome.agreement.reasons])
        return {
            "outcome": {"state": state.value, "reasons": why},
            "next": self._next(person, body.next, body.tab),
        }

    def reveal(self, request: Request, case_id: schemas.Id, body: schemas.Reveal) -> Json:
        opened = self.desk.reveal(
            case_id,
            tuple(
                FinalBox(box.id, Box.of(box.box), box.class_id, Origin.ADDED) for box in body.boxes
            ),
            active_seconds=body.active_seconds,
            actor=person_of(request).acting(Permission.ADJUDICATE),
            tab=body.tab,
            token=body.token,
        )
        return case_view(opened)

    def settle(self, request: Request, case_id: schemas.Id, body: schemas.Settle) -> Json:
        person = person_of(request)
        self.desk.submit_second(
            case_id,
            SettledAnswer(
                boxes=self._drawn(case_id, body.boxes),
                reason=body.reason,
                dropped=tuple(Dropped(tuple(each.sources), each.reason) for each in body.dropped),
                comment=body.comment,
                active_seconds=body.active_seconds,
            ),
            key=body.key,
            actor=person.acting(Permission.ADJUDICATE),
            tab=body.tab,
            token=body.token,
        )
        return {
            "outcome": {"state": CaseState.SETTLED.value, "reasons": []},
            "next": self._next(person, body.next, body.tab),
        }

    def skip(self, request: Request, case_id: schemas.Id, body: schemas.Skip) -> Json:
        person = person_of(request)
        actor = self._actor(person, case_id)
        self.desk.skip(case_id, body.reason, actor=actor, tab=body.tab, token=body.token)
        return {"next": self._next(person, body.next, body.tab)}

    def reopen(self, request: Request, case_id: schemas.Id, body: schemas.Reopen) -> Json:
        actor = person_of(request).acting(Permission.REVIEW)
        return {"case_id": self.desk.reopen(case_id, body.reason, actor=actor).id}

    def discard_draft(self, request: Request, draft_id: schemas.Id) -> Response:
        actor = person_of(request).acting(Permission.REVIEW)
        self.desk.discard_draft(draft_id, actor=actor)
        return Response(status_code=204)

    def _next(self, person: Person, wanted: schemas.NextCase | None, tab: str) -> Json | None:
        if wanted is None:
            return None
        opened: Opened | None = self.desk.take_next(
            wanted.work,
            wanted.order,
            wanted.filters,
            actor=person.acting(permission_for(wanted.work.state)),
            tab=tab,
            after=wanted.after,
        )
        return case_view(opened) if opened else None

    def _actor(self, person: Person, case_id: str) -> Actor:
        """In the role that the case's state asks for, where this person has it."""
        actor = person.acting(Permission.REVIEW)
        with self.units() as uow:
            state = uow.cases.get(case_id).state
        return _reader(person, state) if state is CaseState.SECOND else actor

    def _drawn(self, case_id: str, boxes: list[Any]) -> tuple[FinalBox, ...]:
        with self.units() as uow:
            prediction = uow.predictions.get(uow.cases.get(case_id).prediction_id)
        return tuple(_final(box, prediction) for box in boxes)


def _reader(person: Person, state: CaseState) -> Actor:
    """A reviewer may look at what waits for a second review, and open only what was theirs."""
    if state is CaseState.SECOND and person.may(Permission.ADJUDICATE):
        return person.acting(Permission.ADJUDICATE)
    return person.acting(Permission.REVIEW)


def _final(drawn: schemas.DrawnBox, prediction: Prediction) -> FinalBox:
    box = final_box(drawn.id, Box.of(drawn.box), drawn.class_id, drawn.detection_id, prediction)
    if not isinstance(drawn, schemas.SettledBox):
        return box
    try:
        lineage = Lineage(tuple(drawn.sources), How(drawn.how), drawn.reason)
    except ValueError as error:
        raise InvalidAnswer(
            f"Box {drawn.id} says that it was {drawn.how!r}.",
            hint=f"One of: {', '.join(how.value for how in How)}.",
        ) from error
    return FinalBox(box.id, box.box, box.class_id, box.origin, box.detection_id, lineage)
