"""What the rest of the house knows of a detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from loop.classes import ClassList
from loop.errors import Unavailable
from loop.predictions import Detection

# Height x width x 3, RGB.
Pixels = NDArray[np.uint8]

# Not square and not a multiple of any stride, so that the letterboxing is tried as well.
_SMOKE_HEIGHT, _SMOKE_WIDTH = 95, 130


class Detector(Protocol):
    """One loaded model. ``image_size`` is the length in pixels of the side that it sees."""

    @property
    def classes(self) -> ClassList: ...
    @property
    def image_size(self) -> int: ...
    def detect(self, images: Sequence[Pixels]) -> list[tuple[Detection, ...]]:
        """What is seen in each image, highest confidence first.

        Boxes are in pixels of that image and clipped to it; ids are unique. What comes out for
        an image does not depend on which others are in the batch.
        """


def smoke_image() -> Pixels:
    """An image of noise, the same each time."""
    return noise_image(_SMOKE_HEIGHT, _SMOKE_WIDTH)


def noise_image(height: int, width: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smoke_test(detect: Callable[[Sequence[Pixels]], Sequence[object]]) -> None:
    """Run one detection on a generated image. Raises `Unavailable` when the model cannot do it."""
    try:
        answers = detect([smoke_image()])
    except Exception as error:  # weights may hold anything, so anything may fail
        raise Unavailable(
            f"The model loads but cannot detect: {type(error).__name__}: {error}.",
            hint="Train or export the model again and register the new version.",
        ) from error
    if len(answers) != 1:
        raise Unavailable(f"The model gave {len(answers)} answers for one image.")
