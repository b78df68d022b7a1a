"""Prints what a verdict of the gate rests on."""

from __future__ import annotations

from cluster.console import out, print_json, print_table
from loop.bootstrap import Interval
from loop.gate_record import GateRecord
from loop.promotions import Promotion
from train.gate_check import Check


def show_gate(promotion: Promotion) -> None:
    """The verdict with its reasons, and the bounds behind them where there was a comparison."""
    decision = promotion.decision
    out.print(f"Verdict: {decision.verdict.value.replace('_', ' ')}.", highlight=False)
    for reason in decision.reasons:
        out.print(f"  - {reason}", highlight=False, markup=False)
    if decision.gate is not None:
        _show_bounds(decision.gate)


def show_check(promotion: Promotion, check: Check, *, json: bool) -> None:
    version, verdict = promotion.candidate.version, check.decision.verdict
    if json:
        print_json(
            {
                "version": version,
                "agrees": check.agrees,
                "recorded": promotion.decision.verdict.value,
                "recomputed": verdict.value,
                "differences": list(check.differences),
            }
        )
        return
    if check.agrees:
        out.print(
            f"Version {version}: computed again from the kept detections, the verdict and all that "
            f"it rests on come out as recorded ({verdict})."
        )
        return
    out.print(f"Version {version}: computed again, this comes out otherwise:")
    for difference in check.differences:
        out.print(f"  {difference}", highlight=False, markup=False)


def show_intervals(title: str, rows: list[tuple[str, Interval, str]]) -> None:
    """Each with a name and a remark."""
    print_table(
        title,
        ["change of", "measured", "at least", "at most", ""],
        [
            (name, f"{i.estimate:+.3f}", _bound(i.lower), _bound(i.upper), remark)
            for name, i, remark in rows
        ],
    )


def _show_bounds(record: GateRecord) -> None:
    settings = record.settings
    rows = [
        ("mAP50-95", record.map50_95, f"must be above {settings.min_gain:g}"),
        ("mAP50", record.map50, f"must be above {settings.min_gain_50:g}"),
    ]
    units = "images" if record.groups == record.images else "subjects"
    for name, change in record.classes.items():
        remark = f"must be above {-settings.max_class_loss:g}; on {change.groups} {units}"
        rows.append((f"{name}, AP50-95", change.interval, remark))
    show_intervals(f"On {record.images} gold images, {settings.replicates} resampled sets", rows)


def _bound(value: float | None) -> str:
    return "?" if value is None else f"{value:+.3f}"
