"""How long records are kept at least, and what is due to be deleted.

EU AI Act: logs at least six months (Art. 19(1) for providers, Art. 26(6) for deployers), the
technical documentation and what belongs to it 10 years after the system was placed on the market
or put into service (Art. 18(1)). For images and annotations it names no least time; GDPR Art.
5(1)(e) wants them gone when they are not needed any more, and the operator says when that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol

from loop.access import Permission, require
from loop.errors import Misconfigured
from loop.events import Actor, Event, Outcome
from loop.ports import UnitsOfWork

# The longest six months are 184 days, as those from 1 March or 1 July on.
LEAST_LOG_DAYS = 184
# Ten years have two or three leap days.
LEAST_DOCUMENT_DAYS = 3653
# As many digests as fit into one event of the log, with room to spare.
_AT_ONCE = 500


class RetentionClass(StrEnum):
    LOG = "log"
    DOCUMENTS = "documents"
    IMAGES = "images"


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """In days. Raises `Misconfigured` for less than the law's least. 0 ``image_days``: images are
    kept until somebody erases them."""

    log_days: int = LEAST_DOCUMENT_DAYS
    document_days: int = LEAST_DOCUMENT_DAYS
    image_days: int = 0

    def __post_init__(self) -> None:
        _at_least("LOG_RETENTION_DAYS", self.log_days, LEAST_LOG_DAYS, "Art. 19 and 26(6)")
        _at_least("DOCUMENT_RETENTION_DAYS", self.document_days, LEAST_DOCUMENT_DAYS, "Art. 18")
        if self.image_days < 0:
            raise Misconfigured(
                f"SECONDLOOK_IMAGE_RETENTION_DAYS={self.image_days} is no time.",
                hint="0 keeps images until somebody erases them.",
            )

    def days_of(self, kept: RetentionClass) -> int:
        return {
            RetentionClass.LOG: self.log_days,
            RetentionClass.DOCUMENTS: self.document_days,
            RetentionClass.IMAGES: self.image_days,
        }[kept]


@dataclass(frozen=True, slots=True)
class LogSpan:
    """The entries from number ``first`` to ``last``, both included; ``root`` is the hash of the
    tree of all entries up to ``last``, in hex."""

    first: int
    last: int
    root: str

    @property
    def entries(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Document:
    """Something that is kept for ten years: ``kind`` is model, snapshot or gate_report. ``since``
    is when its time began, RFC 3339 in UTC; None while it has not: it is in use. ``sha256`` is of
    its content."""

    kind: str
    name: str
    sha256: str
    since: str | None


class PurgeableLog(Protocol):
    def check(self) -> None:
        """Raises `BrokenRecord` if it does not verify."""

    def due(self, before: str) -> LogSpan | None:
        """Whole bundles of entries of which all ended before that time, not purged yet."""

    def left_over(self) -> bool:
        """Whether something is still there of what is on record as purged."""

    def drop(self) -> None:
        """Remove all that is on record as purged."""

    def settle(self) -> None:
        """Return once what was committed is in the log."""


class Documents(Protocol):
    """Documents of one kind. ``by_hand`` says how an operator deletes them, where nothing here
    does; else it is empty."""

    @property
    def by_hand(self) -> str: ...
    def all(self) -> Sequence[Document]: ...


class DeletableDocuments(Documents, Protocol):
    def delete(self, document: Document) -> None:
        """Raises `LoopError` if it cannot be deleted."""


def cutoff(days: int, at: datetime | None = None) -> str:
    """What ended before this is older than ``days``. RFC 3339 in UTC."""
    found = (at or datetime.now(UTC)) - timedelta(days=days)
    return found.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def due_on(since: str, days: int) -> str:
    """The day on which something may go, as a date."""
    return (datetime.fromisoformat(since) + timedelta(days=days)).date().isoformat()


def due(documents: Iterable[Document], before: str) -> list[Document]:
    return [each for each in documents if each.since is not None and each.since < before]


def purge_log(
    units: UnitsOfWork,
    log: PurgeableLog,
    settings: RetentionSettings,
    *,
    actor: Actor,
    reason: str,
    at: datetime | None = None,
) -> LogSpan | None:
    """Delete the entries whose time is over; None if there are none. What a purge that was
    interrupted has left goes as well.

    Nothing is deleted from a log that does not verify, nor before it is on record in the log what
    will be. Raises `NotAllowed`, `BrokenRecord`.
    """
    require(actor, Permission.ERASE)
    log.check()
    before = cutoff(settings.log_days, at)
    span = log.due(before)
    if span is None:
        if log.left_over():
            log.drop()
        return None
    for outcome in (Outcome.INTENDED, Outcome.DONE):
        with units() as uow:
            uow.record(_log_event(span, before, settings, actor, reason, outcome))
            uow.commit()
        if outcome is Outcome.INTENDED:
            log.settle()
            log.drop()
    return span


def purge_documents(
    units: UnitsOfWork,
    stores: Iterable[DeletableDocuments],
    settings: RetentionSettings,
    *,
    actor: Actor,
    reason: str,
    at: datetime | None = None,
) -> list[Document]:
    """Delete documents whose time is over, kind by kind. Raises `NotAllowed`."""
    require(actor, Permission.ERASE)
    before, gone = cutoff(settings.document_days, at), list[Document]()
    for store in stores:
        found = due(store.all(), before)
        for start in range(0, len(found), _AT_ONCE):
            some = found[start : start + _AT_ONCE]
            _record_documents(units, some, before, settings, actor, reason, Outcome.INTENDED)
            for document in some:
                store.delete(document)
            _record_documents(units, some, before, settings, actor, reason, Outcome.DONE)
            gone += some
    return gone


def _at_least(name: str, days: int, least: int, law: str) -> None:
    if days < least:
        raise Misconfigured(
            f"SECONDLOOK_{name}={days} is less than the law's least of {least} days "
            f"(EU AI Act, {law}).",
            hint=f"Set {least} or more, or unset it for the default.",
        )


def _log_event(
    span: LogSpan,
    before: str,
    settings: RetentionSettings,
    actor: Actor,
    reason: str,
    outcome: Outcome,
) -> Event:
    return Event(
        type="log.purged",
        actor=actor,
        subject={"first": span.first, "last": span.last},
        details={
            "entries": span.entries,
            "before": before,
            "retention_days": settings.log_days,
            "root": span.root,
        },
        reason=reason,
        outcome=outcome,
    )


def _record_documents(
    units: UnitsOfWork,
    documents: Sequence[Document],
    before: str,
    settings: RetentionSettings,
    actor: Actor,
    reason: str,
    outcome: Outcome,
) -> None:
    with units() as uow:
        uow.record(
            Event(
                type="documents.purged",
                actor=actor,
                subject={"kind": documents[0].kind},
                details={
                    "documents": len(documents),
                    "before": before,
                    "retention_days": settings.document_days,
                    "digests": [each.sha256 for each in documents],
                },
                reason=reason,
                outcome=outcome,
            )
        )
        uow.commit()
