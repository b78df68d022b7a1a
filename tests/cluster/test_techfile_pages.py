"""The technical documentation as a page and as Markdown: the same, and nothing in it runs."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

import pytest

from cluster.techfile_html import html
from cluster.techfile_markdown import card, markdown, plain
from loop.classes import ClassList
from loop.model_card import write_card
from loop.techfile import Gap, Item, Statement
from loop.techfile_contents import write_techfile
from loop.techfile_records import Records
from tests.loop.papers import bare, full

HOSTILE = ClassList(("<script>alert('1')</script>", '"><img src=x onerror=1>', "a|b`*_[x](y)"))
# Tags that HTML gives no end to.
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """What a page holds; ``unbalanced`` are tags that do not end what began last."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.unbalanced: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.unbalanced += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids.append(str(value))
            if name in ("href", "src"):
                self.links.append(str(value))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data


RECORDS = pytest.mark.parametrize(
    "records", [bare(), full(), full(HOSTILE)], ids=["bare", "full", "hostile"]
)


@RECORDS
def test_the_page_is_whole_and_fetches_nothing(records: Records) -> None:
    page = Page(html(write_techfile(records)))
    assert not page.unbalanced
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= {*page.ids}
    assert all(link.startswith("#") for link in page.links)
    assert not page.tags & {"script", "img", "link", "iframe", "object"}
    assert not any(name.startswith("on") for name in page.attributes)


@RECORDS
def test_links_in_markdown_lead_somewhere(records: Records) -> None:
    for text in (markdown(write_techfile(records)), card(write_card(records), "A card", "…")):
        places = re.findall(r'<a id="([^"]+)"></a>', text)
        assert len(places) == len(set(places))
        assert set(re.findall(r"(?<!\\)\]\(#([^)]+)\)", text)) <= {*places}


@RECORDS
def test_page_and_markdown_say_the_same(records: Records) -> None:
    document = write_techfile(records)
    page, text = flat(Page(html(document)).text), flat(markdown(document))
    for section in document.walk():
        assert flat(section.title) in page
        assert plain(section.title) in text
        for item in section.items:
            for words in said(item):
                assert flat(words) in page
                assert plain(words) in text
    for event in document.events:
        assert event.leaf_sha256 in page
        assert event.leaf_sha256 in text
        assert f"secondlook audit show {event.index}" in page
        assert f"secondlook audit show {event.index}" in text


def test_names_from_outside_are_text_in_markdown() -> None:
    text = markdown(write_techfile(full(HOSTILE)))
    shown = [line for line in text.splitlines() if not line.startswith("    ")]
    tags = {tag for line in shown for tag in re.findall(r"<[^>]*>", line)}
    assert all(re.fullmatch(r'</a>|<a id="[\w-]+">', tag) for tag in tags)
    assert all(len(re.findall(r"(?<!\\)\|", line)) >= 3 for line in shown if line[:1] == "|")


@pytest.mark.parametrize("text", [*HOSTILE, "two\nlines", "# no heading", "&amp;", r"a\b"])
def test_plain_text_reads_as_it_was(text: str) -> None:
    """By the rules of CommonMark: backslashes before punctuation, and entities."""
    assert unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", plain(text))) == " ".join(text.split())


@RECORDS
def test_no_form_of_it_judges(records: Records) -> None:
    document, shown = write_techfile(records), write_card(records)
    for text in (html(document), markdown(document), card(shown, "A card", "…")):
        assert "compliant" not in text.lower()


def said(item: Item) -> list[str]:
    if isinstance(item, Gap):
        return [item.told]
    if isinstance(item, Statement):
        return [item.text, *item.quoted.splitlines()]
    return [item.caption, *item.columns, *(cell for row in item.rows for cell in row)]


def flat(text: str) -> str:
    return " ".join(text.split())
