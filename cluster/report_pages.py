"""A report of headings, texts, tables and plots, as one HTML file and as Markdown.

The HTML needs nothing beside itself: no script, no font, no image from elsewhere; it prints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _ROW, _LEFT, _RIGHT = 640, 26, 110, 60
_TICKS = 5
_STYLE = """
:root { color: #1f2933; background: #fff; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.2rem; border-bottom: 1px solid #d9dee4; }
.quiet, figcaption { color: #52606d; font-size: .9rem; }
.note { border: 1px solid #d9dee4; border-left: 4px solid #8a5a00; padding: .5rem .8rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; min-width: 100%; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #d9dee4; text-align: right; }
th:first-child, td:first-child { text-align: left; min-width: 7rem; }
td:not(:first-child) { white-space: nowrap; }
th { color: #52606d; font-weight: 600; vertical-align: bottom; }
figure { margin: 1rem 0; } svg { width: 100%; max-width: 40rem; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: #1f2933; }
@media print {
  body { max-width: none; padding: 0; font-size: 11px; } .scroll { overflow: visible; }
  tr, figure { break-inside: avoid; } h2 { break-after: avoid; }
}
"""


@dataclass(frozen=True, slots=True)
class Heading:
    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """``warns`` sets it off from the others."""

    text: str
    warns: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Point:
    """None where there are too few to say."""

    name: str
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Plot:
    """A line for each point, with its interval. In Markdown the table beside it must do."""

    caption: str
    points: Sequence[Point]
    unit: str
    scale: float = 1.0


Block = Heading | Text | Table | Plot


def as_html(title: str, blocks: Sequence[Block]) -> str:
    body = "\n".join(_html(block) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def as_markdown(title: str, blocks: Sequence[Block]) -> str:
    parts = [f"# {title}", *(_markdown(block) for block in blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _html(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h2>{escape(text)}</h2>"
        case Text(text, warns):
            kind = ' class="note"' if warns else ""
            return f"<p{kind}>{escape(text)}</p>"
        case Table(headers, rows):
            head = "".join(f'<th scope="col">{escape(each)}</th>' for each in headers)
            lines = "".join(
                f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
            )
            table = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
            return f'<div class="scroll">{table}</div>'
        case Plot():
            caption = f"<figcaption>{escape(block.caption)}</figcaption>"
            return f"<figure>{_svg(block)}{caption}</figure>"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {text}"
        case Text(text, warns):
            return f"> {text}" if warns else text
        case Table(headers, rows):
            lines = [headers, ["---"] + ["---:"] * (len(headers) - 1), *rows]
            return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
        case Plot():
            return ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _svg(plot: Plot) -> str:
    known = [each for each in plot.points if each.value is not None]
    step = _step(max((each.high or each.value or 0.0 for each in known), default=0.0) * plot.scale)
    top = step * _TICKS / plot.scale
    height = _ROW * (len(plot.points) + 1) + 8
    span = _WIDTH - _LEFT - _RIGHT

    def x(value: float) -> float:
        return _LEFT + span * value / top

    foot = height - 8
    parts = [f'<text x="{_WIDTH}" y="{foot}" text-anchor="end">{escape(plot.unit)}</text>']
    for tick in range(_TICKS + 1):
        at, label = x(top * tick / _TICKS), f"{step * tick:g}"
        line = f'x1="{at:.1f}" y1="4" x2="{at:.1f}" y2="{height - _ROW}" stroke="#d9dee4"'
        parts.append(f"<line {line}/>")
        parts.append(f'<text x="{at:.1f}" y="{foot}" text-anchor="middle">{label}</text>')
    for row, point in enumerate(plot.points):
        parts.append(_line(point, _ROW * row + _ROW / 2 + 4, x))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(plot.caption)}">'
        f"{''.join(parts)}</svg>"
    )


def _step(highest: float) -> float:
    """Between ticks: 1, 2 or 5 times a power of ten, so that the last is not below ``highest``."""
    wanted = (highest or 1.0) / _TICKS
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= wanted * (1 - 1e-9))


def _line(point: Point, y: float, x: Callable[[float], float]) -> str:
    name = f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(point.name)}</text>'
    if point.value is None or point.low is None or point.high is None:
        return f'{name}<text x="{_LEFT + 4}" y="{y + 4:.1f}" opacity="0.6">too few</text>'
    ends = f'x1="{x(point.low):.1f}" y1="{y:.1f}" x2="{x(point.high):.1f}" y2="{y:.1f}"'
    return (
        f'{name}<line {ends} stroke="#0072B2" stroke-width="3" opacity="0.45"/>'
        f'<circle cx="{x(point.value):.1f}" cy="{y:.1f}" r="5" fill="#0072B2"/>'
    )
