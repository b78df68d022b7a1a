"""What is found by way of the indexes is what looking at every entry finds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, insert

from loop.event_query import EventQuery
from loop.event_references import references
from loop.events import Actor, Event, Role
from store import audit_search, tables
from store.audit_rows import AuditRows
from store.database import migrate, open_engine, writing
from tests.store.logs import sqlite_log

_TYPES = ["fold.started", "fold.ended", "folds.created", "foldable.made", "case.opened"]
_TIMES = [f"2026-01-{day:02}T00:00:00.000000Z" for day in range(1, 29)]
_ABOUT = [("person", "ana"), ("person", "ben"), ("case", "c1"), ("case", "c2"), ("run", "r1")]
_events = st.builds(
    lambda kind, person, case, run, at: Event(
        kind,
        Actor(person, Role.REVIEWER),
        {"review_id": case, "mlflow_run_id": run},
        at=at,
    ),
    st.sampled_from(_TYPES),
    st.sampled_from(["ana", "ben"]),
    st.sampled_from(["c1", "c2"]),
    st.sampled_from(["r1", "r2"]),
    st.sampled_from(_TIMES),
)
_queries = st.builds(
    EventQuery,
    st.lists(st.sampled_from(_ABOUT), max_size=3).map(tuple),
    st.lists(st.sampled_from([*_TYPES, "fold", "folds", "nothing"]), max_size=3).map(tuple),
    st.sampled_from(["", "2026-01-05", "2026-01", "2026-02"]),
    st.sampled_from(["", "2026-01-20", "2026-01-05T00:00:00.000001Z", "2025"]),
)


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('search')}/log.db")
    migrate(engine)
    yield engine
    engine.dispose()


# Each example fills the database anew.
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    events=st.lists(_events, max_size=40),
    queries=st.lists(_queries, min_size=1, max_size=8),
    limit=st.integers(1, 12),
    before=st.none() | st.integers(0, 45),
    few=st.sampled_from([1, 5, 2000]),
)
def test_a_search_finds_what_looking_at_each_entry_finds(
    engine: Engine,
    events: list[Event],
    queries: list[EventQuery],
    limit: int,
    before: int | None,
    few: int,
) -> None:
    _fill(engine, events)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit_search, "_FEW", few)
        for query in queries:
            found = [index for index, _ in AuditRows(engine).find(query, limit, before)]
            assert found == _wanted(events, query, limit, before), query


def test_no_search_looks_at_every_entry(on_sqlite: Engine) -> None:
    engine = on_sqlite
    with engine.connect() as connection:
        plans = []
        for query in (
            EventQuery(),
            EventQuery((("person", "ana"),)),
            EventQuery((("person", "ana"), ("case", "c1")), ("fold.ended",)),
            EventQuery((), ("fold.ended",)),
            EventQuery((), ("fold",), "2026-01-05", "2026-01-06"),
        ):
            statements: list[str] = []
            original = connection.execute

            def kept(
                statement: object,
                *arguments: object,
                run: object = original,
                into: list[str] = statements,
                **options: object,
            ) -> object:
                text = str(statement.compile(engine, compile_kwargs={"literal_binds": True}))  # type: ignore[attr-defined]
                into.append(text)
                return run(statement, *arguments, **options)  # type: ignore[operator]

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(connection, "execute", kept)
                audit_search.newest(connection, query, 10, 5)
            for text in statements:
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all()
                plans += [row[-1] for row in plan]
    scans = [each for each in plans if "SCAN audit" in each and "INDEX" not in each]
    assert scans == []
    assert not any("TEMP B-TREE" in each for each in plans)


def _fill(engine: Engine, events: list[Event]) -> None:
    with writing(engine) as connection:
        for table in (tables.audit_log, tables.audit_references):
            connection.execute(table.delete())
        for index, event in enumerate(events):
            row = {
                "index": index,
                "event": event.canonical().decode(),
                "event_id": event.id,
                "type": event.type,
                "at": event.at,
                "actor": event.actor.pseudonym,
            }
            connection.execute(insert(tables.audit_log), [row])
            refers = [{"kind": k, "value": v, "index": index} for k, v in references(event)]
            connection.execute(insert(tables.audit_references), refers)


def _wanted(events: list[Event], query: EventQuery, limit: int, before: int | None) -> list[int]:
    found = [
        index
        for index, event in enumerate(events)
        if set(query.about) <= references(event)
        and (not query.types or any(_is(event.type, type) for type in query.types))
        and (not query.since or event.at >= query.since)
        and (not query.until or event.at < query.until)
        and (before is None or index < before)
    ]
    return found[-limit:]


def _is(type: str, wanted: str) -> bool:
    return type == wanted if "." in wanted else type.startswith(f"{wanted}.")


def test_a_log_that_was_made_here_is_searched_the_same_way(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    log = sqlite_log(tmp_path_factory.mktemp("log"), 30)
    found = log.find(EventQuery((), ("test",)), limit=10, before=25)
    assert [entry.index for entry in found] == list(range(15, 25))
