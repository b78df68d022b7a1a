"""Images, classes and predictions: what comes in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, func, or_, select, union_all, update
from sqlalchemy.dialects import postgresql, sqlite

from loop.classes import ClassList
from loop.erased import Erased
from loop.errors import Conflict, Misconfigured, NotFound
from loop.images import Image
from loop.perceptual_hash import NO_HASH, bits_apart
from loop.predictions import Detection, ModelRef, Prediction
from store import tables
from store.repositories.base import Repository
from store.repositories.erasing import Erasing


class SqlImages(Repository):
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

    def older_than(self, at: str) -> list[Image]:
        table = tables.images
        query = select(table).where(table.c.created_at < at).order_by(table.c.id)
        return [Image(**row) for row in self._all(query)]

    def erase(self, image_id: str) -> Erased:
        return Erasing(self._transaction).erase(image_id)

    def near(self, phash: str, distance: int, *, gold: bool) -> list[Image]:
        if not phash:
            return []
        table = tables.images
        query = select(table.c.id, table.c.phash)
        query = query.where(table.c.gold == gold, _shares_a_part(phash, distance))
        found = [
            row["id"] for row in self._all(query) if bits_apart(row["phash"], phash) <= distance
        ]
        return self._of(found)

    def of_subject(self, subject: str) -> list[Image]:
        table = tables.images
        query = select(table).where(table.c.subject == subject).order_by(table.c.id)
        return [Image(**row) for row in self._all(query)]

    def answered_at(self, image_ids: Collection[str]) -> dict[str, str]:
        if not image_ids:
            return {}
        answers = union_all(
            *(
                select(table.c.image_id, table.c.created_at).where(table.c.image_id.in_(image_ids))
                for table in (tables.annotations, tables.corrections)
            )
        ).subquery()
        first = func.min(answers.c.created_at).label("at")
        query = select(answers.c.image_id, first).group_by(answers.c.image_id)
        return {row["image_id"]: row["at"] for row in self._all(query)}

    def set_phash(self, hashes: Mapping[str, str]) -> None:
        for image_id, phash in hashes.items():
            statement = update(tables.images).where(tables.images.c.id == image_id)
            self._transaction.write(statement.values(phash=phash), audited=False)

    def _of(self, image_ids: Sequence[str]) -> list[Image]:
        if not image_ids:
            return []
        table = tables.images
        query = select(table).where(table.c.id.in_(image_ids)).order_by(table.c.id)
        return [Image(**row) for row in self._all(query)]


class SqlClasses(Repository):
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


class SqlPredictions(Repository):
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
        return to_prediction(row)

    def of_image(self, image_id: str) -> list[Prediction]:
        table = tables.predictions
        query = select(table).where(table.c.image_id == image_id)
        query = query.order_by(table.c.created_at, table.c.id)
        return [to_prediction(row) for row in self._all(query)]


def _shares_a_part(phash: str, distance: int) -> ColumnElement[bool]:
    """What is true of every hash within ``distance`` bits: cut into one more part than that, at
    least one part is the same. It lets few others through, and the database counts no bits."""
    parts = distance + 1
    if parts > len(phash):
        return tables.images.c.phash != NO_HASH
    edges = [len(phash) * part // parts for part in range(parts + 1)]
    return or_(
        *(
            func.substr(tables.images.c.phash, low + 1, high - low) == phash[low:high]
            for low, high in pairwise(edges)
        )
    )


def to_prediction(row: Mapping[str, Any] | RowMapping) -> Prediction:
    return Prediction(
        id=row["id"],
        image_id=row["image_id"],
        model=ModelRef.from_dict(row["model"]),
        detections=tuple(Detection.from_dict(document) for document in row["detections"]),
        created_at=row["created_at"],
        request_id=row["request_id"],
    )
