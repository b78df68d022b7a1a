"""The technical documentation, and a model card, as Markdown (CommonMark with tables)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence

from cluster.techfile_sources import SOURCES, anchor, short, sources
from loop.techfile import Cited, Evidence, Gap, Item, Section, Statement, Table, Techfile
from loop.techfile_words import INTRODUCTION, facts

# A backslash before any of these makes it a character like others (CommonMark 2.4).
_MARKUP = re.compile(r"([\\`*_{}\[\]#|~!$])")


def plain(text: str) -> str:
    """``text`` such that a reader sees just it: on one line, and never as Markdown or HTML."""
    shown = _MARKUP.sub(r"\\\1", " ".join(text.split()))
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def markdown(document: Techfile) -> str:
    lines = [f"# {plain(document.title)}", ""]
    for line in INTRODUCTION:
        lines += [plain(line), ""]
    lines += _rows(("", ""), [(name, plain(value)) for name, value in facts(document)])
    for section in document.sections:
        lines += _section(section, 2, numbered=True)
    lines += ["## Gaps", ""]
    lines += [f"- {plain(s.number)}: {plain(gap.told)}" for s, gap in document.gaps()]
    lines += ["", *_appendix(document)]
    return "\n".join(lines) + "\n"


def card(document: Techfile, title: str, introduction: str) -> str:
    """As `markdown`, of sections with names in place of numbers."""
    lines = [f"# {plain(title)}", "", plain(introduction), ""]
    for section in document.sections:
        lines += _section(section, 2, numbered=False)
    return "\n".join([*lines, *_appendix(document)]) + "\n"


def _section(section: Section, level: int, *, numbered: bool) -> Iterator[str]:
    number = f"{plain(section.number)} " if numbered else ""
    yield f"{'#' * level} {number}{plain(section.title)}"
    yield from ("", f"*{plain(section.asks)}*", "")
    for item in section.items:
        yield from _item(item)
    for part in section.parts:
        yield from _section(part, level + 1, numbered=numbered)


def _item(item: Item) -> Iterator[str]:
    if isinstance(item, Gap):
        yield from (f"**Not recorded:** {plain(item.told)}", "")
        return
    if isinstance(item, Statement):
        yield from (plain(item.text), "")
        if item.quoted:
            # Two spaces at the end keep the line as it is.
            yield from (f"> {plain(line)}  " for line in item.quoted.splitlines())
            yield ""
    else:
        yield from (f"**{plain(item.caption)}**", "")
        yield from _table(item)
        if item.by_row:
            return
    links = ", ".join(_link(each, each.label) for each in item.evidence)
    yield from (f"Evidence: {links}", "")


def _rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _row(columns)
    yield _row(["---"] * len(columns))
    yield from map(_row, rows)
    yield ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _table(table: Table) -> Iterator[str]:
    columns = [plain(name) for name in table.columns]
    rows = [[plain(cell) for cell in row] for row in table.rows]
    if table.by_row:
        columns.append("evidence")
        rows = [
            [*row, _link(each, short(each))] for row, each in zip(rows, table.evidence, strict=True)
        ]
    yield from _rows(columns, rows)


def _link(evidence: Evidence, label: str) -> str:
    return f"[{plain(label)}](#{anchor(evidence)})"


def _appendix(document: Techfile) -> Iterator[str]:
    yield from ("## Sources", "", plain(SOURCES), "")
    found = sources(document)
    if found:
        yield from ("| kind | what | id or digest |", "| --- | --- | --- |")
    for each in found:
        place = f'<a id="{anchor(each)}"></a>'
        yield f"| {each.source.value} | {place}{plain(each.label)} | {plain(each.ref)} |"
    yield from ("", "## Events", "")
    for event in document.events:
        yield from _event(event)


def _event(cited: Cited) -> Iterator[str]:
    shown = json.dumps(json.loads(cited.data), indent=1)
    yield f'<a id="event-{cited.index}"></a>'
    yield from ("", f"### Event {cited.index}: {plain(cited.event.type)}", "")
    yield f"Leaf hash {cited.leaf_sha256}; `secondlook audit show {cited.index}`;"
    yield f"proof: evidence/{cited.index}/proof.tlog-proof"
    # Indented, since a fence can be ended by what stands in it.
    yield from ("", *(f"    {line}" for line in shown.splitlines()), "")
