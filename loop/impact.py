"""What corrections changed: a promoted model against the one it replaced, by class and by case."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from loop.cases import Annotation
from loop.classes import ClassList
from loop.predictions import Detection, ModelRef, Prediction
from loop.promotions import ROLLED_BACK, Promotion, PromotionState

# What a metric's name may hold anywhere; dots and slashes would be taken for a path's.
_NOT_IN_NAMES = re.compile(r"[^\w -]")
_LONGEST_NAME = 100


class Change(StrEnum):
    """What became of a settled case with the promoted model.

    Right is what agrees with the annotation by the rule that decides about second reviews.
    """

    FIXED = "fixed"  # the earlier model was wrong, this one is right
    STILL_WRONG = "still_wrong"
    BROKEN = "broken"  # the earlier model was right, this one is wrong
    STILL_RIGHT = "still_right"

    @classmethod
    def of(cls, *, right_before: bool, right_now: bool) -> Change:
        if right_before:
            return cls.STILL_RIGHT if right_now else cls.BROKEN
        return cls.FIXED if right_now else cls.STILL_WRONG


@dataclass(frozen=True, slots=True)
class Settled:
    """A settled case: what an earlier model saw, and what people said."""

    prediction: Prediction
    annotation: Annotation


@dataclass(frozen=True, slots=True)
class ChangedCase:
    """``detections`` are the promoted model's; ``reviewers`` whose answer the annotation is."""

    case_id: str
    image_id: str
    prediction_id: str
    annotation_id: str
    settled_at: str
    reviewers: tuple[str, ...]
    change: Change
    detections: tuple[Detection, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "case_id": self.case_id,
            "image_id": self.image_id,
            "prediction_id": self.prediction_id,
            "annotation_id": self.annotation_id,
            "settled_at": self.settled_at,
            "reviewers": list(self.reviewers),
            "change": self.change.value,
            "detections": [detection.as_dict() for detection in self.detections],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ChangedCase:
        return cls(
            case_id=data["case_id"],
            image_id=data["image_id"],
            prediction_id=data["prediction_id"],
            annotation_id=data["annotation_id"],
            settled_at=data["settled_at"],
            reviewers=tuple(data["reviewers"]),
            change=Change(data["change"]),
            detections=tuple(Detection.from_dict(document) for document in data["detections"]),
        )


@dataclass(frozen=True, slots=True)
class Impact:
    """What a promoted model makes of the latest cases settled before it, newest first."""

    promotion_id: str
    model: ModelRef
    measured_at: str
    cases: tuple[ChangedCase, ...]

    @property
    def counts(self) -> dict[Change, int]:
        found = Counter(case.change for case in self.cases)
        return {change: found[change] for change in Change}

    def of(self, change: Change) -> list[ChangedCase]:
        return [case for case in self.cases if case.change is change]

    def settled_by(self, at: str) -> int:
        """How many of the cases were settled by then: the most that a snapshot of then holds."""
        return sum(case.settled_at <= at for case in self.cases)

    def as_dict(self) -> dict[str, Any]:
        return {
            "promotion_id": self.promotion_id,
            "model": self.model.as_dict(),
            "measured_at": self.measured_at,
            "cases": [case.as_dict() for case in self.cases],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Impact:
        return cls(
            data["promotion_id"],
            ModelRef.from_dict(data["model"]),
            data["measured_at"],
            tuple(ChangedCase.from_dict(document) for document in data["cases"]),
        )


@dataclass(frozen=True, slots=True)
class ClassChange:
    """AP50-95 of a class on the gold set, before and after; None where it was not measured.

    ``folds`` are the new model's scores of the class on the validation images of each fold.
    """

    name: str
    before: float | None
    after: float | None
    folds: tuple[float, ...]

    @property
    def change(self) -> float | None:
        if self.before is None or self.after is None:
            return None
        return self.after - self.before

    @property
    def spread(self) -> float | None:
        """The sample standard deviation over the folds; None for fewer than two."""
        return statistics.stdev(self.folds) if len(self.folds) > 1 else None


def class_changes(
    promotion: Promotion, folds: Sequence[Mapping[str, float]] = ()
) -> list[ClassChange]:
    """For each class in the gold set. ``folds`` has each fold's AP50-95 by class name."""
    after = promotion.candidate_score.per_class
    before = promotion.champion_score.per_class if promotion.champion_score else {}
    names = dict.fromkeys([*after, *before])
    return [
        ClassChange(
            name,
            before.get(name),
            after.get(name),
            tuple(scores[name] for scores in folds if name in scores),
        )
        for name in names
    ]


@dataclass(frozen=True, slots=True)
class Promoted:
    """A promotion that went through, ``at`` that time."""

    promotion: Promotion
    at: str
    in_service: bool
    rolled_back: bool


def promoted(promotions: Iterable[Promotion], champion: ModelRef | None) -> list[Promoted]:
    """The promotions that went through, newest first; ``champion`` is what serves now.

    A roll-back stands in the promotion's history. Of those before that was so, one is taken to
    have happened where the replaced model serves now, or the next was measured against it.
    """
    through = [each for each in promotions if each.state is PromotionState.PROMOTED]
    through.sort(key=promoted_at, reverse=True)
    found: list[Promoted] = []
    for place, promotion in enumerate(through):
        at, after = promoted_at(promotion), champion
        if place > 0:
            later = through[place - 1]
            after = later.champion if later.created_at > at else promotion.candidate
        noted = any(step["state"] == ROLLED_BACK and step["at"] > at for step in promotion.history)
        replaced_again = promotion.champion is not None and after == promotion.champion
        serves = champion == promotion.candidate
        found.append(Promoted(promotion, at, serves, not serves and (noted or replaced_again)))
    return found


def promoted_at(promotion: Promotion) -> str:
    """When it went through: its last step to that state."""
    steps = (step for step in promotion.history if step["state"] == PromotionState.PROMOTED)
    return max((step["at"] for step in steps), default=promotion.created_at)


def metric_names(classes: ClassList) -> dict[str, str]:
    """What each class is called in the names of metrics, which not every name can be."""
    safe = [_NOT_IN_NAMES.sub("_", name)[:_LONGEST_NAME].strip() for name in classes]
    taken = Counter(safe)
    return {
        name: f"{own}:{class_id}" if taken[own] > 1 else own
        for class_id, (name, own) in enumerate(zip(classes, safe, strict=True))
    }


def class_metrics(
    scores: Mapping[str, Mapping[str, float]], classes: ClassList
) -> dict[str, float]:
    """``scores`` by class name and then by the score's, as a run's metrics: ``class_map50/rod``."""
    names = metric_names(classes)
    return {
        f"class_{score}/{names[name]}": value
        for name, own in scores.items()
        for score, value in own.items()
    }


def class_scores(metrics: Mapping[str, float], classes: ClassList, score: str) -> dict[str, float]:
    """What `class_metrics` put into a run's ``metrics``: one of the scores, by class name."""
    names = metric_names(classes)
    found = {name: metrics.get(f"class_{score}/{own}") for name, own in names.items()}
    return {name: value for name, value in found.items() if value is not None}
