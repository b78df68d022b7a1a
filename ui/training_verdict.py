"""A candidate, its verdict and where its promotion stands, in words: for Compare and for Decide."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from loop.promotions import APPROVED_BY_ONE, ROLLED_BACK, Promotion, PromotionState, Verdict
from ui.gate_panel import gate_panel
from ui.gold_book import Candidate
from ui.training_html import Cell, difference, heading, notice, score, table, when, who

_VERDICTS = {
    Verdict.PROMOTE: ("good", "The gate says: promote."),
    Verdict.REFUSE: ("bad", "The gate says: refuse."),
    Verdict.NOT_ENOUGH_EVIDENCE: ("warn", "The gate says: not enough evidence."),
}
_STATES = {
    PromotionState.PROPOSED: "It waits for a person to approve or refuse it.",
    PromotionState.APPROVED: "It is approved and waits to be promoted.",
    PromotionState.REFUSED: "It was refused.",
    PromotionState.PROMOTED: "It was promoted.",
    PromotionState.FAILED: "It was approved, but the service did not take it; promoting it may be "
    "tried again.",
}


def label(candidate: Candidate) -> str:
    """For a menu."""
    promotion = candidate.promotion
    stands = promotion.state.value if promotion else "not measured"
    if promotion and _put_back(promotion):
        stands = ROLLED_BACK.replace("_", " ")
    aliases = f" ({', '.join(candidate.aliases)})" if candidate.aliases else ""
    return f"Version {candidate.ref.version}{aliases} · {stands}"


def verdict(promotion: Promotion, viewer: str) -> str:
    """The gate's word, its reasons and what they rest on, and what people made of it; ``viewer`` is
    a pseudonym."""
    decision = promotion.decision
    tone, said = _VERDICTS[decision.verdict]
    return (
        f'<div class="slt-verdict slt-{tone}" role="status"><p class="slt-verdict-word">{said}</p>'
        f"{_list(decision.reasons)}</div>"
        + notice("warn" if promotion.failure else "info", _stands(promotion, viewer))
        + (gate_panel(decision.gate) if decision.gate else "")
    )


def sides(promotion: Promotion) -> tuple[str, str]:
    """What to call the champion and the candidate of it."""
    then = " then" if promotion.state is PromotionState.PROMOTED else ""
    champion = promotion.champion
    before = f"version {champion.version} (champion{then})" if champion else "no champion"
    return before, f"version {promotion.candidate.version} (candidate{then})"


def scores(
    promotion: Promotion,
    before_50: dict[str, float] | None = None,
    after_50: dict[str, float] | None = None,
) -> str:
    """Both models' scores with their differences. ``before_50`` and ``after_50`` are AP50 by class,
    where the detections are kept."""
    after, before = promotion.candidate_score, promotion.champion_score
    headers = ["", *(side.capitalize() for side in sides(promotion)), "Difference"]
    rows: list[list[str | Cell]] = [
        _row("mAP50-95", before.map50_95 if before else None, after.map50_95, "slt-strong"),
        _row("mAP50", before.map50 if before else None, after.map50, "slt-strong"),
    ]
    for name, value in after.per_class.items():
        old = before.per_class.get(name) if before else None
        rows.append(_row(f"{name}, AP50-95", old, value))
        if after_50 is not None:
            rows.append(_row(f"{name}, AP50", (before_50 or {}).get(name), after_50.get(name)))
    note = f"{after.images} gold images, set {after.gold_sha256[:12]}, measured "
    return heading("Scores", note + when(promotion.created_at)) + table(headers, rows)


def history(promotions: list[Promotion], viewer: str) -> str:
    """One line for each step that a person, or the gate, took; newest promotion first."""
    headers = ["Model", "Verdict", "Step", "By", "Why", "When"]
    rows = [row for promotion in promotions for row in _steps(promotion, viewer)]
    empty = "No model has been measured against a champion yet."
    return table(headers, rows, text_columns=range(6), empty=empty)


def _stands(promotion: Promotion, viewer: str) -> str:
    """Where it stands, with what each person who approved or refused it wrote."""
    state = _STATES[promotion.state]
    if missing := promotion.approvals_missing:
        needed = promotion.approvers
        people = "a person to approve or refuse it"
        if needed > 1:
            more = f", {missing} more" if missing < needed else ""
            people = f"{needed} different people to approve it{more}, or for one to refuse it"
        state = f"It waits for {people}."
    if _put_back(promotion):
        state = "It was promoted, and rolled back later."
    words = [
        f"Approved by {who(step['by'], viewer)}: “{step['reason']}”"
        for step in promotion.history
        if step["state"] in (APPROVED_BY_ONE, PromotionState.APPROVED)
    ]
    if promotion.failure is not None:
        words.append(f"What was reported: {promotion.failure['reason']}")
    if promotion.decided_by and promotion.state is PromotionState.REFUSED:
        words.append(f"Refused by {who(promotion.decided_by, viewer)}: “{promotion.reason}”")
    if step := _put_back(promotion):
        words.append(f"Rolled back by {who(step['by'], viewer)}: “{step['reason']}”")
    return " ".join([state, *words])


def _put_back(promotion: Promotion) -> Mapping[str, str] | None:
    """The step in which the model before it was put back, if that is the last of it."""
    last = promotion.history[-1] if promotion.history else None
    return last if last and last["state"] == ROLLED_BACK else None


def _steps(promotion: Promotion, viewer: str) -> list[list[str | Cell]]:
    """Newest first."""
    model = f"version {promotion.candidate.version}"
    word = promotion.decision.verdict.value.replace("_", " ")
    measured: list[str | Cell] = [
        *(model, word, PromotionState.PROPOSED.value, "the gate"),
        Cell(" ".join(promotion.decision.reasons), "slt-wrap"),
        when(promotion.created_at),
    ]
    taken: list[list[str | Cell]] = [
        [
            *(model, word, step["state"].replace("_", " "), who(step["by"], viewer)),
            Cell(step["reason"], "slt-wrap"),
            when(step["at"]),
        ]
        for step in reversed(promotion.history)
    ]
    return [*taken, measured]


def _row(name: str, before: float | None, after: float | None, tone: str = "") -> list[str | Cell]:
    return [
        Cell(name, tone),
        Cell(score(before), tone),
        Cell(score(after), tone),
        difference(before, after),
    ]


def _list(reasons: tuple[str, ...]) -> str:
    return "<ul>" + "".join(f"<li>{escape(reason)}</li>" for reason in reasons) + "</ul>"
