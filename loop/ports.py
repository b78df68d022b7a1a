"""What the use cases need from outside, as protocols: ``store`` implements them.

A unit of work is one database transaction. Nothing is kept unless ``commit`` is called, and
``commit`` refuses a change that no audit event was recorded for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from loop.agreement import Agreement
from loop.cases import Annotation, Case, CaseState, SecondReview
from loop.classes import ClassList
from loop.corrections import Correction
from loop.events import Event
from loop.images import Image
from loop.predictions import ModelRef, Prediction
from loop.promotions import Promotion
from loop.snapshots import SnapshotRecord


class Images(Protocol):
    def add(self, image: Image) -> bool:
        """Keep ``image``; False if one with its id is there already (it stays as it was)."""

    def find(self, image_id: str) -> Image | None: ...
    def get(self, image_id: str) -> Image:
        """Raises `NotFound`."""

    def count(self) -> int: ...
    def gold(self) -> list[Image]:
        """The frozen gold set, ordered by id."""

    def mark_gold(self, image_ids: Sequence[str]) -> None: ...


class Predictions(Protocol):
    def add(self, prediction: Prediction) -> None: ...
    def get(self, prediction_id: str) -> Prediction:
        """Raises `NotFound`."""

    def of_image(self, image_id: str) -> list[Prediction]:
        """Oldest first."""


class Cases(Protocol):
    def add(self, case: Case) -> None: ...
    def get(self, case_id: str) -> Case:
        """Raises `NotFound`."""

    def move(self, case: Case, expected: CaseState) -> None:
        """Store the new state. Raises `Conflict` if the stored one is no longer ``expected``."""

    def of_prediction(self, prediction_id: str) -> Case | None: ...
    def waiting(
        self, state: CaseState, *, limit: int = 50, offset: int = 0, not_by: str | None = None
    ) -> list[Case]:
        """Cases in ``state``, highest priority first; ``not_by`` leaves out those whose first
        reviewer has that pseudonym."""

    def counts(self) -> dict[CaseState, int]: ...


class Corrections(Protocol):
    def add(self, correction: Correction, agreement: Agreement) -> None: ...
    def of_case(self, case_id: str) -> Correction | None: ...
    def count(self) -> int: ...
    def latest(self) -> Iterator[tuple[str, Correction]]:
        """(image id, its latest first answer) for every image that has one, by image id."""


class SecondReviews(Protocol):
    def add(self, review: SecondReview) -> None: ...
    def of_case(self, case_id: str) -> SecondReview | None: ...
    def count(self) -> int: ...


class Annotations(Protocol):
    def add(self, annotation: Annotation) -> None: ...
    def latest_of(self, image_id: str) -> Annotation | None: ...
    def latest(self) -> Iterator[Annotation]:
        """The highest version for every annotated image, by image id."""


class Classes(Protocol):
    def find(self) -> ClassList | None: ...
    def get(self) -> ClassList:
        """Raises `Misconfigured` while no class list was set."""

    def set(self, classes: ClassList) -> None: ...


class Snapshots(Protocol):
    def add(self, record: SnapshotRecord) -> bool:
        """Keep ``record``; False if the same digest is there already."""

    def get(self, prefix: str) -> SnapshotRecord:
        """By digest or an unambiguous beginning of it. Raises `NotFound`, `Conflict`."""

    def list(self) -> list[SnapshotRecord]:
        """Oldest first."""


class Promotions(Protocol):
    def add(self, promotion: Promotion) -> None: ...
    def update(self, promotion: Promotion) -> None: ...
    def find(self, name: str, version: str) -> Promotion | None:
        """The latest promotion of that model version."""

    def list(self) -> list[Promotion]:
        """Oldest first."""


class UnitOfWork(Protocol):
    @property
    def images(self) -> Images: ...
    @property
    def predictions(self) -> Predictions: ...
    @property
    def cases(self) -> Cases: ...
    @property
    def corrections(self) -> Corrections: ...
    @property
    def second_reviews(self) -> SecondReviews: ...
    @property
    def annotations(self) -> Annotations: ...
    @property
    def classes(self) -> Classes: ...
    @property
    def snapshots(self) -> Snapshots: ...
    @property
    def promotions(self) -> Promotions: ...

    def record(self, event: Event) -> None:
        """Put ``event`` into the outbox of this transaction."""

    def commit(self) -> None:
        """Keep all of it, change and events together."""


UnitsOfWork = Callable[[], AbstractContextManager[UnitOfWork]]


class ImageStore(Protocol):
    """Sanitised image bytes, by their SHA-256."""

    def put(self, data: bytes) -> str:
        """Keep ``data`` and return its SHA-256 (hex). The same bytes twice are kept once."""

    def get(self, image_id: str) -> bytes:
        """Raises `NotFound`; `BrokenRecord` when the bytes no longer match their id."""


class Aliases(Protocol):
    """Which registered model version an alias (``champion``, ``candidate``…) means."""

    def find_alias(self, alias: str) -> ModelRef | None: ...
    def set_alias(self, alias: str, ref: ModelRef) -> None: ...
    def delete_alias(self, alias: str) -> None: ...
