"""What the gate leaves in MLflow beside a candidate: its record, and its figures to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from loop.events import canonical_json
from loop.gate import Evidence
from loop.gate_findings import findings
from loop.promotions import Promotion
from store.tracking import Tracking
from train.gate_plot import gate_page


def report_path(version: str, suffix: str = "json") -> str:
    """Among the artifacts of the run that made the version."""
    return f"gate/{version}.{suffix}"


def keep_report(
    tracking: Tracking,
    run_id: str,
    promotion: Promotion,
    evidence: Evidence,
    milliseconds: Sequence[Sequence[float]],
) -> None:
    """``milliseconds`` are the candidate's times for each gold image, then the champion's."""
    record = promotion.decision.gate
    if record is None:
        raise ValueError("this decision rests on no comparison")
    version = promotion.candidate.version
    times = dict(zip(("candidate", "champion"), map(list, milliseconds), strict=True))
    text = canonical_json(_report(promotion, times)).decode()
    tracking.log_text(run_id, text, report_path(version))
    title = f"Gate: version {version} against {promotion.champion and promotion.champion.version}"
    tracking.log_text(run_id, gate_page(record, evidence, title), report_path(version, "html"))


def _report(promotion: Promotion, milliseconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    decision, champion = promotion.decision, promotion.champion_score
    record = decision.gate
    return {
        "promotion_id": promotion.id,
        "decided_at": promotion.created_at,
        "verdict": decision.verdict.value,
        "reasons": list(decision.reasons),
        "candidate": promotion.candidate_score.as_dict(),
        "champion": champion.as_dict() if champion else None,
        "gate": record.as_dict() if record else None,
        "findings": [asdict(each) for each in findings(record)] if record else [],
        "milliseconds": {name: list(times) for name, times in milliseconds.items()},
    }
