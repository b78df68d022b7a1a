"""Follows the audit log, with what lies beside it: the database's salts, and snapshots' files."""

from __future__ import annotations

from collections.abc import Sequence

from loop.consequences import consequences, consequences_of_event
from loop.errors import InvalidInput
from loop.event_query import EventQuery
from loop.events import Event
from loop.opening import image_references
from loop.origins import origins, origins_of_event
from loop.ports import UnitsOfWork
from loop.tracing import MOST_EVENTS, Found, KnowsSnapshots, Reference, Step, with_purges
from store.audit_log import AuditLog

# What can be asked about by a value, besides single entries.
KINDS = (
    *("request", "prediction", "case", "image", "correction", "annotation", "model", "run"),
    *("snapshot", "folds", "split", "promotion"),
)


class AuditTracing:
    def __init__(self, log: AuditLog, units: UnitsOfWork, snapshots: KnowsSnapshots) -> None:
        self.log = log
        self._units = units
        self._snapshots = snapshots

    def references(self, kind: str, value: str) -> list[Reference]:
        """By what events about it are found; several that mean the same thing. Raises
        `InvalidInput`, and `NotFound` for an image that nothing connects with the log."""
        if not kind or not value:
            raise InvalidInput(f"{kind}={value} names nothing.", hint="Give it as case=1a2b…")
        if kind != "image":
            return [(kind, value.replace(" ", "/") if kind == "model" else value)]
        with self._units() as uow:
            return image_references(uow, value)

    def of(self, kind: str, value: str, *, forward: bool) -> Step:
        """Raises `InvalidInput`, `NotFound`, `Unavailable`."""
        if kind not in KINDS:
            known = ", ".join(KINDS)
            raise InvalidInput(f"{kind!r} cannot be traced.", hint=f"What can: {known}.")
        about = self.references(kind, value)
        follow = consequences if forward else origins
        trail = _Trail(self.log)
        return with_purges(trail, follow(trail, self._snapshots, about))

    def of_event(self, which: int | str, *, forward: bool) -> Step:
        """By index or id. Raises `NotFound`, `Unavailable`."""
        entry = self.log.get(which)
        follow = consequences_of_event if forward else origins_of_event
        trail, start = _Trail(self.log), Found(entry.index, entry.event)
        return with_purges(trail, follow(trail, self._snapshots, start))


class _Trail:
    """The log as `loop.tracing` looks things up in it, from its state at one time."""

    def __init__(self, log: AuditLog) -> None:
        log.integrate()
        self._rows = log.rows

    def find(
        self, about: Sequence[Reference], types: Sequence[str] = (), limit: int = MOST_EVENTS
    ) -> list[Found]:
        query = EventQuery(tuple(about), tuple(types))
        return [_found(*row) for row in self._rows.find(query, limit)]

    def get(self, event_id: str) -> Found | None:
        row = self._rows.get(event_id)
        return _found(*row) if row else None


def _found(index: int, data: bytes) -> Found:
    return Found(index, Event.from_canonical(data))
