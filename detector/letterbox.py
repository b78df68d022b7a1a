"""What goes into a detection network and what comes out of it, without PyTorch.

An image is resized so that its longer side fits, and padded to the smallest rectangle whose sides
are multiples of the stride: what Ultralytics' `LetterBox` (``auto=True``) and `scale_boxes` do,
with the same rounding (ultralytics/data/augment.py and utils/ops.py, 8.4.190).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from detector.base import Pixels
from loop.boxes import Box
from loop.events import new_id
from loop.predictions import Detection

# A crowded smear has more cells than Ultralytics' default of 300.
MOST_DETECTIONS = 1000
_GREY = 114


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image lies in the network's input. Everything is in pixels, height first."""

    image: tuple[int, int]
    resized: tuple[int, int]
    padded: tuple[int, int]
    top: int
    left: int

    def boxes_in_image(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """``(n, 4)`` boxes, xyxy in pixels of the input, in pixels of the image, not clipped."""
        gain_y, gain_x = (new / old for new, old in zip(self.resized, self.image, strict=True))
        offset = np.array([self.left, self.top, self.left, self.top])
        moved: NDArray[np.float64] = (boxes - offset) / np.array([gain_x, gain_y, gain_x, gain_y])
        return moved


def place(height: int, width: int, size: int, stride: int) -> Placement:
    """Fit an image into ``size`` x ``size`` pixels (made a multiple of ``stride``)."""
    side = -(-size // stride) * stride
    gain = min(side / height, side / width)
    new_height, new_width = max(round(height * gain), 1), max(round(width * gain), 1)
    # What is missing to the next multiple of the stride goes to both sides; an odd pixel after.
    pad_height, pad_width = (side - new_height) % stride / 2, (side - new_width) % stride / 2
    top, left = round(pad_height - 0.1), round(pad_width - 0.1)
    padded = (
        new_height + top + round(pad_height + 0.1),
        new_width + left + round(pad_width + 0.1),
    )
    return Placement((height, width), (new_height, new_width), padded, top, left)


def network_input(images: Iterable[Pixels], placements: Iterable[Placement]) -> NDArray[np.float32]:
    """A batch for the network: ``(n, 3, height, width)``, RGB in [0, 1].

    All placements must be padded to the same shape.
    """
    planes = [_placed(image, own) for image, own in zip(images, placements, strict=True)]
    batch = np.stack(planes).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(batch, dtype=np.float32) / np.float32(255)


def fill(target: Pixels, image: Pixels, placement: Placement) -> None:
    """Write the letterboxed image to ``target``, ``(height, width, 3)`` as it is padded."""
    height, width = placement.resized
    top, left = placement.top, placement.left
    bottom, right = top + height, left + width
    target[:top], target[bottom:] = _GREY, _GREY
    target[top:bottom, :left], target[top:bottom, right:] = _GREY, _GREY
    inside = target[top:bottom, left:right]
    if placement.resized == placement.image:
        inside[:] = image
        return
    resized = cv2.resize(np.ascontiguousarray(image), (width, height), dst=inside)
    if not np.may_share_memory(resized, inside):  # OpenCV could not write there
        inside[:] = np.asarray(resized).reshape(height, width, 3)


def _placed(image: Pixels, placement: Placement) -> Pixels:
    canvas = np.empty((*placement.padded, 3), dtype=np.uint8)
    fill(canvas, image, placement)
    return canvas


def suppress(
    output: NDArray[np.float32], *, min_confidence: float, nms_iou: float
) -> NDArray[np.float64]:
    """Non-maximum suppression within each class: ``(n, 6)`` rows of xyxy, confidence, class.

    ``output`` is ``(4 + classes, anchors)``: centre, width and height in pixels of the input, then
    a score in [0, 1] for each class, the best of which counts. Highest confidence first.
    """
    scores = output[4:]
    best = scores.max(0)
    sure = np.flatnonzero(best > min_confidence)  # not a number is not sure
    boxes = output[:4, sure].T.astype(np.float64)
    # Few are sure: looking for the best class of all of them would take longer than the rest.
    class_ids, confidences = scores[:, sure].argmax(0), best[sure]
    boxes[:, :2] -= boxes[:, 2:] / 2  # from the centre to the corner
    found = cv2.dnn.NMSBoxesBatched(
        boxes,  # type: ignore[arg-type]  # its stub knows only sequences
        confidences,
        class_ids.astype(np.int32),
        min_confidence,
        nms_iou,
    )
    kept = np.asarray(found, dtype=np.intp).ravel()[:MOST_DETECTIONS]
    boxes[:, 2:] += boxes[:, :2]
    return np.column_stack((boxes[kept], confidences[kept], class_ids[kept]))


def to_detections(
    rows: NDArray[np.float64], width: int, height: int, min_confidence: float
) -> tuple[Detection, ...]:
    """Detections in an image of that size from ``(n, 6)`` rows: xyxy in its pixels, confidence,
    class. Highest confidence first; boxes are clipped, those without area or number dropped."""
    found = []
    for x1, y1, x2, y2, confidence, class_id in rows[np.argsort(-rows[:, 4], kind="stable")]:
        if not np.isfinite((x1, y1, x2, y2, confidence)).all() or x2 <= x1 or y2 <= y1:
            continue
        box = Box(float(x1), float(y1), float(x2), float(y2)).clipped(width, height)
        if box is None or confidence < min_confidence:
            continue
        found.append(Detection(new_id(), box, int(class_id), min(float(confidence), 1.0)))
    return tuple(found)
