"""Plots of the technical documentation, as SVG that its page holds: no script, nothing fetched."""

from __future__ import annotations

from html import escape

from loop.techfile import Mark, Plot

# In units that are pixels on a phone. Labels stand above their lines, so that they find room there.
_WIDTH, _ROW, _TOP, _SIDE = 360, 36, 4, 14
_LINE = 25
_LONGEST_LABEL = 50
_TICKS = 5


def svg(plot: Plot, title: str) -> str:
    """Its colours are the page's, by class."""
    height = _TOP + _ROW * len(plot.marks) + 20
    floor = _TOP + _ROW * len(plot.marks)
    parts = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">'
    ]
    for tick in range(_TICKS + 1):
        value = plot.start + (plot.end - plot.start) * tick / _TICKS
        x = _x(plot, value)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{floor}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{floor + 14}">{value:.2f}</text>')
    if plot.start < 0 < plot.end:
        x = _x(plot, 0)
        parts.append(f'<line class="zero" x1="{x}" x2="{x}" y1="{_TOP}" y2="{floor}"/>')
    for row, mark in enumerate(plot.marks):
        parts += _mark(plot, mark, _TOP + _ROW * row + _LINE)
    return "".join([*parts, "</svg>"])


def _mark(plot: Plot, mark: Mark, y: int) -> list[str]:
    label = mark.label
    short = label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"
    parts = [
        f'<text class="label" x="0" y="{y - 11}">{escape(short)}'
        f"<title>{escape(label)}</title></text>"
    ]
    low = plot.start if mark.low is None and mark.high is None else mark.low
    high = mark.middle if mark.low is None and mark.high is None else mark.high
    if mark.middle is not None or (mark.low is not None and mark.high is not None):
        left = _x(plot, plot.start if low is None else low)
        right = _x(plot, plot.end if high is None else high)
        parts.append(
            f'<rect class="range" x="{left}" y="{y - 5}" width="{max(1.0, right - left):.1f}" '
            f'height="10" rx="2"/>'
        )
    parts += [f'<circle class="point" cx="{_x(plot, v)}" cy="{y}" r="3"/>' for v in mark.points]
    if mark.middle is not None:
        x = _x(plot, mark.middle)
        parts.append(f'<line class="middle" x1="{x}" x2="{x}" y1="{y - 8}" y2="{y + 8}"/>')
    return parts


def _x(plot: Plot, value: float) -> float:
    share = (value - plot.start) / ((plot.end - plot.start) or 1)
    return round(_SIDE + (_WIDTH - 2 * _SIDE) * min(1.0, max(0.0, share)), 1)
