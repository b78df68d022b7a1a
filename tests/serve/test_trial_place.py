"""Two models in one replica, without Ray and without a network."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np
import pytest

from loop.errors import InvalidInput, Unavailable
from loop.trial_counts import TrialCounts
from loop.trials import TrialKind, TrialPlan
from serve.service import Detected, ServiceStatus, TrialStatus, furthest_behind
from tests.serve.fakes import model_ref
from tests.serve.test_replica import ONE, Bench, sample

IMAGE = np.zeros((4, 4, 3), np.uint8)
TWO = model_ref("2")
CANARY = TrialPlan("t1", TrialKind.CANARY, 0.25, TWO)
SHADOW = TrialPlan("t1", TrialKind.SHADOW, 1.0, TWO)


def trying(plan: TrialPlan, **options: float) -> Bench:
    bench = Bench(**options).load()  # type: ignore[arg-type]
    bench.replica.try_out(plan)
    bench.replica.settle_trial(10)
    return bench


def detect(bench: Bench, upload: bytes = b"") -> Detected:
    return asyncio.run(bench.replica.detect(lambda: IMAGE, upload))


def counts(bench: Bench) -> TrialCounts:
    (by_replica,) = asyncio.run(bench.replica.trials()).values()
    return TrialCounts.from_dict(by_replica["r1"])


def counted(bench: Bench, kind: str, outcome: str) -> bool:
    line = f'trial_images_total{{kind="{kind}",outcome="{outcome}",replica="r1"}} 1.0'
    return asyncio.run(sample(bench.replica, line))


def uploads(plan: TrialPlan, *, taken: bool) -> Iterator[bytes]:
    every = (number.to_bytes(4) for number in range(1000))
    return (upload for upload in every if plan.takes(upload) is taken)


MINE = next(uploads(CANARY, taken=True))
OTHER = next(uploads(CANARY, taken=False))


def test_without_a_trial_nothing_is_counted() -> None:
    bench = Bench().load()
    assert detect(bench).model == ONE
    assert asyncio.run(bench.replica.trials()) == {}
    assert bench.replica.own_status().trial is None


def test_a_canary_answers_its_share_and_each_answer_names_its_model() -> None:
    bench = trying(CANARY)
    assert detect(bench, MINE).model == TWO
    assert detect(bench, MINE).classes.names == ("2",)
    assert detect(bench, OTHER).model == ONE
    found = counts(bench)
    assert (found.candidate.images, found.champion.images) == (2, 1)
    assert list(found.candidate.classes) == ["2"]
    assert counted(bench, "canary", "champion")


def test_the_champion_answers_while_the_candidate_loads_and_if_it_cannot_be_loaded() -> None:
    bench = Bench().load()
    let = threading.Event()

    def load(_: object) -> object:
        assert let.wait(10)
        raise Unavailable("Not a checkpoint.", hint="Use another.")

    bench.candidates._load = load  # type: ignore[assignment]
    bench.replica.try_out(CANARY)
    assert bench.replica.own_status().trial == TrialStatus(CANARY, loading=True)
    assert detect(bench, MINE).model == ONE
    let.set()
    bench.replica.settle_trial(10)
    told = bench.replica.own_status()
    assert told.trial == TrialStatus(CANARY, error="Not a checkpoint. Use another.")
    assert (told.model, told.error) == (ONE, None)
    assert detect(bench, MINE).model == ONE
    assert counts(bench) == TrialCounts()


def test_a_candidate_that_fails_on_an_image_is_counted_and_the_champion_answers() -> None:
    bench = trying(CANARY)
    bench.candidate.failure = RuntimeError("shapes do not match")
    decoded = []

    def decode() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        decoded.append(1)
        return IMAGE

    assert asyncio.run(bench.replica.detect(decode, MINE)).model == ONE
    assert decoded == [1]  # an upload is not decoded again for the second model
    found = counts(bench)
    assert (found.candidate.errors, found.candidate.images, found.champion.images) == (1, 0, 0)
    assert counted(bench, "canary", "failed")


@pytest.mark.parametrize("error", [InvalidInput("Not an image."), OSError("The disk is full.")])
def test_an_upload_that_cannot_be_read_is_not_the_candidates_error(error: Exception) -> None:
    bench = trying(CANARY)

    def decode() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        raise error

    with pytest.raises(type(error)):
        asyncio.run(bench.replica.detect(decode, MINE))
    assert counts(bench).candidate.errors == 0


def test_a_candidate_that_does_not_come_back_costs_half_of_the_time_at_most() -> None:
    bench = trying(CANARY, request_seconds=0.1)
    bench.candidate.holds = True
    assert detect(bench, MINE).model == ONE
    assert detect(bench, MINE).model == ONE
    assert counts(bench).candidate.errors == 2
    assert len(bench.candidate.held) == 1  # the second was not left with it at all
    bench.candidate.let()


def test_in_the_shadow_the_champion_answers_and_the_boxes_are_compared() -> None:
    bench = trying(SHADOW)
    assert detect(bench).model == ONE
    found = counts(bench)
    assert (found.paired, found.champion.images, found.candidate.images) == (1, 1, 1)
    # Both see the same box, each under its own class.
    assert found.pairs["1"].relabelled == 1
    assert counted(bench, "shadow", "compared")


def test_a_share_of_the_images_is_shown_to_the_candidate() -> None:
    plan = TrialPlan("t1", TrialKind.SHADOW, 0.25, TWO)
    bench = trying(plan)
    for taken in (True, False, False):
        detect(bench, next(uploads(plan, taken=taken)))
    assert counts(bench).paired == 1


def test_a_shadow_never_fails_a_request() -> None:
    bench = trying(SHADOW)
    bench.candidate.failure = RuntimeError("shapes do not match")
    assert detect(bench).model == ONE
    assert (counts(bench).candidate.errors, counts(bench).paired) == (1, 0)

    def broken(_: object) -> Future[object]:
        raise MemoryError

    bench.candidate.submit = broken  # type: ignore[method-assign, assignment]
    assert detect(bench).model == ONE


def test_a_shadow_waits_for_nothing_and_leaves_out_what_it_cannot_keep_up_with() -> None:
    bench = trying(SHADOW)
    bench.candidate.holds = True
    for _ in range(4):
        assert detect(bench).model == ONE
    assert len(bench.candidate.held) == 2
    assert counts(bench).skipped == 2
    bench.candidate.let()
    assert counts(bench).paired == 2


def test_a_shadow_is_left_out_while_the_champion_is_busy() -> None:
    bench = trying(SHADOW)

    async def under_load() -> None:
        bench.engine.holds = True
        tasks = [asyncio.create_task(bench.replica.detect(lambda: IMAGE)) for _ in range(4)]
        await asyncio.sleep(0)
        first, *others = bench.engine.held
        bench.engine.held = [first]
        bench.engine.let()
        await tasks[0]
        bench.engine.held = others
        bench.engine.let()
        await asyncio.gather(*tasks)

    asyncio.run(under_load())
    found = counts(bench)
    assert found.skipped == 1
    assert found.skipped + found.paired == 4


def test_a_trial_that_is_asked_for_again_goes_on_counting() -> None:
    bench = trying(SHADOW)
    detect(bench)
    bench.replica.try_out(SHADOW)
    bench.replica.settle_trial(10)
    detect(bench)
    assert counts(bench).paired == 2


def test_what_was_counted_stays_until_the_next_trial() -> None:
    bench = trying(SHADOW)
    detect(bench)
    bench.replica.try_out(None)
    assert bench.candidate.closed.wait(10)
    assert bench.replica.own_status().trial is None
    assert detect(bench).model == ONE
    assert counts(bench).paired == 1
    bench.replica.try_out(TrialPlan("t2", TrialKind.SHADOW, 1.0, TWO))
    assert list(asyncio.run(bench.replica.trials())) == ["t2"]


def test_replicas_are_told_together_and_by_the_one_that_is_furthest_behind() -> None:
    fine, loading = TrialStatus(CANARY), TrialStatus(CANARY, loading=True)
    broken = TrialStatus(CANARY, error="Not a checkpoint.")

    def together(*trials: TrialStatus | None) -> TrialStatus | None:
        return furthest_behind([ServiceStatus(model=ONE, trial=each) for each in trials]).trial

    assert together(None, None) is None
    assert together(fine, fine) == fine
    assert together(fine, loading) == together(fine, None) == loading
    assert together(loading, broken, fine) == broken
    other = TrialStatus(TrialPlan("t2", TrialKind.CANARY, 0.25, TWO))
    assert (together(fine, other) or fine).loading
