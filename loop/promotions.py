"""Candidate against champion: the rule, its verdict, and the person who decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from loop.errors import Conflict, InvalidInput
from loop.predictions import ModelRef


class Verdict(StrEnum):
    PROMOTE = "promote"
    REFUSE = "refuse"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"


@dataclass(frozen=True, slots=True)
class GoldScore:
    """One model on the frozen gold set: mAP50, mAP50-95 and per-class AP50-95, all in [0, 1].

    Raises `InvalidInput` for other scores, NaN among them: it would pass every comparison.
    """

    model: ModelRef
    map50: float
    map50_95: float
    per_class: Mapping[str, float]
    images: int
    gold_sha256: str

    def __post_init__(self) -> None:
        scores = (self.map50, self.map50_95, *self.per_class.values())
        if not all(0.0 <= score <= 1.0 for score in scores):
            raise InvalidInput(f"A score of {self.model.name} is not between 0 and 1: {scores}.")

    def as_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.as_dict(),
            "map50": self.map50,
            "map50_95": self.map50_95,
            "per_class": dict(self.per_class),
            "images": self.images,
            "gold_sha256": self.gold_sha256,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GoldScore:
        return cls(
            ModelRef.from_dict(data["model"]),
            data["map50"],
            data["map50_95"],
            data["per_class"],
            data["images"],
            data["gold_sha256"],
        )


@dataclass(frozen=True, slots=True)
class GateSettings:
    """``min_gain`` is the least gain in mAP50-95; no class may lose more than ``max_class_loss``
    of AP50-95; below ``min_images`` gold images there is no verdict."""

    min_gain: float = 0.0
    max_class_loss: float = 0.1
    min_images: int = 10


@dataclass(frozen=True, slots=True)
class Decision:
    verdict: Verdict
    reasons: tuple[str, ...]


def decide(champion: GoldScore | None, candidate: GoldScore, settings: GateSettings) -> Decision:
    """Compare both on one gold set. With no champion, any candidate that finds something passes.

    Raises `Conflict` when the two were measured on different gold sets.
    """
    if candidate.images < settings.min_images:
        return Decision(
            Verdict.NOT_ENOUGH_EVIDENCE,
            (f"The gold set has {candidate.images} images; {settings.min_images} are needed.",),
        )
    if champion is None:
        found = candidate.map50_95 > 0
        return Decision(
            Verdict.PROMOTE if found else Verdict.REFUSE,
            (f"There is no champion; the candidate has mAP50-95 {candidate.map50_95:.3f}.",),
        )
    if champion.gold_sha256 != candidate.gold_sha256:
        raise Conflict(
            "Champion and candidate were measured on different gold sets.",
            hint="Measure both again: secondlook models compare.",
        )
    gain = candidate.map50_95 - champion.map50_95
    reasons = [
        f"mAP50-95 {champion.map50_95:.3f} to {candidate.map50_95:.3f} ({gain:+.3f}) "
        f"on {candidate.images} gold images."
    ]
    refused = gain <= settings.min_gain
    if refused:
        reasons.append(f"The gain is not above {settings.min_gain:.3f}.")
    for name, before in champion.per_class.items():
        loss = before - candidate.per_class.get(name, 0.0)
        if loss > settings.max_class_loss:
            refused = True
            reasons.append(f"{name} loses {loss:.3f} AP50-95.")
    return Decision(Verdict.REFUSE if refused else Verdict.PROMOTE, tuple(reasons))


class PromotionState(StrEnum):
    PROPOSED = "proposed"  # measured, has a verdict, waits for a person
    APPROVED = "approved"
    REFUSED = "refused"
    PROMOTED = "promoted"  # the alias moved and serving confirmed the swap
    FAILED = "failed"  # serving did not take it; the champion before it serves on


# A step in a promotion's history that is no state: it was promoted, and that stays true.
ROLLED_BACK = "rolled_back"

_NEXT = {
    PromotionState.PROPOSED: {PromotionState.APPROVED, PromotionState.REFUSED},
    PromotionState.APPROVED: {PromotionState.PROMOTED, PromotionState.FAILED},
    # A failed swap may be tried again.
    PromotionState.FAILED: {PromotionState.PROMOTED, PromotionState.FAILED},
}


@dataclass(frozen=True, slots=True)
class Promotion:
    """A candidate's way to champion. ``decided_by`` is a pseudonym, ``reason`` what they wrote."""

    id: str
    candidate: ModelRef
    champion: ModelRef | None
    candidate_score: GoldScore
    champion_score: GoldScore | None
    decision: Decision
    state: PromotionState
    created_at: str
    decided_by: str = ""
    reason: str = ""
    history: tuple[Mapping[str, str], ...] = field(default=())

    def moved_to(self, state: PromotionState, *, by: str, reason: str, at: str) -> Promotion:
        """The same promotion one state on. Raises `Conflict` for a step that is not one."""
        if state not in _NEXT.get(self.state, set()):
            raise Conflict(
                f"A promotion that is {self.state} cannot become {state}.",
                hint="secondlook models list shows where each one stands.",
            )
        decided = state in (PromotionState.APPROVED, PromotionState.REFUSED)
        step = {"state": state.value, "by": by, "reason": reason, "at": at}
        return replace(
            self,
            state=state,
            decided_by=by if decided else self.decided_by,
            reason=reason if decided else self.reason,
            history=(*self.history, step),
        )

    def rolled_back(self, *, by: str, reason: str, at: str) -> Promotion:
        """The same promotion, with the note that the model before it was put back."""
        step = {"state": ROLLED_BACK, "by": by, "reason": reason, "at": at}
        return replace(self, history=(*self.history, step))
