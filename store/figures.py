"""Figures about the queue, the log's outbox and the log's newest events, for whoever watches them.

Each query reads a bounded number of rows, or a range of an index: cheap at any size, for they are
asked again and again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, desc, func, select

from loop.cases import CaseState
from loop.errors import BrokenRecord
from loop.events import Event
from store import tables
from store.database import reading
from store.repositories.queue import ANY_CLASS

# More than that in the outbox are not counted one by one: something is wrong then.
MOST_WAITING = 10_000
_AT_ONCE = 500

_cases = tables.cases.c
_counts = tables.case_counts.c
_lease = tables.leases.c
_log = tables.audit_log.c
_outbox = tables.audit_outbox.c
_places = tables.case_places.c

WAITING = tuple(state for state in CaseState if state is not CaseState.SETTLED)


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """``cases`` has every state; ``oldest`` when the oldest waiting case of a state came (RFC
    3339), without those that have none. ``holders`` are people who hold at least one case."""

    cases: Mapping[CaseState, int]
    oldest: Mapping[CaseState, str]
    leases: int
    holders: int


@dataclass(frozen=True, slots=True)
class OutboxFigures:
    """``events`` is `MOST_WAITING` for that many and more; ``oldest`` when the first of them was
    recorded, empty if none waits."""

    events: int
    oldest: str


def read_queue(engine: Engine, at: str) -> QueueFigures:
    """As it is at the time ``at`` (RFC 3339)."""
    with reading(engine) as connection:
        leases, holders = connection.execute(
            select(func.count(), func.count(_lease.holder.distinct())).where(_lease.expires_at > at)
        ).one()
        oldest = {state: _oldest(connection, state) for state in WAITING}
        return QueueFigures(
            _cases_by_state(connection),
            {state: came for state, came in oldest.items() if came},
            leases,
            holders,
        )


def read_outbox(engine: Engine) -> OutboxFigures:
    waiting = select(_outbox.id).limit(MOST_WAITING).subquery()
    with reading(engine) as connection:
        count = connection.scalar(select(func.count()).select_from(waiting)) or 0
        first = connection.scalar(select(_outbox.event).order_by(_outbox.id).limit(1))
    return OutboxFigures(count, _recorded_at(first) if first else "")


def newest_events(
    engine: Engine, types: Sequence[str], limit: int, before: int
) -> list[tuple[int, Event]]:
    """The last ``limit`` events of each of ``types`` in front of number ``before``, by index."""
    found: list[tuple[int, Event]] = []
    with reading(engine) as connection:
        for type in types:
            query = select(_log.index, _log.event).where(_log.type == type, _log.index < before)
            rows = connection.execute(query.order_by(desc(_log.index)).limit(limit))
            found += [(index, Event.from_canonical(text.encode())) for index, text in rows]
    return sorted(found, key=lambda each: each[0])


def events_after(engine: Engine, types: Sequence[str], index: int) -> list[tuple[int, Event]]:
    """The next events of ``types`` behind number ``index``, by index; some hundreds at most."""
    query = select(_log.index, _log.event).where(_log.type.in_(types), _log.index > index)
    with reading(engine) as connection:
        rows = connection.execute(query.order_by(_log.index).limit(_AT_ONCE)).all()
    return [(number, Event.from_canonical(text.encode())) for number, text in rows]


def _cases_by_state(connection: Connection) -> dict[CaseState, int]:
    total = func.sum(_counts.cases)
    query = select(_counts.state, total).where(_counts.class_id == ANY_CLASS)
    found = {
        state: int(count) for state, count in connection.execute(query.group_by(_counts.state))
    }
    return {state: found.get(state.value, 0) for state in CaseState}


def _oldest(connection: Connection, state: CaseState) -> str:
    """When it came. Numbers are given in the order in which cases come: one index range for each
    person that cases are kept from, as the queue itself is read."""
    kind = (_counts.class_id == ANY_CLASS, _counts.state == state.value, _counts.cases > 0)
    lanes = connection.scalars(select(_counts.kept_from).where(*kind).distinct()).all()
    numbers = [
        connection.scalar(
            select(func.min(_places.number)).where(
                _places.class_id == ANY_CLASS,
                _places.state == state.value,
                _places.kept_from == lane,
            )
        )
        for lane in lanes
    ]
    known = [number for number in numbers if number is not None]
    if not known:
        return ""
    return connection.scalar(select(_cases.created_at).where(_cases.number == min(known))) or ""


def _recorded_at(text: str) -> str:
    try:
        return Event.from_canonical(text.encode()).at
    except BrokenRecord:  # whoever moves it into the log says what is wrong with it
        return ""
