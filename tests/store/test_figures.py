from __future__ import annotations

import pytest
from sqlalchemy import Engine, insert

from loop.cases import CaseState
from loop.events import Actor, Event, Role
from loop.leases import Hold
from store import tables
from store.audit_rows import AuditRows, Head
from store.database import writing
from store.figures import (
    MOST_WAITING,
    OutboxFigures,
    events_after,
    newest_events,
    read_outbox,
    read_queue,
)
from store.unit_of_work import units_of_work
from tests.store.test_unit_of_work import add_case, at, keep


def test_an_empty_home_has_figures(engine: Engine) -> None:
    found = read_queue(engine, at(30))
    assert found.cases == dict.fromkeys(CaseState, 0)
    assert (found.oldest, found.leases, found.holders) == ({}, 0, 0)
    assert read_outbox(engine) == OutboxFigures(0, "")


def test_cases_are_counted_by_state_and_the_oldest_is_found_past_those_kept_from_people(
    engine: Engine,
) -> None:
    units = units_of_work(engine)
    keep(
        units,
        add_case(0, state=CaseState.SETTLED),
        add_case(1),
        add_case(2),
        add_case(3, state=CaseState.SECOND, first_reviewer="ben"),
        add_case(4, state=CaseState.SECOND, first_reviewer="ana"),
    )
    found = read_queue(engine, at(30))
    assert {state: n for state, n in found.cases.items() if n} == {
        CaseState.FIRST: 2,
        CaseState.SECOND: 2,
        CaseState.SETTLED: 1,
    }
    with units() as uow:
        came = {number: uow.cases.get(f"k{number}").created_at for number in (1, 3)}
    assert found.oldest == {CaseState.FIRST: came[1], CaseState.SECOND: came[3]}


def test_only_live_leases_count_and_each_holder_once(engine: Engine) -> None:
    units = units_of_work(engine)
    keep(units, *(add_case(number) for number in range(4)))

    def hold(number: int, holder: str, until: int) -> None:
        with units() as uow:
            uow.leases.put(Hold(f"k{number}", holder, "tab", number, at(until)))
            uow.commit()

    hold(0, "ana", 31)
    hold(1, "ana", 31)
    hold(2, "ben", 31)
    hold(3, "cleo", 29)
    found = read_queue(engine, at(30))
    assert (found.leases, found.holders) == (3, 2)


def test_what_waits_in_the_outbox_has_an_age_and_a_limit(engine: Engine) -> None:
    rows = AuditRows(engine)
    for minute in (5, 3):
        rows.put(Event("test.happened", Actor("ana", Role.SYSTEM), {}, at=at(minute)))
    assert read_outbox(engine) == OutboxFigures(2, at(5))
    with writing(engine) as connection:
        many = [{"event": "{}"}] * (MOST_WAITING + 5)
        connection.execute(insert(tables.audit_outbox), many)
    assert read_outbox(engine).events == MOST_WAITING


def test_what_is_no_event_has_no_age(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(insert(tables.audit_outbox), [{"event": "{}"}])
    assert read_outbox(engine) == OutboxFigures(1, "")


@pytest.mark.parametrize("before", [4, 6])
def test_events_are_found_by_type_from_either_end(engine: Engine, before: int) -> None:
    types = ["test.happened", "test.other", "test.happened", "test.happened", "test.other"]
    events = [
        Event(each, Actor("ana", Role.SYSTEM), {}, id=f"e{n}") for n, each in enumerate(types)
    ]
    waiting = [(0, event.canonical().decode()) for event in events]
    empty = AuditRows(engine).state().head
    AuditRows(engine).add(empty, Head(5, "00" * 32), "key", waiting, events)
    newest = newest_events(engine, ["test.happened", "test.other"], 1, before)
    assert [index for index, _ in newest] == ([1, 3] if before == 4 else [3, 4])
    after = events_after(engine, ["test.happened"], 0)
    assert [(index, event.id) for index, event in after] == [(2, "e2"), (3, "e3")]
