"""Weights from outside, into the registry."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detector.exporting import export_model
from detector.formats import ExportFormat
from detector.yolo import load_classes
from loop.classes import classes_event
from loop.errors import Conflict, LoopError, NotFound
from loop.events import Actor, Event, Outcome, now
from loop.ports import UnitsOfWork
from loop.predictions import ModelRef
from loop.promoting import CHAMPION, Swap, record_model
from loop.stopping import refuse_while_stopped
from store.model_files import SignatureNote
from store.model_registry import ModelRegistry
from store.run_proofs import ProveVersion


def register(
    units: UnitsOfWork,
    registry: ModelRegistry,
    weights: Path,
    *,
    config_dir: Path,
    alias: str,
    actor: Actor,
    swap: Swap | None = None,
    exports: Sequence[ExportFormat] = (),
    prove: ProveVersion | None = None,
) -> ModelRef:
    """Bring weights from outside into the registry, as the first champion or as a candidate.

    They are exported to ``exports`` as well; one that sees other boxes is left out, and the version
    and its event say why. ``prove`` gives the version the proof of that event. Once there is a
    champion, the next one comes through approval: raises `Conflict`. `Stopped`: there is none to be
    put into service while the stop switch is on.
    """
    if not weights.is_file():
        raise NotFound(f"There is no file {weights}.", hint="Give the path of a .pt file.")
    if alias == CHAMPION and registry.find_alias(CHAMPION) is not None:
        raise Conflict(
            "There is a champion already.",
            hint="Register it with --alias candidate, then: secondlook models compare, approve, "
            "promote.",
        )
    began = now()
    classes = load_classes(weights, config_dir)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    with units() as uow:
        if alias == CHAMPION:
            refuse_while_stopped(uow)
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
                inputs={"weights": digest},
            )
        )
        uow.commit()
    with tempfile.TemporaryDirectory() as folder:
        made = export_model(weights, exports, Path(folder), config_dir=config_dir)
        ref = registry.register(
            weights,
            classes=classes,
            run_id=None,
            tags={"loop.source": "import"},
            exports=made.folders,
            refused=made.refused,
        )
    registry.set_alias(alias, ref)
    note = registry.signature_of(ref)
    details = {
        "alias": alias,
        "exports": registry.exports_of(ref),
        "exports_refused": dict(made.refused),
        "signature": note.as_dict() if note else None,
    }
    outputs = {"weights": ref.digest}
    event_id = record_model(
        units, "model.registered", actor, ref, details=details, started=began, outputs=outputs
    )
    if prove is not None:
        prove(ref, event_id)
    if alias == CHAMPION and swap is not None:
        swap(ref)
        record_model(units, "model.served", actor, ref)
    return ref


def sign(
    units: UnitsOfWork, registry: ModelRegistry, ref: ModelRef, *, actor: Actor
) -> SignatureNote:
    """Sign a version that has no signature by this installation's key, and put it on record.

    Raises `BrokenRecord` if its files are not those that were registered; nothing is signed then.
    """
    before = registry.signature_of(ref)
    record_model(units, "model.signing", actor, ref, outcome=Outcome.INTENDED)
    try:
        signed, made = registry.sign(ref)
    except LoopError as error:
        failure = {"error": error.message}
        record_model(units, "model.signed", actor, ref, failure, outcome=Outcome.FAILED)
        raise
    note = SignatureNote(signed.key, signed.sha256)
    details: dict[str, Any] = {
        "signature": note.as_dict(),
        "replaces": before.as_dict() if made and before else None,
        "was_signed_already": not made,
    }
    record_model(units, "model.signed", actor, ref, details)
    return note
