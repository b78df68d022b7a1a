"""The auditor's routes, on a log of their own."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import update

from loop.checkpoints import Proof
from loop.errors import NotFound
from loop.events import Actor, Authentication, Event, Role
from loop.predictions import ModelRef
from loop.signed_notes import VerifierKey
from store import tables
from store.audit_log import open_audit_log
from store.audit_tracing import AuditTracing
from store.database import writing
from store.log_timestamps import LogTimestamps
from store.log_verify import check_signatures
from store.settings import load_settings
from store.timestamps import request_for
from store.unit_of_work import open_units_of_work
from tests.loop.histories import Snapshots
from tests.store.tsa import Authority, needs_openssl
from tests.ui.people import person_of, signed_in
from ui.audit_tab import build_audit
from ui.auditing import Auditing
from ui.errors import install_error_handlers
from ui.routes.audit import ROWS, AuditRoutes

ANA = Actor("ana", Role.REVIEWER, Authentication.PASSWORD)
API = Actor("key-1", Role.SYSTEM, Authentication.API_KEY)
IMAGE = "1" * 64
MODEL = {"name": "detector", "version": "2", "digest": "a" * 64}
AUDITOR = signed_in(Role.AUDITOR, "aud")
ROUTES = [
    *(("GET", path) for path in ("state", "events", "events/0", "events/0/proof")),
    *(("GET", f"events/0/{what}") for what in ("origins", "consequences", "zip")),
    ("GET", "trace?kind=case&value=r1"),
    *(("POST", path) for path in ("verify", "verify-run", "verify-model", "export")),
]
SERVED = Event(
    "detection.served",
    API,
    {"model": MODEL},
    {"detections": 1, "width": 10, "height": 10},
    request_id="req-1",
    at="2026-01-05T10:00:00.000000Z",
)
SKIPPED = Event(
    "case.skipped",
    ANA,
    {"image_id": IMAGE, "review_id": "r1"},
    {"work": "first"},
    reason="<b>too thick</b>",
    at="2026-01-06T23:59:59.000000Z",
)


class Registry:
    """No model was ever registered."""

    name = "detector"

    def resolve(self, version: str) -> ModelRef:
        raise NotFound(f"There is no version {version}.")


class World:
    def __init__(self, home: Path) -> None:
        self.settings = load_settings(home)
        self.units = open_units_of_work(self.settings)
        self.log = open_audit_log(self.settings)
        self.snapshots = Snapshots()
        self.record(SERVED, SKIPPED)
        tracing = AuditTracing(self.log, self.units, self.snapshots)
        self.auditing = Auditing(
            tracing, self.units, cast("Any", NoTracking()), cast("Any", Registry())
        )
        app = FastAPI()
        install_error_handlers(app)
        app.include_router(AuditRoutes(self.auditing, person_of).router())
        self.client = TestClient(app)

    def record(self, *events: Event) -> None:
        with self.units() as uow:
            for event in events:
                uow.record(event)
            uow.commit()

    def get(self, path: str, **query: Any) -> Any:
        answer = self.client.get(f"/audit/{path}", params=query, headers=AUDITOR)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def types(self, **query: Any) -> list[str]:
        return [row["type"] for row in self.get("events", **query)["rows"]]


class NoTracking:
    def run(self, run_id: str) -> Any:
        raise NotFound(f"There is no run {run_id}.")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("role", [Role.REVIEWER, Role.ADJUDICATOR, Role.ENGINEER])
def test_who_is_no_auditor_is_refused(world: World, method: str, path: str, role: Role) -> None:
    size = world.log.head().size
    body = {"name": "x"} if method == "POST" else None
    answer = world.client.request(method, f"/audit/{path}", json=body, headers=signed_in(role))
    assert answer.status_code == 403
    assert world.log.head().size == size
    assert world.client.request(method, f"/audit/{path}", json=body).status_code == 401


def test_every_route_is_among_those_that_are_tried() -> None:
    tried = {(method, path.partition("?")[0].replace("/0", "/{which}")) for method, path in ROUTES}
    routes = cast("Any", AuditRoutes(cast("Any", None)).router().routes)
    there = {
        (method, route.path.removeprefix("/audit/")) for route in routes for method in route.methods
    }
    assert there == tried


@pytest.mark.parametrize("role", [Role.AUDITOR, Role.ADMIN])
def test_auditors_and_admins_are_let_in(world: World, role: Role) -> None:
    answer = world.client.get("/audit/state", headers=signed_in(role))
    assert answer.json()["size"] == 2


def test_the_tab_asks_for_nothing_by_itself() -> None:
    assert "audit.mjs" in str(build_audit("/static").js_on_load)


@pytest.mark.parametrize(
    ("query", "types"),
    [
        ({}, ["case.skipped", "detection.served"]),
        ({"person": "ana"}, ["case.skipped"]),
        ({"case": " r1 "}, ["case.skipped"]),
        ({"model": "detector/2"}, ["detection.served"]),
        ({"model": "detector 2"}, ["detection.served"]),
        ({"request_id": "req-1"}, ["detection.served"]),
        ({"image": IMAGE}, ["case.skipped"]),
        ({"type": "case"}, ["case.skipped"]),
        ({"since": "2026-01-06"}, ["case.skipped"]),
        ({"to": "2026-01-05"}, ["detection.served"]),
        ({"to": "2026-01-06"}, ["case.skipped", "detection.served"]),
        ({"kind": "case", "value": "r1"}, ["case.skipped"]),
        ({"person": "ana", "request_id": "req-1"}, []),
        ({"run": "nothing"}, []),
    ],
)
def test_a_search_finds_what_it_says(world: World, query: dict[str, str], types: list[str]) -> None:
    assert world.types(**query) == types


def test_pages_go_back_to_the_first_entry(world: World) -> None:
    world.record(*(Event(**_again(SERVED, number)) for number in range(2 * ROWS)))
    seen: list[int] = []
    page = world.get("events")
    while True:
        seen += [row["index"] for row in page["rows"]]
        if page["before"] is None:
            break
        page = world.get("events", before=page["before"])
    assert seen == list(range(2 * ROWS + 1, -1, -1))


@pytest.mark.parametrize(
    ("query", "status"),
    [({"since": "yesterday"}, 422), ({"to": "2026-13-45"}, 422), ({"before": -1}, 422)],
)
def test_what_is_no_day_is_refused_in_words(world: World, query: Any, status: int) -> None:
    answer = world.client.get("/audit/events", params=query, headers=AUDITOR)
    assert answer.status_code == status
    assert answer.json()["error"]["hint"]


def test_an_erased_image_leads_nowhere_and_that_is_said(world: World) -> None:
    with world.units() as uow:
        uow.image_salts.erase(IMAGE)
        uow.record(SERVED)
        uow.commit()
    answer = world.client.get("/audit/events", params={"image": IMAGE}, headers=AUDITOR)
    assert answer.status_code == 404
    assert "erased" in answer.json()["error"]["hint"]


def test_an_entry_is_told_in_words_with_its_sealed_reason_opened(world: World) -> None:
    entry = world.get("events/1")
    fields = {field["label"]: field for field in entry["fields"]}
    assert fields["Reason"]["text"] == SKIPPED.reason
    assert fields["Reason"]["note"].startswith("Opens the commitment")
    assert fields["Who"]["link"] == {"kind": "person", "value": "ana"}
    assert fields["About: image"]["text"].startswith("hmac-sha256:")
    assert fields["About: review id"]["link"] == {"kind": "case", "value": "r1"}
    assert IMAGE not in json.dumps(entry)
    assert entry["leaf_sha256"] == world.log.get(1).leaf_sha256
    assert json.loads(entry["json"])["id"] == SKIPPED.id
    assert world.get(f"events/{SKIPPED.id}")["index"] == 1


def test_an_entry_that_is_not_there_is_said(world: World) -> None:
    for which in ("99", "no-such-id", "9" * 300):
        answer = world.client.get(f"/audit/events/{which}", headers=AUDITOR)
        assert answer.status_code == 404


def test_an_entry_is_proved_in_place(world: World) -> None:
    found = world.get("events/1/proof")
    head = world.log.head()
    assert (found["index"], found["size"], found["root"]) == (1, head.size, head.root)
    assert found["witnesses"] == []


def test_a_changed_copy_in_the_database_is_found_out_and_said(world: World) -> None:
    changed = world.log.get(1).data.replace(b'"ana"', b'"eve"').decode()
    with writing(world.log.rows.engine) as connection:
        log = tables.audit_log
        connection.execute(update(log).where(log.c.index == 1).values(event=changed))
    answer = world.client.get("/audit/events/1/proof", headers=AUDITOR)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "broken_record"
    *_, last = _lines(world.client.post("/audit/verify", headers=AUDITOR).text)
    assert "Entry 1" in last["error"]["message"]


def test_an_entry_is_taken_away_with_its_proof(world: World) -> None:
    answer = world.client.get("/audit/events/1/zip", headers=AUDITOR)
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    assert {"event.json", "proof.tlog-proof", "key.txt", "README.txt", "verify.py"} == set(
        archive.namelist()
    )
    proof = Proof.parse(archive.read("proof.tlog-proof"))
    key = VerifierKey.parse(archive.read("key.txt").decode())
    check_signatures(proof.checkpoint, key)
    assert proof.check(archive.read("event.json")).size == 2
    assert "attachment" in answer.headers["content-disposition"]


def test_the_whole_log_is_verified_and_that_is_on_record(world: World) -> None:
    answer = world.client.post("/audit/verify", headers=AUDITOR)
    *reports, last = _lines(answer.text)
    assert reports[-1] == {"done": 2, "total": 2}
    assert last["verified"]["size"] == 2
    (verified,) = world.log.tail(1)
    assert verified.event.type == "audit.verified"
    assert verified.event.actor == Actor("person-aud", Role.AUDITOR)


@needs_openssl
def test_a_verification_says_what_the_newest_timestamp_shows(world: World, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tsa")
    note = world.log.checkpoint()
    query = request_for(note.text).as_bytes()
    world.log.files.keep_timestamp(note, authority.reply(query))
    for roots, size in ((None, None), (authority.roots, 2)):
        world.log.timestamps = LogTimestamps(world.log.files, roots=roots)
        answer = world.client.post("/audit/verify", headers=AUDITOR)
        *_, last = _lines(answer.text)
        stamped = last["verified"]["stamped"]
        assert (stamped and stamped["size"]) == size
    assert stamped["at"].endswith("UTC")


def test_one_verification_at_a_time(world: World) -> None:
    world.auditing._busy.acquire()
    assert world.client.post("/audit/verify", headers=AUDITOR).status_code == 409
    world.auditing._busy.release()
    assert world.client.post("/audit/verify", headers=AUDITOR).status_code == 200


def test_the_log_is_taken_away_as_it_was_and_that_is_on_record(world: World) -> None:
    answer = world.client.post("/audit/export", headers=AUDITOR)
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    lines = archive.read("audit-log-2/events.jsonl").splitlines()
    assert lines == [world.log.get(index).data for index in range(2)]
    assert "audit-log-2/log/checkpoint" in archive.namelist()
    (exported,) = world.log.tail(1)
    assert exported.event.type == "evidence.built"
    assert exported.event.details["events"] == 2


@pytest.mark.parametrize(
    ("path", "name", "status"),
    [("verify-run", "nothing", 404), ("verify-model", "7", 404), ("verify-model", "other/7", 422)],
)
def test_a_run_or_model_that_is_not_there_is_said(
    world: World, path: str, name: str, status: int
) -> None:
    answer = world.client.post(f"/audit/{path}", json={"name": name}, headers=AUDITOR)
    assert answer.status_code == status
    assert world.log.head().size == 2


def test_trees_are_asked_for_from_an_entry_and_from_a_thing(world: World) -> None:
    back = world.get("events/0/origins")
    assert back["title"] == "The model detector 2"
    assert any("No registration" in gap for gap in back["gaps"])
    forward = world.get("events/0/consequences")
    assert "not stored" in forward["gaps"][0]
    case = world.get("trace", kind="case", value="r1", forward=True)
    assert [event["index"] for event in case["events"]] == [1]
    image = world.get("trace", kind="image", value=IMAGE)
    assert [event["index"] for event in image["events"]] == [1]
    answer = world.client.get("/audit/trace?kind=moon&value=1", headers=AUDITOR)
    assert answer.status_code == 422


def _again(event: Event, number: int) -> dict[str, Any]:
    return {
        "type": event.type,
        "actor": event.actor,
        "subject": event.subject,
        "details": event.details,
        "request_id": f"more-{number}",
    }


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]
