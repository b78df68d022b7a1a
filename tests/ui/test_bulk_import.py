from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from loop.errors import Conflict, InvalidInput, NotFound
from loop.events import Actor, Role
from tests.ui.people import person_of, signed_in
from ui.bulk_import import ImportOptions, ImportReport, ImportState, ImportStatus
from ui.errors import install_error_handlers
from ui.routes.imports import router
from ui.static_files import FOLDER

ENGINEER = signed_in(Role.ENGINEER)
MAX_BYTES = 3_000_000
NEW = {"format": "voc", "size": 5}


class Imports:
    """Stands in for the importer: keeps what came in, and is done at once."""

    def __init__(self) -> None:
        self.statuses: dict[str, ImportStatus] = {}
        self.actors: list[Actor] = []
        self.pieces: list[bytes] = []
        self.abandoned = 0

    def begin(self, options: ImportOptions, size: int, actor: Actor) -> ImportStatus:
        if any(not status.state.over for status in self.statuses.values()):
            raise Conflict("Another import is going on.", hint="Wait.", code="import_running")
        status = ImportStatus(
            id=f"import-{len(self.statuses)}",
            options=options,
            started_by=actor.pseudonym,
            started_at="2026-02-03T04:05:06.700000Z",
            state=ImportState.RECEIVING,
            size=size,
        )
        self.actors.append(actor)
        self.statuses[status.id] = status
        return status

    def open(self, import_id: str) -> Reception:
        if self.find(import_id).state is not ImportState.RECEIVING:
            raise Conflict("No ZIP is waited for.", hint="Begin again.", code="not_receiving")
        return Reception(self, import_id)

    def find(self, import_id: str) -> ImportStatus:
        if import_id not in self.statuses:
            raise NotFound("There is no such import.", hint="Import it again.")
        return self.statuses[import_id]

    def list(self) -> list[ImportStatus]:
        return list(reversed(self.statuses.values()))


class Reception:
    def __init__(self, imports: Imports, import_id: str) -> None:
        self._imports = imports
        self._id = import_id
        self._started = False

    def write(self, data: bytes) -> None:
        self._imports.pieces.append(data)

    def start(self) -> None:
        self._started = True
        report = ImportReport(2, 3, 1, 1, [("a.png", "is damaged")])
        before = self._imports.statuses[self._id]
        self._imports.statuses[self._id] = replace(before, state=ImportState.DONE, report=report)

    def abandon(self) -> None:
        self._imports.abandoned += not self._started


@pytest.fixture
def imports() -> Imports:
    return Imports()


@pytest.fixture
def app(imports: Imports) -> FastAPI:
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(router(imports=imports, person_of=person_of, max_bytes=MAX_BYTES))
    return app


@pytest.fixture
def page(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


def begin(page: TestClient, **changes: Any) -> httpx.Response:
    response: httpx.Response = page.post("/desk/imports", json=NEW | changes, headers=ENGINEER)
    return response


def send(page: TestClient, data: Any = b"12345", **headers: str) -> httpx.Response:
    response: httpx.Response = page.put(
        "/desk/imports/import-0/archive", content=data, headers=ENGINEER | headers
    )
    return response


def put(app: FastAPI, messages: list[dict[str, Any]]) -> int:
    """Send an archive in these pieces, which a test client would join; returns the status."""
    sent: list[Any] = []
    waiting = list(messages)

    async def receive() -> Any:
        return waiting.pop(0)

    async def send_back(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "PUT",
        "path": "/desk/imports/import-0/archive",
        "query_string": b"",
        "headers": [(b"x-person", b"ada/engineer")],
    }
    asyncio.run(app(scope, receive, send_back))
    status: int = sent[0]["status"]
    return status


def code_of(response: httpx.Response) -> str:
    error = response.json()["error"]
    assert error["message"]
    code: str = error["code"]
    return code


def test_a_zip_is_announced_and_sent_and_its_report_can_be_read(
    page: TestClient, imports: Imports
) -> None:
    asked = {"as": "prediction", "name": "cells", "subject_pattern": "^([^_]+)_"}
    begun = begin(page, **asked)
    assert begun.status_code == 201
    assert begun.json()["state"] == "receiving"
    options = imports.find("import-0").options
    assert options == ImportOptions("voc", "prediction", False, "^([^_]+)_", "cells")
    assert imports.actors == [Actor("person-ada", Role.ENGINEER)]
    assert send(page).json()["state"] == "done"
    assert b"".join(imports.pieces) == b"12345"
    assert imports.abandoned == 0
    shown = page.get("/desk/imports/import-0", headers=ENGINEER).json()
    assert shown["report"] == {
        "images": 2,
        "boxes": 3,
        "unchanged": 1,
        "subjects": 1,
        "problem_count": 1,
        "problems": [{"file": "a.png", "reason": "is damaged"}],
    }


def test_a_large_body_is_written_in_few_pieces(app: FastAPI, imports: Imports) -> None:
    imports.begin(ImportOptions("voc"), 40 * 65_536, Actor("person-ada", Role.ENGINEER))
    pieces = [{"type": "http.request", "body": b"x" * 65_536, "more_body": True}] * 40
    assert put(app, [*pieces, {"type": "http.request"}]) == 200
    assert sum(map(len, imports.pieces)) == 40 * 65_536
    assert len(imports.pieces) == 3


@pytest.mark.parametrize(
    "role", [role for role in Role if role not in (Role.ENGINEER, Role.SYSTEM)]
)
def test_others_than_engineers_import_nothing_and_see_nothing(
    page: TestClient, imports: Imports, role: Role
) -> None:
    begin(page)
    headers = signed_in(role, "bob")
    answers = [
        page.post("/desk/imports", json=NEW, headers=headers),
        page.put("/desk/imports/import-0/archive", content=b"12345", headers=headers),
        page.get("/desk/imports/import-0", headers=headers),
        page.get("/desk/imports", headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [403] * 4
    assert len(imports.statuses) == 1
    assert imports.pieces == []


def test_nobody_gets_anywhere_without_signing_in(page: TestClient) -> None:
    begin(page)
    assert page.post("/desk/imports", json=NEW).status_code == 401
    assert page.put("/desk/imports/import-0/archive", content=b"12345").status_code == 401
    assert page.get("/desk/imports/import-0").status_code == 401
    assert page.get("/desk/imports").status_code == 401


def test_whoever_started_it_sees_it_even_after_losing_the_role(page: TestClient) -> None:
    begin(page)
    former = signed_in(Role.REVIEWER, "ada")
    assert page.get("/desk/imports/import-0", headers=former).status_code == 200


def test_another_engineer_sees_it_but_does_not_send_into_it(
    page: TestClient, imports: Imports
) -> None:
    begin(page)
    other = signed_in(Role.ENGINEER, "eve")
    assert page.get("/desk/imports/import-0", headers=other).status_code == 200
    (listed,) = page.get("/desk/imports", headers=other).json()["imports"]
    assert listed["id"] == "import-0"
    answer = page.put("/desk/imports/import-0/archive", content=b"12345", headers=other)
    assert answer.status_code == 403
    assert imports.pieces == []


def test_a_second_import_waits_for_the_first(page: TestClient) -> None:
    begin(page)
    second = begin(page)
    assert second.status_code == 409
    assert code_of(second) == "import_running"


def test_a_zip_that_is_too_large_is_refused_before_it_is_sent(
    page: TestClient, imports: Imports
) -> None:
    answer = begin(page, size=MAX_BYTES + 1)
    assert answer.status_code == 413
    assert code_of(answer) == "too_many_bytes"
    assert imports.statuses == {}


def test_a_zip_that_grows_beyond_the_limit_is_given_up(page: TestClient, imports: Imports) -> None:
    begin(page)
    answer = send(page, (b"x" * 1_000_000 for _ in range(4)))
    assert answer.status_code == 413
    assert imports.abandoned == 1


def test_an_archive_that_nobody_announced_is_refused(page: TestClient) -> None:
    assert send(page).status_code == 403


def test_an_archive_is_not_taken_twice(page: TestClient, imports: Imports) -> None:
    begin(page)
    send(page)
    again = send(page)
    assert again.status_code == 409
    assert imports.abandoned == 0


def test_an_import_is_given_up_when_the_sender_hangs_up(app: FastAPI, imports: Imports) -> None:
    imports.begin(ImportOptions("voc"), 5, Actor("person-ada", Role.ENGINEER))
    piece = {"type": "http.request", "body": b"12", "more_body": True}
    assert put(app, [piece, {"type": "http.disconnect"}]) == 499
    assert imports.abandoned == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "pickle"},
        {"as": "gospel"},
        {"size": 0},
        {"size": -1},
        {"gold": True, "as": "prediction"},
        {"subject_pattern": "("},
        {"subject_pattern": "a" * 201},
        {"subject_pattern": "a{99999999999999999999}"},
        {"name": "../../etc"},
        {"name": "Jane Doe"},
        {"name": "n" * 65},
        {"actor": "admin"},
    ],
)
def test_options_that_make_no_sense_are_refused_in_words(
    page: TestClient, imports: Imports, changes: dict[str, Any]
) -> None:
    answer = begin(page, **changes)
    assert answer.status_code == 422
    assert code_of(answer)
    assert imports.statuses == {}


def test_a_format_that_is_none_is_refused_for_other_callers_too() -> None:
    with pytest.raises(InvalidInput):
        ImportOptions("exe")  # type: ignore[arg-type]


def test_the_list_has_counts_and_no_file_names(page: TestClient) -> None:
    begin(page)
    send(page)
    answer = page.get("/desk/imports", headers=ENGINEER).json()
    (listed,) = answer["imports"]
    assert answer["max_bytes"] == MAX_BYTES
    assert listed["report"]["problem_count"] == 1
    assert "problems" not in listed["report"]


def test_a_report_shows_no_more_problems_than_a_page_can_hold() -> None:
    report = ImportReport(0, 0, 0, 0, [(f"{n}.png", "is damaged") for n in range(5000)]).as_dict()
    assert len(report["problems"]) == 1000
    assert report["problem_count"] == 5000


def test_the_patterns_that_the_page_offers_are_taken() -> None:
    script = (FOLDER / "uploads" / "importing.mjs").read_text()
    table = re.search(r"PATTERNS = \{(.*?)\n\};", script, re.DOTALL)
    assert table
    patterns = dict(re.findall(r"(\w+): '(.*)'", table[1]))
    assert set(patterns) == {"alone", "name", "folder"}
    for pattern in patterns.values():
        ImportOptions("voc", subject_pattern=pattern)
    by_name = re.search(patterns["name"], "train/p1_left_2")
    by_folder = re.search(patterns["folder"], "train/p1/left")
    assert by_name
    assert by_folder
    assert by_name[1] == by_folder[1] == "p1"
