"""``python -m bench.queue``: how long the next of a million queued cases takes to come.

Median and 95th percentile in milliseconds, for SQLite and for PostgreSQL: the choice and the lease
in one transaction, with its audit event, for each order and filter; pages; counts. The cases are
written in bulk below the repositories, which is not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from bench import postgres
from bench.queue_rows import ADJUDICATOR, COMMON_CLASS, RARE_CLASS, RARE_MODEL, fill
from loop.cases import CaseState, Skip
from loop.desk import Desk, DeskSettings
from loop.desk_views import Opened
from loop.events import Actor, Authentication, Event, Role, now
from loop.leases import Hold
from loop.ports import UnitsOfWork
from loop.queue import Filters, Order, Viewer, Work
from store.database import migrate, open_engine
from store.unit_of_work import units_of_work

CASES = 1_000_000
ROUNDS = 20
ACTOR = Actor(ADJUDICATOR, Role.ADJUDICATOR, Authentication.PROCESS)
FILTERS = {
    "no filter": Filters(),
    "common class": Filters(class_id=COMMON_CLASS),
    "rare class": Filters(class_id=RARE_CLASS),
    "rare model": Filters(model=RARE_MODEL),
    "common class, rare model": Filters(class_id=COMMON_CLASS, model=RARE_MODEL),
}
IN_THE_WAY = 50  # of each order: held by others, and as many skipped
Rows = dict[str, dict[str, float]]
Database = Callable[[], AbstractContextManager[str]]
Result = TypeVar("Result")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.queue", description=__doc__)
    parser.add_argument("--cases", type=int, default=CASES, help=f"How many ({CASES}).")
    parser.add_argument("--json", action="store_true", help="Print JSON for machines.")
    parser.add_argument("--database", help="URL of an empty database to measure, and no other.")
    arguments = parser.parse_args()
    results = {}
    for name, database in databases(arguments.database).items():
        with database() as url:
            engine = open_engine(url)
            migrate(engine)
            _say(f"{name}: writing")
            fill(engine, arguments.cases, _say)
            results[name] = measure(engine)
            engine.dispose()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    if arguments.json:
        print(
            json.dumps(
                {"machine": machine, "cases": arguments.cases, "milliseconds": results}, indent=2
            )
        )
        return
    table = Table(
        title=f"Milliseconds with {arguments.cases} queued cases on {machine}", title_justify="left"
    )
    table.add_column("operation")
    for name in results:
        table.add_column(f"{name} median", justify="right")
        table.add_column("p95", justify="right")
    for operation in next(iter(results.values()), {}):
        cells = [results[name][operation] for name in results]
        table.add_row(operation, *(f"{c[k]:.1f}" for c in cells for k in ("median", "p95")))
    Console(width=110).print(table)


def databases(url: str | None) -> dict[str, Database]:
    if url is not None:
        return {url.partition(":")[0]: lambda: nullcontext(url)}
    databases: dict[str, Database] = {"SQLite": _sqlite}
    if postgres.is_there():
        databases["PostgreSQL"] = postgres.server
    else:
        _say(f"PostgreSQL is left out: its server is not in {postgres.BINARIES}.")
    return databases


@contextmanager
def _sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="second-look-bench-") as folder:
        yield f"sqlite:///{Path(folder) / 'second-look.db'}"


def measure(engine: Engine, rounds: int = ROUNDS) -> Rows:
    """Milliseconds of each operation: median, 95th and 99th percentile of so many rounds."""
    units = units_of_work(engine)
    settings = DeskSettings(random_share=0)
    desk = Desk(units, settings)
    by_lot = Desk(units, replace(settings, random_share=1))
    rows: Rows = {}
    for work in (Work.FIRST, Work.SECOND):
        for order in Order:
            _put_in_the_way(units, work, order)
        for order in Order:
            for name, filters in FILTERS.items():
                what = f"take next: {work}, {order}, {name}"
                rows[what] = _timed_taking(desk, work, order, filters, rounds)
                _say(f"{what}: {rows[what]['median']:.1f}")
        rows[f"take next: {work}, drawn by lot"] = _timed_taking(
            by_lot, work, Order.UNCERTAIN, Filters(), rounds
        )
    for order in Order:
        rows[f"a page of 50: second, {order}"] = _timed(
            partial(desk.page, CaseState.SECOND, order, Filters(), actor=ACTOR), rounds
        )
        rows[f"100 pages on: first, {order}"] = _deep_pages(desk, order, rounds)
    rows["counts of all states"] = _timed(lambda: desk.counts(ACTOR), rounds)
    rows["the models of the queue"] = _timed(
        lambda: desk.models(CaseState.FIRST, actor=ACTOR), rounds
    )
    return rows


def _put_in_the_way(units: UnitsOfWork, work: Work, order: Order) -> None:
    """What stands first is held by others or was skipped, as on a busy day."""
    viewer = Viewer(ACTOR.pseudonym, "", now())
    with units() as uow:
        first = uow.queue.after(
            work.state, order, Filters(), viewer, place=None, limit=2 * IN_THE_WAY
        )
        for each in first[::2]:
            uow.leases.put(Hold(each.case.id, "bench-other", "tab", 1, "9999"))
        for each in first[1::2]:
            uow.skips.put(Skip(each.case.id, ACTOR.pseudonym, "other", now()))
        uow.record(Event("bench.recorded", ACTOR, {}))
        uow.commit()


def _timed_taking(
    desk: Desk, work: Work, order: Order, filters: Filters, rounds: int
) -> dict[str, float]:
    def take() -> Opened:
        opened = desk.take_next(work, order, filters, actor=ACTOR, tab="bench")
        if opened is None:
            raise RuntimeError("There is no case to take.")
        return opened

    def release(opened: Opened) -> None:
        lease = opened.lease
        if lease is not None:
            desk.release(lease.case_id, actor=ACTOR, tab="bench", token=lease.token)

    return _timed(take, rounds, after=release)


def _deep_pages(desk: Desk, order: Order, rounds: int) -> dict[str, float]:
    cursor: str | None = None

    def turn() -> None:
        nonlocal cursor
        page = desk.page(CaseState.FIRST, order, Filters(), actor=ACTOR, cursor=cursor)
        cursor = page.cursor

    for _ in range(100):
        turn()
    return _timed(turn, rounds)


def _timed(
    operation: Callable[[], Result],
    rounds: int,
    after: Callable[[Result], object] = lambda _: None,
) -> dict[str, float]:
    """Of ``operation``; what comes ``after`` each is not measured."""
    after(operation())  # nor are imports, connections and plans
    spent = []
    for _ in range(rounds):
        started = time.perf_counter()
        result = operation()
        spent.append((time.perf_counter() - started) * 1000)
        after(result)
    return {
        "median": float(np.median(spent)),
        "p95": float(np.percentile(spent, 95)),
        "p99": float(np.percentile(spent, 99)),
    }


def _say(what: str) -> None:
    print(what, file=sys.stderr)


if __name__ == "__main__":
    main()
