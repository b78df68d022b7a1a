"""The audit log: an append-only, hash-chained table of events behind an outbox.

Each entry's SHA-256 is over the one before and its own bytes, the canonical JSON of an event; a
head row keeps size and last digest. `AuditLog.verify` finds any entry that was changed, removed,
added or moved, and a tail that was cut off. What a chain inside one database cannot show is that
somebody with write access made all of it anew, head included: note the head elsewhere (MLflow's
tags carry it), and compare.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    LargeBinary,
    cast,
    delete,
    desc,
    func,
    insert,
    select,
    text,
    update,
)

from loop.errors import BrokenRecord, LoopError, NotFound
from loop.events import GENESIS_SHA256, Event, chain_sha256
from store import tables
from store.database import migrate, open_engine, translated, writing
from store.settings import Settings

# Any number that all sequencers of one database agree on (PostgreSQL's advisory lock).
_SEQUENCER_LOCK = 7_202_612
# Keeps a transaction short when many events have piled up.
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """An event in its place; ``entry_sha256`` is the chained digest."""

    index: int
    event: Event
    entry_sha256: str


@dataclass(frozen=True, slots=True)
class Head:
    """How many entries there are, and the digest of the last (zeros before the first)."""

    size: int
    sha256: str


class AuditLog:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def integrate(self) -> int:
        """Move what waits in the outbox to the end of the log; returns how many events.

        One transaction a batch, one sequencer at a time: a crash at any point neither loses nor
        doubles an event.
        """
        moved = 0
        while True:
            with writing(self._engine) as connection:
                batch = _integrate_batch(connection)
            moved += batch
            if batch < _BATCH:
                return moved

    def head(self) -> Head:
        with translated(), self._engine.connect() as connection:
            return _head(connection)

    def tail(self, count: int) -> list[Entry]:
        """The last ``count`` entries, oldest first."""
        table = tables.audit_log
        query = select(table).order_by(desc(table.c.index)).limit(count)
        with translated(), self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Entry(row["index"], Event.from_canonical(row["event"].encode()), row["sha256"])
            for row in reversed(rows)
        ]

    def get(self, which: int | str) -> Entry:
        """By index or event id. Raises `NotFound`."""
        table = tables.audit_log
        query = select(table)
        if isinstance(which, int):
            query = query.where(table.c.index == which)
        else:
            # The id stands in the canonical text; matched as a whole value, then checked.
            query = query.where(table.c.event.contains(f'"id":"{which}"', autoescape=True))
        with translated(), self._engine.connect() as connection:
            for row in connection.execute(query).mappings():
                entry = Entry(
                    row["index"], Event.from_canonical(row["event"].encode()), row["sha256"]
                )
                if which in (entry.index, entry.event.id):
                    return entry
        raise NotFound(
            f"There is no event {which} in the log.", hint="secondlook audit tail shows the latest."
        )

    def verify(self) -> Head:
        """Recompute everything and return the head. Raises `BrokenRecord` for the first entry
        that is wrong, and says what is."""
        index, previous = 0, GENESIS_SHA256
        with translated(), self._engine.connect() as connection:
            head = _head(connection)
            for row_index, entry, row_previous, sha256 in _rows(connection):
                if row_index != index:
                    raise BrokenRecord(
                        f"Entry {index} is missing: the next one there is {row_index}."
                        if row_index > index
                        else f"Entry {row_index} stands out of order."
                    )
                previous = _checked(index, entry, row_previous, sha256, previous)
                index += 1
        if (index, previous) != (head.size, head.sha256):
            raise BrokenRecord(
                f"The log ends after {index} entries with {previous[:12]}…, but its head says "
                f"{head.size} entries and {head.sha256[:12]}…: entries were cut off or added."
            )
        return head


def open_audit_log(settings: Settings) -> AuditLog:
    engine = open_engine(settings.database)
    migrate(engine)
    return AuditLog(engine)


def _integrate_batch(connection: Connection) -> int:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SEQUENCER_LOCK})
    outbox = tables.audit_outbox
    waiting = connection.execute(select(outbox).order_by(outbox.c.id).limit(_BATCH)).all()
    if not waiting:
        return 0
    head = _head(connection)
    index, previous = head.size, head.sha256
    rows = []
    for _, event in waiting:
        sha256 = chain_sha256(previous, event.encode())
        rows.append({"index": index, "event": event, "previous_sha256": previous, "sha256": sha256})
        index, previous = index + 1, sha256
    connection.execute(insert(tables.audit_log), rows)
    connection.execute(delete(outbox).where(outbox.c.id.in_([id for id, _ in waiting])))
    connection.execute(update(tables.audit_head).values(size=index, sha256=previous))
    return len(waiting)


def _head(connection: Connection) -> Head:
    row = connection.execute(select(tables.audit_head.c.size, tables.audit_head.c.sha256)).first()
    if row is None:
        raise BrokenRecord("The log's head is gone.")
    return Head(*row)


def _rows(connection: Connection) -> Iterator[tuple[int, bytes, str, str]]:
    """Index, event's bytes, previous and own digest. SQLite keeps bytes that are no text as well,
    and would fail to hand them out as text; PostgreSQL does not take them."""
    table = tables.audit_log
    if connection.dialect.name == "sqlite":
        entry: ColumnElement[bytes] = cast(table.c.event, LargeBinary)
    else:
        entry = func.convert_to(table.c.event, "UTF8")
    columns = (table.c.index, entry, table.c.previous_sha256, table.c.sha256)
    streamed = connection.execution_options(stream_results=True, yield_per=_BATCH)
    for row in streamed.execute(select(*columns).order_by(table.c.index)):
        yield row[0], row[1], row[2], row[3]


def _checked(index: int, entry: bytes, row_previous: str, sha256: str, previous: str) -> str:
    if row_previous != previous:
        raise BrokenRecord(
            f"Entry {index} does not follow the one before it: it names {row_previous!s:.12}…, "
            f"and that is {previous:.12}…."
        )
    if entry is None or chain_sha256(previous, entry) != sha256:
        raise BrokenRecord(f"Entry {index} was changed: its bytes do not match its digest.")
    try:
        canonical = Event.from_canonical(entry).canonical()
    except LoopError as error:
        raise BrokenRecord(f"Entry {index}: {error.message}") from error
    if canonical != entry:
        raise BrokenRecord(f"Entry {index} is not in canonical form.")
    return sha256
