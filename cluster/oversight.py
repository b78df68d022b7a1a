"""Builds the oversight report out of the database and the audit log, and puts that on record."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cluster.oversight_pages import TITLE, blocks, gaps
from cluster.report_pages import as_html, as_markdown
from loop.errors import InvalidInput, Unavailable
from loop.event_query import EventQuery
from loop.events import Actor, Event, now
from loop.looks import Shown
from loop.oversight import Oversight, oversee
from loop.ports import UnitsOfWork
from store.audit_log import AuditLog

NAME = "oversight"
_PAGE = 5000


@dataclass(frozen=True, slots=True)
class Built:
    """``files`` by what they are: document (JSON), html, markdown."""

    found: Oversight
    gaps: list[str]
    files: dict[str, Path]


def build_oversight(
    units: UnitsOfWork, log: AuditLog, folder: Path, *, since: str, until: str, actor: Actor
) -> Built:
    """Write the report into ``folder``. ``since`` and ``until`` are dates or times in UTC, the one
    included, the other not; empty: from the beginning, until now.

    Raises `InvalidInput`, `Unavailable` if the folder cannot be written.
    """
    since, until = _time(since), _time(until) or now()
    head = log.head()
    shown, picked = _opened(log, since, until)
    with units() as uow:
        first = uow.statistics.first_looks(since, until)
        second = uow.statistics.second_looks(since, until)
    found = oversee(first, second, shown, picked)
    state = f"{head.size} entries, root {head.root}"
    pages, missing = blocks(found, since[:19], until[:19], state), gaps(found)
    document = {
        "report": NAME,
        "since": since or None,
        "until": until,
        "log": {"size": head.size, "root": head.root},
        "gaps": missing,
        **found.as_dict(),
    }
    texts = {
        "document": (f"{NAME}.json", json.dumps(document, indent=2) + "\n"),
        "html": (f"{NAME}.html", as_html(TITLE, pages)),
        "markdown": (f"{NAME}.md", as_markdown(TITLE, pages)),
    }
    files = {kind: folder / name for kind, (name, _) in texts.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.values():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Unavailable(
            f"The report cannot be written to {folder}: {error.strerror}.",
            hint="Give another folder with --out.",
        ) from error
    with units() as uow:
        uow.record(
            Event(
                type="evidence.built",
                actor=actor,
                subject={"kind": "oversight_report"},
                outputs={name: _sha256(text) for name, text in texts.values()},
                details={"gaps": len(missing)},
            )
        )
        uow.commit()
    return Built(found, missing, files)


def _opened(log: AuditLog, since: str, until: str) -> tuple[list[Shown], dict[str, str]]:
    """How often what was shown, and how each case came to its first reviewer."""
    counts: Counter[tuple[str, str]] = Counter()
    picked: dict[str, str] = {}
    for event in _events(log, EventQuery(types=("case.opened",), since=since, until=until)):
        phase, how = str(event.details["phase"]), str(event.details["picked"])
        counts[phase, how] += 1
        if phase == "first":
            picked[str(event.subject["review_id"])] = how
    return [Shown(*key, count) for key, count in sorted(counts.items())], picked


def _events(log: AuditLog, query: EventQuery) -> Iterator[Event]:
    """The newest page first, each page oldest first: the first time that somebody opened a case
    comes last."""
    before: int | None = None
    while entries := log.find(query, limit=_PAGE, before=before):
        yield from (entry.event for entry in reversed(entries))
        before = entries[0].index


def _time(text: str) -> str:
    """As events carry it. Raises `InvalidInput`."""
    if not text:
        return ""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"{text!r} is no date.", hint="Give one like 2026-01-31, or a time in RFC 3339."
        ) from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
