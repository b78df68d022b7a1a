"""Two models on one gold set, as boxes."""

from __future__ import annotations

import numpy as np

from loop.agreement import LabelledBox
from loop.boxes import Box
from loop.classes import ClassList
from loop.gold import GoldDetections
from loop.predictions import ModelRef

CLASSES = ClassList(("cell", "rod"))
GOLD = "d" * 64
CHAMPION, CANDIDATE = (ModelRef("detector", version, version * 64) for version in ("1", "2"))


def detections(
    model: ModelRef,
    *,
    images: int = 60,
    found: float = 0.8,
    jitter_px: float = 3.0,
    classes: ClassList = CLASSES,
    rods: int | None = None,
    images_of_subject: int = 1,
    seed: int = 0,
) -> GoldDetections:
    """``found`` of the boxes, each 40 pixels wide and off by ``jitter_px``, with a false detection
    in every other image. Each image has two boxes of the first class, and of the second one on the
    first ``rods`` images, or on all. Truth depends on the images alone."""
    rng = np.random.default_rng([seed, int(model.version)])
    truth, seen = [], []
    for image in range(images):
        classes_here = [0, 0] + ([1] if rods is None or image < rods else [])
        true = [
            LabelledBox(f"t{n}", Box(100 * n, 0, 100 * n + 40, 40), class_id)
            for n, class_id in enumerate(classes_here)
        ]
        boxes = []
        for box in true:
            if rng.random() < found:
                edges = np.array(box.box.xyxy) + rng.normal(0, jitter_px, 4)
                sure = float(rng.uniform(0.4, 1))
                boxes.append(LabelledBox("d", Box.of(edges.tolist()), box.class_id, sure))
        if rng.random() < 0.5:
            boxes.append(LabelledBox("f", Box(400, 0, 440, 40), 0, float(rng.uniform(0, 0.6))))
        truth.append(tuple(true))
        seen.append(tuple(boxes))
    return GoldDetections(
        model,
        GOLD,
        classes,
        tuple(f"{number:064x}" for number in range(images)),
        tuple(truth),
        tuple(seen),
        tuple(number // images_of_subject for number in range(images)),
    )
