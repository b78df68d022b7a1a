"""Boxes in absolute pixels, and how much two of them overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loop.errors import InvalidBox

FloatArray = NDArray[np.float64]

# Keeps the aspect-ratio term of CIoU finite where IoU is 1 and the ratios are equal (0/0).
_CIOU_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle ``xyxy`` in pixels of the sanitised image, origin at the top left, floats.

    ``x2`` and ``y2`` are exclusive edges: a box over the whole image is ``(0, 0, width, height)``.
    Raises `InvalidBox` unless all four are finite and the box has an area, a finite one.
    """

    x1: float
    y1: float
    x2: float
    y2: float

    def __post_init__(self) -> None:
        edges = (self.x1, self.y1, self.x2, self.y2)
        if not all(math.isfinite(edge) for edge in edges):
            raise InvalidBox(f"Box {edges} has an edge that is not a finite number.")
        if self.x2 <= self.x1 or self.y2 <= self.y1 or not 0 < self.area < math.inf:
            raise InvalidBox(
                f"Box {edges} has no usable area.", hint="Give x1 < x2 and y1 < y2, in pixels."
            )

    @property
    def width(self) -> float:
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        return self.y2 - self.y1

    @property
    def area(self) -> float:
        """Square pixels."""
        return self.width * self.height

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        return (self.x1, self.y1, self.x2, self.y2)

    @classmethod
    def of(cls, edges: Sequence[float]) -> Box:
        """A box from ``[x1, y1, x2, y2]`` in pixels."""
        if len(edges) != 4:
            raise InvalidBox(f"A box has four edges, not {len(edges)}.")
        try:
            return cls(*(float(edge) for edge in edges))
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidBox(f"Box {list(edges)} has an edge that is not a number.") from error

    def clipped(self, width: int, height: int) -> Box | None:
        """The part inside an image of ``width`` x ``height`` pixels, or None if there is none."""
        x1, y1 = max(self.x1, 0.0), max(self.y1, 0.0)
        x2, y2 = min(self.x2, float(width)), min(self.y2, float(height))
        if x2 <= x1 or y2 <= y1 or (x2 - x1) * (y2 - y1) <= 0:
            return None
        return Box(x1, y1, x2, y2)

    def inside(self, width: int, height: int) -> bool:
        return self.x1 >= 0 and self.y1 >= 0 and self.x2 <= width and self.y2 <= height


def as_array(boxes: Sequence[Box]) -> FloatArray:
    """Boxes as an array of shape (n, 4), ``xyxy`` in pixels."""
    return np.array([box.xyxy for box in boxes], dtype=np.float64).reshape(-1, 4)


def iou_matrix(left: FloatArray, right: FloatArray) -> FloatArray:
    """Intersection over union of every pair: shapes (n, 4) and (m, 4) give (n, m), in [0, 1]."""
    intersection = _intersection(left, right)
    union = _area(left)[:, None] + _area(right)[None, :] - intersection
    smallest = np.finfo(np.float64).smallest_subnormal  # no real union is smaller: only 0/0 is
    return np.clip(intersection / np.maximum(union, smallest), 0.0, 1.0)


def ciou_matrix(left: FloatArray, right: FloatArray) -> FloatArray:
    """Complete IoU of every pair: shapes (n, 4) and (m, 4) give (n, m), at most 1, may be negative.

    IoU less the squared distance of the centres over the squared diagonal of the enclosing box,
    less a term for unequal aspect ratios. Zheng et al., "Enhancing Geometric Factors in Model
    Learning and Inference for Object Detection and Instance Segmentation", arXiv:2005.03572,
    equations 9 to 11.
    """
    iou = iou_matrix(left, right)
    low = np.minimum(left[:, None, :2], right[None, :, :2])
    high = np.maximum(left[:, None, 2:], right[None, :, 2:])
    diagonal_squared = ((high - low) ** 2).sum(axis=2)
    centres_left = (left[:, :2] + left[:, 2:]) / 2
    centres_right = (right[:, :2] + right[:, 2:]) / 2
    distance_squared = ((centres_left[:, None] - centres_right[None]) ** 2).sum(axis=2)
    aspect = (4 / math.pi**2) * (_angle(left)[:, None] - _angle(right)[None]) ** 2
    weight = aspect / (1 - iou + aspect + _CIOU_EPSILON)
    ciou: FloatArray = iou - distance_squared / diagonal_squared - weight * aspect
    return ciou


def _intersection(left: FloatArray, right: FloatArray) -> FloatArray:
    low = np.maximum(left[:, None, :2], right[None, :, :2])
    high = np.minimum(left[:, None, 2:], right[None, :, 2:])
    sides = np.clip(high - low, 0.0, None)
    product: FloatArray = sides[:, :, 0] * sides[:, :, 1]
    return product


def _area(boxes: FloatArray) -> FloatArray:
    area: FloatArray = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area


def _angle(boxes: FloatArray) -> FloatArray:
    angle: FloatArray = np.arctan2(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    return angle
