"""The queue over `tables.case_places`: kept in step with the cases, and read."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, fields
from itertools import islice
from typing import Any

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    not_,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite

from loop.cases import Case, CaseState
from loop.errors import NotFound
from loop.queue import Filters, Order, Place, Placed, Viewer, place_key
from store import tables
from store.repositories.base import Repository

# Stands for the case itself, whatever its classes.
ANY_CLASS = -1
_BEYOND_SHARE = 4

_places = tables.case_places
_counts = tables.case_counts
_COLUMNS: Mapping[Order, ColumnElement[float]] = {
    Order.UNCERTAIN: _places.c.uncertain,
    Order.DISAGREED: _places.c.disagreed,
    Order.RANDOM: _places.c.random,
    Order.OLDEST: literal(0.0),
}


def case_of(row: RowMapping) -> Case:
    values = {each.name: row[each.name] for each in fields(Case)}
    return Case(
        **{
            **values,
            "state": CaseState(row["state"]),
            "reasons": tuple(row["reasons"]),
            "classes": tuple(row["classes"]),
        }
    )


class CasePlaces(Repository):
    """Writes what `SqlQueue` reads, each time a case is made or moves."""

    def add(self, case: Case) -> None:
        self._write(case, self._number(case), before=())

    def move(self, case: Case) -> None:
        number = self._number(case)
        mine = _places.c.number == number
        before = self._all(select(_places).where(mine))
        self._transaction.write(delete(_places).where(mine))
        self._write(case, number, before)

    def remove(self, number: int) -> None:
        """The case with that number is about to be deleted."""
        mine = _places.c.number == number
        before = Counter(_kind(place) for place in self._all(select(_places).where(mine)))
        self._transaction.write(delete(_places).where(mine))
        self._add_up({kind: -count for kind, count in before.items()})

    def _number(self, case: Case) -> int:
        known = tables.cases.c
        row = self._one(select(known.number).where(known.id == case.id))
        if row is None:
            raise NotFound(f"There is no case {case.id}.")
        return int(row["number"])

    def _write(self, case: Case, number: int, before: Sequence[RowMapping]) -> None:
        after = _rows(case, number)
        self._transaction.write(insert(_places).values(after))
        change = Counter(_kind(place) for place in after)
        change.subtract(_kind(place) for place in before)
        self._add_up({kind: count for kind, count in change.items() if count})

    def counts(self) -> dict[CaseState, int]:
        total = func.sum(_counts.c.cases).label("cases")
        query = select(_counts.c.state, total).where(_counts.c.class_id == ANY_CLASS)
        rows = self._all(query.group_by(_counts.c.state))
        return {CaseState(row["state"]): int(row["cases"]) for row in rows if row["cases"]}

    def _add_up(self, change: Mapping[tuple[Any, ...], int]) -> None:
        if not change:
            return
        make = sqlite.insert if self._transaction.dialect == "sqlite" else postgresql.insert
        names = ("class_id", "state", "model", "kept_from")
        rows = [{**dict(zip(names, kind, strict=True)), "cases": n} for kind, n in change.items()]
        added = make(_counts).values(rows)
        self._transaction.write(
            added.on_conflict_do_update(
                index_elements=names, set_={"cases": _counts.c.cases + added.excluded.cases}
            )
        )


def _rows(case: Case, number: int) -> list[dict[str, Any]]:
    second = case.state is CaseState.SECOND
    shared = {
        "number": number,
        "case_id": case.id,
        "state": case.state.value,
        "model": case.model,
        "kept_from": (case.first_reviewer or "") if second else "",
        "uncertain": place_key(case, Order.UNCERTAIN),
        "disagreed": place_key(case, Order.DISAGREED),
        "random": place_key(case, Order.RANDOM),
    }
    return [{**shared, "class_id": each} for each in (ANY_CLASS, *sorted(set(case.classes)))]


def _kind(place: Mapping[str, Any] | RowMapping) -> tuple[Any, ...]:
    return (place["class_id"], place["state"], place["model"], place["kept_from"])


class SqlQueue(Repository):
    def after(
        self,
        state: CaseState,
        order: Order,
        filters: Filters,
        viewer: Viewer,
        *,
        place: Place | None,
        limit: int,
    ) -> list[Placed]:
        def read(lane: str, most: int) -> list[Place]:
            query = _lane(state, order, filters, viewer, place, most)
            rows = self._transaction.read(query, {"lane": lane})
            return [Place(row["key"], row["number"]) for row in rows]

        first = _merged(self._lanes(state, filters, viewer.person), read, limit)
        cases = tables.cases
        chosen = cases.c.number.in_([each.number for each in first])
        rows = self._all(select(cases).where(chosen)) if first else ()
        # The cases are the truth: a place whose case says otherwise by now gives nothing.
        by_number = {row["number"]: case_of(row) for row in rows if row["state"] == state.value}
        return [Placed(by_number[p.number], p) for p in first if p.number in by_number]

    def place(self, case_id: str, order: Order) -> Place:
        row = self._one(select(tables.cases).where(tables.cases.c.id == case_id))
        if row is None:
            raise NotFound(f"There is no case {case_id}.")
        return Place(place_key(case_of(row), order), row["number"])

    def count(self, state: CaseState, filters: Filters, *, not_by: str | None = None) -> int:
        query = select(func.coalesce(func.sum(_counts.c.cases), 0).label("cases"))
        query = query.where(*_filtered(_counts.c, state, filters))
        if not_by:
            query = query.where(_counts.c.kept_from != not_by)
        return int(self._all(query)[0]["cases"])

    def models(self, state: CaseState) -> list[str]:
        query = select(_counts.c.model).where(*_filtered(_counts.c, state, Filters()))
        query = query.where(_counts.c.cases > 0).distinct().order_by(_counts.c.model)
        return [row["model"] for row in self._all(query)]

    def _lanes(self, state: CaseState, filters: Filters, person: str) -> Sequence[str]:
        """Who cases are kept from, other than ``person``; empty for those kept from nobody.

        One index range a lane: past an adjudicator's own cases, however many, nothing is read.
        """
        query = select(_counts.c.kept_from).where(*_filtered(_counts.c, state, filters))
        query = query.where(_counts.c.cases > 0, _counts.c.kept_from != person).distinct()
        return [row["kept_from"] for row in self._all(query)]


def _merged(
    lanes: Sequence[str], read: Callable[[str, int], list[Place]], limit: int
) -> list[Place]:
    """The first ``limit`` of all lanes. There is one for each reviewer: a little more than each
    one's share is read of it, and all that can count only of those that turn out to have more."""
    share = limit // max(len(lanes), 1)
    few = min(limit, 2 * share + _BEYOND_SHARE)
    found = {lane: read(lane, few) for lane in lanes}
    first = list(islice(heapq.merge(*found.values(), key=astuple), limit))
    if few < limit:
        for lane, places in found.items():
            cut = len(places) == few and (len(first) < limit or places[-1] in first)
            if cut:
                found[lane] = read(lane, limit)
        first = list(islice(heapq.merge(*found.values(), key=astuple), limit))
    return first


def _filtered(columns: Any, state: CaseState, filters: Filters) -> list[ColumnElement[bool]]:
    class_id = ANY_CLASS if filters.class_id is None else filters.class_id
    conditions = [columns.class_id == class_id, columns.state == state.value]
    if filters.model is not None:
        conditions.append(columns.model == filters.model)
    return conditions


def _lane(
    state: CaseState,
    order: Order,
    filters: Filters,
    viewer: Viewer,
    place: Place | None,
    limit: int,
) -> Select[Any]:
    """The first ``limit`` of the lane that is yet to be named: a range of one index."""
    column, number = _COLUMNS[order], _places.c.number
    lane = _places.c.kept_from == bindparam("lane")
    query = select(number, column.label("key")).where(*_filtered(_places.c, state, filters), lane)
    if state is not CaseState.SETTLED:
        query = query.where(not_(_held(viewer)), not_(_skipped(viewer)))
    if order is Order.OLDEST:
        behind = number > place.number if place else true()
        return query.where(behind).order_by(number).limit(limit)
    if place is not None:
        key = tuple_(literal(place.key), literal(place.number))
        query = query.where(tuple_(column, number) > key)
    return query.order_by(column, number).limit(limit)


# Neither is a NOT EXISTS: PostgreSQL would make a join of that, and where it takes few cases to be
# left (many that are equally uncertain, say) one that reads and sorts all of them.


def _held(viewer: Viewer) -> ColumnElement[bool]:
    """Live leases are few, as many as people work at once: they are looked up together."""
    lease = tables.leases.c
    mine = lease.holder == viewer.person
    if viewer.tab is not None:
        mine = and_(mine, lease.tab == viewer.tab)
    live = select(lease.case_id).where(lease.expires_at > viewer.at, not_(mine))
    return _places.c.case_id.in_(live)


def _skipped(viewer: Viewer) -> ColumnElement[bool]:
    """One person's skips become many with the years: each is looked up for the case at hand."""
    skip = tables.skips.c
    own = select(func.count()).where(
        skip.case_id == _places.c.case_id, skip.reviewer == viewer.person
    )
    return own.scalar_subquery() > 0
