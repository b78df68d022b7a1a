"""A model's way into service: approved by a person, promoted, rolled back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from loop.access import Permission, require
from loop.ending_trials import end_for_release
from loop.errors import Conflict, InvalidInput, LoopError, NotFound, Unavailable
from loop.events import Actor, Event, Outcome, now
from loop.ports import Aliases, UnitsOfWork
from loop.predictions import ModelRef
from loop.promotions import ROLLED_BACK, Promotion, PromotionState, Verdict
from loop.stopping import refuse_while_stopped

CHAMPION, CANDIDATE, PREVIOUS = "champion", "candidate", "previous"

# Puts a model into the running service and returns when every replica serves it; raises LoopError
# if one does not, after it has put the champion back. None means that no service is running.
Swap = Callable[[ModelRef], None]

# What the registry shows of a version's last release, for whoever looks there and not here.
RELEASE_TAG, RELEASE_REASON_TAG = "loop.release", "loop.release.reason"
# As much of a reason as fits into a tag, whatever a library had to say.
_LONGEST_TAG = 1000


def approve(
    units: UnitsOfWork,
    ref: ModelRef,
    *,
    actor: Actor,
    reason: str,
    refuse: bool = False,
    approvers: int = 1,
) -> Promotion:
    """A person's decision on a measured candidate. The gate can be overruled, on record.

    It is approved once as many different people have approved it as it needs, ``approvers`` at
    least; one refusal refuses it. Raises `NotAllowed`, `NotFound` if the candidate was never
    measured, `Conflict` if it is decided already or this person has approved it before.
    """
    require(actor, Permission.DECIDE)
    if not reason.strip():
        raise InvalidInput("A decision needs a reason.", hint='Add --reason "…".')
    with units() as uow:
        promotion = _measured(uow.promotions.find(ref.name, ref.version), ref)
        step = {"by": actor.pseudonym, "reason": reason, "at": now()}
        if refuse:
            decided = promotion.moved_to(PromotionState.REFUSED, **step)
        else:
            decided = promotion.approved(**step, approvers=approvers)
        uow.promotions.update(decided)
        uow.record(_decision_event(decided, actor, ref, reason, refuse=refuse))
        uow.commit()
    return decided


def promote(
    units: UnitsOfWork,
    registry: Aliases,
    ref: ModelRef,
    *,
    actor: Actor,
    swap: Swap | None,
) -> Promotion:
    """Make an approved candidate the champion: swap it into the running service, then move the
    aliases. If either fails, the old champion serves on and keeps its alias, and the release is
    FAILED, with the reason in the promotion's history, its event and the version's tags.

    Raises `Conflict` unless it is approved, and was compared with the champion of this moment;
    `Stopped` while the stop switch is on.
    """
    require(actor, Permission.DECIDE)
    with units() as uow:
        promotion = _measured(uow.promotions.find(ref.name, ref.version), ref)
        if promotion.state not in (PromotionState.APPROVED, PromotionState.FAILED):
            raise Conflict(
                f"Version {ref.version} is {promotion.state}, not approved.",
                hint=f'secondlook models approve {ref.version} --reason "…"'
                if promotion.state is PromotionState.PROPOSED
                else "secondlook models list shows where each one stands.",
            )
        refuse_while_stopped(uow)
        before = registry.find_alias(CHAMPION)
        _check_compared(promotion, ref, before)
        end_for_release(uow, actor, ref)
        uow.record(_event("promotion.started", actor, ref, promotion, before, Outcome.INTENDED))
        uow.commit()
    began = now()
    try:
        _take_over(registry, ref, before, swap)
    except BaseException as error:  # Ctrl-C too: what was intended on record needs its outcome
        reason = _told(error)
        _end(units, promotion, PromotionState.FAILED, actor, ref, before, reason, began)
        _note_release(registry, ref, PromotionState.FAILED, reason)
        raise
    done = PromotionState.PROMOTED
    ended = _end(units, promotion, done, actor, ref, before, promotion.reason, began)
    _note_release(registry, ref, PromotionState.PROMOTED, promotion.reason)
    if registry.find_alias(CANDIDATE) == ref:
        registry.delete_alias(CANDIDATE)
    return ended


def roll_back(
    units: UnitsOfWork,
    registry: Aliases,
    *,
    actor: Actor,
    reason: str,
    swap: Swap | None,
) -> ModelRef:
    """Put the previous champion back into service. Raises `NotAllowed`, `NotFound` if there was
    none, `Stopped` while the stop switch is on."""
    require(actor, Permission.DECIDE)
    if not reason.strip():
        raise InvalidInput("A roll-back needs a reason.", hint='Add --reason "…".')
    previous, champion = registry.find_alias(PREVIOUS), registry.find_alias(CHAMPION)
    if previous is None:
        raise NotFound(
            "There is no previous champion to go back to.",
            hint="secondlook models list shows every version.",
        )
    details: dict[str, Any] = {"from": champion.as_dict() if champion else None}
    with units() as uow:
        refuse_while_stopped(uow)
        end_for_release(uow, actor, previous)
        started = "model.rollback_started"
        uow.record(_model_event(started, actor, previous, details, reason, Outcome.INTENDED))
        uow.commit()
    began = now()
    try:
        _take_over(registry, previous, champion, swap)
    except BaseException as error:
        details["error"] = _told(error)
        failed = Outcome.FAILED
        record_model(
            units, "model.rolled_back", actor, previous, details, reason, failed, started=began
        )
        _note_release(registry, previous, PromotionState.FAILED, details["error"])
        raise
    with units() as uow:
        ended = uow.promotions.find(champion.name, champion.version) if champion else None
        if ended is not None and ended.state is PromotionState.PROMOTED:
            note = ended.rolled_back(by=actor.pseudonym, reason=reason, at=now())
            uow.promotions.update(note)
        event = _model_event("model.rolled_back", actor, previous, details, reason)
        uow.record(replace(event, started=began))
        uow.commit()
    _note_release(registry, previous, PromotionState.PROMOTED, reason)
    if champion is not None:
        _note_release(registry, champion, ROLLED_BACK, reason)
    return previous


def _take_over(
    registry: Aliases, ref: ModelRef, before: ModelRef | None, swap: Swap | None
) -> None:
    """Swap ``ref`` into service and make it the champion, or neither."""
    if swap is not None:
        swap(ref)
    try:
        if before is not None and before != ref:
            registry.set_alias(PREVIOUS, before)
        registry.set_alias(CHAMPION, ref)
    except BaseException as error:
        # What serves must be what the alias names: the next start goes by the alias.
        if swap is not None and before is not None and before != ref:
            try:
                swap(before)
            except LoopError as second:
                raise not_put_back(error, before, second) from error
        raise


def not_put_back(error: BaseException, before: ModelRef | None, second: LoopError) -> Unavailable:
    """For a release that failed with ``error``, where ``before`` does not serve again either."""
    what = f"version {before.version}" if before else "no model"
    return Unavailable(
        f"{_told(error)} Going back to {what} was not confirmed: {second.message}",
        hint="secondlook status shows what serves; secondlook down and up start with the champion.",
    )


def _told(error: BaseException) -> str:
    if isinstance(error, LoopError):
        return error.message
    return f"{type(error).__name__}: {error}".rstrip(": ") + "."


def _note_release(registry: Aliases, ref: ModelRef, state: str, reason: str) -> None:
    # For whoever looks into MLflow. The record is the event: without the tags it is as true.
    with suppress(LoopError):
        registry.set_tags(ref, {RELEASE_TAG: str(state), RELEASE_REASON_TAG: reason[:_LONGEST_TAG]})


def _decision_event(
    promotion: Promotion, actor: Actor, ref: ModelRef, reason: str, *, refuse: bool
) -> Event:
    verdict = promotion.decision.verdict
    last = promotion.state is not PromotionState.PROPOSED
    approved = "promotion.approved" if last else "promotion.approved_by_one"
    return Event(
        type="promotion.refused" if refuse else approved,
        actor=actor,
        subject={"promotion_id": promotion.id, "model": ref.as_dict()},
        details={
            "verdict": verdict.value,
            "overrules_the_gate": (verdict is Verdict.PROMOTE) == refuse,
            "approvals": len(promotion.approved_by),
            "approvers": promotion.approvers,
        },
        decision="refuse" if refuse else "approve",
        reason=reason,
    )


def _measured(promotion: Promotion | None, ref: ModelRef) -> Promotion:
    if promotion is None:
        raise NotFound(
            f"Version {ref.version} has not been measured on the gold set.",
            hint=f"secondlook models compare {ref.version} (mark a gold set first: "
            "secondlook import … --gold).",
        )
    return promotion


def _check_compared(promotion: Promotion, ref: ModelRef, champion: ModelRef | None) -> None:
    """The gate spoke of another champion, and so did whoever approved it."""
    if champion not in (promotion.champion, ref):
        with_it = (
            f"with version {promotion.champion.version}" if promotion.champion else "with none"
        )
        now_is = f"version {champion.version}" if champion else "none"
        raise Conflict(
            f"Version {ref.version} was compared {with_it}, but the champion now is {now_is}.",
            hint=f"Compare it again: secondlook models compare {ref.version}.",
        )


def _end(
    units: UnitsOfWork,
    promotion: Promotion,
    state: PromotionState,
    actor: Actor,
    ref: ModelRef,
    before: ModelRef | None,
    reason: str,
    began: str,
) -> Promotion:
    ended = promotion.moved_to(state, by=actor.pseudonym, reason=reason, at=now())
    outcome = Outcome.DONE if state is PromotionState.PROMOTED else Outcome.FAILED
    with units() as uow:
        uow.promotions.update(ended)
        event = _event("promotion.ended", actor, ref, promotion, before, outcome, reason)
        uow.record(replace(event, decision=state.value, started=began))
        uow.commit()
    return ended


def _event(
    type: str,
    actor: Actor,
    ref: ModelRef,
    promotion: Promotion,
    before: ModelRef | None,
    outcome: Outcome,
    reason: str = "",
) -> Event:
    return Event(
        type=type,
        actor=actor,
        subject={
            "promotion_id": promotion.id,
            "model": ref.as_dict(),
            "champion_before": before.as_dict() if before else None,
        },
        outcome=outcome,
        reason=reason,
    )


def record_model(
    units: UnitsOfWork,
    type: str,
    actor: Actor,
    ref: ModelRef,
    details: dict[str, Any] | None = None,
    reason: str = "",
    outcome: Outcome = Outcome.DONE,
    *,
    started: str = "",
    inputs: Mapping[str, str] | None = None,
    outputs: Mapping[str, str] | None = None,
) -> str:
    """Record one event about a version; its id. ``started`` is RFC 3339, empty: just now."""
    event = _model_event(type, actor, ref, details or {}, reason, outcome)
    event = replace(event, started=started or event.at, inputs=inputs or {}, outputs=outputs or {})
    with units() as uow:
        uow.record(event)
        uow.commit()
    return event.id


def _model_event(
    type: str,
    actor: Actor,
    ref: ModelRef,
    details: Mapping[str, Any],
    reason: str,
    outcome: Outcome = Outcome.DONE,
) -> Event:
    return Event(
        type=type,
        actor=actor,
        subject={"model": ref.as_dict()},
        details=details,
        reason=reason,
        outcome=outcome,
    )
