"""The second model of a replica: a candidate that is tried on live images, beside the champion.

While there is none, a request asks for one attribute here and goes its usual way.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import structlog

from detector.base import Pixels
from detector.jobs import Answer, Source
from loop.errors import InvalidInput, NoModel
from loop.trial_counts import Look, ModelCounts, TrialCounts
from loop.trials import TrialKind, TrialPlan
from serve.model_slot import ModelSlot
from serve.service import Detected, TrialStatus

_log = structlog.get_logger(__name__)

# Images that may wait for a candidate in the shadow: what it cannot keep up with is left out.
_MOST_WAITING = 2


class Ask(Protocol):
    """Hands an image to the model in a slot and waits for it; ``then`` is called with the future
    as soon as it is done."""

    def __call__(
        self, slot: ModelSlot, source: Source, then: Callable[[Future[Answer]], None]
    ) -> Awaitable[Detected]: ...


@dataclass(slots=True, eq=False)
class _Running:
    plan: TrialPlan
    counts: TrialCounts = field(default_factory=TrialCounts)


class TrialPlace:
    """``slot`` is the candidates' own; ``patience_seconds`` is how long an image is left with the
    candidate before the champion is asked. ``count`` is told the kind of the trial and what became
    of each image, from any thread."""

    def __init__(
        self,
        slot: ModelSlot,
        *,
        patience_seconds: float,
        count: Callable[[TrialKind, str], None],
    ) -> None:
        self._slot = slot
        self._patience_seconds = patience_seconds
        self._count = count
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._last: _Running | None = None

    def ask_for(self, plan: TrialPlan | None) -> None:
        """Begin to try ``plan``, or end what is tried. What was counted stays until the next."""
        if plan is not None and (self._last is None or self._last.plan != plan):
            self._last = _Running(plan)
        self._running = self._last if plan is not None else None
        self._slot.ask_for(plan.model if plan is not None else None)

    def settle(self, timeout: float) -> None:
        """Wait, at most ``timeout`` seconds, until nothing is being loaded."""
        self._slot.settle(timeout)

    @property
    def running(self) -> bool:
        return self._running is not None

    @property
    def pending(self) -> int:
        """Images that the candidate still has to answer."""
        return self._slot.pending

    def status(self) -> TrialStatus | None:
        running = self._running
        if running is None:
            return None
        slot = self._slot.status()
        return TrialStatus(running.plan, loading=slot.loading, error=slot.error)

    def counts(self) -> tuple[str, dict[str, Any]] | None:
        """The id and the counts of the trial of this moment, or of the last one."""
        last = self._last
        if last is None:
            return None
        with self._lock:
            return last.plan.id, last.counts.as_dict()

    async def detect(
        self, champion: ModelSlot, ask: Ask, source: Source, upload: bytes
    ) -> Detected:
        """As ``ask`` does it of the champion alone, where the candidate is not there."""
        running = self._running
        image = _Watched(source)
        if running is None or not self._slot.has_model:
            return await ask(champion, source, image.note_end)
        if running.plan.kind is TrialKind.CANARY:
            return await self._canary(running, champion, ask, image, upload)
        if not running.plan.takes(upload):
            return await ask(champion, source, image.note_end)
        detected = await ask(champion, image, image.note_end)
        self._shadow(running, champion, image, detected)
        return detected

    async def _canary(
        self, running: _Running, champion: ModelSlot, ask: Ask, image: _Watched, upload: bytes
    ) -> Detected:
        if not running.plan.takes(upload):
            detected = await ask(champion, image, image.note_end)
            self._note(running, "champion", running.counts.champion.add, image.look(detected))
            return detected
        try:
            detected = await self._candidate(ask, image)
        except InvalidInput:
            raise
        except NoModel:  # the trial ended just now
            return await ask(champion, image, image.note_end)
        except Exception as error:
            if image.failed:  # the upload's own fault: the champion would say the same
                raise
            _log.warning("trial.candidate_failed", trial=running.plan.id, error=repr(error))
            self._note(running, "failed", _add_error, running.counts.candidate)
            return await ask(champion, image, image.note_end)
        self._note(running, "candidate", running.counts.candidate.add, image.look(detected))
        return detected

    async def _candidate(self, ask: Ask, image: _Watched) -> Detected:
        if self._slot.longest_wait() > self._patience_seconds:
            raise TimeoutError("The candidate does not come back from an earlier image.")
        async with asyncio.timeout(self._patience_seconds):
            return await ask(self._slot, image, image.note_end)

    def _shadow(
        self, running: _Running, champion: ModelSlot, image: _Watched, detected: Detected
    ) -> None:
        """Hand the image on, unless that would take time from images that wait. Never raises."""
        try:
            busy = champion.pending >= champion.parallel or self.pending >= _MOST_WAITING
            if busy or image.pixels is None:
                self._note(running, "skipped", _add_skipped, running.counts)
                return
            again = _Watched(image.pixels)
            submitted = self._slot.submit(again)
        except NoModel:
            return
        except Exception:
            _log.exception("trial.shadow_failed", trial=running.plan.id)
            return

        def compare(answer: Future[Answer]) -> None:
            again.note_end(answer)
            if answer.cancelled() or answer.exception() is not None:
                self._note(running, "failed", _add_error, running.counts.candidate)
                return
            other = Detected(submitted.model, submitted.classes, answer.result())
            pair = partial(running.counts.add_pair, image.look(detected))
            self._note(running, "compared", pair, again.look(other))

        submitted.answer.add_done_callback(compare)

    def _note(self, running: _Running, outcome: str, add: Callable[[Any], None], what: Any) -> None:
        try:
            with self._lock:
                add(what)
        except Exception:  # no answer is lost for what only counts it
            _log.exception("trial.not_counted", trial=running.plan.id)
        self._count(running.plan.kind, outcome)


class _Watched:
    """A source that keeps its pixels, and knows when they were there and when their boxes were.
    Times are of `time.perf_counter`, in seconds."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.pixels: Pixels | None = None
        self.failed = False
        self._begun = self._ended = 0.0

    def __call__(self) -> Pixels:
        if self.pixels is None:
            self.failed = True
            self.pixels = self._source() if callable(self._source) else self._source
            self.failed = False
        self._begun = time.perf_counter()
        return self.pixels

    def note_end(self, _answer: Future[Answer]) -> None:
        self._ended = time.perf_counter()

    def look(self, detected: Detected) -> Look:
        return Look(detected.classes, detected.detections, max(self._ended - self._begun, 0.0))


def _add_error(counts: ModelCounts) -> None:
    counts.errors += 1


def _add_skipped(counts: TrialCounts) -> None:
    counts.skipped += 1
