"""In-memory stand-ins for what `loop.ports` asks of the outside."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from loop import ports
from loop.agreement import Agreement
from loop.cases import Annotation, Case, CaseState, SecondReview
from loop.classes import ClassList
from loop.corrections import Correction
from loop.errors import BrokenRecord, Conflict, Misconfigured, NotFound
from loop.events import Event
from loop.images import Image
from loop.predictions import Prediction
from loop.promotions import Promotion
from loop.snapshots import SnapshotRecord

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass
class Tables:
    """The state of a `FakeDatabase`: what was committed."""

    images: dict[str, Image] = field(default_factory=dict)
    predictions: dict[str, Prediction] = field(default_factory=dict)
    cases: dict[str, Case] = field(default_factory=dict)
    # Keyed by case id, of which each has one at most.
    corrections: dict[str, tuple[Correction, Agreement]] = field(default_factory=dict)
    second_reviews: dict[str, SecondReview] = field(default_factory=dict)
    annotations: dict[tuple[str, int], Annotation] = field(default_factory=dict)
    classes: dict[int, str] = field(default_factory=dict)
    snapshots: dict[str, SnapshotRecord] = field(default_factory=dict)
    promotions: dict[str, Promotion] = field(default_factory=dict)

    def copy(self) -> Tables:
        return Tables(**{each.name: dict(getattr(self, each.name)) for each in fields(self)})


class FakeDatabase:
    """``units`` makes units of work on it; ``tables`` and ``events`` hold what was committed."""

    def __init__(self, classes: ClassList | None = None) -> None:
        self.tables = Tables(classes=dict(enumerate(classes or ())))
        self.events: list[Event] = []

    def units(self) -> FakeUnitOfWork:
        return FakeUnitOfWork(self)


class FakeUnitOfWork:
    """Works on a copy; ``commit`` puts it in the place of what the database holds."""

    def __init__(self, database: FakeDatabase | None = None) -> None:
        self._database = database or FakeDatabase()
        self._before = self._database.tables
        self._tables = self._before.copy()
        self._events: list[Event] = []
        self.images: ports.Images = FakeImages(self._tables)
        self.predictions: ports.Predictions = FakePredictions(self._tables)
        self.cases: ports.Cases = FakeCases(self._tables)
        self.corrections: ports.Corrections = FakeCorrections(self._tables)
        self.second_reviews: ports.SecondReviews = FakeSecondReviews(self._tables)
        self.annotations: ports.Annotations = FakeAnnotations(self._tables)
        self.classes: ports.Classes = FakeClasses(self._tables)
        self.snapshots: ports.Snapshots = FakeSnapshots(self._tables)
        self.promotions: ports.Promotions = FakePromotions(self._tables)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None  # nothing to undo: what was not committed is only in the copy

    def record(self, event: Event) -> None:
        event.canonical()  # refuses what JSON cannot carry, as the outbox does
        self._events.append(event)

    def commit(self) -> None:
        if self._tables != self._before and not self._events:
            raise RuntimeError("A change of state needs an audit event: call record() first.")
        if self._database.tables is not self._before:
            raise Conflict("Somebody was faster.")
        self._database.tables = self._before = self._tables.copy()
        self._database.events.extend(self._events)
        self._events = []


@dataclass
class _Fake:
    _tables: Tables


class FakeImages(_Fake):
    def add(self, image: Image) -> bool:
        if image.id in self._tables.images:
            return False
        self._tables.images[image.id] = image
        return True

    def find(self, image_id: str) -> Image | None:
        return self._tables.images.get(image_id)

    def get(self, image_id: str) -> Image:
        return _get(self._tables.images, image_id)

    def count(self) -> int:
        return len(self._tables.images)

    def gold(self) -> list[Image]:
        gold = (image for image in self._tables.images.values() if image.gold)
        return sorted(gold, key=lambda image: image.id)

    def mark_gold(self, image_ids: Sequence[str]) -> None:
        for image_id in image_ids:
            self._tables.images[image_id] = replace(self.get(image_id), gold=True)


class FakePredictions(_Fake):
    def add(self, prediction: Prediction) -> None:
        _insert(self._tables.predictions, prediction.id, prediction)

    def get(self, prediction_id: str) -> Prediction:
        return _get(self._tables.predictions, prediction_id)

    def of_image(self, image_id: str) -> list[Prediction]:
        found = (p for p in self._tables.predictions.values() if p.image_id == image_id)
        return sorted(found, key=lambda prediction: (prediction.created_at, prediction.id))


class FakeCases(_Fake):
    def add(self, case: Case) -> None:
        _insert(self._tables.cases, case.id, case)

    def get(self, case_id: str) -> Case:
        return _get(self._tables.cases, case_id)

    def move(self, case: Case, expected: CaseState) -> None:
        if self.get(case.id).state is not expected:
            raise Conflict("This case has moved on in the meantime.")
        self._tables.cases[case.id] = case

    def of_prediction(self, prediction_id: str) -> Case | None:
        found = (c for c in self._tables.cases.values() if c.prediction_id == prediction_id)
        return next(found, None)

    def waiting(
        self, state: CaseState, *, limit: int = 50, offset: int = 0, not_by: str | None = None
    ) -> list[Case]:
        first = self._tables.corrections
        own = {case_id for case_id, (answer, _) in first.items() if answer.reviewer == not_by}
        cases = [c for c in self._tables.cases.values() if c.state is state and c.id not in own]
        cases.sort(key=lambda case: (-case.priority, case.created_at, case.id))
        return cases[offset : offset + limit]

    def counts(self) -> dict[CaseState, int]:
        return dict(Counter(case.state for case in self._tables.cases.values()))


class FakeCorrections(_Fake):
    def add(self, correction: Correction, agreement: Agreement) -> None:
        _insert(self._tables.corrections, correction.case_id, (correction, agreement))

    def of_case(self, case_id: str) -> Correction | None:
        found = self._tables.corrections.get(case_id)
        return found[0] if found else None

    def count(self) -> int:
        return len(self._tables.corrections)

    def latest(self) -> Iterator[tuple[str, Correction]]:
        newest: dict[str, Correction] = {}
        answers = (correction for correction, _ in self._tables.corrections.values())
        for correction in sorted(answers, key=lambda answer: (answer.created_at, answer.id)):
            newest[self._tables.cases[correction.case_id].image_id] = correction
        yield from sorted(newest.items())


class FakeSecondReviews(_Fake):
    def add(self, review: SecondReview) -> None:
        _insert(self._tables.second_reviews, review.case_id, review)

    def of_case(self, case_id: str) -> SecondReview | None:
        return self._tables.second_reviews.get(case_id)

    def count(self) -> int:
        return len(self._tables.second_reviews)


class FakeAnnotations(_Fake):
    def add(self, annotation: Annotation) -> None:
        key = (annotation.image_id, annotation.version)
        _insert(self._tables.annotations, key, annotation)

    def latest_of(self, image_id: str) -> Annotation | None:
        return next((each for each in self.latest() if each.image_id == image_id), None)

    def latest(self) -> Iterator[Annotation]:
        highest = {key[0]: each for key, each in sorted(self._tables.annotations.items())}
        yield from highest.values()


class FakeClasses(_Fake):
    def find(self) -> ClassList | None:
        names = tuple(self._tables.classes.values())
        return ClassList(names) if names else None

    def get(self) -> ClassList:
        classes = self.find()
        if classes is None:
            raise Misconfigured("There is no class list yet.")
        return classes

    def set(self, classes: ClassList) -> None:
        if self.find() is not None:
            raise Conflict("There is a class list already.")
        self._tables.classes.update(enumerate(classes))


class FakeSnapshots(_Fake):
    def add(self, record: SnapshotRecord) -> bool:
        if record.sha256 in self._tables.snapshots:
            return False
        self._tables.snapshots[record.sha256] = record
        return True

    def get(self, prefix: str) -> SnapshotRecord:
        found = [r for r in self._tables.snapshots.values() if r.sha256.startswith(prefix)]
        if not found or not prefix:
            raise NotFound(f"There is no snapshot {prefix!r}.")
        if len(found) > 1:
            raise Conflict(f"More than one snapshot begins with {prefix!r}.")
        return found[0]

    def list(self) -> list[SnapshotRecord]:
        records = self._tables.snapshots.values()
        return sorted(records, key=lambda record: (record.created_at, record.sha256))


class FakePromotions(_Fake):
    def add(self, promotion: Promotion) -> None:
        _insert(self._tables.promotions, promotion.id, promotion)

    def update(self, promotion: Promotion) -> None:
        _get(self._tables.promotions, promotion.id)
        self._tables.promotions[promotion.id] = promotion

    def find(self, name: str, version: str) -> Promotion | None:
        of_model = [
            promotion
            for promotion in self.list()
            if (promotion.candidate.name, promotion.candidate.version) == (name, version)
        ]
        return of_model[-1] if of_model else None

    def list(self) -> list[Promotion]:
        promotions = self._tables.promotions.values()
        return sorted(promotions, key=lambda promotion: (promotion.created_at, promotion.id))


class FakeImageStore:
    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        image_id = hashlib.sha256(data).hexdigest()
        self.kept[image_id] = bytes(data)
        return image_id

    def get(self, image_id: str) -> bytes:
        data = _get(self.kept, image_id)
        if hashlib.sha256(data).hexdigest() != image_id:
            raise BrokenRecord(f"Image {image_id} does not match its id.")
        return data


def _get(table: dict[Key, Value], key: Key) -> Value:
    if key not in table:
        raise NotFound(f"There is no {key}.")
    return table[key]


def _insert(table: dict[Key, Value], key: Key, value: Value) -> None:
    if key in table:
        raise Conflict(f"There is {key} already.")
    table[key] = value


if TYPE_CHECKING:
    _unit: ports.UnitOfWork = FakeUnitOfWork()
    _units: ports.UnitsOfWork = FakeDatabase().units
    _store: ports.ImageStore = FakeImageStore()
