"""One replica: its model, its bounded queue, its measurements; and its siblings, to ask them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from prometheus_client.metrics_core import Metric

from detector.jobs import Answer, Source
from loop.errors import Unavailable
from loop.serving_orders import ServingOrder, Stop
from loop.trials import TrialPlan
from serve.admission import Admission, Busy
from serve.metrics import Metrics, exposition
from serve.model_slot import ModelSlot
from serve.service import (
    Detected,
    ServiceStatus,
    TrialCountsById,
    furthest_behind,
    out_of_service,
)
from serve.trial_place import TrialPlace

# Room for 32 clients that each send one image after the other, besides what is worked on.
_ROOM_BESIDE_ENGINE = 32
# Of the time for a request: what is left is enough for the champion.
_PATIENCE_WITH_CANDIDATES = 0.5

# A replica's name, and the id and counts of its trial: `TrialPlace.counts`.
OwnTrial = tuple[str, tuple[str, dict[str, Any]] | None]


class Siblings(Protocol):
    """All replicas, this one among them."""

    async def statuses(self) -> Sequence[ServiceStatus]: ...
    async def families(self) -> Sequence[tuple[str, Sequence[Metric]]]:
        """The name and the metrics of each replica."""

    async def trials(self) -> Sequence[OwnTrial]: ...


class Replica:
    """`serve.service.DetectionService`, in the process that has the model.

    ``candidates`` is the slot for those that are tried beside the model in service; ``room`` is how
    many images may be inside at once, 0 for what suits the engine; ``request_seconds`` how long one
    may take; ``stuck_seconds`` after which an image without an answer means that the engine does
    not come back.
    """

    def __init__(
        self,
        slot: ModelSlot,
        siblings: Siblings,
        *,
        candidates: ModelSlot,
        name: str,
        room: int,
        request_seconds: float,
        stuck_seconds: float,
    ) -> None:
        self.name = name
        self.metrics = Metrics()
        self.request_seconds = request_seconds
        self._slot = slot
        slot.on_swap = self.metrics.swap
        self._siblings = siblings
        self._room = room
        self._stuck_seconds = stuck_seconds
        self._order = ""
        self._stop: Stop | None = None
        self._admission = Admission(self._limit())
        self._trial = TrialPlace(
            candidates,
            patience_seconds=request_seconds * _PATIENCE_WITH_CANDIDATES,
            count=self.metrics.trial_image,
        )

    def check_room(self) -> None:
        self._check_stop()
        with self._counted_rejections():
            self._admission.limit = self._limit()
            self._admission.check()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        self.check_room()
        with self._admission.admitted():
            yield

    def follow(self, order: ServingOrder) -> None:
        """Begin to serve and to try what is ordered, and return at once."""
        self._stop = order.stop  # first: no answer goes out from here on
        self._slot.ask_for(order.served)
        self.try_out(order.tried)
        self._order = order.id  # last: whoever reads it finds what it asks for begun

    def try_out(self, plan: TrialPlan | None) -> None:
        """Begin to try a candidate beside the model in service (None: none) and return at once."""
        self._trial.ask_for(plan)

    def settle_trial(self, timeout: float) -> None:
        self._trial.settle(timeout)

    async def detect(self, source: Source, upload: bytes = b"") -> Detected:
        self._check_stop()
        if self._trial.running:
            detected = await self._trial.detect(self._slot, self._ask, source, upload)
        else:
            detected = await self._ask(self._slot, source)
        self._check_stop()  # what was in the model already does not go out either
        return detected

    async def _ask(
        self,
        slot: ModelSlot,
        source: Source,
        then: Callable[[Future[Answer]], None] | None = None,
    ) -> Detected:
        submitted = slot.submit(source)
        if then is not None:
            submitted.answer.add_done_callback(then)
        answer = asyncio.wrap_future(submitted.answer)
        try:
            # The engine is not told that nobody waits: it may be in the middle of it.
            detections = await asyncio.shield(answer)
        except asyncio.CancelledError:
            self._keep_place_until(submitted.answer)
            raise
        return Detected(submitted.model, submitted.classes, detections)

    async def status(self) -> ServiceStatus:
        return furthest_behind(await self._siblings.statuses())

    def own_status(self) -> ServiceStatus:
        order = self._order  # first: see `follow`
        stop, trial = self._stop, self._trial.status()
        if stop is not None:
            return ServiceStatus(trial=trial, order=order, stopped=stop)
        return replace(self._slot.status(), trial=trial, order=order)

    async def trials(self) -> TrialCountsById:
        found: dict[str, dict[str, Any]] = {}
        for name, own in await self._siblings.trials():
            if own is not None:
                trial_id, counts = own
                found.setdefault(trial_id, {})[name] = counts
        return found

    def own_trial(self) -> OwnTrial:
        return self.name, self._trial.counts()

    async def exposition(self) -> bytes:
        return exposition(dict(await self._siblings.families()))

    def own_families(self) -> tuple[str, list[Metric]]:
        admission = self._admission
        self.metrics.load(
            inside=admission.inside, limit=self._limit(), in_engine=self._slot.pending
        )
        return self.name, self.metrics.families(self._slot.status())

    def check_health(self) -> None:
        """Raises `Unavailable` if the engine does not come back from an image."""
        waited = self._slot.longest_wait()
        if waited > self._stuck_seconds:
            raise Unavailable(
                f"The engine has not answered an image for {waited:.0f} s.",
                hint="The replica is replaced by a new one.",
            )

    def _check_stop(self) -> None:
        if self._stop is not None:
            raise out_of_service(self._stop)

    def _limit(self) -> int:
        return self._room or _ROOM_BESIDE_ENGINE + self._slot.parallel

    @contextmanager
    def _counted_rejections(self) -> Iterator[None]:
        try:
            yield
        except Busy:
            self.metrics.rejected()
            raise

    def _keep_place_until(self, answer: Future[Any]) -> None:
        """An image that nobody waits for still takes the engine's time: it keeps its place."""
        loop = asyncio.get_running_loop()
        self._admission.enter()
        answer.add_done_callback(lambda _: loop.call_soon_threadsafe(self._admission.leave))
