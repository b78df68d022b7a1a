"""A registered version in INT8: a version of its own, with its own way through the gate."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from detector.base import Pixels
from detector.export_cache import cached_exports
from detector.formats import INT8, ExportFormat
from detector.loading import FILES, WEIGHTS
from detector.quantising import Quantised, quantise
from loop.errors import Conflict, InvalidInput, LoopError, NotEnoughData, Unavailable
from loop.events import Actor, Event, Outcome, now
from loop.ports import UnitsOfWork
from loop.predictions import ModelRef
from loop.promoting import CANDIDATE, record_model
from store.image_codec import Limits, decode
from store.model_registry import ModelRegistry
from store.run_proofs import version_prover
from store.settings import Settings
from store.snapshot_files import Snapshot
from train.gold_models import SOURCE_TAG

# On so many others both models are run, to say at once how far apart they are.
_COMPARED_IMAGES = 20
IMAGES_TAG, SEED_TAG = "loop.quantised.images", "loop.quantised.seed"
IMAGES_SHA256_TAG, SNAPSHOT_TAG = "loop.quantised.images_sha256", "loop.snapshot_sha256"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Ids of images, sorted. None of them is gold."""

    calibration: tuple[str, ...]
    compared: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Of the calibration images' ids, a line each."""
        return hashlib.sha256(
            "".join(f"{each}\n" for each in self.calibration).encode()
        ).hexdigest()


def register_quantised(
    settings: Settings,
    units: UnitsOfWork,
    registry: ModelRegistry,
    source: ModelRef,
    snapshot: Snapshot,
    *,
    images: int,
    seed: int,
    actor: Actor,
) -> ModelRef:
    """Calibrate ``source`` on ``images`` images of ``snapshot`` and register it as a candidate.

    The same arguments choose the same images. Raises `InvalidInput` for a version that is in INT8
    already, `NotFound` for a snapshot that is not on record here, `NotEnoughData` for one without
    images outside the gold set, `Conflict` if its classes are others, `Unavailable` for weights
    that OpenVINO does not take.
    """
    with units() as uow:
        uow.snapshots.get(snapshot.sha256)
    classes = registry.classes_of(source)
    if classes != snapshot.classes:
        raise Conflict(
            f"Version {source.version} knows other classes than the snapshot.",
            hint="Calibrate it on a snapshot of the data that it was trained on.",
        )
    chosen = choose_images(snapshot, images, seed)
    details = {
        "source": source.as_dict(),
        "snapshot_sha256": snapshot.sha256,
        "images": len(chosen.calibration),
        "images_sha256": chosen.sha256,
        "seed": seed,
    }
    inputs = {
        "source": source.digest,
        "snapshot": snapshot.sha256,
        "images": chosen.sha256,
    }
    began = now()
    with units() as uow:
        uow.record(
            Event(
                "model.quantising",
                actor,
                {"model": source.as_dict()},
                details,
                Outcome.INTENDED,
                inputs=inputs,
            )
        )
        uow.commit()
    try:
        with tempfile.TemporaryDirectory(prefix="second-look-int8-") as own:
            files = registry.fetch_verified(source, FILES, Path(own) / "source")
            made = _made(settings, files, snapshot, chosen, Path(own))
            ref = registry.register(
                files[WEIGHTS],
                classes=classes,
                run_id=None,
                tags={
                    "loop.source": "quantised",
                    SOURCE_TAG: source.version,
                    SNAPSHOT_TAG: snapshot.sha256,
                    IMAGES_TAG: str(len(chosen.calibration)),
                    IMAGES_SHA256_TAG: chosen.sha256,
                    SEED_TAG: str(seed),
                },
                exports={INT8: made.folder},
                backend=INT8,
            )
    except LoopError as error:
        failed = details | {"error": error.message}
        record_model(
            units,
            "model.quantised",
            actor,
            source,
            failed,
            outcome=Outcome.FAILED,
            started=began,
            inputs=inputs,
        )
        raise
    registry.set_alias(CANDIDATE, ref)
    note = registry.signature_of(ref)
    details |= {
        "alias": CANDIDATE,
        "exports": registry.exports_of(ref),
        "signature": note.as_dict() if note else None,
        "apart": {**asdict(made.difference), "images": made.images, "boxes": made.boxes},
    }
    outputs = {"weights": ref.digest}
    event_id = record_model(
        units,
        "model.registered",
        actor,
        ref,
        details,
        started=began,
        inputs=inputs,
        outputs=outputs,
    )
    version_prover(settings, registry)(ref, event_id)
    return ref


def choose_images(snapshot: Snapshot, images: int, seed: int) -> Chosen:
    """At most ``images`` for calibration, drawn by ``seed``, and a few others to compare on.

    Raises `NotEnoughData` if there is none outside the gold set.
    """
    ids = sorted(sample.image_id for sample in snapshot.samples if not sample.gold)
    if not ids:
        raise NotEnoughData(
            "The snapshot has no images outside the gold set to calibrate on.",
            hint="The gold set is to measure the model on: annotate other images.",
        )
    drawn = [ids[index] for index in np.random.default_rng(seed).permutation(len(ids))]
    rest = drawn[images : images + _COMPARED_IMAGES]
    return Chosen(tuple(sorted(drawn[:images])), tuple(sorted(rest)))


def _made(
    settings: Settings, files: dict[str, Path], snapshot: Snapshot, chosen: Chosen, out: Path
) -> Quantised:
    if INT8 in files:
        raise InvalidInput(
            "This version is in INT8 already.", hint="Quantise the one that it was made of."
        )
    openvino = ExportFormat.OPENVINO
    if openvino not in files:
        config_dir = settings.home / "ultralytics"
        made = cached_exports(
            files[WEIGHTS], [openvino], settings.export_cache, config_dir=config_dir
        )
        if openvino not in made.folders:
            raise Unavailable(
                f"OpenVINO does not take this model: {made.refused.get(openvino, 'unknown')}"
            )
        files |= made.folders
    return quantise(
        files[openvino],
        _pixels(settings, snapshot, chosen.calibration),
        _pixels(settings, snapshot, chosen.compared),
        out,
    )


def _pixels(settings: Settings, snapshot: Snapshot, ids: Sequence[str]) -> list[Pixels]:
    limits = Limits(settings.max_image_bytes, settings.max_image_pixels)
    return [decode(bytes(snapshot.image_bytes(each)), limits).pixels for each in ids]
