"""What somebody has done on a case: drafts, as the page's own JSON, and what was handed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Draft:
    """``rev`` is the page's count of saves. ``phase`` is what was shown when it was saved.

    A ``recovered`` draft came with a lease that was lost: it is kept beside the live one, of which
    there is one at most for a case and reviewer, until its owner discards it.
    """

    id: str
    case_id: str
    reviewer: str
    phase: str
    tab: str
    token: int
    rev: int
    document: Mapping[str, Any]
    saved_at: str
    recovered: bool = False


@dataclass(frozen=True, slots=True)
class Submission:
    """An answer that was handed in. ``key`` is the page's: it sends the same one again when it
    does not know whether the answer arrived. ``kind`` is ``first`` or ``second``."""

    key: str
    reviewer: str
    case_id: str
    kind: str
    created_at: str
