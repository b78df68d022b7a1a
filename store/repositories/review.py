"""Cases and the answers to them: corrections, second reviews, annotations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, and_, desc, func, select, update

from loop.agreement import Agreement
from loop.cases import Annotation, Case, CaseState, SecondReview, Source
from loop.corrections import Correction, FinalBox
from loop.errors import Conflict, NotFound
from store import tables
from store.repositories.base import Repository


class SqlCases(Repository):
    def add(self, case: Case) -> None:
        values = {column.name: getattr(case, column.name) for column in tables.cases.columns}
        self._insert(tables.cases, **{**values, "reasons": list(case.reasons)})

    def get(self, case_id: str) -> Case:
        row = self._one(select(tables.cases).where(tables.cases.c.id == case_id))
        if row is None:
            raise NotFound(f"There is no case {case_id}.")
        return _case(row)

    def of_prediction(self, prediction_id: str) -> Case | None:
        row = self._one(select(tables.cases).where(tables.cases.c.prediction_id == prediction_id))
        return _case(row) if row else None

    def move(self, case: Case, expected: CaseState) -> None:
        table = tables.cases
        statement = (
            update(table)
            .where(and_(table.c.id == case.id, table.c.state == expected.value))
            .values(state=case.state.value, reasons=list(case.reasons), priority=case.priority)
        )
        if self._transaction.write(statement) != 1:
            raise Conflict(
                "This case has moved on in the meantime.", hint="Load it again, or take the next."
            )

    def waiting(
        self, state: CaseState, *, limit: int = 50, offset: int = 0, not_by: str | None = None
    ) -> list[Case]:
        table = tables.cases
        query = select(table).where(table.c.state == state.value)
        if not_by is not None:
            first = tables.corrections
            own = select(first.c.case_id).where(first.c.reviewer == not_by)
            query = query.where(table.c.id.not_in(own))
        query = query.order_by(desc(table.c.priority), table.c.created_at, table.c.id)
        rows = self._all(query.limit(limit).offset(offset))
        return [_case(row) for row in rows]

    def counts(self) -> dict[CaseState, int]:
        state = tables.cases.c.state
        query = select(state, func.count().label("count")).group_by(state)
        return {CaseState(row["state"]): row["count"] for row in self._all(query)}


class SqlCorrections(Repository):
    def add(self, correction: Correction, agreement: Agreement) -> None:
        image_of_case = select(tables.cases.c.image_id).where(
            tables.cases.c.id == correction.case_id
        )
        self._insert(
            tables.corrections,
            id=correction.id,
            case_id=correction.case_id,
            prediction_id=correction.prediction_id,
            image_id=image_of_case.scalar_subquery(),
            reviewer=correction.reviewer,
            boxes=[box.as_dict() for box in correction.boxes],
            rejected=list(correction.rejected),
            no_finding=correction.no_finding,
            comment=correction.comment,
            active_seconds=correction.active_seconds,
            agreement=agreement.as_dict(),
            created_at=correction.created_at,
        )

    def of_case(self, case_id: str) -> Correction | None:
        row = self._one(select(tables.corrections).where(tables.corrections.c.case_id == case_id))
        return _correction(row) if row else None

    def count(self) -> int:
        return self._count(tables.corrections)

    def latest(self) -> Iterator[tuple[str, Correction]]:
        table = tables.corrections
        newest_first = func.row_number().over(
            partition_by=table.c.image_id, order_by=(desc(table.c.created_at), desc(table.c.id))
        )
        ranked = select(table, newest_first.label("place")).subquery()
        query = select(ranked).where(ranked.c.place == 1).order_by(ranked.c.image_id)
        for row in self._all(query):
            yield row["image_id"], _correction(row)


class SqlSecondReviews(Repository):
    def add(self, review: SecondReview) -> None:
        self._insert(
            tables.second_reviews,
            id=review.id,
            case_id=review.case_id,
            reviewer=review.reviewer,
            blind=[box.as_dict() for box in review.blind],
            final=[box.as_dict() for box in review.final],
            reason=review.reason,
            comment=review.comment,
            active_seconds=review.active_seconds,
            created_at=review.created_at,
        )

    def of_case(self, case_id: str) -> SecondReview | None:
        table = tables.second_reviews
        row = self._one(select(table).where(table.c.case_id == case_id))
        if row is None:
            return None
        return SecondReview(**{**row, "blind": _boxes(row["blind"]), "final": _boxes(row["final"])})

    def count(self) -> int:
        return self._count(tables.second_reviews)


class SqlAnnotations(Repository):
    def add(self, annotation: Annotation) -> None:
        self._insert(
            tables.annotations,
            id=annotation.id,
            image_id=annotation.image_id,
            version=annotation.version,
            case_id=annotation.case_id,
            source=annotation.source.value,
            boxes=[box.as_dict() for box in annotation.boxes],
            reviewers=list(annotation.reviewers),
            created_at=annotation.created_at,
        )

    def latest_of(self, image_id: str) -> Annotation | None:
        table = tables.annotations
        query = select(table).where(table.c.image_id == image_id)
        row = self._one(query.order_by(desc(table.c.version)).limit(1))
        return _annotation(row) if row else None

    def latest(self) -> Iterator[Annotation]:
        table = tables.annotations
        highest = (
            select(table.c.image_id, func.max(table.c.version).label("version"))
            .group_by(table.c.image_id)
            .subquery()
        )
        same = and_(table.c.image_id == highest.c.image_id, table.c.version == highest.c.version)
        query = select(table).join(highest, same).order_by(table.c.image_id)
        for row in self._all(query):
            yield _annotation(row)


def _boxes(documents: Sequence[Mapping[str, Any]]) -> tuple[FinalBox, ...]:
    return tuple(FinalBox.from_dict(document) for document in documents)


def _case(row: RowMapping) -> Case:
    return Case(**{**row, "state": CaseState(row["state"]), "reasons": tuple(row["reasons"])})


def _correction(row: RowMapping) -> Correction:
    return Correction(
        id=row["id"],
        case_id=row["case_id"],
        prediction_id=row["prediction_id"],
        reviewer=row["reviewer"],
        boxes=_boxes(row["boxes"]),
        rejected=tuple(row["rejected"]),
        no_finding=row["no_finding"],
        comment=row["comment"],
        active_seconds=row["active_seconds"],
        created_at=row["created_at"],
    )


def _annotation(row: RowMapping) -> Annotation:
    return Annotation(
        **{
            **row,
            "source": Source(row["source"]),
            "boxes": _boxes(row["boxes"]),
            "reviewers": tuple(row["reviewers"]),
        }
    )
