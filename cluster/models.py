"""A model's way into service: registered, approved by a person, promoted, rolled back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detector.yolo import load_classes
from loop.classes import ClassList
from loop.errors import Conflict, InvalidInput, LoopError, NotFound
from loop.events import Actor, Event, Outcome, now
from loop.ports import UnitsOfWork
from loop.predictions import ModelRef
from loop.promotions import Promotion, PromotionState, Verdict
from store.model_registry import ModelRegistry

CHAMPION, CANDIDATE, PREVIOUS = "champion", "candidate", "previous"

# Puts a model into the running service and returns when it serves; raises LoopError if it does
# not. None in its place means that no service is running.
Swap = Callable[[ModelRef], None]


def register(
    units: UnitsOfWork,
    registry: ModelRegistry,
    weights: Path,
    *,
    config_dir: Path,
    alias: str,
    actor: Actor,
    swap: Swap | None = None,
) -> ModelRef:
    """Bring weights from outside into the registry, as the first champion or as a candidate.

    Once there is a champion, the next one comes through approval: raises `Conflict`.
    """
    if not weights.is_file():
        raise NotFound(f"There is no file {weights}.", hint="Give the path of a .pt file.")
    if alias == CHAMPION and registry.find_alias(CHAMPION) is not None:
        raise Conflict(
            "There is a champion already.",
            hint="Register it with --alias candidate, then: secondlook models compare, approve, "
            "promote.",
        )
    classes = load_classes(weights, config_dir)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    with units() as uow:
        known = uow.classes.find()
        if known is not None and known != classes:
            raise Conflict(
                f"The model knows the classes {', '.join(classes)}; here they are "
                f"{', '.join(known)}.",
                hint="A home has one class list. Use another SECONDLOOK_HOME for other classes.",
            )
        if known is None:
            uow.classes.set(classes)
            uow.record(classes_event(classes, actor))
        uow.record(
            Event(
                type="model.registering",
                actor=actor,
                subject={"model_sha256": digest},
                details={"alias": alias},
                outcome=Outcome.INTENDED,
            )
        )
        uow.commit()
    ref = registry.register(weights, classes=classes, run_id=None, tags={"loop.source": "import"})
    registry.set_alias(alias, ref)
    _record(units, "model.registered", actor, ref, details={"alias": alias})
    if alias == CHAMPION and swap is not None:
        swap(ref)
        _record(units, "model.served", actor, ref)
    return ref


def classes_event(classes: ClassList, actor: Actor) -> Event:
    return Event(type="classes.defined", actor=actor, subject={"classes": list(classes)})


def approve(
    units: UnitsOfWork, ref: ModelRef, *, actor: Actor, reason: str, refuse: bool = False
) -> Promotion:
    """A person's decision on a measured candidate. A refused verdict can be overruled, on record.

    Raises `NotFound` if the candidate was never measured, `Conflict` if it is decided already.
    """
    if not reason.strip():
        raise InvalidInput("A decision needs a reason.", hint='Add --reason "…".')
    with units() as uow:
        promotion = _measured(uow.promotions.find(ref.name, ref.version), ref)
        state = PromotionState.REFUSED if refuse else PromotionState.APPROVED
        decided = promotion.moved_to(state, by=actor.pseudonym, reason=reason, at=now())
        uow.promotions.update(decided)
        verdict = promotion.decision.verdict
        uow.record(
            Event(
                type="promotion.refused" if refuse else "promotion.approved",
                actor=actor,
                subject={"promotion_id": promotion.id, "model": ref.as_dict()},
                details={
                    "verdict": verdict.value,
                    "overrules_the_gate": (verdict is Verdict.PROMOTE) == refuse,
                },
                reason=reason,
            )
        )
        uow.commit()
    return decided


def promote(
    units: UnitsOfWork,
    registry: ModelRegistry,
    ref: ModelRef,
    *,
    actor: Actor,
    swap: Swap | None,
) -> Promotion:
    """Make an approved candidate the champion: swap it into the running service, then move the
    aliases. If the service does not take it, the old champion serves on and this is on record."""
    with units() as uow:
        promotion = _measured(uow.promotions.find(ref.name, ref.version), ref)
        if promotion.state not in (PromotionState.APPROVED, PromotionState.FAILED):
            raise Conflict(
                f"Version {ref.version} is {promotion.state}, not approved.",
                hint=f'secondlook models approve {ref.version} --reason "…"'
                if promotion.state is PromotionState.PROPOSED
                else "secondlook models list shows where each one stands.",
            )
        before = registry.find_alias(CHAMPION)
        uow.record(_event("promotion.started", actor, ref, promotion, before, Outcome.INTENDED))
        uow.commit()
    try:
        if swap is not None:
            swap(ref)
    except LoopError as error:
        _end(units, promotion, PromotionState.FAILED, actor, ref, before, error.message)
        raise
    registry.set_alias(CHAMPION, ref)
    if before is not None and before != ref:
        registry.set_alias(PREVIOUS, before)
    if registry.find_alias(CANDIDATE) == ref:
        registry.delete_alias(CANDIDATE)
    return _end(units, promotion, PromotionState.PROMOTED, actor, ref, before, promotion.reason)


def roll_back(
    units: UnitsOfWork,
    registry: ModelRegistry,
    *,
    actor: Actor,
    reason: str,
    swap: Swap | None,
) -> ModelRef:
    """Put the previous champion back into service. Raises `NotFound` if there was none."""
    if not reason.strip():
        raise InvalidInput("A roll-back needs a reason.", hint='Add --reason "…".')
    previous, champion = registry.find_alias(PREVIOUS), registry.find_alias(CHAMPION)
    if previous is None:
        raise NotFound(
            "There is no previous champion to go back to.",
            hint="secondlook models list shows every version.",
        )
    details: dict[str, Any] = {"from": champion.as_dict() if champion else None}
    _record(units, "model.rollback_started", actor, previous, details, reason, Outcome.INTENDED)
    try:
        if swap is not None:
            swap(previous)
    except LoopError as error:
        details["error"] = error.message
        _record(units, "model.rolled_back", actor, previous, details, reason, Outcome.FAILED)
        raise
    registry.set_alias(CHAMPION, previous)
    if champion is not None:
        registry.set_alias(PREVIOUS, champion)
    _record(units, "model.rolled_back", actor, previous, details, reason)
    return previous


def _measured(promotion: Promotion | None, ref: ModelRef) -> Promotion:
    if promotion is None:
        raise NotFound(
            f"Version {ref.version} has not been measured on the gold set.",
            hint=f"secondlook models compare {ref.version} (mark a gold set first: "
            "secondlook import … --gold).",
        )
    return promotion


def _end(
    units: UnitsOfWork,
    promotion: Promotion,
    state: PromotionState,
    actor: Actor,
    ref: ModelRef,
    before: ModelRef | None,
    reason: str,
) -> Promotion:
    ended = promotion.moved_to(state, by=actor.pseudonym, reason=reason, at=now())
    outcome = Outcome.DONE if state is PromotionState.PROMOTED else Outcome.FAILED
    with units() as uow:
        uow.promotions.update(ended)
        uow.record(_event("promotion.ended", actor, ref, promotion, before, outcome, reason))
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


def _record(
    units: UnitsOfWork,
    type: str,
    actor: Actor,
    ref: ModelRef,
    details: dict[str, Any] | None = None,
    reason: str = "",
    outcome: Outcome = Outcome.DONE,
) -> None:
    with units() as uow:
        uow.record(
            Event(
                type=type,
                actor=actor,
                subject={"model": ref.as_dict()},
                details=details or {},
                reason=reason,
                outcome=outcome,
            )
        )
        uow.commit()
