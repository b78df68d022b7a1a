"""One database transaction: the repositories, the outbox, and a commit that keeps both or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import Engine

from loop.errors import Unavailable
from loop.events import Event
from loop.ports import UnitOfWork, UnitsOfWork
from loop.recording import sealed_entry
from store.audit_log import AuditLog, open_audit_log
from store.database import migrate, open_engine
from store.repositories.api_keys import SqlApiKeys
from store.repositories.desk import (
    SqlBlindReviews,
    SqlDrafts,
    SqlLeases,
    SqlSkips,
    SqlSubmissions,
)
from store.repositories.intake import SqlClasses, SqlImages, SqlPredictions
from store.repositories.models import SqlPromotions, SqlSnapshots
from store.repositories.people import (
    SqlAccounts,
    SqlInvitations,
    SqlSessions,
    SqlSignInFailures,
)
from store.repositories.queue import SqlQueue
from store.repositories.review import (
    SqlAnnotations,
    SqlCases,
    SqlCorrections,
    SqlSecondReviews,
)
from store.repositories.sealing import SqlImageSalts, SqlSealedTexts
from store.repositories.serving_orders import SqlServingOrders
from store.repositories.settings_in_force import SqlSettingsInForce
from store.repositories.statistics import SqlImpacts, SqlStatistics
from store.repositories.trials import SqlTrials
from store.sequencer import Sequencer
from store.settings import Settings
from store.transaction import LogFailing, Transaction


class SqlUnitOfWork:
    """Implements `loop.ports.UnitOfWork`; made by `units_of_work`."""

    def __init__(self, transaction: Transaction, gate: _Gate | None) -> None:
        self._transaction = transaction
        self._gate = gate
        self.images = SqlImages(transaction)
        self.predictions = SqlPredictions(transaction)
        self.cases = SqlCases(transaction)
        self.queue = SqlQueue(transaction)
        self.leases = SqlLeases(transaction)
        self.drafts = SqlDrafts(transaction)
        self.skips = SqlSkips(transaction)
        self.blind_reviews = SqlBlindReviews(transaction)
        self.submissions = SqlSubmissions(transaction)
        self.corrections = SqlCorrections(transaction)
        self.second_reviews = SqlSecondReviews(transaction)
        self.annotations = SqlAnnotations(transaction)
        self.classes = SqlClasses(transaction)
        self.snapshots = SqlSnapshots(transaction)
        self.promotions = SqlPromotions(transaction)
        self.trials = SqlTrials(transaction)
        self.serving_orders = SqlServingOrders(transaction)
        self.statistics = SqlStatistics(transaction)
        self.impacts = SqlImpacts(transaction)
        self.accounts = SqlAccounts(transaction)
        self.sessions = SqlSessions(transaction)
        self.invitations = SqlInvitations(transaction)
        self.sign_in_failures = SqlSignInFailures(transaction)
        self.api_keys = SqlApiKeys(transaction)
        self.image_salts = SqlImageSalts(transaction)
        self.settings_in_force = SqlSettingsInForce(transaction)
        self.sealed_texts = SqlSealedTexts(transaction)

    def lock(self) -> None:
        self._transaction.lock()

    def record(self, event: Event) -> None:
        """Raises `Unavailable` for what could not be logged, and is therefore not done;
        `InvalidInput` for an event that its type's schema does not allow."""
        _, entry = sealed_entry(event, self)
        try:
            self._transaction.put_into_outbox(entry.decode())
        except LogFailing as error:
            if self._gate is not None:
                self._gate.wake()  # it may have been mended by now
            raise _not_done(str(error)) from error

    def commit(self) -> None:
        """Raises `Unavailable` as `record`; `RuntimeError` for a change that no event was recorded
        for: a mistake in code."""
        if self._gate is not None and self._transaction.has_events:
            self._gate.check(self._transaction)
        if self._transaction.commit() and self._gate is not None:
            self._gate.wake()


class _Gate:
    """Between what is done and the log."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._sequencer = Sequencer(log)

    def wake(self) -> None:
        self._sequencer.wake()

    def check(self, transaction: Transaction) -> None:
        """Refuse what it can be seen of, without trying, that it cannot be logged."""
        try:
            self._log.check_room()
        except Unavailable as error:
            transaction.close()
            raise _not_done(error.message) from error


def _not_done(why: str) -> Unavailable:
    return Unavailable(
        f"Nothing can be done now, since it could not be logged. {why}",
        hint="Mend what it says, then try again; secondlook doctor tells whether it works.",
    )


def units_of_work(engine: Engine, log: AuditLog | None = None) -> UnitsOfWork:
    """``with units() as uow: …; uow.commit()``. Leaving without commit changes nothing.

    Raises `Conflict` for what is there already (a second first answer) or has changed since it
    was read, `Unavailable` when the database does not answer. Without ``log``, events stay in the
    outbox until somebody integrates them.
    """
    gate = _Gate(log) if log is not None else None

    @contextmanager
    def unit() -> Iterator[UnitOfWork]:
        transaction = Transaction(engine)
        try:
            yield SqlUnitOfWork(transaction, gate)
        finally:
            transaction.close()

    def units() -> AbstractContextManager[UnitOfWork]:
        return unit()

    return units


def open_units_of_work(settings: Settings) -> UnitsOfWork:
    """Units of work on the settings' database, its schema brought up to date."""
    engine = open_engine(settings.database)
    migrate(engine)
    return units_of_work(engine, open_audit_log(settings, engine))
