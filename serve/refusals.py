"""Requests that the API turned away for their key, on record: in numbers, so that nobody can fill
the log by sending bad keys.

The first of a kind is recorded at once, and those after it together, at most once in
`EVERY_SECONDS`. A kind is the reason and the key, if there is one with that id: three reasons and
the keys that an admin has made, however many somebody invents. A process that ends loses the count
of its last minute; the request log has each of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
import structlog

from loop.errors import LoopError
from loop.events import Actor, Authentication, Event, Outcome, Role, now
from loop.ports import UnitsOfWork

EVERY_SECONDS = 60.0
_API = Actor("api", Role.SYSTEM, Authentication.NONE)

_log = structlog.get_logger(__name__)
_Kind = tuple[str, str]


@dataclass(slots=True)
class _Count:
    requests: int
    first: str
    last: str


class Refusals:
    """``sleep`` waits so many seconds."""

    def __init__(
        self, units: UnitsOfWork, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._units = units
        self._sleep = sleep
        # What is not recorded yet, of each kind that somebody watches.
        self._counts: dict[_Kind, _Count | None] = {}
        self._watches: set[asyncio.Task[None]] = set()

    def note(self, why: str, key: str) -> None:
        """``why`` is the error's code; ``key`` the pseudonym of a key that there is, else empty.

        Returns at once: to be called in the event loop.
        """
        kind, at = (why, key), now()
        count = self._counts.get(kind)
        if count is not None:
            count.requests, count.last = count.requests + 1, at
            return
        watched = kind in self._counts
        self._counts[kind] = _Count(1, at, at)
        if not watched:
            watch = asyncio.create_task(self._watch(kind))
            self._watches.add(watch)
            watch.add_done_callback(self._watches.discard)

    async def _watch(self, kind: _Kind) -> None:
        """Until there was nothing more of that kind for a while."""
        while (count := self._counts[kind]) is not None:
            self._counts[kind] = None
            await self._record(kind, count)
            await self._sleep(EVERY_SECONDS)
        del self._counts[kind]

    async def _record(self, kind: _Kind, count: _Count) -> None:
        why, key = kind
        event = Event(
            type="api_key.refused",
            actor=_API,
            subject={"key": key} if key else {},
            details={"why": why, "requests": count.requests},
            outcome=Outcome.REFUSED,
            at=count.last,
            started=count.first,
        )

        def write() -> None:
            with self._units() as uow:
                uow.record(event)
                uow.commit()

        try:
            await anyio.to_thread.run_sync(write)
        except LoopError as error:  # nobody was let in, and the request log says so
            _log.warning("api_keys.refusal_not_recorded", error=error.as_dict())
