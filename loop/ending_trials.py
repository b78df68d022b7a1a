"""How a trial ends on record, with what it came to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loop.events import Actor, Event, Outcome, now
from loop.ports import UnitOfWork
from loop.predictions import ModelRef
from loop.trial_comparison import compare
from loop.trial_counts import summed
from loop.trials import Trial, TrialState

_TOTALS = ("matched", "only_champion", "only_candidate", "relabelled")


def end_trial(uow: UnitOfWork, trial: Trial, state: TrialState, actor: Actor, reason: str) -> Trial:
    """With its event, in the caller's transaction. Raises `Conflict` if it ended before."""
    ended = trial.ended(state, at=now(), reason=reason)
    uow.trials.update(ended)
    comparison = compare(summed(uow.trials.counts(trial.id).values()))
    failed = state is TrialState.FAILED
    name, outcome = ("trial.failed", Outcome.FAILED) if failed else ("trial.stopped", Outcome.DONE)
    uow.record(trial_event(name, actor, ended, outcome, comparison=_totals(comparison)))
    return ended


def end_for_release(uow: UnitOfWork, actor: Actor, model: ModelRef) -> None:
    """Whoever swaps ``model`` in ends the trial of this moment, in the same transaction: it was a
    comparison with the champion before."""
    trial = uow.trials.find_open()
    if trial is not None:
        reason = f"Version {model.version} was to be swapped in."
        end_trial(uow, trial, TrialState.STOPPED, actor, reason)


def trial_event(
    type: str, actor: Actor, trial: Trial, outcome: Outcome = Outcome.DONE, **details: Any
) -> Event:
    return Event(
        type=type,
        actor=actor,
        subject={
            "trial_id": trial.id,
            "model": trial.candidate.as_dict(),
            "champion": trial.champion.as_dict(),
        },
        details={
            "kind": trial.kind.value,
            "share": trial.share,
            "run_id": trial.run_id,
            **details,
        },
        outcome=outcome,
        reason=trial.reason,
    )


def _totals(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """As much of a comparison as an event carries."""
    sides, pairs = ("champion", "candidate"), comparison["pairs"]
    return {
        "images": {side: comparison[side]["images"] for side in sides},
        "errors": {side: comparison[side]["errors"] for side in sides},
        "skipped": comparison["skipped"],
        "pairs": {name: pairs["all"][name] for name in _TOTALS} if pairs else None,
    }
