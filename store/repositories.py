"""The repositories of ``loop.ports`` on SQLAlchemy: rows in, domain values out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, Select, Table, and_, desc, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from loop.agreement import Agreement
from loop.cases import Annotation, Case, CaseState, SecondReview, Source
from loop.classes import ClassList
from loop.corrections import Correction, FinalBox
from loop.errors import Conflict, Misconfigured, NotFound
from loop.images import Image
from loop.predictions import Detection, ModelRef, Prediction
from loop.promotions import Decision, GoldScore, Promotion, PromotionState, Verdict
from loop.snapshots import Manifest, SnapshotRecord
from store import tables
from store.transaction import Transaction


class _Repository:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def _insert(self, table: Table, **values: Any) -> None:
        self._transaction.write(insert(table).values(**values))

    def _all(self, query: Select[Any]) -> Sequence[RowMapping]:
        return self._transaction.read(query)

    def _one(self, query: Select[Any]) -> RowMapping | None:
        rows = self._transaction.read(query)
        return rows[0] if rows else None

    def _count(self, table: Table) -> int:
        query = select(func.count().label("count")).select_from(table)
        return int(self._transaction.read(query)[0]["count"])


class SqlImages(_Repository):
    def add(self, image: Image) -> bool:
        values = {column.name: getattr(image, column.name) for column in tables.images.columns}
        make = sqlite.insert if self._transaction.dialect == "sqlite" else postgresql.insert
        statement = make(tables.images).values(**values).on_conflict_do_nothing()
        return self._transaction.write(statement) == 1

    def find(self, image_id: str) -> Image | None:
        row = self._one(select(tables.images).where(tables.images.c.id == image_id))
        return Image(**row) if row else None

    def get(self, image_id: str) -> Image:
        image = self.find(image_id)
        if image is None:
            raise NotFound(f"There is no image {image_id}.")
        return image

    def count(self) -> int:
        return self._count(tables.images)

    def gold(self) -> list[Image]:
        query = select(tables.images).where(tables.images.c.gold).order_by(tables.images.c.id)
        return [Image(**row) for row in self._all(query)]

    def mark_gold(self, image_ids: Sequence[str]) -> None:
        chosen = tables.images.c.id.in_(image_ids)
        marked = self._transaction.write(update(tables.images).where(chosen).values(gold=True))
        if marked != len(set(image_ids)):
            raise NotFound("Not every image that was to be gold is there.")


class SqlClasses(_Repository):
    def find(self) -> ClassList | None:
        query = select(tables.classes.c.name).order_by(tables.classes.c.id)
        names = tuple(row["name"] for row in self._all(query))
        return ClassList(names) if names else None

    def get(self) -> ClassList:
        classes = self.find()
        if classes is None:
            raise Misconfigured(
                "This home has no class list yet.",
                hint="Register a model (secondlook models register) or import a data set first.",
            )
        return classes

    def set(self, classes: ClassList) -> None:
        if self.find() is not None:
            raise Conflict("This home has its class list already.")
        for class_id, name in enumerate(classes):
            self._insert(tables.classes, id=class_id, name=name)


class SqlPredictions(_Repository):
    def add(self, prediction: Prediction) -> None:
        self._insert(
            tables.predictions,
            id=prediction.id,
            image_id=prediction.image_id,
            model=prediction.model.as_dict(),
            detections=[detection.as_dict() for detection in prediction.detections],
            created_at=prediction.created_at,
            request_id=prediction.request_id,
        )

    def get(self, prediction_id: str) -> Prediction:
        row = self._one(select(tables.predictions).where(tables.predictions.c.id == prediction_id))
        if row is None:
            raise NotFound(f"There is no prediction {prediction_id}.")
        return _prediction(row)

    def of_image(self, image_id: str) -> list[Prediction]:
        table = tables.predictions
        query = select(table).where(table.c.image_id == image_id)
        query = query.order_by(table.c.created_at, table.c.id)
        return [_prediction(row) for row in self._all(query)]


class SqlCases(_Repository):
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


class SqlCorrections(_Repository):
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


class SqlSecondReviews(_Repository):
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


class SqlAnnotations(_Repository):
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


class SqlSnapshots(_Repository):
    def add(self, record: SnapshotRecord) -> bool:
        table = tables.snapshots
        if self._one(select(table.c.sha256).where(table.c.sha256 == record.sha256)):
            return False
        self._insert(
            table,
            sha256=record.sha256,
            manifest=record.manifest.as_dict(),
            created_at=record.created_at,
            created_by=record.created_by,
        )
        return True

    def get(self, prefix: str) -> SnapshotRecord:
        table = tables.snapshots
        query = select(table).where(table.c.sha256.startswith(prefix, autoescape=True)).limit(2)
        rows = self._all(query)
        hint = "secondlook snapshot list shows every one."
        if not rows or not prefix:
            raise NotFound(f"There is no snapshot {prefix!r}.", hint=hint)
        if len(rows) > 1:
            raise Conflict(f"More than one snapshot begins with {prefix!r}.", hint=hint)
        return _snapshot(rows[0])

    def list(self) -> list[SnapshotRecord]:
        table = tables.snapshots
        query = select(table).order_by(table.c.created_at, table.c.sha256)
        return [_snapshot(row) for row in self._all(query)]


class SqlPromotions(_Repository):
    def add(self, promotion: Promotion) -> None:
        self._insert(
            tables.promotions,
            id=promotion.id,
            model_name=promotion.candidate.name,
            model_version=promotion.candidate.version,
            document=_promotion_document(promotion),
            created_at=promotion.created_at,
        )

    def update(self, promotion: Promotion) -> None:
        table = tables.promotions
        statement = (
            update(table)
            .where(table.c.id == promotion.id)
            .values(document=_promotion_document(promotion))
        )
        if self._transaction.write(statement) != 1:
            raise NotFound(f"There is no promotion {promotion.id}.")

    def find(self, name: str, version: str) -> Promotion | None:
        table = tables.promotions
        query = select(table).where(
            and_(table.c.model_name == name, table.c.model_version == version)
        )
        row = self._one(query.order_by(desc(table.c.created_at), desc(table.c.id)).limit(1))
        return _promotion(row) if row else None

    def list(self) -> list[Promotion]:
        table = tables.promotions
        query = select(table).order_by(table.c.created_at, table.c.id)
        return [_promotion(row) for row in self._all(query)]


def _boxes(documents: Sequence[Mapping[str, Any]]) -> tuple[FinalBox, ...]:
    return tuple(FinalBox.from_dict(document) for document in documents)


def _prediction(row: RowMapping) -> Prediction:
    return Prediction(
        id=row["id"],
        image_id=row["image_id"],
        model=ModelRef.from_dict(row["model"]),
        detections=tuple(Detection.from_dict(document) for document in row["detections"]),
        created_at=row["created_at"],
        request_id=row["request_id"],
    )


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


def _snapshot(row: RowMapping) -> SnapshotRecord:
    return SnapshotRecord(
        row["sha256"], Manifest.from_dict(row["manifest"]), row["created_at"], row["created_by"]
    )


def _promotion_document(promotion: Promotion) -> dict[str, Any]:
    score = promotion.champion_score
    return {
        "candidate": promotion.candidate.as_dict(),
        "champion": promotion.champion.as_dict() if promotion.champion else None,
        "candidate_score": promotion.candidate_score.as_dict(),
        "champion_score": score.as_dict() if score else None,
        "verdict": promotion.decision.verdict.value,
        "reasons": list(promotion.decision.reasons),
        "state": promotion.state.value,
        "decided_by": promotion.decided_by,
        "reason": promotion.reason,
        "history": [dict(step) for step in promotion.history],
    }


def _promotion(row: RowMapping) -> Promotion:
    document = row["document"]
    champion, score = document["champion"], document["champion_score"]
    return Promotion(
        id=row["id"],
        candidate=ModelRef.from_dict(document["candidate"]),
        champion=ModelRef.from_dict(champion) if champion else None,
        candidate_score=GoldScore.from_dict(document["candidate_score"]),
        champion_score=GoldScore.from_dict(score) if score else None,
        decision=Decision(Verdict(document["verdict"]), tuple(document["reasons"])),
        state=PromotionState(document["state"]),
        created_at=row["created_at"],
        decided_by=document["decided_by"],
        reason=document["reason"],
        history=tuple(document["history"]),
    )
