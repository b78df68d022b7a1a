"""Whether an export sees the boxes of its checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from detector.base import Detector, Pixels
from detector.checkpoint import Checkpoint, read_checkpoint
from detector.comparing import Difference, Tolerance, difference
from detector.exported import ExportedDetector, ExportInfo, open_network
from detector.letterbox import network_input, place
from detector.yolo import load_detector
from loop.errors import Unavailable

# Between a checkpoint and its exports. Seen on blood cells: 0.0002 px and 0.000001.
TOLERANCE = Tolerance(box_px=1.0, confidence=0.01)
# Low, so that a weak model has boxes to compare as well.
_MIN_CONFIDENCE, _NMS_IOU = 0.05, 0.7


class Expected:
    """The checkpoint that is exported, and what it sees on ``images``. Raises what `load_detector`
    raises."""

    def __init__(self, weights: Path, config_dir: Path, images: Sequence[Pixels]) -> None:
        checkpoint = read_checkpoint(weights, config_dir)
        self.info = ExportInfo(
            checkpoint.classes,
            checkpoint.image_size,
            checkpoint.stride,
            hashlib.sha256(weights.read_bytes()).hexdigest(),
        )
        self._checkpoint = checkpoint
        self._images = images
        self._detector = load_detector(
            weights,
            config_dir=config_dir,
            min_confidence=_MIN_CONFIDENCE,
            nms_iou=_NMS_IOU,
            device="cpu",
        )

    @cached_property
    def network(self) -> Any:
        """The bare module: a function of the images alone. Raises `Unavailable`."""
        return _bare_network(self._checkpoint)

    def check(self, folder: Path) -> None:
        """Raise `Unavailable` if the export in ``folder`` shows other boxes."""
        network, info = open_network(folder)
        worst = self._raw_difference(network)
        detector = ExportedDetector(network, info, min_confidence=_MIN_CONFIDENCE, nms_iou=_NMS_IOU)
        for image in self._images:
            worst |= self._difference(detector, image)
        if not worst.within(TOLERANCE):
            raise Unavailable(
                f"It sees other boxes than the checkpoint: by up to {worst.box_px:.2f} px and "
                f"{worst.confidence:.3f} of confidence, {worst.unmatched} of them only in one."
            )

    def _raw_difference(self, network: Any) -> Difference:
        """Of every anchor, in pixels of the network's input: of a weak model there may be no box
        to compare, and suppression hides what it removes."""
        import torch

        worst = Difference()
        for image in self._images:
            height, width = image.shape[:2]
            own = place(height, width, self.info.image_size, self.info.stride)
            batch = network_input([image, image], [own, own])
            with torch.inference_mode():
                expected = self.network(torch.from_numpy(batch)).numpy()
            apart = np.abs(network(batch) - expected)
            # A number that is not one is as far off as can be.
            apart = np.nan_to_num(apart, nan=np.inf)
            worst |= Difference(float(apart[:, :4].max()), float(apart[:, 4:].max()))
        return worst

    def _difference(self, detector: Detector, image: Pixels) -> Difference:
        (expected,) = self._detector.detect([image])
        (seen,) = detector.detect([image])
        return difference(
            expected,
            seen,
            min_confidence=_MIN_CONFIDENCE,
            nms_iou=_NMS_IOU,
            tolerance=TOLERANCE,
        )


def _bare_network(checkpoint: Checkpoint) -> Any:
    """The module as a function of the images alone; changes the one in ``checkpoint``."""
    model = checkpoint.model
    # As Ultralytics' predictor does with networks that have two heads (YOLO26).
    if hasattr(model, "end2end"):
        model.end2end = False
    model = model.fuse(verbose=False).float().eval()
    for parameter in model.parameters():
        parameter.requires_grad = False
    head = model.model[-1]
    if getattr(head, "end2end", False):
        raise Unavailable(
            "A network that has only its end-to-end head left is not exported.",
            hint="Export the checkpoint as it came out of training.",
        )
    head.export, head.dynamic, head.format = True, True, "onnx"
    return model
