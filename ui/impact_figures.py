"""What the page about promoted models shows, read from the database, MLflow and the registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loop.classes import ClassList
from loop.errors import LoopError, NotFound
from loop.impact import (
    Change,
    ClassChange,
    Impact,
    Promoted,
    class_changes,
    class_scores,
    promoted,
)
from loop.ports import ImageStore, UnitsOfWork
from loop.predictions import ModelRef
from loop.promoting import CHAMPION
from store.model_registry import ModelRegistry
from store.tracking import Tracking
from ui.before_after import Pair

MOST_PAIRS = 12
_SNAPSHOT_TAG = "loop.snapshot_sha256"


@dataclass(frozen=True, slots=True)
class ImpactFigures:
    """One promoted model. ``frozen_at`` is when its snapshot was frozen, None where that is not
    known; ``trouble`` is what MLflow could not say."""

    promoted: Promoted
    changes: Sequence[ClassChange]
    folds: int
    impact: Impact | None
    frozen_at: str | None
    trouble: str


def read_promoted(units: UnitsOfWork, registry: ModelRegistry) -> list[Promoted]:
    """Newest first. Without MLflow, none of them is known to be in service."""
    with units() as uow:
        promotions = uow.promotions.list()
    if not promotions:
        return []
    try:
        champion = registry.find_alias(CHAMPION)
    except LoopError:
        champion = None
    return promoted(promotions, champion)


def read_impact(
    units: UnitsOfWork, tracking: Tracking, registry: ModelRegistry, chosen: Promoted
) -> ImpactFigures:
    promotion, trouble = chosen.promotion, ""
    folds: list[dict[str, float]] = []
    snapshot = ""
    try:
        folds, snapshot = _lineage(tracking, registry, promotion.candidate)
    except LoopError as error:
        trouble = error.message
    with units() as uow:
        impact = uow.impacts.find(promotion.id)
        try:
            frozen_at = uow.snapshots.get(snapshot).created_at if snapshot else None
        except NotFound:
            frozen_at = None
    return ImpactFigures(
        chosen, class_changes(promotion, folds), len(folds), impact, frozen_at, trouble
    )


def read_pairs(
    units: UnitsOfWork, images: ImageStore, impact: Impact, change: Change, own: str
) -> tuple[list[Pair], ClassList]:
    """Cases of that change, at most `MOST_PAIRS`: first those that ``own``, a pseudonym, answered,
    each kind newest first."""
    cases = sorted(impact.of(change), key=lambda case: own not in case.reviewers)[:MOST_PAIRS]
    with units() as uow:
        classes = uow.classes.get()
        seen = [uow.predictions.get(case.prediction_id) for case in cases]
        said = [uow.annotations.of_case(case.case_id) for case in cases]
    pairs = [
        Pair(
            case_id=case.case_id,
            settled_at=case.settled_at,
            is_own=own in case.reviewers,
            image=images.get(case.image_id),
            before=prediction.detections,
            after=case.detections,
            annotation=annotation.boxes if annotation else (),
        )
        for case, prediction, annotation in zip(cases, seen, said, strict=True)
    ]
    return pairs, classes


def _lineage(
    tracking: Tracking, registry: ModelRegistry, model: ModelRef
) -> tuple[list[dict[str, float]], str]:
    """Each fold's AP50-95 by class, and the digest of the snapshot; empty where there is none."""
    version = next((each for each in registry.versions() if each.ref == model), None)
    if version is None:
        return [], ""
    classes = registry.classes_of(model)
    folds = []
    for run_id in tracking.children(version.run_id):
        scores = class_scores(tracking.run(run_id).metrics, classes, "map50_95")
        if scores:
            folds.append(scores)
    return folds, version.tags.get(_SNAPSHOT_TAG, "")
