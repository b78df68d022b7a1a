"""docs/compliance.md names commands that there are, and events that are recorded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loop.event_types import event_types
from tests.cluster.test_cli import ALL_COMMANDS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "compliance.md").read_text(encoding="utf-8")
PACKAGES = ("loop", "store", "serve", "train", "ui", "cluster")
COMMANDS = sorted(set(re.findall(r"`secondlook ([a-z][a-z -]*[a-z])`", TEXT)))
EVENTS = sorted(set(re.findall(r"`([a-z_]+\.[a-z_]+)`", TEXT)))
AI_ACT = {9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 26, 72, 73, 86}
GDPR = {5, 15, 17, 20, 22, 25, 30, 32, 35}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_is_named_exists(command: str) -> None:
    assert command in {" ".join(path) for path in ALL_COMMANDS}


@pytest.mark.parametrize("type", EVENTS)
def test_every_event_that_is_named_has_a_schema_and_is_recorded_somewhere(type: str) -> None:
    assert type in event_types()
    sources = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    assert any(f'"{type}"' in path.read_text(encoding="utf-8") for path in sources)


def test_every_article_has_a_row_with_something_in_each_column() -> None:
    before, _, after = TEXT.partition("## GDPR")
    for part, articles in ((before, AI_ACT), (after, GDPR)):
        rows = re.findall(r"^\| (\d+) [^|]*\|([^|]*)\|([^|]*)\|([^|]*)\|$", part, re.MULTILINE)
        assert {int(row[0]) for row in rows} == articles
        for row in rows:
            assert all(cell.strip() for cell in row)


def test_every_document_that_is_named_is_there() -> None:
    for name in re.findall(r"`(docs/[a-z-]+\.md)`", TEXT):
        assert (ROOT / name).is_file(), name


def test_it_promises_evidence_and_no_more() -> None:
    assert "produces evidence for" in TEXT
    assert not re.search(r"\bcompl(iant|ies|y)\b", TEXT, re.IGNORECASE)
