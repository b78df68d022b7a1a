"""A case: one prediction on its way through first and second review to an annotation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from loop.corrections import FinalBox
from loop.errors import InvalidAnswer


class CaseState(StrEnum):
    FIRST = "first"  # waits for the first reviewer
    SECOND = "second"  # waits for a second reviewer
    SETTLED = "settled"  # has its annotation


@dataclass(frozen=True, slots=True)
class Case:
    """``id`` is the ``review_id`` of the HTTP API. ``reasons`` say why it is where it is.

    ``priority`` orders the queue, highest first: the model's uncertainty, in [0, 1].
    """

    id: str
    image_id: str
    prediction_id: str
    state: CaseState
    reasons: tuple[str, ...]
    priority: float
    created_at: str


class Source(StrEnum):
    """How an annotation came to be the truth."""

    FIRST = "first_review"  # the first answer, which agreed with the model
    SECOND = "second_review"  # a second person settled it
    IMPORTED = "imported"


@dataclass(frozen=True, slots=True)
class SecondReview:
    """A second person's answer: ``blind`` boxes drawn before model and first answer were shown,
    and the ``final`` ones after. ``reason`` is a reason code for what was changed."""

    id: str
    case_id: str
    reviewer: str
    blind: tuple[FinalBox, ...]
    final: tuple[FinalBox, ...]
    reason: str
    comment: str
    active_seconds: float
    created_at: str

    def __post_init__(self) -> None:
        if not 0 <= self.active_seconds < float("inf"):
            raise InvalidAnswer(f"Active seconds {self.active_seconds} is not a duration.")


@dataclass(frozen=True, slots=True)
class Annotation:
    """The truth about one image, immutable. A reopened case makes the next ``version``.

    No boxes means "no finding". ``reviewers`` are pseudonyms, first reviewer first.
    """

    id: str
    image_id: str
    version: int
    case_id: str | None
    source: Source
    boxes: tuple[FinalBox, ...]
    reviewers: tuple[str, ...]
    created_at: str

    def __post_init__(self) -> None:
        if self.version < 1:
            raise InvalidAnswer(f"Annotation version {self.version} is below 1.")
