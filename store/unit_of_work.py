"""One database transaction: the repositories, the outbox, and a commit that keeps both or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import Connection, Engine, event, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.dml import UpdateBase

from loop.errors import Conflict, LoopError
from loop.events import Event
from loop.ports import UnitOfWork, UnitsOfWork
from store import repositories, tables
from store.audit_log import AuditLog
from store.database import migrate, open_engine, translated
from store.settings import Settings


class SqlUnitOfWork:
    """Implements `loop.ports.UnitOfWork`; made by `units_of_work`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._changed = False
        self._events = 0
        self.committed = False
        self.images = repositories.SqlImages(connection)
        self.predictions = repositories.SqlPredictions(connection)
        self.cases = repositories.SqlCases(connection)
        self.corrections = repositories.SqlCorrections(connection)
        self.second_reviews = repositories.SqlSecondReviews(connection)
        self.annotations = repositories.SqlAnnotations(connection)
        self.classes = repositories.SqlClasses(connection)
        self.snapshots = repositories.SqlSnapshots(connection)
        self.promotions = repositories.SqlPromotions(connection)
        event.listen(connection, "before_execute", self._see)

    def record(self, event: Event) -> None:
        text = event.canonical().decode()
        self._connection.execute(insert(tables.audit_outbox).values(event=text))
        self._events += 1

    def commit(self) -> None:
        """Raises `RuntimeError` for a change that no event was recorded for: a mistake in code."""
        if self._changed and not self._events:
            raise RuntimeError("A change of state needs an audit event: call record() first.")
        self._connection.commit()
        self.committed = True

    def _see(self, connection: Connection, statement: object, *rest: object) -> None:
        del connection, rest
        if isinstance(statement, UpdateBase) and statement.table is not tables.audit_outbox:
            self._changed = True


def units_of_work(engine: Engine) -> UnitsOfWork:
    """``with units() as uow: …; uow.commit()``. Leaving without commit changes nothing.

    Raises `Conflict` for what is there already (a second first answer), `Unavailable` when the
    database does not answer.
    """
    log = AuditLog(engine)

    @contextmanager
    def unit() -> Iterator[UnitOfWork]:
        try:
            with translated(), engine.connect() as connection:
                uow = SqlUnitOfWork(connection)
                yield uow
        except IntegrityError as error:
            raise Conflict(
                f"Somebody was faster, or this refers to what is not there: {error.orig}.",
                hint="Load the case again.",
            ) from error
        if uow.committed:
            _integrate(log)

    def units() -> AbstractContextManager[UnitOfWork]:
        return unit()

    return units


def open_units_of_work(settings: Settings) -> UnitsOfWork:
    """Units of work on the settings' database, its schema brought up to date."""
    engine = open_engine(settings.database)
    migrate(engine)
    return units_of_work(engine)


def _integrate(log: AuditLog) -> None:
    try:
        log.integrate()
    except LoopError:
        # The events are safe in the outbox, in the transaction that was just committed; the next
        # commit or `secondlook audit verify` takes them along.
        return
