"""Any `Detector` behind `detector.engine.Engine`: one thread that works on what waits, together.

Images that are yet to be made are made by other threads, so that the network does not wait for
them one after the other.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from detector.base import Detector, Pixels
from detector.jobs import (
    Answer,
    Job,
    OnBatch,
    OnStage,
    Source,
    Stage,
    Workers,
    ignore_batch,
    ignore_stage,
)
from detector.plan import Plan
from loop.classes import ClassList


class StagedDetector(Detector, Protocol):
    def detect(
        self, images: Sequence[Pixels], on_stage: OnStage = ignore_stage
    ) -> list[Answer]: ...


class StackingEngine:
    """Equal shapes are stacked by the detector. ``load`` runs in the thread that detects: torch
    keeps a pool of threads for each thread that calls it. Raises what ``load`` raises."""

    def __init__(
        self,
        load: Callable[[], StagedDetector],
        plan: Plan,
        *,
        on_stage: OnStage = ignore_stage,
        on_batch: OnBatch = ignore_batch,
    ) -> None:
        self.backend = plan.backend
        self.parallel = plan.parallel
        self.plan = plan
        self._on_stage = on_stage
        self._on_batch = on_batch
        self._load = load
        self._workers = Workers(
            self._work, count=1, most=plan.parallel, name=plan.backend, start=self._open
        )
        self._makers = ThreadPoolExecutor(plan.cores, thread_name_prefix="make-image")

    @property
    def classes(self) -> ClassList:
        return self._detector.classes

    @property
    def image_size(self) -> int:
        return self._detector.image_size

    def submit(self, source: Source) -> Future[Answer]:
        if not callable(source):
            return self._workers.submit(source)
        answer: Future[Answer] = Future()
        try:
            self._makers.submit(self._make, source, answer)
        except RuntimeError:  # it is closed, which the workers say in our words
            return self._workers.submit(source)
        return answer

    def detect(self, images: Sequence[Pixels]) -> list[Answer]:
        return self._workers.detect(images)

    def close(self) -> None:
        self._makers.shutdown()
        self._workers.close()

    def _open(self) -> None:
        self._detector = self._load()

    def _make(self, source: Callable[[], Pixels], answer: Future[Answer]) -> None:
        if not answer.set_running_or_notify_cancel():
            return
        try:
            made = self._workers.submit(source())
        except BaseException as error:  # it would leave somebody waiting
            answer.set_exception(error)
            return
        made.add_done_callback(lambda done: _pass_on(done, answer))

    def _work(self, jobs: list[Job]) -> None:
        started = time.perf_counter()
        seconds: dict[Stage, float] = defaultdict(float)

        def add(stage: Stage, took: float) -> None:
            seconds[stage] += took

        try:
            answers = self._detector.detect([job.image() for job in jobs], add)
        except Exception:
            if len(jobs) == 1:
                raise
            for job in jobs:  # one of them is at fault, and the others are not to suffer from it
                self._work_alone(job)
            return
        self._on_batch(len(jobs))
        for job, answer in zip(jobs, answers, strict=True):
            self._on_stage(Stage.WAITING, started - job.submitted)
            for stage, took in seconds.items():
                self._on_stage(stage, took / len(jobs))
            job.future.set_result(answer)

    def _work_alone(self, job: Job) -> None:
        try:
            self._work([job])
        except Exception as error:
            job.future.set_exception(error)


def _pass_on(done: Future[Answer], answer: Future[Answer]) -> None:
    error = done.exception()
    if error is None:
        answer.set_result(done.result())
    else:
        answer.set_exception(error)
