"""Finds entries among a million without looking at all of them, on any database.

Each statement has one way to go: by an index that is in the log's order, from the newest entry that
can be meant. Which index that is, is decided here, by what is asked for and how common it is:
planners without statistics guess wrong by orders of magnitude.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, desc, exists, func, select

from loop.event_query import EventQuery
from store import tables

_log = tables.audit_log.c
# A type with fewer entries is looked through, whatever else is asked for.
_FEW = 2000
# Of those by which something is found, the ones that a great many entries have come last.
_COMMON = ("person", "model", "snapshot", "folds", "split")


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Indexes, both of which may be meant."""

    first: int
    last: int


def newest(connection: Connection, query: EventQuery, limit: int, before: int | None) -> list[int]:
    """The indexes of the last ``limit`` entries that ``query`` is about, newest first; only such
    below ``before``."""
    bounds = _bounds(connection, query, before)
    if bounds is None:
        return []
    if not query.types:
        return _found(connection, query, None, bounds, limit)
    found: set[int] = set()
    for type in _types(connection, query.types):
        found.update(_found(connection, query, type, bounds, limit))
    return sorted(found, reverse=True)[:limit]


def _bounds(connection: Connection, query: EventQuery, before: int | None) -> _Bounds | None:
    """Between which entries those of the time lie; None if there are none. Entries are not quite in
    the order of their times, so that the times themselves are asked for as well."""
    last = 2**63 - 1 if before is None else before - 1
    if not query.since and not query.until:
        return _Bounds(0, last) if last >= 0 else None
    of_time = select(func.min(_log.index), func.max(_log.index))
    row = connection.execute(_in_time(of_time, query)).one()
    if row[0] is None or row[0] > last:
        return None
    return _Bounds(row[0], min(last, row[1]))


def _found(
    connection: Connection, query: EventQuery, type: str | None, bounds: _Bounds, limit: int
) -> list[int]:
    about = sorted(set(query.about), key=_how_common)
    wanted = _by_type(connection, about, type)
    column = _log.index
    if wanted is None:
        refers = tables.audit_references.alias()
        kind, value = about[0]
        column = refers.c.index
        wanted = select(column).where(refers.c.kind == kind, refers.c.value == value)
        about = about[1:]
        if type or query.since or query.until:
            wanted = wanted.join(tables.audit_log, _log.index == column)
        if type:
            wanted = wanted.where(_log.type == type)
    if query.since or query.until:
        wanted = _in_time(wanted, query)
    for kind, value in about:
        refers = tables.audit_references.alias()
        wanted = wanted.where(
            exists().where(refers.c.kind == kind, refers.c.value == value, refers.c.index == column)
        )
    wanted = wanted.where(column >= bounds.first, column <= bounds.last)
    return list(connection.scalars(wanted.order_by(desc(column)).limit(limit)))


def _by_type(
    connection: Connection, about: Sequence[tuple[str, str]], type: str | None
) -> Select[int] | None:
    """A statement that goes by the type, or by nothing but the order; None for one that goes by
    the first of ``about``."""
    if type is None:
        return None if about else select(_log.index)
    of_type = select(_log.index).where(_log.type == type)
    if not about:
        return of_type
    few = select(func.count()).select_from(of_type.limit(_FEW).subquery())
    return of_type if (connection.scalar(few) or 0) < _FEW else None


def _types(connection: Connection, wanted: Sequence[str]) -> list[str]:
    """Those that are meant and, of those named by what stands before their dot, in the log."""
    known = {type for type in wanted if "." in type}
    before = tuple(f"{type}." for type in wanted if "." not in type)
    if before:
        known |= {type for type in _all_types(connection) if type.startswith(before)}
    return sorted(known)


def _all_types(connection: Connection) -> Iterator[str]:
    """A step in the index from each to the next: there are some dozens."""
    following = select(func.min(_log.type))
    found = connection.scalar(following)
    while found is not None:
        yield found
        found = connection.scalar(following.where(_log.type > found))


def _in_time(wanted: Select[Any], query: EventQuery) -> Select[Any]:
    if query.since:
        wanted = wanted.where(_log.at >= query.since)
    if query.until:
        wanted = wanted.where(_log.at < query.until)
    return wanted


def _how_common(reference: tuple[str, str]) -> tuple[int, str, str]:
    kind, value = reference
    place = _COMMON[::-1].index(kind) + 1 if kind in _COMMON else 0
    return place, kind, value
