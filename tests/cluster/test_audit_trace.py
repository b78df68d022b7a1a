from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster import cli
from loop.errors import InvalidInput, LoopError, NotFound
from loop.events import Actor, Authentication, Event, Role
from store.settings import load_settings
from store.unit_of_work import open_units_of_work

EVA = Actor("eva", Role.ENGINEER, Authentication.PROCESS)
API = Actor("key-1", Role.SYSTEM, Authentication.API_KEY)
MODEL = {"name": "detector", "version": "2", "digest": "a" * 64}
IMAGE = "1" * 64


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With an image that waits for review."""
    with open_units_of_work(load_settings(tmp_path))() as uow:
        details = {"alias": "champion", "exports": {}, "signature": None}
        uow.record(Event("model.registered", EVA, {"model": MODEL}, details))
        subject = {"image_id": IMAGE, "prediction_id": "p1", "review_id": "r1", "model": MODEL}
        uow.record(
            Event(
                "image.queued",
                API,
                subject,
                {"detections": 1, "source_name": "upload"},
                request_id="req-1",
            )
        )
        uow.commit()
    return tmp_path


def trace(home: Path, *arguments: str) -> str:
    done = CliRunner().invoke(cli.app, ["--home", str(home), "audit", "trace", *arguments])
    if isinstance(done.exception, LoopError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(
    "what", ["1", "request=req-1", "prediction=p1", "case=r1", f"image={IMAGE}"]
)
def test_a_detection_leads_to_its_model(home: Path, what: str) -> None:
    tree = trace(home, what)
    assert "The model detector 2" in tree
    assert "model.registered by eva" in tree
    assert "Gap: It was registered from a file" in tree


def test_machines_get_the_tree_as_json(home: Path) -> None:
    tree = json.loads(trace(home, "model=detector/2", "--forward", "--json"))
    assert [event["type"] for event in tree["events"]] == ["model.registered"]
    assert any("never in service" in gap for step in tree["steps"] for gap in step["gaps"])


def test_forward_from_a_case_says_that_nothing_was_made_of_it(home: Path) -> None:
    assert "No answer is on record yet" in trace(home, "case=r1", "--forward")


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("moon=1", InvalidInput),
        ("case=", InvalidInput),
        ("99", NotFound),
        ("no-such-event", NotFound),
        (f"image={'2' * 64}", NotFound),
    ],
)
def test_what_cannot_be_traced_is_said_with_what_to_do(
    home: Path, what: str, error: type[LoopError]
) -> None:
    with pytest.raises(error) as refusal:
        trace(home, what)
    assert refusal.value.hint
