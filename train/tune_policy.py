"""What Tune is told: which values are tried next, and which trials are not worth going on with.

All of it is made anew from the trials so far, so that a search goes on from its record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from train.params import Params
from train.search_study import NAME, distributions, sampler, study_of
from train.search_trials import OBJECTIVE, SearchTrial, TrialState
from train.trial import SearchJob, TrialEnd

# Of three trials that got as far, ASHA lets the best one go on. The first look is after a ninth of
# the epochs, which leaves two looks: earlier ones would be at the warm-up.
_REDUCTION, _FIRST_LOOK = 3, 9
# A search of which so many trials failed, and none did not, is not worth going on with.
_HOPELESS = 3
# In what a trial reports besides its objective: the epoch, and with the last one how it ended.
EPOCH, END = "epoch", "end"


class Suggestions(OptunaSearch):
    """Optuna, knowing the trials so far. A trial that ASHA stops is one that was pruned: what it
    had by then is not held for what it would have come to."""

    def __init__(self, job: SearchJob, past: Sequence[SearchTrial]) -> None:
        self._study, storage = study_of(past, job.space)
        self._distributions = distributions(job.space)
        super().__init__(
            self._distributions, metric=OBJECTIVE, mode="max", study_name=NAME, storage=storage
        )
        self._job_seed = job.params.SEED
        waiting = [(trial.number, dict(trial.values)) for trial in past if not trial.settled]
        first = job.space.present(job.params)
        if not past and first is not None:  # so that the best is no worse than what is there
            waiting.append((0, first))
        for _, values in waiting:
            self._study.enqueue_trial(values)
        self._numbers = [number for number, _ in waiting]
        self._next = 1 + max((n for n in (*self._numbers, *(t.number for t in past))), default=-1)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        if self._numbers:
            number = self._numbers.pop(0)
        else:
            number, self._next = self._next, self._next + 1
        self._study.sampler = sampler(self._job_seed, number)
        trial = self._ot_trials[trial_id] = self._study.ask(self._distributions)
        return {"number": number, "values": dict(trial.params)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._note(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        import optuna

        state = optuna.trial.TrialState
        end: TrialEnd | None = (result or {}).get(END)
        trial = self._ot_trials[trial_id]
        if error or (end is not None and end.state is TrialState.FAILED):
            self._study.tell(trial, state=state.FAIL)
        elif end is not None and end.objective is not None:
            self._study.tell(trial, end.objective)
        else:
            self._note(trial_id, result or {})
            self._study.tell(trial, state=state.PRUNED)

    def _note(self, trial_id: str, result: Mapping[str, Any]) -> None:
        if OBJECTIVE in result:
            self._ot_trials[trial_id].report(result[OBJECTIVE], result[EPOCH])


def halving(params: Params, settled: Sequence[SearchTrial]) -> TrialScheduler:
    """ASHA, knowing how far the trials so far had come at each of its looks."""
    first = max(1, round(params.EPOCHS / _FIRST_LOOK))
    if first >= params.EPOCHS:
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    asha = ASHAScheduler(
        time_attr=EPOCH,
        metric=OBJECTIVE,
        mode="max",
        grace_period=first,
        # Not at the last epoch, after which there is nothing to save.
        max_t=params.EPOCHS - 1,
        stop_last_trials=False,
        reduction_factor=_REDUCTION,
    )
    controller: Any = None  # ASHA does not look at it
    for trial in settled:
        stand_in: Any = SimpleNamespace(trial_id=f"past {trial.number}")
        asha.on_trial_add(controller, stand_in)
        for epoch, objective in sorted(trial.curve.items()):
            asha.on_trial_result(controller, stand_in, {EPOCH: epoch, OBJECTIVE: objective})
        asha.on_trial_remove(controller, stand_in)
    return asha


class Hopeless(tune.Stopper):
    """Ends a search whose first trials all failed: so would the others."""

    def __init__(self, settled: Sequence[SearchTrial]) -> None:
        self._failed = sum(trial.state is TrialState.FAILED for trial in settled)
        self._worked = len(settled) - self._failed

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        del trial_id
        end: TrialEnd | None = result.get(END)
        self._failed += end is not None and end.state is TrialState.FAILED
        self._worked += OBJECTIVE in result
        return False

    def stop_all(self) -> bool:
        return self._failed >= _HOPELESS and not self._worked
