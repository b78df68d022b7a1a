"""What models see, for tests about trials."""

from __future__ import annotations

from loop.boxes import Box
from loop.classes import ClassList
from loop.predictions import Detection
from loop.trial_counts import Look

CLASSES = ClassList(("rod", "ring"))


def look(
    *seen: tuple[str, float, float], classes: ClassList = CLASSES, seconds: float = 0.01
) -> Look:
    """Boxes of 10 x 10 pixels: the class, where it begins (x1), the confidence."""
    return Look(
        classes,
        tuple(
            Detection(f"d{place}", Box(x, 0, x + 10, 10), classes.id_of(name), confidence)
            for place, (name, x, confidence) in enumerate(seen)
        ),
        seconds,
    )
