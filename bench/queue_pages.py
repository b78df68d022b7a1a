"""How much of a PostgreSQL database the queue's statements look at: which, unlike time, does not
depend on what else the machine does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from sqlalchemy import Engine, event

from bench.queue import ACTOR, FILTERS
from loop.cases import CaseState
from loop.desk import Desk
from loop.desk_core import DeskSettings
from loop.queue import Filters, Order, Work
from store.unit_of_work import units_of_work

_Statements = list[tuple[str, Any]]


def pages_of_queue(engine: Engine) -> dict[str, int]:
    """Pages of 8 KiB that all SELECTs of an operation read, from memory or disk."""
    desk = Desk(units_of_work(engine), DeskSettings(random_share=0))
    operations: dict[str, Callable[[], object]] = {}
    for work in (Work.FIRST, Work.SECOND):
        for order in Order:
            for name, filters in FILTERS.items():
                take = partial(_take, desk, work, order, filters)
                operations[f"take next: {work}, {order}, {name}"] = take
    for order in Order:
        page = partial(desk.page, CaseState.SECOND, order, Filters(), actor=ACTOR)
        operations[f"a page of 50: second, {order}"] = page
    operations["counts of all states"] = lambda: desk.counts(ACTOR)
    operations["the models of the queue"] = lambda: desk.models(CaseState.FIRST, actor=ACTOR)
    return {what: _pages(engine, operation) for what, operation in operations.items()}


def _take(desk: Desk, work: Work, order: Order, filters: Filters) -> None:
    opened = desk.take_next(work, order, filters, actor=ACTOR, tab="bench")
    if opened is None or opened.lease is None:
        raise RuntimeError("There is no case to take.")
    desk.release(opened.lease.case_id, actor=ACTOR, tab="bench", token=opened.lease.token)


def _pages(engine: Engine, operation: Callable[[], object]) -> int:
    with _heard(engine) as statements:
        operation()
    read = 0
    with engine.connect() as connection:
        for statement, parameters in statements:
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
            found: Any = connection.exec_driver_sql(explain, parameters).scalar_one()
            plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
            read += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return int(read)


@contextmanager
def _heard(engine: Engine) -> Iterator[_Statements]:
    statements: _Statements = []

    def hear(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        del connection, cursor
        if statement.startswith("SELECT") and "pg_advisory" not in statement:
            statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", hear)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", hear)
