"""The technical documentation as one page: nothing is fetched, no script runs, all is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape

from cluster.techfile_sources import SOURCES, anchor, short, sources
from cluster.techfile_style import STYLE
from cluster.techfile_svg import svg
from loop.techfile import Cited, Evidence, Gap, Item, Section, Statement, Table, Techfile
from loop.techfile_words import INTRODUCTION, facts

_LONGEST_WORD = 30
# What a page from a file may do: show itself.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def html(document: Techfile) -> str:
    """The whole page, as it is written to a file."""
    body = "".join(_body(document))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(document.title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f'<body>\n<div class="frame">\n{body}</div>\n</body>\n</html>\n'
    )


def _body(document: Techfile) -> Iterator[str]:
    yield f"<header>\n<h1>{escape(document.title)}</h1>\n"
    yield from (f"<p>{escape(line)}</p>\n" for line in INTRODUCTION)
    rows = facts(document)
    pairs = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows)
    yield f'<dl class="facts">{pairs}</dl>\n</header>\n'
    yield _contents(document)
    yield "<main>\n"
    for section in document.sections:
        yield from _section(section, 2)
    yield from _gaps(document)
    yield from _sources(document)
    yield from _events(document.events)
    yield "</main>\n"


def _contents(document: Techfile) -> str:
    rows = "".join(_entry(section) for section in document.sections)
    rest = (("gaps", "Gaps"), ("sources", "Sources"), ("events", "Events"))
    rows += "".join(f'<li><a href="#{to}">{name}</a></li>' for to, name in rest)
    return f'<nav aria-label="Contents"><h2>Contents</h2><ol>{rows}</ol></nav>\n'


def _entry(section: Section) -> str:
    count = sum(isinstance(item, Gap) for item in section.items)
    gaps = f'<span class="gaps" title="gaps">{count}</span>' if count else ""
    below = "".join(map(_entry, section.parts))
    return (
        f'<li><a href="#{section.anchor}"><span>{escape(section.number)}</span>'
        f"<span>{escape(section.title)}</span>{gaps}</a>"
        + (f"<ol>{below}</ol>" if below else "")
        + "</li>"
    )


def _section(section: Section, level: int) -> Iterator[str]:
    yield (
        f'<section>\n<h{level} id="{section.anchor}"><span class="number">'
        f"{escape(section.number)}</span>{escape(section.title)}</h{level}>\n"
        f'<p class="asks">{escape(section.asks)}</p>\n'
    )
    yield from (_item(item) for item in section.items)
    for part in section.parts:
        yield from _section(part, level + 1)
    yield "</section>\n"


def _item(item: Item) -> str:
    if isinstance(item, Gap):
        return f'<p class="gap"><strong>Not recorded:</strong> {escape(item.told)}</p>\n'
    if isinstance(item, Statement):
        quoted = f"<blockquote>{escape(item.quoted)}</blockquote>" if item.quoted else ""
        shown = f"<p>{escape(item.text)}</p>{quoted}"
        return f'<div class="item">{shown}{_evidence(item.evidence)}</div>\n'
    evidence = "" if item.by_row else _evidence(item.evidence)
    return f'<div class="item">{_table(item)}{evidence}</div>\n'


def _table(table: Table) -> str:
    plot = svg(table.plot, table.caption) if table.plot else ""
    columns = (*table.columns, *(["evidence"] if table.by_row else []))
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    rows = ""
    for place, row in enumerate(table.rows):
        cells = "".join(map(_cell, row))
        cells += (
            f"<td>{_link(table.evidence[place], short(table.evidence[place]))}</td>"
            if table.by_row
            else ""
        )
        rows += f"<tr>{cells}</tr>"
    return (
        f'<p class="caption">{escape(table.caption)}</p>{plot}<div class="scroll" tabindex="0">'
        f'<table aria-label="{escape(table.caption)}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(text: str) -> str:
    """Words that are too long for a page, as digests are, may be broken."""
    long = any(len(word) > _LONGEST_WORD for word in text.split())
    return f'<td class="long">{escape(text)}</td>' if long else f"<td>{escape(text)}</td>"


def _evidence(evidence: tuple[Evidence, ...]) -> str:
    links = "".join(f"<li>{_link(each, each.label)}</li>" for each in evidence)
    return f'<ul class="evidence">{links}</ul>'


def _link(evidence: Evidence, label: str) -> str:
    return f'<a href="#{anchor(evidence)}">{escape(label)}</a>'


def _gaps(document: Techfile) -> Iterator[str]:
    found = document.gaps()
    yield f'<h2 id="gaps">Gaps</h2>\n<p class="asks">What is not on record: {len(found)}.</p>\n<ul>'
    for section, gap in found:
        link = f'<a href="#{section.anchor}">{escape(section.number)}</a>'
        yield f"<li>{link}: {escape(gap.told)}</li>"
    yield "</ul>\n"


def _sources(document: Techfile) -> Iterator[str]:
    yield f'<h2 id="sources">Sources</h2>\n<p class="asks">{escape(SOURCES)}</p>\n'
    rows = "".join(
        f'<tr><td>{escape(each.source.value)}</td><td id="{anchor(each)}">'
        f'{escape(each.label)}</td><td class="long"><code>{escape(each.ref)}</code></td></tr>'
        for each in sources(document)
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("kind", "what", "id or digest"))
    yield (
        f'<div class="scroll" tabindex="0"><table aria-label="Sources"><thead><tr>{head}</tr>'
        f"</thead><tbody>{rows}</tbody></table></div>\n"
    )


def _events(events: tuple[Cited, ...]) -> Iterator[str]:
    yield '<h2 id="events">Events</h2>\n<p class="asks">The events that are cited, whole.</p>\n'
    for each in events:
        shown = json.dumps(json.loads(each.data), indent=1, ensure_ascii=False)
        yield (
            f'<div class="event" id="event-{each.index}"><h3>Event {each.index}: '
            f"{escape(each.event.type)}</h3>"
            f"<p>Leaf hash <code>{each.leaf_sha256}</code></p>"
            f"<p><code>secondlook audit show {each.index}</code>; proof: "
            f"<code>evidence/{each.index}/proof.tlog-proof</code></p>"
            f'<pre tabindex="0">{escape(shown)}</pre></div>\n'
        )
