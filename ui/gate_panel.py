"""What a verdict rests on, as a table with a picture of each interval: for Compare and Decide."""

from __future__ import annotations

from html import escape

from loop.bootstrap import Interval
from loop.gate_findings import LATENCY, Finding, Outcome, findings
from loop.gate_record import GateRecord
from ui.training_html import heading, quiet

_WIDTH_PX, _HEIGHT_PX, _EDGE_PX = 220, 20, 6
_HEADERS = ("Requirement", "Measured", "At least", "At most", "Must be above", "", "")
_LEGEND = (
    "In the pictures the dot is the change that was measured, the bar how far luck could have "
    "moved it, and the dashed line what it must be above."
)
_OUTCOMES = {
    Outcome.MET: ("slt-better", "✓ met"),
    Outcome.OPEN: ("slt-same", "? open"),
    Outcome.REFUTED: ("slt-worse", "✗ not met"),
}


def gate_panel(record: GateRecord) -> str:
    """Changes of scores with their bounds; the dot is what was measured, the bar how far luck could
    have moved it, the dashed line what it must be above."""
    settings, found = record.settings, findings(record)
    changes = [
        (record.map50_95, settings.min_gain),
        (record.map50, settings.min_gain_50),
        *((each.interval, -settings.max_class_loss) for each in record.classes.values()),
    ]
    scale = _Scale(changes)
    # The findings are in the same order, the time for an image last.
    rows = [
        _row(finding, interval, least, scale)
        for finding, (interval, least) in zip(found, changes, strict=False)
    ]
    head = f'<th scope="col" class="slt-left">{_HEADERS[0]}</th>'
    head += "".join(f'<th scope="col">{text}</th>' for text in _HEADERS[1:])
    units = "" if record.groups == record.images else f" of {record.groups} subjects"
    note = (
        f"{record.images} gold images{units}, drawn {settings.replicates:,} times anew; comparison "
        f"{record.use.number} on this gold set, at a risk of {record.use.alpha:.2%}"
    )
    return (
        heading("What the verdict rests on", note)
        + '<div class="slt-scroll"><table class="slt-table slt-gate">'
        + f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        + quiet(_LEGEND)
        + _latency(found)
    )


class _Scale:
    """From changes of a score to pixels, the same for all rows."""

    def __init__(self, changes: list[tuple[Interval, float]]) -> None:
        marks = [0.0]
        for interval, least in changes:
            bounds = (interval.lower, interval.upper, interval.estimate, least)
            marks += [value for value in bounds if value is not None]
        self._least, self._span = min(marks), max(max(marks) - min(marks), 1e-6)

    def x(self, value: float) -> float:
        share = (value - self._least) / self._span
        return round(_EDGE_PX + share * (_WIDTH_PX - 2 * _EDGE_PX), 1)


def _row(finding: Finding, interval: Interval, least: float, scale: _Scale) -> str:
    tone, word = _OUTCOMES[finding.outcome]
    numbers = (f"{interval.estimate:+.3f}", _bound(interval.lower), _bound(interval.upper))
    cells = "".join(f"<td>{text}</td>" for text in (*numbers, f"{least:+.3f}"))
    name, text = escape(finding.requirement), escape(finding.text)
    return (
        f'<tr title="{text}"><td class="slt-left">{name}</td>{cells}'
        f'<td>{_picture(interval, least, scale)}</td><td class="slt-left {tone}">{word}</td></tr>'
    )


def _picture(interval: Interval, least: float, scale: _Scale) -> str:
    middle, limit = _HEIGHT_PX / 2, scale.x(least)
    low = _EDGE_PX if interval.lower is None else scale.x(interval.lower)
    high = _WIDTH_PX - _EDGE_PX if interval.upper is None else scale.x(interval.upper)
    return (
        f'<svg width="{_WIDTH_PX}" height="{_HEIGHT_PX}" aria-hidden="true" focusable="false">'
        f'<line x1="{limit}" x2="{limit}" y1="0" y2="{_HEIGHT_PX}" stroke="#9b2c00" '
        'stroke-dasharray="3 2"/>'
        f'<line x1="{low}" x2="{high}" y1="{middle}" y2="{middle}" stroke="#0b5cad" '
        'stroke-width="3"/>'
        f'<circle cx="{scale.x(interval.estimate)}" cy="{middle}" r="4" fill="#1f2933"/></svg>'
    )


def _latency(found: list[Finding]) -> str:
    texts = [each.text for each in found if each.requirement == LATENCY]
    return "".join(f'<p class="slt-quiet">{escape(text)}</p>' for text in texts)


def _bound(value: float | None) -> str:
    return "?" if value is None else f"{value:+.3f}"
