"""The audit log for auditors: search, follow, verify in place, take away."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from loop.access import Permission, Person
from loop.errors import BrokenRecord, InvalidInput, NotFound
from loop.event_query import EventQuery
from loop.event_types import event_types
from loop.events import Actor
from loop.opening import opened_reason
from loop.tracing import Reference
from store.audit_log import Entry, index_or_id
from store.log_export import copy_of, exported, zip_of, zip_of_entry
from ui.audit_view import details, row
from ui.auditing import Auditing
from ui.gate import person_of

Json = dict[str, Any]

ROWS = 50
_LONGEST = 200
Text = Annotated[str, Query(max_length=_LONGEST)]
Day = Annotated[str, Query(max_length=10, pattern=r"^(\d{4}-\d{2}-\d{2})?$")]
# Nothing of the log stays in a browser's cache.
_ZIP = {"cache-control": "no-store"}


class Named(BaseModel):
    """A run, or a model version or alias."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=_LONGEST)]


class _AuditRoute(APIRoute):
    """Auditors are told what is wrong with the record: elsewhere that stays inside."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def told(request: Request) -> Response:
            try:
                return await handle(request)
            except BrokenRecord as error:
                return JSONResponse({"error": error.as_dict()}, error.http_status)

        return told


@dataclass(frozen=True, slots=True)
class AuditRoutes:
    auditing: Auditing
    person_of: Callable[[Request], Person] = person_of

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/audit", route_class=_AuditRoute)
        router.get("/state")(self.state)
        router.get("/events")(self.events)
        router.get("/events/{which}")(self.event)
        router.get("/events/{which}/proof")(self.proof)
        router.get("/events/{which}/origins")(self.origins)
        router.get("/events/{which}/consequences")(self.consequences)
        router.get("/events/{which}/zip", response_class=Response)(self.entry_zip)
        router.get("/trace")(self.trace)
        router.post("/verify", response_class=StreamingResponse)(self.verify)
        router.post("/verify-run")(self.verify_run)
        router.post("/verify-model")(self.verify_model)
        router.post("/export", response_class=StreamingResponse)(self.export)
        return router

    def state(self, request: Request) -> Json:
        """The log's size, root, key and witnesses, and the types that can be searched for."""
        self._auditor(request)
        return self.auditing.state() | {"types": event_types()}

    def events(
        self,
        request: Request,
        person: Text = "",
        case: Text = "",
        model: Text = "",
        run: Text = "",
        request_id: Text = "",
        image: Text = "",
        kind: Text = "",
        value: Text = "",
        type: Text = "",
        since: Day = "",
        to: Day = "",
        before: Annotated[int | None, Query(ge=0)] = None,
    ) -> Json:
        """Newest first. ``kind`` and ``value`` are any other reference; ``to`` is the last day."""
        self._auditor(request)
        asked = {
            "person": person,
            "case": case,
            "model": model,
            "run": run,
            "request": request_id,
            "image": image,
        }
        wanted = [(kind, text.strip()) for kind, text in asked.items() if text.strip()]
        if kind and value:
            wanted.append((kind, value))
        types = (type.strip(),) if type.strip() else ()
        until = _day_after(to)
        found = self._search(wanted, EventQuery((), types, since, until), before)
        page = found[:ROWS]
        more = len(found) > ROWS
        return {"rows": [row(each) for each in page], "before": page[-1].index if more else None}

    def event(self, request: Request, which: str) -> Json:
        self._auditor(request)
        entry = self._entry(which)
        with self.auditing.units() as uow:
            reason = opened_reason(uow, entry.event)
        return details(entry, reason)

    def proof(self, request: Request, which: str) -> Json:
        """The entry, verified against the newest checkpoint."""
        self._auditor(request)
        return self.auditing.check_entry(self._entry(which))

    def origins(self, request: Request, which: str) -> Json:
        self._auditor(request)
        return self.auditing.tracing.of_event(_index(which), forward=False).as_dict()

    def consequences(self, request: Request, which: str) -> Json:
        self._auditor(request)
        return self.auditing.tracing.of_event(_index(which), forward=True).as_dict()

    def trace(self, request: Request, kind: Text, value: Text, forward: bool = False) -> Json:
        """From a request, an image, a case, a model… instead of from one entry."""
        self._auditor(request)
        return self.auditing.tracing.of(kind, value, forward=forward).as_dict()

    def entry_zip(self, request: Request, which: str) -> Response:
        self._auditor(request)
        entry = self._entry(which)
        data = zip_of_entry(entry, self.auditing.prove(entry), self.auditing.key())
        return Response(data, media_type="application/zip", headers=_named(f"entry-{entry.index}"))

    def verify(self, request: Request) -> StreamingResponse:
        """The whole log: JSON lines with how far it is, and at last what came out."""
        actor = self._auditor(request)
        lines = self.auditing.check_all(actor)
        return StreamingResponse(lines, media_type="application/x-ndjson", headers=_ZIP)

    def verify_run(self, request: Request, body: Named) -> Json:
        return self.auditing.check_run(body.name.strip(), self._auditor(request))

    def verify_model(self, request: Request, body: Named) -> Json:
        return self.auditing.check_model(body.name.strip(), self._auditor(request))

    def export(self, request: Request) -> StreamingResponse:
        """A copy of the log with the script that verifies it. On record before it begins."""
        actor = self._auditor(request)
        copy = copy_of(self.auditing.log)
        checkpoint = copy.checkpoint
        with self.auditing.units() as uow:
            uow.record(exported(checkpoint.size, checkpoint.root.hex(), actor))
            uow.commit()
        headers = _named(f"audit-log-{checkpoint.size}")
        return StreamingResponse(zip_of(copy), media_type="application/zip", headers=headers)

    def _search(
        self, wanted: list[Reference], query: EventQuery, before: int | None
    ) -> list[Entry]:
        """An image may be named in two ways, by its commitment and, long ago, by its id."""
        about: list[tuple[Reference, ...]] = [()]
        for kind, value in wanted:
            same = self.auditing.tracing.references(kind, value)
            about = [(*before_it, each) for before_it in about for each in same]
        found: dict[int, Entry] = {}
        for each in about:
            one = EventQuery(each, query.types, query.since, query.until)
            entries = self.auditing.log.find(one, limit=ROWS + 1, before=before)
            found |= {entry.index: entry for entry in entries}
        return [found[index] for index in sorted(found, reverse=True)][: ROWS + 1]

    def _auditor(self, request: Request) -> Actor:
        return self.person_of(request).acting(Permission.AUDIT)

    def _entry(self, which: str) -> Entry:
        return self.auditing.log.get(_index(which))


def _index(which: str) -> int | str:
    if len(which) > _LONGEST:
        raise NotFound("There is no such entry.")
    return index_or_id(which)


def _day_after(day: str) -> str:
    if not day:
        return ""
    try:
        return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{day} is no day.", hint="Write it as 2026-11-30.") from error


def _named(name: str) -> dict[str, str]:
    return _ZIP | {"content-disposition": f'attachment; filename="{name}.zip"'}
