"""A row of figures: a name, a large number and a small note each, as HTML."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def tiles(rows: Iterable[tuple[str, str, str]]) -> str:
    """``rows`` are name, number and note. Whatever is put in is text, and stays text."""
    return f'<div class="slf-tiles">{"".join(_tile(*row) for row in rows)}</div>'


def _tile(name: str, value: str, note: str) -> str:
    return (
        f'<div class="slf-tile"><span class="slf-name">{escape(name)}</span>'
        f'<span class="slf-value">{escape(value)}</span>'
        f'<span class="slf-note">{escape(note)}</span></div>'
    )
