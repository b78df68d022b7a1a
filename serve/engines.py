"""What runs a model on one image after another, and a detector of batches made into that."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import Protocol

from detector.base import Detector, Pixels
from loop.classes import ClassList
from loop.predictions import Detection

Answer = tuple[Detection, ...]


class Engine(Protocol):
    """A loaded model. ``image_size`` is in pixels; ``parallel`` how many images it works on at
    once when it is busiest."""

    @property
    def classes(self) -> ClassList: ...
    @property
    def image_size(self) -> int: ...
    @property
    def parallel(self) -> int: ...
    def submit(self, image: Pixels) -> Future[Answer]:
        """Detections in ``image`` (height x width x 3, RGB), as soon as there is room for it."""

    def close(self) -> None:
        """Answer what was submitted, then let go of everything. Nothing is submitted after it."""


class StackingEngine:
    """One thread that gives ``detector`` whatever waits, at most ``parallel`` images at a time.

    One thread for one model: torch keeps a pool of threads for each thread that calls it.
    """

    def __init__(self, detector: Detector, parallel: int) -> None:
        self.classes = detector.classes
        self.image_size = detector.image_size
        self.parallel = parallel
        self._detector = detector
        self._waiting: queue.SimpleQueue[tuple[Pixels, Future[Answer]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="detect", daemon=True)
        self._thread.start()

    def submit(self, image: Pixels) -> Future[Answer]:
        future: Future[Answer] = Future()
        self._waiting.put((image, future))
        return future

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while True:
            batch, last = self._next_batch()
            if batch:
                self._detect(batch)
            if last:
                return

    def _next_batch(self) -> tuple[list[tuple[Pixels, Future[Answer]]], bool]:
        """What waits, and whether nothing comes after it. Blocks until there is something."""
        batch: list[tuple[Pixels, Future[Answer]]] = []
        while len(batch) < self.parallel:
            try:
                item = self._waiting.get(block=not batch)
            except queue.Empty:
                break
            if item is None:
                return batch, True
            if item[1].set_running_or_notify_cancel():
                batch.append(item)
        return batch, False

    def _detect(self, batch: list[tuple[Pixels, Future[Answer]]]) -> None:
        try:
            answers = self._detector.detect([image for image, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                future.set_result(answer)
        except Exception as error:  # whatever a model can raise belongs to who asked
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
