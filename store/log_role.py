"""Whether a process has the audit log's files, or leaves its events to the one that has."""

from __future__ import annotations

from enum import StrEnum


class LogRole(StrEnum):
    """``AUTO``: whoever is first begins the log in its home, and from then on it is there.
    ``HERE``: this home's, whatever else there is. ``ELSEWHERE``: never this home's."""

    AUTO = "auto"
    HERE = "here"
    ELSEWHERE = "elsewhere"
