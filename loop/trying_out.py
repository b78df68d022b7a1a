"""A trial's way: started beside the champion, stopped. Nothing is decided about a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from loop.access import Permission, require
from loop.ending_trials import end_trial, trial_event
from loop.errors import Conflict, InvalidInput, LoopError, NotFound
from loop.events import Actor, Outcome, new_id, now
from loop.ports import Aliases, UnitsOfWork
from loop.predictions import ModelRef
from loop.promoting import CHAMPION
from loop.stopping import refuse_while_stopped
from loop.trial_counts import TrialCounts
from loop.trials import Trial, TrialKind, TrialPlan, TrialState


class TrialService(Protocol):
    """The running service, as far as trials go."""

    def put(self, plan: TrialPlan | None) -> None:
        """Try a candidate beside the champion (None: none any more), and return when every replica
        does. Raises `LoopError` if one cannot load it."""

    def counts(self, trial_id: str) -> Mapping[str, TrialCounts]:
        """What each replica has counted of that trial, by the replica's name."""

    def error(self, trial_id: str) -> str | None:
        """Why a replica does not try it; None where all do, or are about to."""


# Opens a record of the comparison, and returns its id.
OpenRecord = Callable[[Trial], str]


def start_trial(
    units: UnitsOfWork,
    registry: Aliases,
    candidate: ModelRef,
    *,
    kind: TrialKind,
    share: float,
    actor: Actor,
    service: TrialService,
    open_record: OpenRecord,
) -> Trial:
    """Try ``candidate`` beside the champion. No alias moves, and nothing of the gold set is used.

    If a replica does not take it, the champion answers as before and the trial is FAILED. Raises
    `NotAllowed`, `InvalidInput`, `Conflict` while there is another trial, and `Stopped` while the
    stop switch is on.
    """
    require(actor, Permission.DECIDE)
    champion = _champion(registry.find_alias(CHAMPION), candidate)
    _check(candidate, champion, kind, share)
    trial = Trial(
        id=new_id(),
        kind=kind,
        share=share,
        candidate=candidate,
        champion=champion,
        state=TrialState.STARTING,
        started_by=actor.pseudonym,
        created_at=now(),
    )
    with units() as uow:
        uow.lock()
        refuse_while_stopped(uow)
        other = uow.trials.find_open()
        if other is not None:
            raise Conflict(
                f"Version {other.candidate.version} is being tried already, as a {other.kind}.",
                hint="End that first: secondlook models trial stop.",
            )
        uow.trials.add(trial)
        uow.record(trial_event("trial.starting", actor, trial, Outcome.INTENDED))
        uow.commit()
    try:
        run_id = open_record(trial)
        service.put(trial.plan)
    except BaseException as error:  # Ctrl-C too: what was intended on record needs its outcome
        reason = error.message if isinstance(error, LoopError) else f"{type(error).__name__}."
        fail_trial(units, trial.id, reason, actor=actor, service=service)
        raise
    with units() as uow:
        uow.lock()
        running = uow.trials.get(trial.id).running(run_id)
        uow.trials.update(running)
        uow.record(trial_event("trial.started", actor, running))
        uow.commit()
    return running


def stop_trial(
    units: UnitsOfWork, *, actor: Actor, reason: str, service: TrialService | None
) -> Trial:
    """End the trial of this moment and keep what was counted. None: no service is running.

    Raises `NotAllowed`, `NotFound` if nothing is being tried.
    """
    require(actor, Permission.DECIDE)
    with units() as uow:
        trial = uow.trials.find_open()
    if trial is None:
        raise NotFound(
            "No version is being tried.",
            hint="secondlook models promote VERSION --canary 5%, or --shadow.",
        )
    if service is not None:
        service.put(None)
        note_counts(units, trial.id, service.counts(trial.id))
    with units() as uow:
        uow.lock()
        ended = end_trial(uow, uow.trials.get(trial.id), TrialState.STOPPED, actor, reason)
        uow.commit()
    return ended


def fail_trial(
    units: UnitsOfWork, trial_id: str, reason: str, *, actor: Actor, service: TrialService | None
) -> None:
    """Put on record that a trial could not go on, and take it out of the service, if one runs."""
    with units() as uow:
        uow.lock()
        end_trial(uow, uow.trials.get(trial_id), TrialState.FAILED, actor, reason)
        uow.commit()
    if service is not None:
        service.put(None)


def note_counts(units: UnitsOfWork, trial_id: str, counts: Mapping[str, TrialCounts]) -> None:
    """Keep what replicas have counted, of those that are gone too. It is working state."""
    if not counts:
        return
    with units() as uow:
        uow.lock()
        uow.trials.note_counts(trial_id, {**uow.trials.counts(trial_id), **counts})
        uow.commit()


def _champion(champion: ModelRef | None, candidate: ModelRef) -> ModelRef:
    if champion is None:
        raise Conflict(
            "There is no champion to compare with.",
            hint=f"secondlook models promote {candidate.version} makes it the champion.",
        )
    return champion


def _check(candidate: ModelRef, champion: ModelRef, kind: TrialKind, share: float) -> None:
    if candidate == champion:
        raise InvalidInput(
            f"Version {candidate.version} is the champion itself.", hint="Try another version."
        )
    if kind is TrialKind.CANARY and share >= 1:
        raise InvalidInput(
            "A canary that answers everything leaves nothing to compare it with.",
            hint="Give it a smaller share, such as 5%.",
        )
