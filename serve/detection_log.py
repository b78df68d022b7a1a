"""Detections whose image is not stored, on record: many requests, one transaction.

A request waits until its event is committed, or it is not answered: what cannot be logged is not
done. Each transaction ends in an fsync, and one a request would be all that a disk can do. So
events queue up while one is under way, and the next takes all that wait (group commit; DeWitt et
al., Implementation Techniques for Main Memory Database Systems, SIGMOD 1984, section 5.2).
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from loop.errors import InvalidInput, LoopError, Unavailable
from loop.events import Actor, Event
from loop.ports import UnitsOfWork
from serve.service import Detected

# Bounds a transaction, and so the time for which other writers wait.
_LARGEST_GROUP = 500
# A transaction takes as much of a core as some ten events in it: a group waits so long for others
# that are about to be done. Where none came, so many groups do without: a client that sends one
# image after the other waits for nobody.
_LINGER_SECONDS = 0.025
_GROUPS_ALONE = 16

_log = structlog.get_logger(__name__)


def detection_event(
    detected: Detected, width: int, height: int, *, actor: Actor, request_id: str, started: str
) -> Event:
    """``started`` is when the request came in. Nothing is said of the image but its size:
    docs/audit-events.md says why."""
    return Event(
        type="detection.served",
        actor=actor,
        subject={"model": detected.model.as_dict()},
        details={"detections": len(detected.detections), "width": width, "height": height},
        request_id=request_id,
        started=started,
    )


@dataclass(frozen=True, slots=True)
class _Waiting:
    event: Event
    loop: asyncio.AbstractEventLoop
    committed: asyncio.Future[None]

    def tell(self, error: LoopError | None) -> None:
        try:
            self.loop.call_soon_threadsafe(self._set, error)
        except RuntimeError:  # the loop is closed, and nobody waits any more
            return

    def _set(self, error: LoopError | None) -> None:
        if self.committed.done():  # its request was cancelled
            return
        if error is None:
            self.committed.set_result(None)
        else:
            self.committed.set_exception(error)


class DetectionLog:
    """Has a thread of its own, which lives as long as the process."""

    def __init__(self, units: UnitsOfWork) -> None:
        self._units = units
        self._queue: queue.SimpleQueue[_Waiting] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="detection-log", daemon=True).start()

    async def record(self, event: Event) -> None:
        """Return once ``event`` is committed. Raises `Unavailable` if it cannot be."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(event, loop, loop.create_future())
        self._queue.put(waiting)
        await waiting.committed

    def _run(self) -> None:
        alone = 0
        while True:
            linger = alone == 0
            group = self._next_group(_LINGER_SECONDS if linger else 0.0)
            left = _GROUPS_ALONE if linger else alone - 1
            alone = 0 if len(group) > 1 else left
            self._commit(group)

    def _next_group(self, linger: float) -> list[_Waiting]:
        group = [self._queue.get()]
        if linger:
            time.sleep(linger)
        while len(group) < _LARGEST_GROUP:
            try:
                group.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return group

    def _commit(self, group: Sequence[_Waiting]) -> None:
        recorded: list[_Waiting] = []
        error: LoopError | None = None
        try:
            with self._units() as uow:
                for waiting in group:
                    try:
                        uow.record(waiting.event)
                    except InvalidInput as refused:  # this one's own fault
                        waiting.tell(_not_logged(refused))
                    else:
                        recorded.append(waiting)
                uow.commit()
        except Exception as failed:  # whatever it is, the next group may do better
            error = _not_logged(failed)
            recorded = list(group)
        for waiting in recorded:
            waiting.tell(error)


def _not_logged(error: Exception) -> Unavailable:
    _log.error("detections.not_logged", error=repr(error))
    return Unavailable(
        "The detection could not be put on record, and so it is not given.",
        hint="Send the image again. The log of the API says what is wrong with the database.",
    )
