"""The technical documentation of a model, as a tree of sections: what is said, and on what.

Its points are those of Annex IV of Regulation (EU) 2024/1689 (the EU AI Act), which Article 11(1)
asks for. It produces evidence for an assessment, and assesses nothing itself. What is not on record
is a `Gap` with a name: a section without any content is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from loop.errors import InvalidInput
from loop.events import Event
from loop.predictions import ModelRef

SCHEMA_VERSION = 1


class Source(StrEnum):
    """Where a statement comes from."""

    EVENT = "event"  # of the audit log, by index
    RUN = "run"  # of MLflow, by id
    FILE = "file"  # by its SHA-256
    DATABASE = "database"  # as the home's database stood when the document was made
    SETTING = "setting"  # by name, as it was set then
    SOFTWARE = "software"  # what this version of Second Look does, whatever the records
    OPERATOR = "operator"  # what the operator wrote, by the name of the field


@dataclass(frozen=True, slots=True)
class Evidence:
    """``ref`` is what `Source` says; ``label`` is for people."""

    source: Source
    ref: str
    label: str

    def as_dict(self) -> dict[str, str]:
        return {"source": self.source.value, "ref": self.ref, "label": self.label}


@dataclass(frozen=True, slots=True)
class Statement:
    """``quoted`` is a text that somebody wrote, and stands as it is."""

    text: str
    evidence: tuple[Evidence, ...]
    quoted: str = ""

    def __post_init__(self) -> None:
        if not self.evidence:
            raise InvalidInput(f"A statement needs evidence: {self.text}")

    def as_dict(self) -> dict[str, Any]:
        quoted = {"quoted": self.quoted} if self.quoted else {}
        return {"kind": "statement", "text": self.text, **quoted} | _evidence(self.evidence)


@dataclass(frozen=True, slots=True)
class Gap:
    """``what`` is not on record; ``how`` says who can mend that, and by what."""

    what: str
    how: str

    def __post_init__(self) -> None:
        if not self.what or not self.how:
            raise InvalidInput(f"A gap needs a name, and a way to mend it: {self.what}")

    @property
    def told(self) -> str:
        """To stand behind "Not recorded:"."""
        return f"{self.what}. {self.how}"

    @property
    def text(self) -> str:
        return f"Not recorded: {self.told}"

    def as_dict(self) -> dict[str, Any]:
        return {"kind": "gap", "what": self.what, "how": self.how}


@dataclass(frozen=True, slots=True)
class Mark:
    """A line of a plot: single ``points``, a ``middle``, and a range, if there are any."""

    label: str
    points: tuple[float, ...] = ()
    middle: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Plot:
    """What a table says, as a picture. The axis goes from ``start`` to ``end``."""

    marks: tuple[Mark, ...]
    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True, slots=True)
class Table:
    """With ``by_row``, there is a piece of evidence for each row, in their order."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    evidence: tuple[Evidence, ...]
    plot: Plot | None = None
    by_row: bool = False

    def __post_init__(self) -> None:
        if self.by_row and len(self.evidence) != len(self.rows):
            raise InvalidInput(f"Not every row of the table has evidence: {self.caption}")
        if not self.evidence or not self.rows:
            raise InvalidInput(f"A table needs rows and evidence: {self.caption}")
        if any(len(row) != len(self.columns) for row in self.rows):
            raise InvalidInput(f"A row of the table does not fit its columns: {self.caption}")

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": "table",
            "caption": self.caption,
            "columns": list(self.columns),
            "rows": [list(row) for row in self.rows],
            "evidence_by_row": self.by_row,
        } | _evidence(self.evidence)


Item = Statement | Gap | Table


@dataclass(frozen=True, slots=True)
class Section:
    """``number`` is the point of Annex IV (``2(d)``), ``asks`` what that wants, in short."""

    number: str
    title: str
    asks: str
    items: tuple[Item, ...] = ()
    parts: tuple[Section, ...] = ()

    def __post_init__(self) -> None:
        if not self.items and not self.parts:
            raise InvalidInput(f"Section {self.number} is empty: what is missing is a gap.")

    @property
    def anchor(self) -> str:
        return "point-" + self.number.replace("(", "-").replace(")", "").replace(".", "-")

    def walk(self) -> Iterator[Section]:
        yield self
        for part in self.parts:
            yield from part.walk()

    def as_dict(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "title": self.title,
            "asks": self.asks,
            "items": [item.as_dict() for item in self.items],
            "parts": [part.as_dict() for part in self.parts],
        }


@dataclass(frozen=True, slots=True)
class Cited:
    """An event of the audit log: ``data`` is its canonical JSON, whose RFC 6962 leaf hash is
    ``leaf_sha256``."""

    index: int
    event: Event
    leaf_sha256: str
    data: bytes

    @property
    def evidence(self) -> Evidence:
        return Evidence(Source.EVENT, str(self.index), f"event {self.index}, {self.event.type}")


@dataclass(frozen=True, slots=True)
class Log:
    """The audit log as it stood: ``root`` is hex, ``key`` its public key in one line."""

    origin: str
    size: int
    root: str
    key: str


@dataclass(frozen=True, slots=True)
class Techfile:
    """``made_at`` is RFC 3339 in UTC; ``events`` are those that are cited, in the log's order."""

    model: ModelRef
    made_at: str
    made_by: str
    log: Log | None
    sections: tuple[Section, ...]
    events: tuple[Cited, ...]

    @property
    def title(self) -> str:
        return f"Technical documentation of {self.model.name} version {self.model.version}"

    def walk(self) -> Iterator[Section]:
        for section in self.sections:
            yield from section.walk()

    def gaps(self) -> list[tuple[Section, Gap]]:
        return [(s, item) for s in self.walk() for item in s.items if isinstance(item, Gap)]

    def as_dict(self) -> dict[str, Any]:
        log = self.log
        return {
            "schema": SCHEMA_VERSION,
            "title": self.title,
            "model": self.model.as_dict(),
            "made_at": self.made_at,
            "made_by": self.made_by,
            "log": log
            and {"origin": log.origin, "size": log.size, "root": log.root, "key": log.key},
            "sections": [section.as_dict() for section in self.sections],
            "gaps": [{"point": section.number, **gap.as_dict()} for section, gap in self.gaps()],
            "events": [
                {"index": e.index, "type": e.event.type, "leaf_sha256": e.leaf_sha256}
                for e in self.events
            ],
        }


def cited(sections: tuple[Section, ...]) -> set[int]:
    """The indices of the events that ``sections`` rest on."""
    return {
        int(each.ref)
        for section in sections
        for part in section.walk()
        for item in part.items
        if not isinstance(item, Gap)
        for each in item.evidence
        if each.source is Source.EVENT
    }


def _evidence(evidence: tuple[Evidence, ...]) -> dict[str, Any]:
    return {"evidence": [each.as_dict() for each in evidence]}
