"""Cases and the answers to them: corrections, second reviews, annotations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import RowMapping, and_, desc, func, insert, literal, select, update

from loop.agreement import Agreement
from loop.cases import Annotation, Case, CaseState, SecondReview, Source
from loop.corrections import Correction, Dropped, FinalBox
from loop.errors import Conflict, NotFound
from store import tables
from store.repositories.base import Repository
from store.repositories.desk import not_answered_by, own_case
from store.repositories.queue import CasePlaces, case_of
from store.transaction import Transaction


class SqlCases(Repository):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction)
        self._places = CasePlaces(transaction)

    def add(self, case: Case) -> None:
        last = select(func.coalesce(func.max(tables.cases.c.number), 0)).scalar_subquery()
        self._insert(tables.cases, **_values(case), number=last + 1)
        self._places.add(case)

    def get(self, case_id: str) -> Case:
        row = self._one(select(tables.cases).where(tables.cases.c.id == case_id))
        if row is None:
            raise NotFound(f"There is no case {case_id}.")
        return case_of(row)

    def of_prediction(self, prediction_id: str) -> Case | None:
        table = tables.cases
        settled = table.c.state == CaseState.SETTLED.value  # false sorts before true
        query = select(table).where(table.c.prediction_id == prediction_id)
        row = self._one(query.order_by(settled, desc(table.c.number)).limit(1))
        return case_of(row) if row else None

    def open_of_image(self, image_id: str) -> list[Case]:
        table = tables.cases
        query = select(table).where(table.c.image_id == image_id)
        query = query.where(table.c.state != CaseState.SETTLED.value)
        return [case_of(row) for row in self._all(query.order_by(table.c.number))]

    def move(self, case: Case, expected: CaseState) -> None:
        table = tables.cases
        changing = ("state", "reasons", "priority", "classes", "disagreement", "first_reviewer")
        values = _values(case)
        statement = (
            update(table)
            .where(and_(table.c.id == case.id, table.c.state == expected.value))
            .values({name: values[name] for name in changing})
        )
        if self._transaction.write(statement) != 1:
            raise Conflict(
                "This case has moved on in the meantime.", hint="Load it again, or take the next."
            )
        self._places.move(case)

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
        return [case_of(row) for row in rows]

    def counts(self) -> dict[CaseState, int]:
        return self._places.counts()


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

    def agreement_of(self, case_id: str) -> Agreement | None:
        columns = tables.corrections.c
        row = self._one(select(columns.agreement).where(columns.case_id == case_id))
        return Agreement.from_dict(row["agreement"]) if row else None

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
        table = tables.second_reviews
        values = {
            "id": review.id,
            "case_id": review.case_id,
            "reviewer": review.reviewer,
            "blind": [box.as_dict() for box in review.blind],
            "final": [box.as_dict() for box in review.final],
            "reason": review.reason,
            "comment": review.comment,
            "active_seconds": review.active_seconds,
            "created_at": review.created_at,
            "dropped": [each.as_dict() for each in review.dropped],
        }
        rows = select(*(literal(value, table.c[name].type) for name, value in values.items()))
        rows = rows.where(not_answered_by(review.case_id, review.reviewer))
        if self._transaction.write(insert(table).from_select(list(values), rows)) != 1:
            raise own_case()

    def of_case(self, case_id: str) -> SecondReview | None:
        table = tables.second_reviews
        row = self._one(select(table).where(table.c.case_id == case_id))
        if row is None:
            return None
        dropped = tuple(Dropped.from_dict(document) for document in row["dropped"] or ())
        boxes = {name: _boxes(row[name]) for name in ("blind", "final")}
        return SecondReview(**{**row, **boxes, "dropped": dropped})

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
        return to_annotation(row) if row else None

    def of_case(self, case_id: str) -> Annotation | None:
        row = self._one(select(tables.annotations).where(tables.annotations.c.case_id == case_id))
        return to_annotation(row) if row else None

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
            yield to_annotation(row)


def _boxes(documents: Sequence[Mapping[str, Any]]) -> tuple[FinalBox, ...]:
    return tuple(FinalBox.from_dict(document) for document in documents)


def _values(case: Case) -> dict[str, Any]:
    """A case's columns, without its number."""
    values = {each.name: getattr(case, each.name) for each in fields(case)}
    return {**values, "reasons": list(case.reasons), "classes": list(case.classes)}


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


def to_annotation(row: Mapping[str, Any] | RowMapping) -> Annotation:
    return Annotation(
        **{
            **row,
            "source": Source(row["source"]),
            "boxes": _boxes(row["boxes"]),
            "reviewers": tuple(row["reviewers"]),
        }
    )
