"""Candidate against champion: scores, the verdict (`loop.gate`), and the people who decide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from loop.errors import Conflict, InvalidInput
from loop.gate_record import GateRecord
from loop.predictions import ModelRef
from loop.quantised import Quantised


class Verdict(StrEnum):
    PROMOTE = "promote"
    REFUSE = "refuse"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"


@dataclass(frozen=True, slots=True)
class GoldScore:
    """One model on the frozen gold set: mAP50, mAP50-95 and per-class AP50-95, all in [0, 1].

    ``quantised`` is said of a model in INT8, measured as that. Raises `InvalidInput` for other
    scores, NaN among them: it would pass every comparison.
    """

    model: ModelRef
    map50: float
    map50_95: float
    per_class: Mapping[str, float]
    images: int
    gold_sha256: str
    quantised: Quantised | None = None

    def __post_init__(self) -> None:
        scores = (self.map50, self.map50_95, *self.per_class.values())
        if not all(0.0 <= score <= 1.0 for score in scores):
            raise InvalidInput(f"A score of {self.model.name} is not between 0 and 1: {scores}.")

    @property
    def measured_sha256(self) -> str:
        """The digest of what was measured: of the weights, or of the files of a model in INT8."""
        return self.quantised.files_sha256 if self.quantised else self.model.digest

    def as_dict(self) -> dict[str, Any]:
        quantised = {"quantised": self.quantised.as_dict()} if self.quantised else {}
        return {
            "model": self.model.as_dict(),
            "map50": self.map50,
            "map50_95": self.map50_95,
            "per_class": dict(self.per_class),
            "images": self.images,
            "gold_sha256": self.gold_sha256,
        } | quantised

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GoldScore:
        return cls(
            ModelRef.from_dict(data["model"]),
            data["map50"],
            data["map50_95"],
            data["per_class"],
            data["images"],
            data["gold_sha256"],
            Quantised.from_dict(data["quantised"]) if data.get("quantised") else None,
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """``gate`` is what a comparison with the champion rests on: None where there was none, and for
    verdicts of the rule before it, which compared two scores."""

    verdict: Verdict
    reasons: tuple[str, ...]
    gate: GateRecord | None = None


class PromotionState(StrEnum):
    PROPOSED = "proposed"  # measured, has a verdict, waits for a person
    APPROVED = "approved"
    REFUSED = "refused"
    PROMOTED = "promoted"  # the alias moved and serving confirmed the swap
    FAILED = "failed"  # serving did not take it; the champion before it serves on


# Steps in a promotion's history that are no state: it was promoted, and that stays true; and one
# of several people who are needed has approved it, and it waits for the next.
ROLLED_BACK = "rolled_back"
APPROVED_BY_ONE = "approved_by_one"

_NEXT = {
    PromotionState.PROPOSED: {PromotionState.APPROVED, PromotionState.REFUSED},
    PromotionState.APPROVED: {PromotionState.PROMOTED, PromotionState.FAILED},
    # A failed swap may be tried again.
    PromotionState.FAILED: {PromotionState.PROMOTED, PromotionState.FAILED},
}


@dataclass(frozen=True, slots=True)
class Promotion:
    """A candidate's way to champion. ``decided_by`` is the pseudonym of the last who decided,
    ``reason`` what they wrote. ``approvers`` is how many people must approve it."""

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
    approvers: int = 1

    @property
    def approved_by(self) -> tuple[str, ...]:
        """The pseudonyms of those who approved it, in order."""
        steps = (APPROVED_BY_ONE, PromotionState.APPROVED)
        return tuple(step["by"] for step in self.history if step["state"] in steps)

    @property
    def failure(self) -> Mapping[str, str] | None:
        """The step with ``reason`` and ``at`` of the release that failed last; None once there is
        another outcome."""
        if self.state is not PromotionState.FAILED:
            return None
        failed = (step for step in reversed(self.history) if step["state"] == self.state)
        return next(failed, None)

    @property
    def approvals_missing(self) -> int:
        """How many more people must approve it; 0 once it is decided."""
        if self.state is not PromotionState.PROPOSED:
            return 0
        return self.approvers - len(self.approved_by)

    def approved(self, *, by: str, reason: str, at: str, approvers: int = 1) -> Promotion:
        """With one more person's approval: APPROVED if it was the last that was needed.

        ``approvers`` may ask for more than there were to be. Raises `Conflict` for a second
        approval by the same person, and where there is nothing to approve.
        """
        needed = max(self.approvers, approvers)
        if self.state is PromotionState.PROPOSED and by in self.approved_by:
            raise Conflict(
                f"{by} has approved this already: {needed} different people must.",
                hint="Somebody else who may decide has to approve it too.",
            )
        if len(self.approved_by) + 1 >= needed or self.state is not PromotionState.PROPOSED:
            return self.moved_to(PromotionState.APPROVED, by=by, reason=reason, at=at)
        step = {"state": APPROVED_BY_ONE, "by": by, "reason": reason, "at": at}
        return replace(self, approvers=needed, history=(*self.history, step))

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


@dataclass(frozen=True, slots=True)
class Release:
    """What became of a version that was to go into service; ``at`` is RFC 3339."""

    version: str
    outcome: str
    reason: str
    at: str

    @property
    def line(self) -> str:
        failed = self.outcome == PromotionState.FAILED
        return f"version {self.version} {self.outcome}" + (f": {self.reason}" if failed else "")


def last_release(promotions: Iterable[Promotion]) -> Release | None:
    """The newest of those that were promoted, failed or rolled back; None before the first."""
    outcomes = (PromotionState.PROMOTED, PromotionState.FAILED, ROLLED_BACK)
    releases = [
        Release(each.candidate.version, step["state"].replace("_", " "), step["reason"], step["at"])
        for each in promotions
        for step in each.history
        if step["state"] in outcomes
    ]
    return max(releases, key=lambda release: release.at, default=None)
