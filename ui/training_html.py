"""Pieces of the training page as HTML. Whatever is put in is text, and stays text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import gradio as gr

from loop.errors import LoopError


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell with a look of its own: ``tone`` is a class of ``static/training.css``."""

    text: str
    tone: str = ""
    title: str = ""


def whole(text: str) -> Cell:
    """A cell that no line break may cut."""
    return Cell(text, "slt-whole")


def area(text: str = "") -> gr.HTML:
    """A place for HTML in the page; an empty one takes no room."""
    return gr.HTML(text, apply_default_css=False, padding=False, elem_classes="slt-area")


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str | Cell]],
    *,
    text_columns: Sequence[int] = (0,),
    empty: str = "",
) -> str:
    """Numbers stand at the right and in line; those of ``text_columns`` at the left."""
    body = [_row(row, text_columns) for row in rows]
    if not body and empty:
        return f'<p class="slt-quiet">{escape(empty)}</p>'
    head = "".join(
        f'<th scope="col"{_left(place, text_columns)}>{escape(header)}</th>'
        for place, header in enumerate(headers)
    )
    return (
        '<div class="slt-scroll"><table class="slt-table">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def notice(tone: str, text: str, hint: str = "", *, lines: str = "", word: str = "") -> str:
    """A framed message; ``tone`` is info, good, warn or bad, and a word says so too: ``word``, or
    else one that suits the outcome of something."""
    words = {"info": "", "good": "Done.", "warn": "Note.", "bad": "This did not work."}
    word = word or words[tone]
    parts = [f"<strong>{word}</strong> " if word else "", escape(text)]
    if hint:
        parts.append(f' <span class="slt-quiet">{escape(hint)}</span>')
    if lines:
        parts.append(f'<pre tabindex="0">{escape(lines)}</pre>')
    return f'<div class="slt-notice slt-{tone}" role="status">{"".join(parts)}</div>'


def sorry(error: LoopError) -> str:
    return notice("bad", error.message, error.hint)


def heading(text: str, note: str = "") -> str:
    small = f' <span class="slt-quiet">{escape(note)}</span>' if note else ""
    return f'<h3 class="slt-h">{escape(text)}{small}</h3>'


def quiet(text: str) -> str:
    return f'<p class="slt-quiet">{escape(text)}</p>'


def when(at: str) -> str:
    """An RFC 3339 time stamp to the minute, as people read it."""
    return f"{at[:16].replace('T', ' ')} UTC" if at else ""


def who(pseudonym: str, viewer: str) -> str:
    return f"{pseudonym} (you)" if pseudonym and pseudonym == viewer else pseudonym


def difference(before: float | None, after: float | None) -> Cell:
    """A change of a score, with its sign and a word for those who do not see the colour."""
    if before is None or after is None:
        return Cell("")
    change = after - before
    if abs(change) < 0.0005:
        return Cell("0.000", "slt-same", "no change")
    better = change > 0
    sign = "▲" if better else "▼"
    return Cell(
        f"{sign} {change:+.3f}",
        "slt-better" if better else "slt-worse",
        "better" if better else "worse",
    )


def score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _row(row: Sequence[str | Cell], text_columns: Sequence[int]) -> str:
    cells = []
    for place, value in enumerate(row):
        cell = value if isinstance(value, Cell) else Cell(value)
        classes = " ".join(filter(None, [cell.tone, "slt-left" if place in text_columns else ""]))
        title = f' title="{escape(cell.title)}"' if cell.title else ""
        cells.append(f'<td class="{classes}"{title}>{escape(cell.text)}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _left(place: int, text_columns: Sequence[int]) -> str:
    return ' class="slt-left"' if place in text_columns else ""
