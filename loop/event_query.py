"""Which events somebody looks for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EventQuery:
    """All of it must hold. ``about`` are references (`loop.event_references`); ``types`` are whole
    types (``fold.ended``) or what stands before their dot (``fold``); ``since`` and ``until`` are
    RFC 3339 in UTC, or the beginning of one (``2026-11``), the one included, the other not."""

    about: tuple[tuple[str, str], ...] = ()
    types: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
