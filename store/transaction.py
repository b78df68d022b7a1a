"""One database transaction, which starts out as a reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    RowMapping,
    Select,
    Text,
    bindparam,
    exists,
    insert,
    select,
)
from sqlalchemy.sql.dml import UpdateBase

from loop.errors import Conflict
from store import tables
from store.database import begin_writing, reading, translated


def counted(statement: UpdateBase) -> UpdateBase:
    """Without the option, SQLAlchemy knows no count of what an INSERT did."""
    if statement.get_execution_options().get("preserve_rowcount"):
        return statement
    return statement.execution_options(preserve_rowcount=True)


# One statement for both: the event, unless the log is known to fail. Made once: to make it takes as
# long as to execute it.
_PUT = counted(
    insert(tables.audit_outbox).from_select(
        ["event"],
        select(bindparam("event", type_=Text())).where(
            exists(select(tables.audit_head.c.id).where(tables.audit_head.c.failure == ""))
        ),
    )
)


class LogFailing(Exception):
    """Why the audit log cannot be written."""


class Transaction:
    """Who only reads never waits for a writer, nor holds one up; what is written is serialisable.

    Until the first write, each read sees what is committed by then. The first write makes this
    the database's only writer, and repeats the reads: if one of them gives something else by now,
    the change would rest on what is no longer so, and `Conflict` is raised instead.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer: Connection | None = None
        self._reads: list[tuple[Select[Any], Mapping[str, Any] | None, int]] = []
        self._changed = False
        self._events = 0
        self._failed = False

    @property
    def dialect(self) -> str:
        return self._engine.dialect.name

    def lock(self) -> None:
        """Become the writer before anything is written: what is read from here on stays so."""
        if self._writer is not None:
            return
        try:
            self._become_writer()
        except BaseException:
            self.close()
            self._failed = True
            raise

    def read(
        self, query: Select[Any], parameters: Mapping[str, Any] | None = None
    ) -> Sequence[RowMapping]:
        """``parameters`` are for what `bindparam` left open: one query, read many times."""
        if self._writer is not None:
            with translated():
                return self._writer.execute(query, parameters).mappings().all()
        with reading(self._engine) as connection:
            rows = connection.execute(query, parameters).mappings().all()
        self._reads.append((query, parameters, _fingerprint(rows)))
        return rows

    def write(
        self,
        statement: UpdateBase,
        parameters: Mapping[str, Any] | None = None,
        *,
        audited: bool = True,
    ) -> int:
        """Returns how many rows were changed.

        Not ``audited`` is working state (a lease, a draft): it needs no event.
        """
        count = self._execute(statement, parameters)
        self._changed = self._changed or (audited and count > 0)
        return count

    def put_into_outbox(self, event: str) -> None:
        """``event`` is canonical JSON. Raises `LogFailing` while the log cannot be written, and the
        transaction is over then."""
        if self._execute(_PUT, {"event": event}) == 0:
            rows = self.read(select(tables.audit_head.c.failure))
            self.close()
            self._failed = True
            raise LogFailing(str(rows[0]["failure"]) if rows else "The log's head is gone.")
        self._events += 1

    @property
    def has_events(self) -> bool:
        return self._events > 0

    def commit(self) -> bool:
        """Whether there was anything to commit.

        Raises `RuntimeError` for a change without an event, and after a write that failed: both
        are mistakes in the code that calls.
        """
        if self._failed:
            raise RuntimeError("A write failed, and all of it was rolled back.")
        if self._changed and not self._events:
            raise RuntimeError("A change of state needs an audit event: call record() first.")
        if self._writer is None:
            return False
        with translated():
            self._writer.commit()
        self.close()
        return True

    def close(self) -> None:
        """Roll back whatever is not committed."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        self._reads.clear()
        self._changed, self._events = False, 0

    def _execute(self, statement: UpdateBase, parameters: Mapping[str, Any] | None = None) -> int:
        try:
            writer = self._writer or self._become_writer()
            with translated():
                return writer.execute(counted(statement), parameters).rowcount
        except BaseException:
            # PostgreSQL ends a transaction with its first error. SQLite would go on with the rest.
            self.close()
            self._failed = True
            raise

    def _become_writer(self) -> Connection:
        self._writer = begin_writing(self._engine)
        for query, parameters, before in self._reads:
            with translated():
                now = self._writer.execute(query, parameters).mappings().all()
            if _fingerprint(now) != before:
                raise Conflict(
                    "Somebody changed what this rests on in the meantime.",
                    hint="Load it again, and repeat the change if it still applies.",
                )
        self._reads.clear()
        return self._writer


def _fingerprint(rows: Sequence[RowMapping]) -> int:
    # Of the values rather than the rows themselves: a reader may go through all there is.
    return hash(tuple(repr(tuple(row.values())) for row in rows))
