"""The audit log's rows in the database: its outbox, its head, and a copy of its entries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    LargeBinary,
    Select,
    cast,
    delete,
    desc,
    func,
    insert,
    select,
    update,
)

from loop.errors import BrokenRecord, LoopError
from loop.event_query import EventQuery
from loop.event_references import references
from loop.event_types import check_event
from loop.events import Event, canonical_json
from store import tables
from store.audit_search import newest
from store.database import reading, writing

# Of one statement, so that databases and drivers do not run into limits of theirs.
_AT_ONCE = 500
_READ_AT_ONCE = 5000
_LARGEST_INDEX = 2**63 - 1  # of a BIGINT

_outbox = tables.audit_outbox.c
_log = tables.audit_log.c
_head = tables.audit_head.c

# The row's id in the outbox, and the event's canonical JSON.
Waiting = tuple[int, str]
# The entry's index, and its bytes as they are stored.
Stored = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Head:
    """How many entries there are, and the hash of the tree of them, in hex."""

    size: int
    root: str


@dataclass(frozen=True, slots=True)
class State:
    """``key`` is the log's public one, empty before the first entry; ``failure`` why the log
    cannot be written, empty if it can."""

    head: Head
    key: str
    failure: str


class AuditRows:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def state(self) -> State:
        """Raises `BrokenRecord` if it is gone."""
        query = select(_head.size, _head.root, _head.key, _head.failure)
        with reading(self.engine) as connection:
            row = connection.execute(query).first()
        if row is None:
            raise BrokenRecord("The row with the audit log's head is gone from the database.")
        return State(Head(row[0], row[1]), row[2], row[3])

    def waiting(self, limit: int) -> list[Waiting]:
        """What is in the outbox, in the order in which it was committed: its ids are given by one
        writer at a time (`store.database.begin_writing`)."""
        query = select(_outbox.id, _outbox.event).order_by(_outbox.id).limit(limit)
        with reading(self.engine) as connection:
            return [(row[0], row[1]) for row in connection.execute(query)]

    def is_waiting(self, up_to: int = _LARGEST_INDEX) -> bool:
        query = select(_outbox.id).where(_outbox.id <= up_to).limit(1)
        with reading(self.engine) as connection:
            return connection.execute(query).first() is not None

    def last_waiting(self) -> int | None:
        with reading(self.engine) as connection:
            row = connection.execute(select(_outbox.id).order_by(desc(_outbox.id)).limit(1)).first()
        return row[0] if row else None

    def put(self, event: Event) -> None:
        """Into the outbox, with nothing else: for events about the log itself, in which nothing is
        sealed. Raises `InvalidInput` for one that its type's schema does not allow."""
        values = event.as_dict()
        check_event(values)
        entry = canonical_json(values).decode()
        with writing(self.engine) as connection:
            connection.execute(insert(tables.audit_outbox).values(event=entry))

    def add(
        self, before: Head, after: Head, key: str, moved: Sequence[Waiting], events: Sequence[Event]
    ) -> None:
        """Count what was ``moved`` out of the outbox into the files, in one transaction. Raises
        `BrokenRecord` if the head is no longer what it was ``before``."""
        with writing(self.engine) as connection:
            head = update(tables.audit_head).where(_head.size == before.size)
            head = head.where(_head.root == before.root)
            values = {"size": after.size, "root": after.root, "key": key}
            if connection.execute(head.values(values)).rowcount != 1:
                raise BrokenRecord("Somebody else added to the audit log without its lease.")
            _delete(connection, [id for id, _ in moved])
            _copy(connection, before.size, moved, events)

    def rebuild(self, head: Head, key: str, entries: Iterable[bytes], first: int) -> int:
        """Forget the copy and take ``entries``, all of the log's from number ``first`` on, in its
        place, in one transaction; how many events of the outbox were among them, and left it."""
        with writing(self.engine) as connection:
            waiting = connection.execute(select(_outbox.id, _outbox.event)).all()
            ids = {text.encode(): id for id, text in waiting}
            connection.execute(delete(tables.audit_log))
            connection.execute(delete(tables.audit_references))
            found: list[int] = []
            taken = iter(entries)
            while some := list(islice(taken, _READ_AT_ONCE)):
                found += [ids[entry] for entry in some if entry in ids]
                moved = [(0, entry.decode()) for entry in some]
                _copy(connection, first, moved, list(map(Event.from_canonical, some)))
                first += len(some)
            _delete(connection, found)
            values = {"size": head.size, "root": head.root, "key": key, "failure": ""}
            if connection.execute(update(tables.audit_head).values(values)).rowcount == 0:
                connection.execute(insert(tables.audit_head).values(id=1, **values))
        return len(found)

    def say(self, failure: str) -> None:
        """Tell all processes why the log cannot be written. What the database does not take, it
        does not take from those who act either."""
        with suppress(LoopError):
            if self.state().failure != failure:
                with writing(self.engine) as connection:
                    connection.execute(update(tables.audit_head).values(failure=failure))

    def get(self, which: int | str) -> Stored | None:
        """By index or event id."""
        if isinstance(which, str):
            query = self._select().where(_log.event_id == which)
        else:
            query = self._select().where(_log.index == which)
            if not 0 <= which <= _LARGEST_INDEX:
                return None
        rows = self._read(query.limit(1))
        return rows[0] if rows else None

    def find(self, query: EventQuery, limit: int, before: int | None = None) -> list[Stored]:
        """The last ``limit``, oldest first."""
        with reading(self.engine) as connection:
            indexes = newest(connection, query, limit, before)
            found: list[Stored] = []
            for at in range(0, len(indexes), _AT_ONCE):
                some = self._select().where(_log.index.in_(indexes[at : at + _AT_ONCE]))
                found += [(row[0], row[1]) for row in connection.execute(some)]
        return sorted(found)

    def first_since(self, at: str) -> int | None:
        """The lowest index of an event that ended at ``at`` or later; None if there is none."""
        query = select(func.min(_log.index)).where(_log.at >= at)
        with reading(self.engine) as connection:
            row = connection.execute(query).one()
        return None if row[0] is None else int(row[0])

    def drop(self, end: int) -> None:
        """Forget the entries before number ``end``."""
        refers = tables.audit_references
        with writing(self.engine) as connection:
            connection.execute(delete(refers).where(refers.c.index < end))
            connection.execute(delete(tables.audit_log).where(_log.index < end))

    def all(self) -> Iterator[Stored]:
        """Every row there is, by index, those below 0 too."""
        last: int | None = None
        while True:
            query = self._select().order_by(_log.index).limit(_READ_AT_ONCE)
            rows = self._read(query if last is None else query.where(_log.index > last))
            yield from rows
            if len(rows) < _READ_AT_ONCE:
                return
            last = rows[-1][0]

    def _select(self) -> Select[int, bytes]:
        return select(_log.index, self._stored(_log.event))

    def _stored(self, column: Column[str]) -> ColumnElement[bytes]:
        """Text as its bytes: SQLite also keeps bytes that are no text, and fails to hand out those
        as text. PostgreSQL does not take them in the first place."""
        if self.engine.dialect.name == "sqlite":
            return cast(column, LargeBinary)
        return func.convert_to(column, "UTF8", type_=LargeBinary)

    def _read(self, query: Select[int, bytes]) -> list[Stored]:
        with reading(self.engine) as connection:
            return [(row[0], row[1]) for row in connection.execute(query)]


def _delete(connection: Connection, ids: Sequence[int]) -> None:
    for at in range(0, len(ids), _AT_ONCE):
        some = ids[at : at + _AT_ONCE]
        connection.execute(delete(tables.audit_outbox).where(_outbox.id.in_(some)))


def _copy(
    connection: Connection, first: int, moved: Sequence[Waiting], events: Sequence[Event]
) -> None:
    rows, refers = [], []
    for index, ((_, text), event) in enumerate(zip(moved, events, strict=True), first):
        rows.append(
            {
                "index": index,
                "event": text,
                "event_id": event.id,
                "type": event.type,
                "at": event.at,
                "actor": event.actor.pseudonym,
            }
        )
        refers += [
            {"kind": kind, "value": value, "index": index} for kind, value in references(event)
        ]
    connection.execute(insert(tables.audit_log), rows)
    if refers:
        connection.execute(insert(tables.audit_references), refers)
