"""Images that wait for a network, the threads that work on them, and how long each stage took."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum

from detector.base import Pixels
from loop.errors import InvalidInput, Unavailable
from loop.predictions import Detection

Answer = tuple[Detection, ...]
# An image, or what makes it: that is called, once, in a thread of the engine when its turn comes,
# so that no more images are decoded at once than are worked on. What it raises is in the future.
Source = Pixels | Callable[[], Pixels]


class Stage(StrEnum):
    WAITING = "waiting"
    PREPROCESS = "preprocess"
    INFERENCE = "inference"
    POSTPROCESS = "postprocess"


# Called with each stage of each image and its seconds, in the threads that work: it must be quick
# and may not raise. Of images that are worked on together each has its share of the seconds.
OnStage = Callable[[Stage, float], None]


# Called with how many images the network gets at once, as `OnStage` is.
OnBatch = Callable[[int], None]


def ignore_stage(_stage: Stage, _seconds: float) -> None:
    pass


def ignore_batch(_images: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Job:
    source: Source
    future: Future[Answer]
    submitted: float = field(default_factory=time.perf_counter)

    def image(self) -> Pixels:
        """Raises what the source raises, and `InvalidInput` for what is not `Pixels`."""
        image = self.source() if callable(self.source) else self.source
        check_image(image)
        return image


class Jobs:
    """A line of images. Once closed it takes none, and its end is reached when it is empty."""

    def __init__(self) -> None:
        self._line: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def submit(self, source: Source) -> Future[Answer]:
        """Never raises: what is wrong is in the future."""
        job = Job(source, Future())
        with self._changed:
            if not self._closed:
                self._line.append(job)
                self._changed.notify()
                return job.future
        job.future.set_exception(
            Unavailable("The model is no longer in service.", hint="Try again: another one is.")
        )
        return job.future

    def take(self, most: int = 1) -> list[Job]:
        """Wait for the first, then take what is there, at most ``most``. Empty: there is no more.

        An image that nobody waits for any more (its future is cancelled) is left out.
        """
        with self._changed:
            while True:
                while not self._line:
                    if self._closed:
                        return []
                    self._changed.wait()
                taken: list[Job] = []
                while self._line and len(taken) < most:
                    job = self._line.popleft()
                    if job.future.set_running_or_notify_cancel():
                        taken.append(job)
                if taken:
                    return taken

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Workers:
    """``count`` threads, each of which hands up to ``most`` images at a time to ``work``.

    ``work`` settles the futures of its jobs; what it raises goes to those that it did not settle.
    ``start`` runs first in each thread; raises what that raises.
    """

    def __init__(
        self,
        work: Callable[[list[Job]], None],
        *,
        count: int,
        most: int = 1,
        name: str,
        start: Callable[[], object] = lambda: None,
    ) -> None:
        self._jobs = Jobs()
        self._work = work
        self._most = most
        begun: list[Future[None]] = [Future() for _ in range(count)]
        self._threads = [
            threading.Thread(
                target=self._run, args=(start, own), name=f"{name}-{index}", daemon=True
            )
            for index, own in enumerate(begun)
        ]
        for thread in self._threads:
            thread.start()
        try:
            for each in begun:
                each.result()
        except BaseException:
            self.close()
            raise

    def submit(self, source: Source) -> Future[Answer]:
        return self._jobs.submit(source)

    def detect(self, images: Sequence[Pixels]) -> list[Answer]:
        """Raises what the first of the images raises that cannot be worked on."""
        futures = [self.submit(image) for image in images]
        return [future.result() for future in futures]

    def close(self) -> None:
        """Take no more images, work on those that wait, and end the threads."""
        self._jobs.close()
        for thread in self._threads:
            thread.join()

    def _run(self, start: Callable[[], object], begun: Future[None]) -> None:
        try:
            start()
        except BaseException as error:
            begun.set_exception(error)
            return
        begun.set_result(None)
        while jobs := self._jobs.take(self._most):
            try:
                self._work(jobs)
            except BaseException as error:  # a worker that dies would leave its images waiting
                for job in jobs:
                    if not job.future.done():
                        job.future.set_exception(error)
            del jobs  # else the last images stay in memory until the next ones come


def check_image(image: Pixels) -> None:
    """Raises `InvalidInput` for what is not `Pixels`."""
    shape: tuple[int, ...] = getattr(image, "shape", ())
    if len(shape) != 3 or shape[2] != 3 or 0 in shape or image.dtype.name != "uint8":
        raise InvalidInput(
            f"An image of shape {shape} is not height x width x 3 of 8-bit RGB.",
            hint="Decode it with store.image_codec.decode.",
        )
