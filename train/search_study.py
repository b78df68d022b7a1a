"""The trials of a search as Optuna has them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from train.search_space import Choices, Dimension, SearchSpace
from train.search_trials import SearchTrial, TrialState

NAME = "search"
_STATES = {
    TrialState.FINISHED: optuna.trial.TrialState.COMPLETE,
    TrialState.STOPPED: optuna.trial.TrialState.PRUNED,
    TrialState.FAILED: optuna.trial.TrialState.FAIL,
}


def quieten() -> None:
    """No log lines and no warnings: what a user must know we say ourselves."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna")


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    with warnings.catch_warnings():
        # A high that is no number of steps above its low is lowered to one.
        warnings.simplefilter("ignore")
        return {name: _distribution(each) for name, each in space.dimensions.items()}


def study_of(
    trials: Sequence[SearchTrial],
    space: SearchSpace,
    *,
    as_state: Mapping[TrialState, optuna.trial.TrialState] = _STATES,
) -> tuple[optuna.Study, optuna.storages.BaseStorage]:
    """A study that knows ``trials``, those that are settled, and the storage that it is in."""
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name=NAME, direction="maximize")
    known = distributions(space)
    for trial in trials:
        if trial.settled:
            study.add_trial(_frozen(trial, known, as_state[trial.state]))
    return study, storage


def sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    """TPE for one trial, seeded by its number: what it suggests depends on ``seed`` and on the
    trials before it, not on whether the search was interrupted."""
    state = np.random.SeedSequence([seed, number]).generate_state(1)
    return optuna.samplers.TPESampler(seed=int(state[0]))


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    low, high = dimension.low, dimension.high
    if dimension.whole:
        step = int(dimension.step or 1)
        return IntDistribution(int(low), int(high), log=dimension.log, step=step)
    return FloatDistribution(low, high, log=dimension.log, step=dimension.step)


def _frozen(
    trial: SearchTrial,
    known: Mapping[str, BaseDistribution],
    state: optuna.trial.TrialState,
) -> optuna.trial.FrozenTrial:
    failed = state is optuna.trial.TrialState.FAIL
    return optuna.trial.create_trial(
        state=state,
        value=None if failed else trial.objective,
        params=dict(trial.values),
        distributions=dict(known),
        intermediate_values=dict(trial.curve),
    )
