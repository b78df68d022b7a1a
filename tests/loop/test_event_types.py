from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from loop.errors import InvalidInput
from loop.event_types import check_event, event_types, schema_of
from loop.events import SCHEMA_VERSION, Actor, Authentication, Event, Outcome, Role
from loop.sealing import SEALED
from tests.fakes import FakeDatabase, sealed

DOCUMENT = Path(__file__).parents[2] / "docs" / "audit-events.md"
TYPES = event_types()
ANA = Actor("ana", Role.REVIEWER, Authentication.PASSWORD)
IMAGE = "1" * 64
SKIPPED = Event(
    "case.skipped", ANA, {"image_id": IMAGE, "review_id": "r1"}, {"work": "first"}, reason="other"
)
# What no schema may let in: it leads back to an image.
_FORBIDDEN = {"image_id", "image_ids", "boxes_sha256", "added_image_ids", "source_name"}


@pytest.mark.parametrize("type", TYPES)
def test_each_schema_is_one_that_any_validator_takes(type: str) -> None:
    schema = schema_of(type)
    Draft202012Validator.check_schema(schema)
    assert schema["title"] == schema["properties"]["type"]["const"] == type
    assert schema["description"].endswith(".")
    assert schema["$id"] == f"urn:second-look:event:{SCHEMA_VERSION}:{type}"


@pytest.mark.parametrize("type", TYPES)
def test_what_all_events_have_in_common_is_the_same_in_each(type: str) -> None:
    first, own = schema_of(TYPES[0]), schema_of(type)
    assert own["required"] == list(own["properties"]) == first["required"]
    assert own["additionalProperties"] is False
    free = {"type", "subject", "details", "inputs", "outputs", "decision", "reason"}
    for name in set(own["required"]) - free:
        assert own["properties"][name] == first["properties"][name]
    for name in own["$defs"].keys() & first["$defs"].keys():
        assert own["$defs"][name] == first["$defs"][name]
    for name in ("subject", "details", "inputs", "outputs"):
        assert own["properties"][name]["additionalProperties"] is False


@pytest.mark.parametrize("type", TYPES)
def test_no_schema_lets_an_image_in_by_its_digest(type: str) -> None:
    schema = schema_of(type)
    for each in _objects(schema):
        names = set(each.get("properties", ()))
        assert not names & (_FORBIDDEN | set(SEALED))
        if each.get("additionalProperties") is not False:
            kept_out = set(each["propertyNames"]["not"]["enum"])
            assert kept_out >= {"image_id", "image_ids", "boxes_sha256"}


@pytest.mark.parametrize("type", TYPES)
def test_each_type_is_described(type: str) -> None:
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith(f"| `{type}` ")]
    assert len(rows) == 1, f"docs/audit-events.md has no row of {type}"
    assert schema_of(type)["description"] in rows[0]


def test_nothing_is_described_that_is_no_type() -> None:
    rows = (
        line
        for line in DOCUMENT.read_text().splitlines()
        if line.startswith("| `") and "." in line.split("`")[1]
    )
    assert [row.split("`")[1] for row in rows] == TYPES


def test_an_event_that_fits_is_recorded_as_a_stock_validator_accepts_it() -> None:
    database = FakeDatabase()
    with database.units() as uow:
        uow.record(SKIPPED)
        uow.commit()
    (event,) = database.events
    assert event.subject["image"] == sealed(IMAGE)
    Draft202012Validator(schema_of("case.skipped")).validate(json.loads(event.canonical()))


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (Event("case.lost", ANA, {}), "no type of event 'case.lost'"),
        (Event("../case.skipped", ANA, {}), "no type of event"),
        (Event("case.skipped", ANA, {}, {"work": "first"}), "case.skipped: subject: .*image"),
        (
            Event("session.ended", ANA, {"person": "p", "name": "Ana"}),
            "session.ended: subject: .*name",
        ),
        (Event("session.ended", ANA, {"person": 7}), "session.ended: subject/person: "),
        (Event("session.ended", ANA, {"person": "p"}, at="yesterday"), "session.ended: started: "),
        (Event("session.ended", ANA, {"person": "p"}, decision="yes"), "session.ended: decision: "),
    ],
)
def test_an_event_that_does_not_fit_is_refused(event: Event, said: str) -> None:
    with FakeDatabase().units() as uow, pytest.raises(InvalidInput, match=said):
        uow.record(event)


def test_a_plain_digest_where_a_commitment_belongs_is_refused() -> None:
    values = Event("image.uploaded", ANA, {"image": IMAGE, "review_id": "r"}, {"detections": 1})
    with pytest.raises(InvalidInput, match=r"image\.uploaded: subject/image"):
        check_event(values.as_dict())


def test_the_schemas_know_every_role_outcome_and_method() -> None:
    properties = schema_of(TYPES[0])["properties"]
    assert properties["role"]["enum"] == list(Role)
    assert properties["outcome"]["enum"] == list(Outcome)
    assert properties["authenticated_by"]["enum"] == list(Authentication)


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for value in schema.values():
            yield from _objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _objects(value)
