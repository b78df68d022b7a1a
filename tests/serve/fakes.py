"""Stand-ins for the model and the database, in memory."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import HTTPConnection

from detector.jobs import Answer, Source
from detector.plan import Plan
from loop.api_keys import Scope
from loop.boxes import Box
from loop.cases import Case
from loop.classes import ClassList
from loop.errors import NotFound
from loop.events import Actor, Event, Role
from loop.images import Image
from loop.predictions import Detection, ModelRef, Prediction
from serve.admission import Busy
from serve.metrics import Metrics, exposition
from serve.model_slot import no_model
from serve.service import Detected, ServiceStatus, TrialCountsById

CLASSES = ClassList(("rod", "ring"))


def model_ref(version: str) -> ModelRef:
    return ModelRef("detector", version, hashlib.sha256(version.encode()).hexdigest())


class FakeService:
    """Sees one rod, in the middle of every image, until told otherwise."""

    def __init__(self) -> None:
        self.state = ServiceStatus(
            model=model_ref("1"), classes=CLASSES.names, image_size=64, wanted=model_ref("1")
        )
        self.failure: Exception | None = None
        self.busy: Busy | None = None
        self.never_answers = False
        self.counted: TrialCountsById = {}
        self.request_seconds = 10.0
        self.metrics = Metrics()
        self.seen: list[NDArray[np.uint8]] = []

    async def detect(self, source: Source, upload: bytes = b"") -> Detected:
        if self.failure is not None:
            raise self.failure
        if self.never_answers:
            await asyncio.Event().wait()
        if self.state.model is None:
            raise no_model(self.state)
        pixels = source() if callable(source) else source
        self.seen.append(pixels)
        height, width = pixels.shape[:2]
        box = Box(width / 4, height / 4, width * 3 / 4, height * 3 / 4)
        return Detected(self.state.model, CLASSES, (Detection("d1", box, 0, 0.9),))

    async def status(self) -> ServiceStatus:
        return self.state

    def own_status(self) -> ServiceStatus:
        return self.state

    def check_room(self) -> None:
        if self.busy is not None:
            raise self.busy

    def admitted(self) -> AbstractContextManager[None]:
        self.check_room()
        return nullcontext()

    async def trials(self) -> TrialCountsById:
        return self.counted

    async def exposition(self) -> bytes:
        return exposition({"r1": self.metrics.families(self.state)})


class OpenGate:
    """Lets everybody in, as the API itself."""

    async def admit(self, connection: HTTPConnection, scope: Scope | None) -> Actor:
        return Actor("api", Role.SYSTEM)


class FakeEngine:
    """Knows which model it is by the name of its only class. Answers at once, until it is told to
    hold its answers back; `let` gives them."""

    image_size = 64
    backend = "fake"

    def __init__(self, name: str, *, parallel: int = 2) -> None:
        self.classes = ClassList((name,))
        self.parallel = parallel
        self.plan = Plan(self.backend, 1, 1, 1, parallel)
        self.holds = False
        self.failure: Exception | None = None
        self.held: list[Future[Answer]] = []
        self.closed = threading.Event()

    def submit(self, source: Source) -> Future[Answer]:
        assert not self.closed.is_set()
        future: Future[Answer] = Future()
        if callable(source):
            try:
                source()
            except Exception as error:
                future.set_exception(error)
                return future
        self.held.append(future)
        if not self.holds:
            self.let()
        return future

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        return [self.submit(image).result() for image in images]

    def let(self) -> None:
        while self.held:
            future = self.held.pop()
            if self.failure is not None:
                future.set_exception(self.failure)
            else:
                future.set_result((Detection("d1", Box(0, 0, 1, 1), 0, 0.5),))

    def close(self) -> None:
        self.closed.set()


class FakeImageStore:
    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        image_id = hashlib.sha256(data).hexdigest()
        self.kept[image_id] = data
        return image_id

    def get(self, image_id: str) -> bytes:
        return self.kept[image_id]

    def delete(self, image_id: str) -> None:
        self.kept.pop(image_id, None)


@dataclass
class FakeDatabase:
    """As much of a unit of work as queueing an image needs."""

    images: dict[str, Image] = field(default_factory=dict)
    predictions: list[Prediction] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    commits: int = 0

    @contextmanager
    def units(self) -> Iterator[Any]:
        yield SimpleNamespace(
            images=SimpleNamespace(
                add=lambda image: self.images.setdefault(image.id, image) is image,
                get=self.images.__getitem__,
                find=self.images.get,
                near=lambda phash, distance, gold: [],
                of_subject=lambda subject: [],
            ),
            predictions=SimpleNamespace(
                add=self.predictions.append,
                of_image=lambda key: [p for p in self.predictions if p.image_id == key],
                get=self._prediction,
            ),
            cases=SimpleNamespace(
                add=self.cases.append,
                of_prediction=lambda key: next(
                    (case for case in self.cases if case.prediction_id == key), None
                ),
            ),
            record=self.events.append,
            commit=self._commit,
        )

    def _commit(self) -> None:
        self.commits += 1

    def _prediction(self, prediction_id: str) -> Prediction:
        for prediction in self.predictions:
            if prediction.id == prediction_id:
                return prediction
        raise NotFound(prediction_id)
