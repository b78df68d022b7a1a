from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from loop.errors import Unavailable
from train.search_table import SearchTable, in_words
from train.search_trials import SearchTrial, TrialState

TRIAL = SearchTrial(0, TrialState.UNFINISHED, {"lr0": 0.00312345, "optimizer": "AdamW"})
FINISHED = replace(TRIAL, state=TrialState.FINISHED, objective=0.5, epoch=9)


class FakeTrials:
    """What MLflow would say; None is an MLflow that does not answer."""

    def __init__(self) -> None:
        self.trials: Sequence[SearchTrial] | None = []
        self.seconds = 0.0

    def read(self) -> Sequence[SearchTrial]:
        if self.trials is None:
            raise Unavailable("busy")
        return self.trials

    def clock(self) -> float:
        return self.seconds


def table(fake: FakeTrials, *, terminal: bool, trials: int = 3) -> tuple[SearchTable, io.StringIO]:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=110, height=60, color_system=None)
    return SearchTable(console, fake.read, trials=trials, epochs=9, clock=fake.clock), text


def test_without_a_terminal_a_trial_is_told_when_it_begins_and_when_it_ends() -> None:
    fake = FakeTrials()
    shown, text = table(fake, terminal=False)
    with shown:
        fake.seconds, fake.trials = 3, [TRIAL]
        shown.update()
        fake.seconds, fake.trials = 6, [replace(TRIAL, epoch=4, objective=0.2)]
        shown.update()
        failed = replace(TRIAL, number=1, state=TrialState.FAILED, failure="No number.")
        fake.seconds, fake.trials = 9, [FINISHED, failed]
        shown.update()
    assert text.getvalue().splitlines() == [
        "trial 0: training with lr0 0.00312, optimizer AdamW",
        "trial 0: finished, epoch 9/9, mAP50-95 0.500 (best: 0.500, trial 0)",
        "trial 1: failed: No number. (best: 0.500, trial 0)",
    ]


def test_it_is_not_read_all_the_time_but_once_more_at_the_end() -> None:
    fake = FakeTrials()
    shown, text = table(fake, terminal=False)
    with shown:
        fake.trials = [TRIAL]
        fake.seconds = 0.1
        shown.update()
        assert text.getvalue() == ""
    assert "trial 0: training" in text.getvalue()


def test_on_a_terminal_all_trials_stand_in_one_table_with_the_best_so_far() -> None:
    fake = FakeTrials()
    shown, text = table(fake, terminal=True)
    with shown:
        better = replace(FINISHED, number=2, objective=0.75)
        stopped = replace(FINISHED, number=1, state=TrialState.STOPPED, objective=0.3, epoch=3)
        fake.trials = [FINISHED, stopped, better]
    last = text.getvalue()[text.getvalue().rindex("Search:") :]
    assert "3 of 3 trials, best mAP50-95 0.750 (trial 2)" in last
    rows = {
        line.split()[0]: line.split() for line in last.splitlines() if line[:5].strip().isdigit()
    }
    assert rows["0"][1:5] == ["finished", "9/9", "0.500", "0.500"]
    assert rows["1"][1:5] == ["stopped", "3/9", "0.300", "0.500"]
    assert rows["2"][1:5] == ["finished", "9/9", "0.750", "0.750"]


def test_a_long_search_shows_the_newest_trials_and_the_best() -> None:
    fake = FakeTrials()
    shown, text = table(fake, terminal=True, trials=40)
    with shown:
        fake.trials = [
            replace(FINISHED, number=n, objective=0.9 if n == 3 else 0.1) for n in range(40)
        ]
    last = text.getvalue()[text.getvalue().rindex("Search:") :]
    numbers = [int(line.split()[0]) for line in last.splitlines() if line[:5].strip().isdigit()]
    assert numbers[0] == 3
    assert numbers[-1] == 39
    assert len(numbers) < 20


def test_a_busy_mlflow_does_not_end_the_search() -> None:
    fake = FakeTrials()
    shown, text = table(fake, terminal=False)
    with shown:
        fake.trials = [FINISHED]
        fake.seconds = 3
        shown.update()
        fake.trials = None
        fake.seconds = 6
        shown.update()
    assert len(text.getvalue().splitlines()) == 1


def test_values_are_rounded_for_people() -> None:
    assert (
        in_words({"lr0": 0.0012345, "nbs": 64, "cos_lr": True})
        == "lr0 0.00123, nbs 64, cos_lr True"
    )
