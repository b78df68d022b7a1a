from __future__ import annotations

import json
import re
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given

from loop.errors import BrokenRecord, InvalidInput
from loop.events import (
    Actor,
    Authentication,
    Event,
    Outcome,
    Role,
    canonical_json,
    new_id,
    now,
)
from tests.strategies import events, json_objects, json_values

ANA = Actor("ana", Role.REVIEWER)
EVENT = Event("correction.submitted", ANA, {"image_id": "1"}, cause="e0", outcome=Outcome.FAILED)


@given(json_values)
def test_canonical_json_is_json_of_the_same_value(value: Any) -> None:
    # JSON has one kind of number, a double.
    assert json.loads(canonical_json(value), parse_int=float) == value


@given(json_values)
@example({"\ue000": 1, "\U00010000": 2})  # in another order by code points than by UTF-16
@example([2**53 - 1, -(2**53) + 1, True, None, '\x00\x1f\x7f\u2028"\\/', (), {}])
@example({"a": {"number": 1e30}})
def test_canonical_json_is_what_the_package_makes_of_any_value(value: Any) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@given(json_objects)
def test_canonical_json_does_not_depend_on_the_order_of_keys(value: dict[str, Any]) -> None:
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


def test_canonical_json_is_that_of_rfc_8785() -> None:
    # Section 3.2.2 and 3.2.3 of the RFC.
    value = {"numbers": [333333333.33333329, 1e30, 4.50, 2e-3], "literals": [None, True, False]}
    assert canonical_json(value) == (
        b'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002]}'
    )


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), 2**53, b"bytes", object(), {1: 2}, "\ud800"],
)
def test_what_json_cannot_carry_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="Not a JSON value"):
        canonical_json({"value": value} if not isinstance(value, dict) else value)
    with pytest.raises(InvalidInput, match="Not a JSON value"):
        Event("x.y", ANA, {"value": value}).canonical()


@given(events)
def test_an_event_survives_the_way_through_its_bytes(event: Event) -> None:
    again = Event.from_canonical(event.canonical())
    assert again == event
    assert again.canonical() == event.canonical()


def test_a_number_that_looks_like_a_vast_integer_survives_too() -> None:
    event = Event("x.y", ANA, {}, {"count": 1e20, "exact": 2**53 - 1})
    assert Event.from_canonical(event.canonical()).canonical() == event.canonical()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        EVENT.canonical()[:-1],
        EVENT.canonical().replace(b'"reviewer"', b'"king"'),
        EVENT.canonical().replace(b'"failed"', b'"won"'),
        EVENT.canonical().replace(b'"ana"', b'""'),
        EVENT.canonical().replace(b'"ended"', b'"stopped"'),
        EVENT.canonical().replace(b'"schema":2', b'"schema":3'),
        EVENT.canonical().replace(b'"schema":2', b'"schema":"2"'),
        EVENT.canonical().replace(b'"schema":2', b'"schema":true'),
        EVENT.canonical().replace(b'"unknown"', b'"by word"'),
        EVENT.canonical().replace(b'"authenticated_by":"unknown",', b""),
    ],
)
def test_bytes_that_are_no_event_are_a_broken_record(data: bytes) -> None:
    with pytest.raises(BrokenRecord, match="Not an audit event"):
        Event.from_canonical(data)


def test_an_event_of_the_first_version_keeps_its_bytes() -> None:
    # As they stand in the logs of homes that are older than version 2.
    data = (
        b'{"actor":"ana","at":"2026-01-02T03:04:05.000006Z","cause":null,"details":{"n":1},'
        b'"id":"e1","outcome":"done","reason":"","request_id":"","role":"reviewer","schema":1,'
        b'"subject":{"image_id":"1"},"type":"case.opened"}'
    )
    event = Event.from_canonical(data)
    assert event.canonical() == data
    assert (event.schema, event.started, event.at) == (1, event.at, "2026-01-02T03:04:05.000006Z")
    assert event.actor.authenticated_by is Authentication.UNKNOWN


def test_what_took_no_time_began_when_it_ended() -> None:
    event = Event("x.y", ANA, {})
    assert event.started == event.at
    assert event.as_dict()["ended"] == event.at


def test_how_an_actor_was_authenticated_survives_but_makes_nobody_else_of_them() -> None:
    signed_in = Actor("ana", Role.REVIEWER, Authentication.OIDC)
    again = Event.from_canonical(Event("x.y", signed_in, {}).canonical())
    assert again.actor.authenticated_by is Authentication.OIDC
    assert signed_in == ANA


def test_an_event_is_known_by_its_own_id_and_time() -> None:
    one, other = Event("x.y", ANA, {}), Event("x.y", ANA, {})
    assert one.id != other.id
    assert one.at <= other.at


def test_time_is_utc_and_sorts_as_text() -> None:
    times = [now() for _ in range(50)]
    assert times == sorted(times)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", each) for each in times)


def test_ids_are_not_repeated() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000


def test_an_actor_without_a_pseudonym_is_refused() -> None:
    with pytest.raises(InvalidInput, match="pseudonym"):
        Actor("", Role.SYSTEM)
