"""Generated microscopy: images of three kinds of cell with known boxes, for demos and tests.

Deterministic by seed. Each subject (a slide) has its own stain, brightness, blur and noise, as
real slides do, so that a split which mixes subjects would show. Not a model of any tissue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from loop.boxes import Box
from loop.classes import ClassList
from loop.intake import TrueBox

CLASSES = ClassList(("round_cell", "rod", "ring"))
# Rods and rings are rarer than round cells, as one class always is.
_CLASS_SHARES = (0.5, 0.3, 0.2)
# A cell may lie over at most this share of another before it is placed elsewhere.
_MAX_OVERLAP = 0.15
_PLACING_TRIES = 30

FloatImage = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SyntheticImage:
    """``pixels`` is (height, width, 3) RGB, uint8; boxes are tight around each cell, in pixels."""

    name: str
    subject: str
    pixels: NDArray[np.uint8]
    boxes: tuple[TrueBox, ...]


@dataclass(frozen=True, slots=True)
class _Stain:
    background: FloatImage
    colours: FloatImage  # (3, 3): one colour a class
    blur: float
    noise: float


def generate(
    count: int, *, seed: int, size: int = 128, images_per_subject: int = 4, prefix: str = "slide"
) -> Iterator[SyntheticImage]:
    """``count`` images of ``size`` x ``size`` pixels; about one in twelve shows nothing."""
    for index in range(count):
        subject = index // images_per_subject
        name = f"{prefix}{subject:03d}"
        stain = _stain(np.random.default_rng([seed, subject]))
        rng = np.random.default_rng([seed, subject, index])
        pixels, boxes = _draw(rng, stain, size)
        yield SyntheticImage(f"{name}_{index:04d}", name, pixels, boxes)


def _stain(rng: np.random.Generator) -> _Stain:
    base = np.array([[0.72, 0.30, 0.42], [0.30, 0.36, 0.72], [0.36, 0.58, 0.38]])
    return _Stain(
        background=np.array([0.90, 0.86, 0.84]) + rng.uniform(-0.07, 0.07, 3),
        colours=np.clip(base + rng.uniform(-0.12, 0.12, (3, 3)), 0, 1),
        blur=float(rng.uniform(0.4, 1.1)),
        noise=float(rng.uniform(0.01, 0.035)),
    )


def _draw(
    rng: np.random.Generator, stain: _Stain, size: int
) -> tuple[NDArray[np.uint8], tuple[TrueBox, ...]]:
    lighting = gaussian_filter(rng.normal(0, 1, (size, size)), size / 5)
    lighting = 0.06 * lighting / (np.abs(lighting).max() + 1e-9)
    image = np.broadcast_to(stain.background, (size, size, 3)) + lighting[..., None]
    _add_debris(rng, image, size)
    boxes: list[TrueBox] = []
    cells = 0 if rng.random() < 1 / 12 else int(rng.integers(3, 8))
    for _ in range(cells):
        class_id = int(rng.choice(len(CLASSES), p=_CLASS_SHARES))
        cover = _place(rng, class_id, size, boxes)
        if cover is None:
            continue
        mask, box = cover
        shade = stain.colours[class_id] + rng.uniform(-0.05, 0.05, 3)
        opacity = mask[..., None] * rng.uniform(0.65, 0.95)
        image = image * (1 - opacity) + shade * opacity
        boxes.append(TrueBox(box, class_id))
    image = gaussian_filter(image, (stain.blur, stain.blur, 0))
    image = image + rng.normal(0, stain.noise, image.shape)
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8), tuple(boxes)


def _add_debris(rng: np.random.Generator, image: FloatImage, size: int) -> None:
    """Small specks that are nothing: what a weak model takes for cells. Changes ``image``."""
    rows, columns = np.mgrid[0:size, 0:size]
    for _ in range(int(rng.integers(2, 6))):
        x, y = rng.uniform(0, size, 2)
        radius = rng.uniform(0.01, 0.025) * size
        speck = np.clip(radius + 0.5 - np.hypot(columns - x, rows - y), 0, 1)
        image -= (speck * rng.uniform(0.1, 0.35))[..., None]


def _place(
    rng: np.random.Generator, class_id: int, size: int, others: list[TrueBox]
) -> tuple[FloatImage, Box] | None:
    for _ in range(_PLACING_TRIES):
        mask = _mask(rng, class_id, size)
        rows, columns = np.nonzero(mask > 0.5)
        if len(rows) == 0:
            continue
        box = Box(
            float(columns.min()),
            float(rows.min()),
            float(columns.max() + 1),
            float(rows.max() + 1),
        )
        if all(_overlap(box, other.box) <= _MAX_OVERLAP for other in others):
            return mask, box
    return None


def _overlap(a: Box, b: Box) -> float:
    """The intersection as a share of the smaller box."""
    width = min(a.x2, b.x2) - max(a.x1, b.x1)
    height = min(a.y2, b.y2) - max(a.y1, b.y1)
    return max(width, 0.0) * max(height, 0.0) / min(a.area, b.area)


def _mask(rng: np.random.Generator, class_id: int, size: int) -> FloatImage:
    """Coverage of one cell, (size, size) in [0, 1], anti-aliased over one pixel."""
    x, y = rng.uniform(0.12 * size, 0.88 * size, 2)
    turn = rng.uniform(0, np.pi)
    rows, columns = np.mgrid[0:size, 0:size]
    along = (columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)
    across = -(columns - x) * np.sin(turn) + (rows - y) * np.cos(turn)
    inside: FloatImage  # pixels inside the cell's edge, negative outside it
    if class_id == 1:  # a rod: a segment with round ends
        half, radius = rng.uniform(0.09, 0.15) * size, rng.uniform(0.025, 0.04) * size
        inside = radius - np.hypot(np.maximum(np.abs(along) - half, 0), across)
    else:
        radius = rng.uniform(0.06, 0.11) * size
        inside = radius - np.hypot(along, across / rng.uniform(0.75, 1.0))
        if class_id == 2:  # a ring: only the rim
            rim = max(0.15 * radius, 0.6)
            inside = rim - np.abs(inside - rim)
    return np.clip(inside + 0.5, 0, 1)
