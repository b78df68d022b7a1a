"""Data sets that engineers bring in over the app: what the routes need, implemented elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol, get_args

from loop.errors import InvalidInput
from loop.events import Actor
from store.formats import Format

ImportAs = Literal["truth", "prediction"]

# It stands in the data, in runs and in audit events.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# A pattern is searched for in every image's name, by whoever may import.
_LONGEST_PATTERN = 200
_MOST_PROBLEMS = 1000


class ImportState(StrEnum):
    RECEIVING = "receiving"
    UNPACKING = "unpacking"
    IMPORTING = "importing"
    DONE = "done"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        return self in (ImportState.DONE, ImportState.FAILED)


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """``name`` is what the data set is called here; empty: after its content. Raises
    `InvalidInput`."""

    format: Format
    import_as: ImportAs = "truth"
    gold: bool = False
    subject_pattern: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if self.format not in get_args(Format) or self.import_as not in get_args(ImportAs):
            raise InvalidInput("There is no such format, or no such kind of boxes.")
        if self.gold and self.import_as != "truth":
            raise InvalidInput(
                "Gold images need true boxes.", hint="Import them as truth, or not as gold."
            )
        if self.name and not _NAME.fullmatch(self.name):
            raise InvalidInput(
                f"A data set cannot be called {self.name[:80]!r}.",
                hint="Use up to 64 letters, digits, dots, dashes and underscores.",
                code="invalid_name",
            )
        _check_pattern(self.subject_pattern)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """``problems`` are (file in the data set, reason)."""

    images: int
    boxes: int
    unchanged: int
    subjects: int
    problems: Sequence[tuple[str, str]]

    def as_dict(self) -> dict[str, Any]:
        """With no more problems than a page can show; ``problem_count`` tells of all."""
        shown = self.problems[:_MOST_PROBLEMS]
        return {
            "images": self.images,
            "boxes": self.boxes,
            "unchanged": self.unchanged,
            "subjects": self.subjects,
            "problem_count": len(self.problems),
            "problems": [{"file": file, "reason": reason} for file, reason in shown],
        }


@dataclass(frozen=True, slots=True)
class ImportStatus:
    """``received`` of ``size`` bytes; ``done`` of ``total`` files while unpacking, of images
    while importing. ``error`` is there when it failed, ``report`` when it is done."""

    id: str
    options: ImportOptions
    started_by: str
    started_at: str
    state: ImportState
    size: int
    received: int = 0
    done: int = 0
    total: int = 0
    report: ImportReport | None = None
    error: dict[str, str] | None = None

    def as_dict(self, *, with_problems: bool = True) -> dict[str, Any]:
        report = self.report.as_dict() if self.report else None
        if report is not None and not with_problems:
            del report["problems"]
        return {
            "id": self.id,
            "name": self.options.name,
            "format": self.options.format,
            "as": self.options.import_as,
            "gold": self.options.gold,
            "started_by": self.started_by,
            "started_at": self.started_at,
            "state": self.state.value,
            "size": self.size,
            "received": self.received,
            "done": self.done,
            "total": self.total,
            "report": report,
            "error": self.error,
        }


class Reception(Protocol):
    """The archive of one import on its way in."""

    def write(self, data: bytes) -> None:
        """The next piece. Raises `Conflict` when it is no longer waited for, `Unavailable` when
        the disk does not take it."""

    def start(self) -> None:
        """All is here: go on in the background. Raises `InvalidInput` if bytes are missing."""

    def abandon(self) -> None:
        """The rest will not come. Does nothing after `start`."""


class BulkImports(Protocol):
    """One import at a time in a home. All of this may wait for the disk.

    An import begins, takes in its archive, and then goes on by itself; what it put on the disk is
    gone when it is over, however it ended.
    """

    def begin(self, options: ImportOptions, size: int, actor: Actor) -> ImportStatus:
        """Ready to take in ``size`` bytes. Raises `Conflict` while another import goes on,
        `Unavailable` when the disk is too full."""

    def open(self, import_id: str) -> Reception:
        """Raises `NotFound`, `Conflict` unless it waits for its archive."""

    def find(self, import_id: str) -> ImportStatus:
        """Raises `NotFound`."""

    def list(self) -> list[ImportStatus]:
        """Since the app was started, latest first."""


def _check_pattern(pattern: str) -> None:
    if len(pattern) > _LONGEST_PATTERN:
        raise InvalidInput(
            f"The subject pattern is longer than {_LONGEST_PATTERN} characters.",
            code="invalid_pattern",
        )
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidInput(
            f"The subject pattern is not a regular expression: {error}.",
            hint="For example '^([^_]+)_' takes what stands before the first underscore.",
            code="invalid_pattern",
        ) from error
