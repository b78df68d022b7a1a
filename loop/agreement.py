"""How far two answers to one image agree: a model and a person, or two people.

Boxes are matched one to one so that the sum of CIoU over the matches is greatest, among pairs
that overlap at all. What is matched agrees, or was moved, or differs in class; what is left over
was missed or is a false positive. The result decides whether a second review is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from loop.boxes import Box, as_array, ciou_matrix, iou_matrix
from loop.corrections import Correction
from loop.errors import LoopError
from loop.predictions import Prediction

# A pair that overlaps but whose CIoU is negative still matches when neither box has a better
# partner: its profit is this fraction of its IoU, far below that of any positive CIoU.
_POOR_MATCH_PROFIT = 1e-6
# Of equally good partners the one of the same class is taken: a model may propose two classes
# for one and the same box, and accepting both must not look like two class differences.
_SAME_CLASS_PROFIT = 1e-9


@dataclass(frozen=True, slots=True)
class AgreementSettings:
    """Thresholds. A pair may match above ``match_iou``; it agrees from ``agreement_ciou`` up.

    A removed detection of at least ``high_confidence`` is a high-confidence removal.
    """

    match_iou: float = 0.0
    agreement_ciou: float = 0.5
    high_confidence: float = 0.75


@dataclass(frozen=True, slots=True)
class LabelledBox:
    """A box as either side of a comparison sees it."""

    id: str
    box: Box
    class_id: int
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class Match:
    left_id: str
    right_id: str
    iou: float
    ciou: float
    same_class: bool


class Reason(StrEnum):
    """Why a case needs a second review."""

    MOVED = "moved"
    MISSED = "missed"
    CLASS_DIFFERENCE = "class_difference"
    HIGH_CONFIDENCE_REMOVAL = "high_confidence_removal"
    NOT_COMPUTABLE = "not_computable"
    ESCALATED = "escalated"
    REOPENED = "reopened"


@dataclass(frozen=True, slots=True)
class Agreement:
    """The comparison of ``left`` (model, or first person) and ``right`` (the later person).

    ``missed`` are right boxes that left has not; ``false_positives`` are left boxes that right
    has not, and ``high_confidence_removals`` those of them that left was sure of. All are ids.
    """

    matches: tuple[Match, ...] = ()
    moved: tuple[Match, ...] = ()
    class_differences: tuple[Match, ...] = ()
    missed: tuple[str, ...] = ()
    false_positives: tuple[str, ...] = ()
    high_confidence_removals: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()

    @property
    def needs_second_review(self) -> bool:
        return bool(self.reasons)

    @property
    def disagreement(self) -> float:
        """How far apart the two are, in [0, 1]: 1 less the CIoU of what matches in place and class,
        as a share of everything that either has.

        Negative CIoU counts as none. 0 if neither has anything, 1 if it cannot be computed.
        """
        if Reason.NOT_COMPUTABLE in self.reasons:
            return 1.0
        either = len(self.matches) + len(self.missed) + len(self.false_positives)
        if not either:
            return 0.0
        agreed = sum(max(match.ciou, 0.0) for match in self.matches if match.same_class)
        return min(max(1.0 - agreed / either, 0.0), 1.0)

    def as_dict(self) -> dict[str, Any]:
        def pairs(matches: tuple[Match, ...]) -> list[dict[str, Any]]:
            return [
                {"left": m.left_id, "right": m.right_id, "iou": m.iou, "ciou": m.ciou}
                for m in matches
            ]

        return {
            "matches": pairs(self.matches),
            "moved": pairs(self.moved),
            "class_differences": pairs(self.class_differences),
            "missed": list(self.missed),
            "false_positives": list(self.false_positives),
            "high_confidence_removals": list(self.high_confidence_removals),
            "reasons": [reason.value for reason in self.reasons],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Agreement:
        """What `as_dict` gave: only the matches of equal class are not among the differences."""
        other_class = {(pair["left"], pair["right"]) for pair in data["class_differences"]}

        def matches(name: str) -> tuple[Match, ...]:
            return tuple(
                Match(
                    pair["left"],
                    pair["right"],
                    pair["iou"],
                    pair["ciou"],
                    (pair["left"], pair["right"]) not in other_class,
                )
                for pair in data[name]
            )

        return cls(
            matches=matches("matches"),
            moved=matches("moved"),
            class_differences=matches("class_differences"),
            missed=tuple(data["missed"]),
            false_positives=tuple(data["false_positives"]),
            high_confidence_removals=tuple(data["high_confidence_removals"]),
            reasons=tuple(Reason(reason) for reason in data["reasons"]),
        )


def compare(
    left: Sequence[LabelledBox], right: Sequence[LabelledBox], settings: AgreementSettings
) -> Agreement:
    """Match ``left`` and ``right`` one to one and say where they differ."""
    matches = _match(left, right, settings.match_iou)
    matched_left = {match.left_id for match in matches}
    matched_right = {match.right_id for match in matches}
    moved = tuple(match for match in matches if match.ciou < settings.agreement_ciou)
    class_differences = tuple(match for match in matches if not match.same_class)
    missed = tuple(box.id for box in right if box.id not in matched_right)
    removed = [box for box in left if box.id not in matched_left]
    sure = tuple(box.id for box in removed if box.confidence >= settings.high_confidence)
    found = {
        Reason.MOVED: moved,
        Reason.MISSED: missed,
        Reason.CLASS_DIFFERENCE: class_differences,
        Reason.HIGH_CONFIDENCE_REMOVAL: sure,
    }
    return Agreement(
        matches=matches,
        moved=moved,
        class_differences=class_differences,
        missed=missed,
        false_positives=tuple(box.id for box in removed),
        high_confidence_removals=sure,
        reasons=tuple(reason for reason, evidence in found.items() if evidence),
    )


def compare_with_model(
    prediction: Prediction, correction: Correction, settings: AgreementSettings
) -> Agreement:
    """Model against first reviewer. What cannot be computed goes to review, never past it."""
    left = [LabelledBox(d.id, d.box, d.class_id, d.confidence) for d in prediction.detections]
    right = [LabelledBox(b.id, b.box, b.class_id) for b in correction.boxes]
    try:
        return compare(left, right, settings)
    except (LoopError, ArithmeticError, ValueError):
        return Agreement(reasons=(Reason.NOT_COMPUTABLE,))


def _match(
    left: Sequence[LabelledBox], right: Sequence[LabelledBox], match_iou: float
) -> tuple[Match, ...]:
    if not left or not right:
        return ()
    from scipy.optimize import linear_sum_assignment  # slow to import, and only this needs it

    left_array = as_array([box.box for box in left])
    right_array = as_array([box.box for box in right])
    iou = iou_matrix(left_array, right_array)
    ciou = ciou_matrix(left_array, right_array)
    if not np.isfinite(ciou).all():
        raise ArithmeticError("CIoU is not finite")
    allowed = iou > match_iou
    left_classes = np.array([box.class_id for box in left])
    right_classes = np.array([box.class_id for box in right])
    same_class = left_classes[:, None] == right_classes[None, :]
    gain = np.maximum(ciou, _POOR_MATCH_PROFIT * iou) + _SAME_CLASS_PROFIT * same_class
    profit = np.where(allowed, gain, 0.0)
    rows, columns = linear_sum_assignment(profit, maximize=True)
    return tuple(
        Match(
            left[i].id,
            right[j].id,
            float(iou[i, j]),
            float(ciou[i, j]),
            bool(same_class[i, j]),
        )
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True)
        if allowed[i, j]
    )
