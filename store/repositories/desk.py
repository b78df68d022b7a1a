"""Work that is under way: leases, drafts, skips, sealed blind boxes, what was handed in."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import ColumnElement, Select, and_, delete, desc, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from loop.cases import BlindReview, Skip
from loop.corrections import FinalBox
from loop.drafts import Draft, Submission
from loop.errors import OwnCase
from loop.leases import Hold
from store import tables
from store.repositories.base import Repository


class SqlLeases(Repository):
    def find(self, case_id: str) -> Hold | None:
        row = self._one(select(tables.leases).where(tables.leases.c.case_id == case_id))
        return Hold(**row) if row else None

    def put(self, hold: Hold) -> None:
        make = sqlite.insert if self._transaction.dialect == "sqlite" else postgresql.insert
        values = asdict(hold)
        statement = make(tables.leases).values(**values)
        statement = statement.on_conflict_do_update(index_elements=["case_id"], set_=values)
        self._transaction.write(statement, audited=False)

    def forget(self, case_id: str) -> None:
        mine = tables.leases.c.case_id == case_id
        self._transaction.write(delete(tables.leases).where(mine), audited=False)


class SqlDrafts(Repository):
    def find(self, draft_id: str) -> Draft | None:
        row = self._one(select(tables.drafts).where(tables.drafts.c.id == draft_id))
        return Draft(**row) if row else None

    def live(self, case_id: str, reviewer: str) -> Draft | None:
        row = self._one(_drafts_of(case_id, reviewer, recovered=False))
        return Draft(**row) if row else None

    def recovered(self, case_id: str, reviewer: str) -> list[Draft]:
        table = tables.drafts
        query = _drafts_of(case_id, reviewer, recovered=True)
        rows = self._all(query.order_by(desc(table.c.saved_at), table.c.id))
        return [Draft(**row) for row in rows]

    def put(self, draft: Draft) -> None:
        table, values = tables.drafts, asdict(draft)
        known = update(table).where(table.c.id == draft.id).values(**values)
        if not self._transaction.write(known, audited=False):
            self._transaction.write(insert(table).values(**values), audited=False)

    def delete(self, draft_id: str) -> None:
        mine = tables.drafts.c.id == draft_id
        self._transaction.write(delete(tables.drafts).where(mine), audited=False)


def _drafts_of(case_id: str, reviewer: str, *, recovered: bool) -> Select[tuple[object, ...]]:
    columns = tables.drafts.c
    owned = and_(columns.case_id == case_id, columns.reviewer == reviewer)
    return select(tables.drafts).where(owned, columns.recovered.is_(recovered))


class SqlSkips(Repository):
    def put(self, skip: Skip) -> None:
        make = sqlite.insert if self._transaction.dialect == "sqlite" else postgresql.insert
        values = asdict(skip)
        statement = make(tables.skips).values(**values)
        keys = ["case_id", "reviewer"]
        self._transaction.write(statement.on_conflict_do_update(index_elements=keys, set_=values))


class SqlBlindReviews(Repository):
    def add(self, review: BlindReview) -> None:
        table = tables.blind_reviews
        values = {
            "case_id": review.case_id,
            "reviewer": review.reviewer,
            "boxes": [box.as_dict() for box in review.boxes],
            "active_seconds": review.active_seconds,
            "created_at": review.created_at,
        }
        rows = select(*(literal(value, table.c[name].type) for name, value in values.items()))
        rows = rows.where(not_answered_by(review.case_id, review.reviewer))
        if self._transaction.write(insert(table).from_select(list(values), rows)) != 1:
            raise own_case()

    def find(self, case_id: str, reviewer: str) -> BlindReview | None:
        columns = tables.blind_reviews.c
        mine = and_(columns.case_id == case_id, columns.reviewer == reviewer)
        row = self._one(select(tables.blind_reviews).where(mine))
        if row is None:
            return None
        boxes = tuple(FinalBox.from_dict(document) for document in row["boxes"])
        return BlindReview(**{**row, "boxes": boxes})


class SqlSubmissions(Repository):
    def add(self, submission: Submission) -> None:
        self._insert(tables.submissions, **asdict(submission))

    def find(self, key: str) -> Submission | None:
        row = self._one(select(tables.submissions).where(tables.submissions.c.key == key))
        return Submission(**row) if row else None


def not_answered_by(case_id: str, reviewer: str) -> ColumnElement[bool]:
    """Whether the first answer to the case is somebody else's."""
    first = tables.corrections.c
    own = select(first.id).where(first.case_id == case_id, first.reviewer == reviewer)
    return ~own.exists()


def own_case() -> OwnCase:
    return OwnCase("You gave the first answer to this case.", hint="Another person must settle it.")
