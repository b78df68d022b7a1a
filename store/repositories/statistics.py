"""Figures about the work, and what promoted models changed in it.

Each query reads a bounded number of documents, or an index alone: both stay quick however much
is stored.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, Select, Table, and_, delete, desc, func, or_, select

from loop.agreement import LabelledBox
from loop.boxes import Box
from loop.cases import Source
from loop.corrections import Origin
from loop.impact import Impact, Settled
from loop.looks import FirstLook, SecondLook
from loop.predictions import ModelRef
from loop.progress import ActiveSeconds, Done, Verdicts
from loop.reliability import DoubleReading
from store import tables
from store.repositories.base import Repository
from store.repositories.intake import to_prediction
from store.repositories.review import to_annotation

_DAY = 10  # characters of a time stamp


class SqlStatistics(Repository):
    def done(self, reviewer: str | None = None) -> Done:
        first, second = (
            int(self._all(_by(select(func.count().label("n")).select_from(t), t, reviewer))[0]["n"])
            for t in (tables.corrections, tables.second_reviews)
        )
        return Done(first, second)

    def done_per_day(self, since: str, reviewer: str | None = None) -> dict[str, Done]:
        first, second = (
            self._per_day(table, since, reviewer)
            for table in (tables.corrections, tables.second_reviews)
        )
        days = sorted({*first, *second})
        return {day: Done(first.get(day, 0), second.get(day, 0)) for day in days}

    def active_seconds(self, reviewer: str | None = None, *, limit: int = 2000) -> ActiveSeconds:
        first, second = (
            tuple(
                row["active_seconds"]
                for row in self._all(_latest(select(t.c.active_seconds), t, reviewer, limit))
            )
            for t in (tables.corrections, tables.second_reviews)
        )
        return ActiveSeconds(first, second)

    def verdicts(self, reviewer: str | None = None, *, limit: int = 2000) -> dict[int, Verdicts]:
        first, predictions = tables.corrections, tables.predictions
        query = select(first.c.boxes, first.c.rejected, predictions.c.detections).join_from(
            first, predictions, first.c.prediction_id == predictions.c.id
        )
        counts: dict[int, Counter[str]] = defaultdict(Counter)
        for row in self._all(_latest(query, first, reviewer, limit)):
            _count_verdicts(row, counts)
        return {class_id: Verdicts(**count) for class_id, count in sorted(counts.items())}

    def double_readings(self, *, limit: int = 500) -> list[DoubleReading]:
        second, first, images = tables.second_reviews, tables.corrections, tables.images
        query = (
            select(images.c.id, images.c.width, images.c.height, first.c.boxes, second.c.blind)
            .join_from(second, first, second.c.case_id == first.c.case_id)
            .join(images, first.c.image_id == images.c.id)
        )
        newest: dict[str, DoubleReading] = {}
        for row in self._all(_latest(query, second, None, limit)):
            sides = (_labelled(row["boxes"]), _labelled(row["blind"]))
            reading = DoubleReading(row["id"], row["width"], row["height"], *sides)
            newest.setdefault(reading.image_id, reading)
        return list(newest.values())

    def annotations_by_source(self) -> dict[Source, int]:
        source = tables.annotations.c.source
        query = select(source, func.count().label("count")).group_by(source)
        return {Source(row["source"]): row["count"] for row in self._all(query)}

    def first_looks(self, since: str, until: str) -> list[FirstLook]:
        first, predictions = tables.corrections, tables.predictions
        query = select(first, predictions.c.detections, predictions.c.model).join_from(
            first, predictions, first.c.prediction_id == predictions.c.id
        )
        return [_first_look(row) for row in self._all(_between(query, first, since, until))]

    def second_looks(self, since: str, until: str) -> list[SecondLook]:
        second, first, predictions = tables.second_reviews, tables.corrections, tables.predictions
        query = (
            select(second, first.c.boxes.label("first"), predictions.c.detections)
            .join_from(second, first, second.c.case_id == first.c.case_id)
            .join(predictions, first.c.prediction_id == predictions.c.id)
        )
        return [_second_look(row) for row in self._all(_between(query, second, since, until))]

    def _per_day(self, table: Table, since: str, reviewer: str | None) -> dict[str, int]:
        day = func.substr(table.c.created_at, 1, _DAY).label("day")
        query = select(day, func.count().label("count")).where(table.c.created_at >= since)
        return {
            row["day"]: row["count"] for row in self._all(_by(query, table, reviewer).group_by(day))
        }


class SqlImpacts(Repository):
    def find(self, promotion_id: str) -> Impact | None:
        table = tables.impact
        row = self._one(select(table.c.document).where(table.c.promotion_id == promotion_id))
        return Impact.from_dict(row["document"]) if row else None

    def save(self, impact: Impact) -> None:
        table = tables.impact
        self._transaction.write(delete(table).where(table.c.promotion_id == impact.promotion_id))
        self._insert(
            table,
            promotion_id=impact.promotion_id,
            document=impact.as_dict(),
            measured_at=impact.measured_at,
        )

    def settled_before(self, at: str, *, not_by: ModelRef, limit: int) -> list[Settled]:
        settled, cases, predictions = tables.annotations, tables.cases, tables.predictions
        later = settled.alias("later")
        replaced = (
            select(later.c.id)
            .where(
                and_(
                    later.c.image_id == settled.c.image_id,
                    later.c.version > settled.c.version,
                    later.c.created_at < at,
                )
            )
            .exists()
        )
        model = predictions.c.model
        other_model = or_(
            model["name"].as_string() != not_by.name,
            model["version"].as_string() != not_by.version,
        )
        query = (
            select(
                *(column.label(f"a_{column.name}") for column in settled.c),
                *(column.label(f"p_{column.name}") for column in predictions.c),
            )
            .join_from(settled, cases, settled.c.case_id == cases.c.id)
            .join(predictions, cases.c.prediction_id == predictions.c.id)
            .where(and_(settled.c.created_at < at, other_model, ~replaced))
            .order_by(desc(settled.c.created_at), desc(settled.c.id))
            .limit(limit)
        )
        return [
            Settled(to_prediction(_part(row, "p_")), to_annotation(_part(row, "a_")))
            for row in self._all(query)
        ]


def _first_look(row: RowMapping) -> FirstLook:
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    _count_verdicts(row, counts)
    total: Counter[str] = sum(counts.values(), Counter())
    model = row["model"]
    return FirstLook(
        case_id=row["case_id"],
        reviewer=row["reviewer"],
        at=row["created_at"],
        active_seconds=row["active_seconds"],
        model=f"{model['name']}:{model['version']}",
        detections=_labelled(row["detections"]),
        boxes=_labelled(row["boxes"]),
        verdicts=Verdicts(**total),
        sent_on=tuple(row["agreement"]["reasons"]),
    )


def _second_look(row: RowMapping) -> SecondLook:
    return SecondLook(
        case_id=row["case_id"],
        reviewer=row["reviewer"],
        at=row["created_at"],
        active_seconds=row["active_seconds"],
        detections=_labelled(row["detections"]),
        first=_labelled(row["first"]),
        blind=_labelled(row["blind"]),
        final=_labelled(row["final"]),
    )


def _between(query: Select[Any], table: Table, since: str, until: str) -> Select[Any]:
    at = table.c.created_at
    return query.where(at >= since, at < until).order_by(at, table.c.id)


def _by(query: Select[Any], table: Table, reviewer: str | None) -> Select[Any]:
    return query if reviewer is None else query.where(table.c.reviewer == reviewer)


def _latest(query: Select[Any], table: Table, reviewer: str | None, limit: int) -> Select[Any]:
    newest_first = (desc(table.c.created_at), desc(table.c.id))
    return _by(query, table, reviewer).order_by(*newest_first).limit(limit)


def _count_verdicts(row: RowMapping, counts: dict[int, Counter[str]]) -> None:
    class_of = {detection["id"]: detection["class_id"] for detection in row["detections"]}
    for detection_id in row["rejected"]:
        counts[class_of[detection_id]]["rejected"] += 1
    for box in row["boxes"]:
        if box["origin"] == Origin.ADDED:
            counts[box["class_id"]]["added"] += 1
        elif box["detection_id"] in class_of:
            counts[class_of[box["detection_id"]]][box["origin"]] += 1


def _labelled(documents: Sequence[Mapping[str, Any]]) -> tuple[LabelledBox, ...]:
    return tuple(LabelledBox(d["id"], Box.of(d["box"]), d["class_id"]) for d in documents)


def _part(row: RowMapping, prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)
    }
