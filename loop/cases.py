"""A case: one prediction on its way through first and second review to an annotation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from loop.corrections import Dropped, FinalBox
from loop.errors import InvalidAnswer


class CaseState(StrEnum):
    FIRST = "first"  # waits for the first reviewer
    SECOND = "second"  # waits for a second reviewer
    REOPENED = "reopened"  # its image was settled before; waits for a new first answer
    SETTLED = "settled"  # has its annotation


@dataclass(frozen=True, slots=True)
class Case:
    """``id`` is the ``review_id`` of the HTTP API. ``reasons`` say why it is where it is.

    ``priority`` is the model's uncertainty and ``disagreement`` how far the first answer is from
    the model, both in [0, 1]; ``shuffle`` in [0, 1) is drawn once and gives the random order.
    ``model`` is ``name:version``; ``classes`` occur in the prediction or in the first answer, by
    ``first_reviewer`` (a pseudonym, None until then). ``reopens`` names the settled case that this
    one looks at again.
    """

    id: str
    image_id: str
    prediction_id: str
    state: CaseState
    reasons: tuple[str, ...]
    priority: float
    created_at: str
    model: str = ""
    classes: tuple[int, ...] = ()
    disagreement: float = 0.0
    shuffle: float = 0.0
    first_reviewer: str | None = None
    reopens: str | None = None

    @property
    def is_open(self) -> bool:
        return self.state is not CaseState.SETTLED


class Source(StrEnum):
    """How an annotation came to be the truth."""

    FIRST = "first_review"  # the first answer, which agreed with the model
    SECOND = "second_review"  # a second person settled it
    IMPORTED = "imported"


@dataclass(frozen=True, slots=True)
class SecondReview:
    """A second person's answer: ``blind`` boxes drawn before model and first answer were shown,
    and the ``final`` ones after. ``reason`` is a reason code for what was changed; ``dropped``
    says which boxes of either side became nothing, and why."""

    id: str
    case_id: str
    reviewer: str
    blind: tuple[FinalBox, ...]
    final: tuple[FinalBox, ...]
    reason: str
    comment: str
    active_seconds: float
    created_at: str
    dropped: tuple[Dropped, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.active_seconds < float("inf"):
            raise InvalidAnswer(f"Active seconds {self.active_seconds} is not a duration.")


@dataclass(frozen=True, slots=True)
class BlindReview:
    """What a second reviewer drew blind, sealed: from then on it cannot change."""

    case_id: str
    reviewer: str
    boxes: tuple[FinalBox, ...]
    active_seconds: float
    created_at: str

    def __post_init__(self) -> None:
        if not 0 <= self.active_seconds < float("inf"):
            raise InvalidAnswer(f"Active seconds {self.active_seconds} is not a duration.")


@dataclass(frozen=True, slots=True)
class Skip:
    """Somebody passed a case on; ``reason`` is a code."""

    case_id: str
    reviewer: str
    reason: str
    created_at: str


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
