from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from loop.errors import InvalidInput, NoModel
from loop.predictions import ModelRef
from serve import model_slot
from serve.model_slot import ModelSlot, Submitted, SwapOutcome
from tests.serve.fakes import FakeEngine, model_ref

IMAGE = np.zeros((4, 4, 3), np.uint8)
ONE, TWO = model_ref("1"), model_ref("2")


class Loader:
    """Loads when it is let; may be told to fail."""

    def __init__(self) -> None:
        self.gates: dict[ModelRef, threading.Event] = {}
        self.failures: dict[ModelRef, Exception] = {}
        self.loaded: list[ModelRef] = []
        self.engines: dict[ModelRef, FakeEngine] = {}

    def hold(self, model: ModelRef) -> Callable[[], None]:
        self.gates[model] = threading.Event()
        return self.gates[model].set

    def __call__(self, model: ModelRef) -> FakeEngine:
        if model in self.gates:
            assert self.gates[model].wait(10)
        self.loaded.append(model)
        if model in self.failures:
            raise self.failures[model]
        self.engines[model] = FakeEngine(model.version)
        return self.engines[model]


def detect(slot: ModelSlot) -> ModelRef:
    submitted = slot.submit(IMAGE)
    assert submitted.answer.result(10)
    return submitted.model


def test_an_empty_slot_has_no_model() -> None:
    slot = ModelSlot(Loader())
    with pytest.raises(NoModel) as refusal:
        detect(slot)
    assert "promote" in refusal.value.hint
    assert slot.status().model is None
    assert slot.status().wanted is None


def test_a_model_serves_once_it_is_loaded_and_tried() -> None:
    slot = ModelSlot(Loader())
    slot.ask_for(ONE)
    slot.settle(10)
    status = slot.status()
    assert (status.model, status.wanted, status.loading, status.error) == (ONE, ONE, False, None)
    assert status.classes == ("1",)
    assert status.image_size == 64
    assert detect(slot) == ONE


def test_the_old_model_serves_while_the_new_one_loads() -> None:
    loader = Loader()
    slot = ModelSlot(loader)
    slot.ask_for(ONE)
    slot.settle(10)
    let = loader.hold(TWO)
    slot.ask_for(TWO)
    assert slot.status().loading
    assert slot.status().wanted == TWO
    assert detect(slot) == ONE
    let()
    slot.settle(10)
    assert detect(slot) == TWO
    assert not slot.status().loading


def test_a_model_that_cannot_be_loaded_leaves_the_old_one_and_its_reason() -> None:
    loader = Loader()
    loader.failures[TWO] = InvalidInput("Not a checkpoint.", hint="Use another.")
    slot = ModelSlot(loader)
    slot.ask_for(ONE)
    slot.settle(10)
    slot.ask_for(TWO)
    slot.settle(10)
    status = slot.status()
    assert status.model == ONE
    assert status.wanted == TWO
    assert status.error == "Not a checkpoint. Use another."
    assert detect(slot) == ONE


def test_a_model_that_loads_but_cannot_detect_is_not_taken() -> None:
    broken = FakeEngine("x")
    broken.failure = RuntimeError("shapes do not match")
    slot = ModelSlot(lambda model: broken if model == TWO else FakeEngine("1"))
    slot.ask_for(ONE)
    slot.settle(10)
    slot.ask_for(TWO)
    slot.settle(10)
    assert slot.status().model == ONE
    assert "shapes do not match" in (slot.status().error or "")
    assert broken.closed.is_set()


def test_a_failed_model_can_be_asked_for_again() -> None:
    loader = Loader()
    loader.failures[ONE] = OSError("the store was away")
    slot = ModelSlot(loader)
    slot.ask_for(ONE)
    slot.settle(10)
    assert slot.status().error == "OSError: the store was away"
    with pytest.raises(NoModel, match="the store was away"):
        detect(slot)
    loader.failures.clear()
    slot.ask_for(ONE)
    slot.settle(10)
    assert slot.status().error is None
    assert detect(slot) == ONE


def test_the_last_of_several_requests_wins() -> None:
    loader = Loader()
    slot = ModelSlot(loader)
    let = loader.hold(ONE)
    slot.ask_for(ONE)
    slot.ask_for(TWO)
    slot.ask_for(model_ref("3"))
    let()
    slot.settle(10)
    assert detect(slot) == model_ref("3")
    assert TWO not in loader.loaded


def test_asking_for_the_model_in_service_loads_nothing() -> None:
    loader = Loader()
    slot = ModelSlot(loader)
    slot.ask_for(ONE)
    slot.settle(10)
    slot.ask_for(ONE)
    slot.settle(10)
    assert loader.loaded == [ONE]
    assert not slot.status().loading


def test_going_back_while_another_loads_keeps_the_model_in_service() -> None:
    loader = Loader()
    slot = ModelSlot(loader)
    slot.ask_for(ONE)
    slot.settle(10)
    let = loader.hold(TWO)
    slot.ask_for(TWO)
    slot.ask_for(ONE)
    let()
    slot.settle(10)
    assert detect(slot) == ONE
    assert slot.status().wanted == ONE


def test_no_model_can_be_asked_for() -> None:
    slot = ModelSlot(Loader())
    slot.ask_for(ONE)
    slot.settle(10)
    slot.ask_for(None)
    with pytest.raises(NoModel):
        detect(slot)


def swapped_behind_an_image(loader: Loader) -> tuple[ModelSlot, Submitted]:
    """From one to two, while one holds back the answer to an image."""
    slot = ModelSlot(loader)
    slot.ask_for(ONE)
    slot.settle(10)
    loader.engines[ONE].holds = True
    before = slot.submit(IMAGE)
    slot.ask_for(TWO)
    while slot.status().model != TWO:
        time.sleep(0.001)
    return slot, before


def test_images_after_a_swap_wait_for_those_before_it() -> None:
    loader = Loader()
    slot, before = swapped_behind_an_image(loader)
    after = [slot.submit(IMAGE) for _ in range(3)]
    assert [each.model for each in after] == [TWO] * 3
    assert not any(each.answer.done() for each in after)
    assert slot.pending == 4
    loader.engines[ONE].let()
    assert before.answer.result(10)
    assert all(each.answer.result(10) for each in after)
    assert detect(slot) == TWO
    assert slot.pending == 0


def test_images_in_line_are_told_what_is_wrong_with_them() -> None:
    loader = Loader()
    slot, _ = swapped_behind_an_image(loader)
    loader.engines[TWO].failure = InvalidInput("a torn file")
    after = slot.submit(IMAGE)
    loader.engines[ONE].let()
    with pytest.raises(InvalidInput, match="a torn file"):
        after.answer.result(10)


def test_the_old_engine_is_closed_when_its_last_image_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And one that does not come back keeps nobody from the new one for long."""
    monkeypatch.setattr(model_slot, "_LINE_SECONDS", 0.1)
    loader = Loader()
    slot = ModelSlot(loader)
    slot.ask_for(ONE)
    slot.settle(10)
    old = loader.engines[ONE]
    old.holds = True
    submitted = slot.submit(IMAGE)
    slot.ask_for(TWO)
    slot.settle(10)
    assert detect(slot) == TWO
    assert not old.closed.is_set()
    assert slot.pending == 1
    old.let()
    assert submitted.answer.result(10)
    assert submitted.model == ONE
    assert old.closed.wait(10)
    assert slot.pending == 0


def test_an_engine_that_is_not_taken_is_closed() -> None:
    loader = Loader()
    slot = ModelSlot(loader)
    let = loader.hold(ONE)
    slot.ask_for(ONE)
    slot.ask_for(TWO)
    let()
    slot.settle(10)
    assert detect(slot) == TWO
    assert ONE not in loader.engines or loader.engines[ONE].closed.is_set()


def test_it_knows_how_long_the_oldest_image_waits() -> None:
    loader = Loader()
    slot = ModelSlot(loader)
    assert slot.longest_wait() == 0
    slot.ask_for(ONE)
    slot.settle(10)
    assert slot.longest_wait() == 0
    loader.engines[ONE].holds = True
    slot.submit(IMAGE)
    assert slot.longest_wait() > 0
    loader.engines[ONE].let()
    assert slot.longest_wait() == 0


def test_it_tells_what_became_of_each_model_that_was_asked_for() -> None:
    loader = Loader()
    slot = ModelSlot(loader)
    outcomes: list[SwapOutcome] = []
    slot.on_swap = outcomes.append
    let = loader.hold(ONE)
    slot.ask_for(ONE)
    slot.ask_for(TWO)
    let()
    slot.settle(10)
    loader.failures[ONE] = InvalidInput("broken")
    slot.ask_for(ONE)
    slot.settle(10)
    assert outcomes == [SwapOutcome.SUPERSEDED, SwapOutcome.SERVED, SwapOutcome.FAILED]
