from __future__ import annotations

from dataclasses import replace

import pytest

from loop.errors import Conflict, InvalidInput
from loop.predictions import ModelRef
from loop.trials import Trial, TrialKind, TrialPlan, TrialState, parse_share

TWO = ModelRef("detector", "2", "2" * 64)
PLAN = TrialPlan("t1", TrialKind.CANARY, 0.05, TWO)
TRIAL = Trial(
    "t1",
    TrialKind.CANARY,
    0.05,
    TWO,
    ModelRef("detector", "1", "1" * 64),
    TrialState.STARTING,
    "engineer-1",
    "2026-01-01T00:00:00.000000Z",
)


def images(count: int) -> list[bytes]:
    return [number.to_bytes(4) for number in range(count)]


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_about_the_share_of_the_images_is_the_candidates(share: float) -> None:
    plan = replace(PLAN, share=share)
    taken = sum(plan.takes(image) for image in images(10_000))
    assert abs(taken / 10_000 - share) < 0.02


def test_an_image_that_comes_again_goes_to_the_same_model() -> None:
    first = [PLAN.takes(image) for image in images(200)]
    assert [PLAN.takes(image) for image in images(200)] == first


def test_a_larger_share_takes_what_a_smaller_one_took() -> None:
    more = replace(PLAN, share=0.2)
    assert all(more.takes(image) for image in images(500) if PLAN.takes(image))


def test_another_trial_takes_other_images() -> None:
    other = replace(PLAN, id="t2")
    taken = [image for image in images(2000) if PLAN.takes(image)]
    assert 0 < sum(other.takes(image) for image in taken) < len(taken) / 2


@pytest.mark.parametrize(
    ("text", "share"),
    [("5%", 0.05), ("0.05", 0.05), (" 12.5 % ", 0.125), (".5", 0.5), ("100%", 1.0)],
)
def test_a_share_is_written_as_people_write_it(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "5", "1", "0%", "0.0", "101%", "-5%", "nan", "five", "1e-2"])
def test_what_could_mean_something_else_is_no_share(text: str) -> None:
    with pytest.raises(InvalidInput, match="not a share"):
        parse_share(text)


def test_a_plan_and_a_trial_survive_being_written_down() -> None:
    assert TrialPlan.from_dict(PLAN.as_dict()) == PLAN
    assert Trial.from_dict(TRIAL.as_dict()) == TRIAL
    assert TRIAL.plan == PLAN


def test_a_trial_ends_once() -> None:
    ended = TRIAL.running("run").ended(TrialState.STOPPED, at="later", reason="seen enough")
    assert (ended.run_id, ended.reason, ended.open) == ("run", "seen enough", False)
    with pytest.raises(Conflict, match="stopped already"):
        ended.ended(TrialState.FAILED, at="later", reason="")
    with pytest.raises(Conflict):
        ended.running("other")
