"""What waits for review, as rows of a table."""

from __future__ import annotations

from dataclasses import dataclass

from loop.cases import Case, CaseState
from loop.ports import UnitsOfWork

HEADERS = ["Case", "Image", "Why", "Priority", "Waiting since (UTC)"]
_MOST_ROWS = 100
# As people say it, for the reasons of loop.agreement and loop.intake.
_REASONS = {
    "new_prediction": "new image",
    "moved": "a box was moved",
    "missed": "the model missed a box",
    "class_difference": "classes differ",
    "high_confidence_removal": "a sure detection was removed",
    "not_computable": "agreement could not be computed",
    "escalated": "the reviewer asked for it",
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """The cases that one of the two reviews waits for: how many, and the first of them."""

    total: int
    rows: list[list[str]]

    @property
    def heading(self) -> str:
        if not self.total:
            return "Nothing is waiting."
        shown = len(self.rows)
        more = f", the most urgent {shown} are shown" if shown < self.total else ""
        return f"{self.total} waiting{more}."


def waiting(units: UnitsOfWork, state: CaseState) -> Waiting:
    with units() as uow:
        cases = uow.cases.waiting(state, limit=_MOST_ROWS)
        total = uow.cases.counts().get(state, 0)
    return Waiting(total, [_row(case) for case in cases])


def _row(case: Case) -> list[str]:
    reasons = ", ".join(_REASONS.get(reason, reason.replace("_", " ")) for reason in case.reasons)
    since = case.created_at[:19].replace("T", " ")
    return [case.id[:12], case.image_id[:12], reasons, f"{case.priority:.2f}", since]
