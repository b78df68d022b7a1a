"""The audit log: an append-only, hash-chained table of events behind an outbox.

Each entry's SHA-256 is over the one before and its own bytes, the canonical JSON of an event; a
head row keeps size and last digest. `AuditLog.verify` finds any entry that was changed, removed,
added or moved, and a tail that was cut off, as long as the head was left alone.

What a chain inside one database cannot show: that somebody with write access made it anew from
some entry on, head included, or cut the tail and set the head back; and that an event was changed
or removed in the outbox, in the moment before it entered the chain. Against the first, note the
head where that person cannot write (the MLflow runs carry it as a tag), and compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    LargeBinary,
    Row,
    Select,
    cast,
    delete,
    desc,
    func,
    insert,
    select,
    update,
)

from loop.errors import BrokenRecord, LoopError, NotFound
from loop.events import GENESIS_SHA256, Event, chain_sha256
from store import tables
from store.database import migrate, open_engine, reading, writing
from store.settings import Settings

# Keeps a transaction short when many events have piled up, and memory when all are read.
_BATCH = 1000
_LARGEST_INDEX = 2**63 - 1  # of a BIGINT
_HINT = (
    "Keep the database as it is, find out who can write to it, and compare it with a backup and "
    "with heads that were noted elsewhere."
)

_index: Column[int] = tables.audit_log.c["index"]
_event: Column[str] = tables.audit_log.c.event
_sha256: Column[str] = tables.audit_log.c.sha256
# Index, event, previous digest, own digest: the last three as the bytes that are stored.
_Stored = Row[int, bytes, bytes, bytes]


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
        doubles an event. Raises `BrokenRecord` rather than add to a log whose end was changed.
        """
        moved = 0
        while self._is_waiting():
            with writing(self._engine) as connection:
                moved += _integrate_batch(connection)
        return moved

    def head(self) -> Head:
        with reading(self._engine) as connection:
            return _head(connection)

    def tail(self, count: int) -> list[Entry]:
        """The last ``count`` entries, oldest first."""
        query = self._query().order_by(desc(_index)).limit(count)
        return [_entry(row) for row in reversed(self._rows(query))]

    def get(self, which: int | str) -> Entry:
        """By index or event id. Raises `NotFound`."""
        query = self._query()
        if isinstance(which, str):
            # The id stands in the canonical text; others' ids may as well, so look again below.
            query = query.where(_event.contains(f'"id":"{which}"', autoescape=True))
        else:
            query = query.where(_index == (which if 0 <= which <= _LARGEST_INDEX else -1))
        for row in self._rows(query):
            entry = _entry(row)
            if which in (entry.index, entry.event.id):
                return entry
        raise NotFound(
            f"There is no event {which} in the log.", hint="secondlook audit tail shows the latest."
        )

    def verify(self) -> Head:
        """Recompute everything and return the head. Raises `BrokenRecord` for the first entry
        that is wrong, and says what is. Events may be added meanwhile, and are checked as well."""
        known = Head(0, GENESIS_SHA256)
        while True:
            promised = self.head()  # before the entries: what it counts is there already
            known = self._walk(known)
            if known.size < promised.size:
                raise BrokenRecord(
                    f"Entry {known.size} is missing: the log ends before it, but its head counts "
                    f"{promised.size} entries.",
                    hint=_HINT,
                )
            head = self.head()
            if head.size <= known.size:
                break
        if head.size < known.size:
            raise BrokenRecord(
                f"Entry {head.size} was added: the head counts {head.size} entries.", hint=_HINT
            )
        if head != known:
            raise BrokenRecord(
                f"The head names {head.sha256:.12}…, but the last entry, {known.size - 1}, "
                f"ends in {known.sha256:.12}….",
                hint=_HINT,
            )
        return head

    def _walk(self, known: Head) -> Head:
        """Check every entry after those of ``known``; the head that they add up to."""
        size, sha256 = known.size, known.sha256
        query = self._query().order_by(_index).limit(_BATCH)
        while True:
            # From the start without a lower bound: an entry below 0 is one too many.
            rows = self._rows(query.where(_index >= size) if size else query)
            for row in rows:
                sha256 = _checked(row, size, sha256)
                size += 1
            if len(rows) < _BATCH:
                return Head(size, sha256)

    def _is_waiting(self) -> bool:
        with reading(self._engine) as connection:
            return connection.execute(select(tables.audit_outbox.c.id).limit(1)).first() is not None

    def _query(self) -> Select[int, bytes, bytes, bytes]:
        """Text as its bytes: SQLite also keeps bytes that are no text, and fails to hand out
        those as text. PostgreSQL does not take them in the first place."""

        def stored(column: Column[str]) -> ColumnElement[bytes]:
            if self._engine.dialect.name == "sqlite":
                return cast(column, LargeBinary)
            return func.convert_to(column, "UTF8", type_=LargeBinary)

        columns = tables.audit_log.c
        return select(_index, stored(_event), stored(columns.previous_sha256), stored(_sha256))

    def _rows(self, query: Select[int, bytes, bytes, bytes]) -> Sequence[_Stored]:
        with reading(self._engine) as connection:
            return connection.execute(query).all()


def open_audit_log(settings: Settings) -> AuditLog:
    engine = open_engine(settings.database)
    migrate(engine)
    return AuditLog(engine)


def _integrate_batch(connection: Connection) -> int:
    outbox = tables.audit_outbox
    waiting = connection.execute(select(outbox).order_by(outbox.c.id).limit(_BATCH)).all()
    head = _checked_head(connection)
    index, previous = head.size, head.sha256
    rows = []
    for id, text in waiting:
        _check_event(text.encode(), f"The event in row {id} of the outbox")
        sha256 = chain_sha256(previous, text.encode())
        rows.append({"index": index, "event": text, "previous_sha256": previous, "sha256": sha256})
        index, previous = index + 1, sha256
    if rows:
        connection.execute(insert(tables.audit_log), rows)
        connection.execute(delete(outbox).where(outbox.c.id.in_([id for id, _ in waiting])))
        connection.execute(update(tables.audit_head).values(size=index, sha256=previous))
    return len(rows)


def _head(connection: Connection) -> Head:
    row = connection.execute(select(tables.audit_head.c.size, tables.audit_head.c.sha256)).first()
    if row is None:
        raise BrokenRecord("The log's head is gone.", hint=_HINT)
    return Head(row[0], row[1])


def _checked_head(connection: Connection) -> Head:
    """The head, if the log ends where it says: a tail that was cut off must not be built upon."""
    head = _head(connection)
    query = select(_index, _sha256).order_by(desc(_index)).limit(1)
    last = connection.execute(query).first()
    end = Head(last[0] + 1, last[1]) if last else Head(0, GENESIS_SHA256)
    if end != head:
        raise BrokenRecord(
            f"The log ends after {end.size} entries with {end.sha256:.12}…, but its head says "
            f"{head.size} and {head.sha256:.12}…: nothing is added to it.",
            hint=_HINT,
        )
    return head


def _entry(row: _Stored) -> Entry:
    index, event, _, sha256 = row
    return Entry(index, Event.from_canonical(event), sha256.decode(errors="replace"))


def _checked(row: _Stored, index: int, previous: str) -> str:
    """The digest of ``row`` if it is entry ``index`` and follows the one with ``previous``."""
    found, event, follows, sha256 = row
    if found != index:
        raise BrokenRecord(
            f"Entry {index} is missing or moved: entry {found} stands in its place.", hint=_HINT
        )
    if follows != previous.encode():
        raise BrokenRecord(
            f"Entry {index} does not follow the one before it: it names "
            f"{follows.decode(errors='replace'):.12}…, and that is {previous:.12}….",
            hint=_HINT,
        )
    digest = chain_sha256(previous, event)
    if sha256 != digest.encode():
        raise BrokenRecord(
            f"Entry {index} was changed: its bytes do not match its digest.", hint=_HINT
        )
    _check_event(event, f"Entry {index}")
    return digest


def _check_event(data: bytes, what: str) -> None:
    try:
        canonical = Event.from_canonical(data).canonical()
    except LoopError as error:
        raise BrokenRecord(f"{what} is no event: {error.message}", hint=_HINT) from error
    if canonical != data:
        raise BrokenRecord(f"{what} is not in canonical form.", hint=_HINT)
