"""Registers the final model of a cross-validation as a candidate, and has it measured."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from detector.base import Pixels
from detector.exporting import Exports, export_model
from loop.predictions import ModelRef
from loop.promotions import Promotion
from store.image_codec import Limits, decode
from store.run_proofs import RunProofs
from train.final_model import Final
from train.gold import propose_promotion
from train.session import Context, Plan, Trained
from train.stage import out as console
from train.stage import progress

CANDIDATE = "candidate"
# On so many images of the snapshot an export must see what the checkpoint sees.
_CHECKED_IMAGES = 4


def register_candidate(context: Context, plan: Plan, trained: Trained, final: Final) -> ModelRef:
    """Export ``final``, register it with its lineage, and put that on record.

    An export that is refused is left out, and the version says why.
    """
    record = trained.record
    with tempfile.TemporaryDirectory() as folder:
        exports = _export(context, plan, final, Path(folder))
        candidate = context.registry.register(
            final.weights,
            classes=context.snapshot.classes,
            run_id=record.run_id,
            tags=record.tags | {"loop.kind": "cv"} | final.tags,
            exports=exports.folders,
            refused=exports.refused,
        )
    context.registry.set_alias(CANDIDATE, candidate)
    note = context.registry.signature_of(candidate)
    details = {
        "alias": CANDIDATE,
        "signature": note.as_dict() if note else None,
        "final_model": final.as_dict(),
        "exports": context.registry.exports_of(candidate),
        "exports_refused": dict(exports.refused),
    }
    event_id = record.note("model.registered", {"model": candidate.as_dict()}, details)
    proofs = RunProofs(context.tracking, record.log)
    proofs.attach_to_version(context.registry, candidate, event_id)
    source = "a refit on all folds" if final.fold is None else f"from fold {final.fold}"
    console.print(
        f"Registered {candidate.name} version {candidate.version}, {source}, as {CANDIDATE}.",
        highlight=False,
        markup=False,
    )
    return candidate


def measure(context: Context, trained: Trained, candidate: ModelRef) -> Promotion | None:
    """What the gate says of ``candidate``; None without a gold set.

    A session that was taken up may have asked before: each question uses the gold set up a little.
    """
    with context.units() as uow:
        if not uow.images.gold():
            return None
        promotion = uow.promotions.find(candidate.name, candidate.version)
    if promotion is None:
        with progress("Measuring on the gold set") as step:
            promotion = propose_promotion(context.settings, candidate, step)
    if promotion is not None:
        decision = promotion.decision
        context.tracking.set_tags(trained.record.run_id, {"loop.decision": decision.verdict.value})
        console.print(
            f"Gate: {decision.verdict.value}. {' '.join(decision.reasons)}",
            highlight=False,
            markup=False,
        )
    return promotion


def _export(context: Context, plan: Plan, final: Final, folder: Path) -> Exports:
    formats = context.params.EXPORTS
    if not formats:
        return Exports()
    console.print(
        f"Exporting to {', '.join(formats)} and comparing the boxes.", highlight=False, markup=False
    )
    exports = export_model(
        final.weights,
        formats,
        folder,
        config_dir=context.settings.home / "ultralytics",
        images=_images(context, plan),
    )
    for each, reason in exports.refused.items():
        console.print(
            f"Warning: no export to {each}: {reason}", style="yellow", highlight=False, markup=False
        )
    return exports


def _images(context: Context, plan: Plan) -> Sequence[Pixels]:
    settings, snapshot = context.settings, context.snapshot
    limits = Limits(settings.max_image_bytes, settings.max_image_pixels)
    rows = (row for split in plan.splits for row in split.val_rows)
    ids = [snapshot.samples[row].image_id for row in islice(rows, _CHECKED_IMAGES)]
    return [decode(bytes(snapshot.image_bytes(image_id)), limits).pixels for image_id in ids]
