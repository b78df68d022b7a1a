"""One replica: its model, its bounded queue, its measurements; and its siblings, to ask them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Protocol

from prometheus_client.metrics_core import Metric

from detector.jobs import Source
from loop.errors import Unavailable
from serve.admission import Admission, Busy
from serve.metrics import Metrics, exposition
from serve.model_slot import ModelSlot
from serve.service import Detected, ServiceStatus, furthest_behind

# Room for 32 clients that each send one image after the other, besides what is worked on.
_ROOM_BESIDE_ENGINE = 32


class Siblings(Protocol):
    """All replicas, this one among them."""

    async def statuses(self) -> Sequence[ServiceStatus]: ...
    async def families(self) -> Sequence[tuple[str, Sequence[Metric]]]:
        """The name and the metrics of each replica."""


class Replica:
    """`serve.service.DetectionService`, in the process that has the model.

    ``room`` is how many images may be inside at once, 0 for what suits the engine;
    ``request_seconds`` how long one may take; ``stuck_seconds`` after which an image without an
    answer means that the engine does not come back.
    """

    def __init__(
        self,
        slot: ModelSlot,
        siblings: Siblings,
        *,
        name: str,
        room: int,
        request_seconds: float,
        stuck_seconds: float,
    ) -> None:
        self.name = name
        self.metrics = Metrics()
        self.request_seconds = request_seconds
        self._slot = slot
        self._siblings = siblings
        self._room = room
        self._stuck_seconds = stuck_seconds
        self._admission = Admission(self._limit())

    def check_room(self) -> None:
        with self._counted_rejections():
            self._admission.limit = self._limit()
            self._admission.check()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        self.check_room()
        with self._admission.admitted():
            yield

    async def detect(self, source: Source) -> Detected:
        submitted = self._slot.submit(source)
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
        return self._slot.status()

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
