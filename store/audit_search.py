"""Finds entries among a million without looking at all of them, on any database.

Each statement has one way to go: by an index that is in the log's order, from the newest entry that
can be meant. Which index that is, is decided here, by what is asked for and how common it is:
planners without statistics guess wrong by orders of magnitude.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, desc, exists, func, or_, select

from loop.event_query import EventQuery
from loop.tracing import Reference
from store import tables

_log = tables.audit_log.c
# What has fewer entries is looked through, whatever else is asked for.
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
    found: set[int] = set()
    for way in _ways(connection, query):
        wanted = _narrowed(way, query, bounds)
        found.update(connection.scalars(wanted.order_by(desc(way.column)).limit(limit)))
    return sorted(found, reverse=True)[:limit]


@dataclass(frozen=True, slots=True)
class _Way:
    """A statement that goes by one index in the log's order, which ``column`` is that of; ``about``
    are the references that are still to be looked at."""

    statement: Select[Any]
    column: Column[int]
    about: Sequence[Reference]


def _ways(connection: Connection, query: EventQuery) -> Iterator[_Way]:
    """Together they find all that is meant."""
    about = sorted(set(query.about), key=_how_common)
    if about and (not query.types or _is_few(connection, _by_reference(about, ()))):
        yield _by_reference(about, query.types, in_time=bool(query.since or query.until))
    elif not query.types:
        yield _Way(select(_log.index), _log.index, ())
    else:
        for type in _types(connection, query.types):
            by_type = _Way(select(_log.index).where(_log.type == type), _log.index, about)
            few = not about or _is_few(connection, by_type)
            yield by_type if few else _by_reference(about, (type,))


def _by_reference(
    about: Sequence[Reference], types: Sequence[str], *, in_time: bool = False
) -> _Way:
    """By the first of ``about``; the log's own columns are there if they are asked for."""
    refers = tables.audit_references.alias()
    (kind, value), *others = about
    found = select(refers.c.index).where(refers.c.kind == kind, refers.c.value == value)
    if types or in_time:
        found = found.join(tables.audit_log, _log.index == refers.c.index)
    if types:
        found = found.where(or_(*map(_is_type, types)))
    return _Way(found, refers.c.index, others)


def _is_few(connection: Connection, way: _Way) -> bool:
    some = select(func.count()).select_from(way.statement.limit(_FEW).subquery())
    return (connection.scalar(some) or 0) < _FEW


def _narrowed(way: _Way, query: EventQuery, bounds: _Bounds) -> Select[Any]:
    wanted = way.statement.where(way.column >= bounds.first, way.column <= bounds.last)
    for kind, value in way.about:
        refers = tables.audit_references.alias()
        same = refers.c.index == way.column
        wanted = wanted.where(exists().where(refers.c.kind == kind, refers.c.value == value, same))
    return _in_time(wanted, query)


def _is_type(type: str) -> ColumnElement[bool]:
    return _log.type == type if "." in type else _log.type.startswith(f"{type}.", autoescape=True)


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


def _how_common(reference: Reference) -> tuple[int, str, str]:
    kind, value = reference
    place = _COMMON[::-1].index(kind) + 1 if kind in _COMMON else 0
    return place, kind, value
