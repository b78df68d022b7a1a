"""Snapshots of generated images, small enough to train on within seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from loop.corrections import FinalBox, Origin
from loop.images import Image
from loop.snapshots import Labels
from loop.synthetic import CLASSES, generate
from store.image_codec import encode_png
from store.image_files import sha256_of
from store.snapshot_files import Snapshot, SnapshotEntry, open_snapshot, write_snapshot
from train.params import Precision
from train.training import TrainSpec

SIZE_PX = 96
ARCHITECTURE = Path(__file__).parents[2] / "configs" / "yolo-demo.yaml"


def generated_snapshot(folder: Path, count: int, *, width_px: int = SIZE_PX) -> Snapshot:
    """``count`` images, the first of which shows nothing and is labelled so."""
    entries: list[SnapshotEntry] = []
    data: dict[str, bytes] = {}
    blank = np.full((SIZE_PX, width_px, 3), 220, dtype=np.uint8)
    images = generate(count - 1, seed=3, size=SIZE_PX, images_per_subject=1)
    made = [(image.pixels[:, :width_px].copy(), image.subject, image.boxes) for image in images]
    made.insert(0, (blank, "blank", ()))
    for pixels, subject, truth in made:
        png = encode_png(pixels)
        image_id = sha256_of(png)
        data[image_id] = png
        clipped = [(true.box.clipped(width_px, SIZE_PX), true.class_id) for true in truth]
        boxes = tuple(
            FinalBox(f"b{i}", box, class_id, Origin.IMPORTED)
            for i, (box, class_id) in enumerate(clipped)
            if box is not None
        )
        row = Image(
            image_id, width_px, SIZE_PX, "image/png", subject, "test", "2026-01-01T00:00:00.000000Z"
        )
        entries.append(SnapshotEntry(row, f"a{len(entries)}", 1, "imported", boxes, ("p",), None))
    write_snapshot(folder, Labels.ADJUDICATED, CLASSES, entries, data.__getitem__)
    return open_snapshot(folder)


def small_spec(folder: Path, epochs: int = 2) -> TrainSpec:
    return TrainSpec(
        base=ARCHITECTURE,
        folder=folder,
        epochs=epochs,
        batch_size=4,
        image_size=SIZE_PX,
        patience=0,
        seed=1,
        precision=Precision.FP32,  # the same numbers on every machine
        hyperparameters={"nbs": 4, "optimizer": "AdamW", "lr0": 0.005, "mosaic": 0.5},
    )
