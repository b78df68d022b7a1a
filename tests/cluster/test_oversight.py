"""The oversight report of a home in which people worked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.cli import app
from loop.agreement import AgreementSettings
from loop.boxes import Box
from loop.cases import CaseState
from loop.classes import ClassList, classes_event
from loop.corrections import FinalBox, Origin
from loop.errors import InvalidInput, Unavailable
from loop.events import Actor, Event, Role, new_id
from loop.intake import NewImage, queue_image
from loop.ports import UnitsOfWork
from loop.predictions import Detection, ModelRef
from loop.review import SecondAnswer, submit_second
from store.audit_log import open_audit_log
from store.image_store import open_image_store
from store.settings import Settings
from store.unit_of_work import open_units_of_work
from tests.app.answers import FIRST, SECOND, accept_first

MODEL = ModelRef("detector", "1", "a" * 64)
API = Actor("api", Role.SYSTEM)
CASES = 12


def open_case(units: UnitsOfWork, image_id: str, case_id: str, phase: str, picked: str) -> None:
    with units() as uow:
        details = {"phase": phase, "work": "first", "picked": picked, "read_only": None}
        subject = {"image_id": image_id, "review_id": case_id}
        uow.record(Event("case.opened", FIRST, subject, details))
        uow.commit()


@pytest.fixture
def worked(settings: Settings) -> Settings:
    """Twelve cases: the first reviewer accepts the model's box and adds one, and the second, who
    draws blind, rejects the model's."""
    units, images = open_units_of_work(settings), open_image_store(settings)
    with units() as uow:
        classes = ClassList(("rod",))
        uow.classes.set(classes)
        uow.record(classes_event(classes, API))
        uow.commit()
    for number in range(CASES):
        seen = (Detection(f"d{number}", Box(1, 1, 4, 4), 0, 0.9),)
        new = NewImage(bytes([number]), "image/png", 10, 10)
        queued = queue_image(units, images, new, model=MODEL, detections=seen, actor=API)
        picked = "random" if number % 4 == 0 else "order"
        open_case(units, queued.image_id, queued.review_id, "first", picked)
        added = (5.0, 5.0, 9.0, 9.0, 0)
        accept_first(units, queued.review_id, AgreementSettings(), FIRST, added)
        with units() as uow:
            assert uow.cases.get(queued.review_id).state is CaseState.SECOND
        own = FinalBox(new_id(), Box(5, 5, 9, 9), 0, Origin.ADDED)
        answer = SecondAnswer(blind=(own,), final=(own,), reason="agreed")
        submit_second(units, queued.review_id, answer, actor=SECOND)
    return settings


@pytest.fixture
def report(settings: Settings) -> Callable[..., Result]:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(
            app, ["--home", str(settings.home), "oversight", "report", *arguments]
        )

    return run


def test_it_tells_what_was_shown_overridden_and_whether_it_led(
    worked: Settings, report: Callable[..., Result], tmp_path: Path
) -> None:
    result = report("--out", str(tmp_path / "out"), "--json")
    assert result.exception is None, result.exception
    found = json.loads(result.stdout)
    assert found["total"]["accepted"] == CASES
    assert found["total"]["added"] == CASES
    assert found["total"]["changed"]["value"] == 1.0
    assert {(e["picked"], e["count"]) for e in found["shown"]} == {("order", 9), ("random", 3)}
    assert found["second_changed_the_first_answer"]["value"] == 1.0
    bias = found["automation_bias"]
    assert bias["wrong_boxes_kept_by_who_saw_them"]["value"] == 1.0
    assert bias["wrong_boxes_drawn_by_who_did_not"]["value"] == 0.0


def test_three_files_are_written_and_their_digests_on_record(
    worked: Settings, report: Callable[..., Result], tmp_path: Path
) -> None:
    assert report("--out", str(tmp_path / "out")).exception is None
    files = {path.suffix: path for path in (tmp_path / "out").iterdir()}
    assert set(files) == {".html", ".md", ".json"}
    event = open_audit_log(worked).tail(1)[0].event
    assert (event.type, event.subject) == ("evidence.built", {"kind": "oversight_report"})
    assert event.outputs == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files.values()
    }
    page, text = files[".html"].read_text(), files[".md"].read_text()
    for said in (FIRST.pseudonym, "produces evidence for", "100%", "the image alone"):
        assert said in page
        assert said in text
    assert "compliant" not in page
    assert json.loads(files[".json"].read_text())["log"]["size"] > 0


def test_a_time_in_which_nobody_worked_is_told_as_gaps(
    worked: Settings, report: Callable[..., Result]
) -> None:
    found = json.loads(report("--since", "2001-01-01", "--until", "2001-02-01", "--json").stdout)
    assert found["total"]["detections"] == 0
    assert len(found["gaps"]) == 4
    assert (worked.home / "reports" / "oversight" / "oversight.html").exists()


def test_what_is_no_date_is_refused(worked: Settings, report: Callable[..., Result]) -> None:
    assert isinstance(report("--since", "last week").exception, InvalidInput)


def test_a_folder_that_cannot_be_written_is_said(
    worked: Settings, report: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    assert isinstance(report("--out", str(tmp_path / "file")).exception, Unavailable)
