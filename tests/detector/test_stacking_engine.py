from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from detector.base import Pixels
from detector.jobs import Answer, OnStage, ignore_stage
from detector.plan import Plan
from detector.stacking_engine import StackingEngine
from loop.boxes import Box
from loop.classes import ClassList
from loop.errors import Unavailable
from loop.predictions import Detection


class Batches:
    """A detector that notes its batches, and waits for `let` in each."""

    classes = ClassList(("rod",))
    image_size = 64

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.begun = threading.Semaphore(0)
        self.let = threading.Semaphore(0)

    def detect(self, images: Sequence[Pixels], on_stage: OnStage = ignore_stage) -> list[Answer]:
        del on_stage
        self.begun.release()
        assert self.let.acquire(timeout=10)
        values = [int(image[0, 0, 0]) for image in images]
        self.seen.append(values)
        if 99 in values:
            raise RuntimeError("cannot")
        return [(Detection(str(value), Box(0, 0, 1, 1), 0, 0.5),) for value in values]


def image(value: int) -> Pixels:
    return np.full((2, 2, 3), value, np.uint8)


def started(batches: Batches, parallel: int, sizes: list[int] | None = None) -> StackingEngine:
    told = (lambda _size: None) if sizes is None else sizes.append
    return StackingEngine(lambda: batches, Plan("fake", 1, 1, 1, parallel), on_batch=told)


def test_what_makes_an_image_is_called_once_and_not_in_the_thread_of_the_network() -> None:
    batches, threads = Batches(), []

    def make() -> Pixels:
        threads.append(threading.current_thread().name)
        return image(7)

    engine = started(batches, 3)
    batches.let.release()
    assert engine.submit(make).result(10)[0].id == "7"
    assert len(threads) == 1
    assert threads[0].startswith("make-image")
    engine.close()


def test_an_image_that_cannot_be_made_is_in_its_future_and_nobody_elses() -> None:
    batches = Batches()

    def fail() -> Pixels:
        raise ValueError("no image")

    engine = started(batches, 3)
    batches.let.release()
    failed, other = engine.submit(fail), engine.submit(image(1))
    with pytest.raises(ValueError, match="no image"):
        failed.result(10)
    assert other.result(10)[0].id == "1"
    engine.close()
    with pytest.raises(Unavailable):
        engine.submit(fail).result(10)


def test_what_waits_is_stacked_and_each_gets_its_own_answer() -> None:
    batches, sizes = Batches(), list[int]()
    engine = started(batches, 3, sizes)
    first = engine.submit(image(0))
    assert batches.begun.acquire(timeout=10)
    others = [engine.submit(image(value)) for value in range(1, 6)]
    batches.let.release(3)
    for value, future in enumerate([first, *others]):
        assert future.result(10)[0].id == str(value)
    assert batches.seen == [[0], [1, 2, 3], [4, 5]]
    assert sizes == [1, 3, 2]
    engine.close()


def test_a_failure_goes_to_who_asked_and_the_next_is_answered() -> None:
    batches = Batches()
    engine = started(batches, 2)
    failing = engine.submit(image(99))
    batches.let.release(2)
    with pytest.raises(RuntimeError, match="cannot"):
        failing.result(10)
    assert engine.submit(image(1)).result(10)
    engine.close()


def test_closing_answers_what_was_submitted() -> None:
    batches = Batches()
    engine = started(batches, 1)
    futures = [engine.submit(image(value)) for value in range(3)]
    batches.let.release(3)
    engine.close()
    assert all(future.done() for future in futures)


def test_what_was_given_up_is_not_detected() -> None:
    batches = Batches()
    engine = started(batches, 1)
    first = engine.submit(image(1))
    assert batches.begun.acquire(timeout=10)
    assert engine.submit(image(2)).cancel()
    third = engine.submit(image(3))
    batches.let.release(2)
    assert first.result(10)
    assert third.result(10)
    assert batches.seen == [[1], [3]]
    engine.close()
