from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from loop.errors import Misconfigured, NotAllowed, Unavailable
from loop.events import Actor, Outcome, Role
from loop.retention import (
    LEAST_DOCUMENT_DAYS,
    LEAST_LOG_DAYS,
    Document,
    LogSpan,
    RetentionClass,
    RetentionSettings,
    cutoff,
    due,
    due_on,
    purge_documents,
    purge_log,
)
from tests.fakes import FakeDatabase

ADMIN = Actor("root", Role.ADMIN)
NOW = datetime(2040, 1, 1, tzinfo=UTC)


@dataclass
class Log:
    """What was done with it, in order."""

    database: FakeDatabase
    span: LogSpan | None = None
    rest: bool = False
    did: list[str] = field(default_factory=list)

    def check(self) -> None:
        self.did.append("check")

    def due(self, before: str) -> LogSpan | None:
        self.did.append(f"due before {before[:10]}")
        return self.span

    def left_over(self) -> bool:
        return self.rest

    def drop(self) -> None:
        self.did.append(f"drop after {len(self.database.events)} events")

    def settle(self) -> None:
        self.did.append("settle")


@dataclass
class Models:
    documents: list[Document]
    by_hand: str = ""
    fails: bool = False

    def all(self) -> Sequence[Document]:
        return list(self.documents)

    def delete(self, document: Document) -> None:
        if self.fails:
            raise Unavailable("MLflow does not answer.")
        self.documents.remove(document)


def document(name: str, since: str | None) -> Document:
    return Document("model", name, name * 64, since)


OLD = document("1", "2029-01-01T00:00:00.000000Z")
NEW = document("2", "2031-01-01T00:00:00.000000Z")
USED = document("3", None)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"log_days": LEAST_LOG_DAYS - 1}, "LOG_RETENTION_DAYS=183 is less"),
        ({"document_days": LEAST_DOCUMENT_DAYS - 1}, "DOCUMENT_RETENTION_DAYS=3652 is less"),
        ({"image_days": -1}, "IMAGE_RETENTION_DAYS"),
    ],
)
def test_less_than_the_law_asks_is_refused(values: dict[str, int], says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        RetentionSettings(**values)


def test_longer_is_the_operators_to_say() -> None:
    settings = RetentionSettings(LEAST_LOG_DAYS, 5000, 30)
    assert [settings.days_of(each) for each in RetentionClass] == [LEAST_LOG_DAYS, 5000, 30]
    assert RetentionSettings().image_days == 0


def test_the_least_times_are_never_shorter_than_the_laws() -> None:
    for month in range(1, 13):
        begin = datetime(2026, month, 1, tzinfo=UTC)
        later = (month + 5) % 12 + 1
        end = datetime(2026 + (later < month), later, 1, tzinfo=UTC)
        assert (end - begin).days <= LEAST_LOG_DAYS
    for year in range(2024, 2040):
        span = datetime(year + 10, 1, 1, tzinfo=UTC) - datetime(year, 1, 1, tzinfo=UTC)
        assert span.days <= LEAST_DOCUMENT_DAYS


def test_only_documents_whose_time_is_over_are_due() -> None:
    before = cutoff(LEAST_DOCUMENT_DAYS, NOW)
    assert due([OLD, NEW, USED], before) == [OLD]
    assert due_on("2029-01-01T00:00:00.000000Z", 3653) == "2039-01-02"


def test_documents_are_deleted_with_their_digests_on_record_before_and_after() -> None:
    database, models = FakeDatabase(), Models([OLD, NEW, USED])
    gone = purge_documents(
        database.units, [models], RetentionSettings(), actor=ADMIN, reason="old", at=NOW
    )
    assert gone == [OLD]
    assert models.documents == [NEW, USED]
    assert [event.outcome for event in database.events] == [Outcome.INTENDED, Outcome.DONE]
    for event in database.events:
        assert event.type == "documents.purged"
        assert event.subject == {"kind": "model"}
        assert event.details["digests"] == ["1" * 64]
    again = purge_documents(
        database.units, [models], RetentionSettings(), actor=ADMIN, reason="old", at=NOW
    )
    assert again == []
    assert len(database.events) == 2


def test_what_could_not_be_deleted_is_not_recorded_as_done() -> None:
    database = FakeDatabase()
    with pytest.raises(Unavailable):
        purge_documents(
            database.units,
            [Models([OLD], fails=True)],
            RetentionSettings(),
            actor=ADMIN,
            reason="old",
            at=NOW,
        )
    assert [event.outcome for event in database.events] == [Outcome.INTENDED]


def test_a_log_is_checked_and_the_purge_on_record_before_anything_goes() -> None:
    database = FakeDatabase()
    log = Log(database, LogSpan(0, 255, "a" * 64))
    settings = RetentionSettings(log_days=200)
    assert purge_log(database.units, log, settings, actor=ADMIN, reason="old", at=NOW) == log.span
    assert log.did == ["check", "due before 2039-06-15", "settle", "drop after 1 events"]
    first, second = database.events
    assert (first.outcome, second.outcome) == (Outcome.INTENDED, Outcome.DONE)
    assert first.details == second.details
    assert first.details["root"] == "a" * 64


@pytest.mark.parametrize("rest", [True, False])
def test_where_nothing_is_due_only_what_was_left_goes(rest: bool) -> None:
    database = FakeDatabase()
    log = Log(database, None, rest)
    purge_log(database.units, log, RetentionSettings(), actor=ADMIN, reason="old", at=NOW)
    assert ("drop after 0 events" in log.did) is rest
    assert database.events == []


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.ADMIN])
def test_only_admins_purge(role: Role) -> None:
    database, actor = FakeDatabase(), Actor("x", role)
    log = Log(database, LogSpan(0, 255, "a" * 64))
    with pytest.raises(NotAllowed):
        purge_log(database.units, log, RetentionSettings(), actor=actor, reason="old", at=NOW)
    with pytest.raises(NotAllowed):
        purge_documents(
            database.units, [Models([OLD])], RetentionSettings(), actor=actor, reason="old"
        )
    assert log.did == []
