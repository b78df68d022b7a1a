"""Ultralytics' validation, which also keeps what the final model sees."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils import nms

from train.detections_file import ImageDetections


class Validator(DetectionValidator):  # type: ignore[misc]  # Ultralytics is not typed
    """``detections`` are those of the last validation that was not part of an epoch."""

    detections: list[ImageDetections]

    def init_metrics(self, model: torch.nn.Module) -> None:
        super().init_metrics(model)
        self.detections = []

    def postprocess(self, preds: Any) -> list[dict[str, torch.Tensor]]:
        """As its parent's, which gives up after some seconds and returns no boxes for the rest."""
        found = nms.non_max_suppression(
            preds,
            self.args.conf,
            self.args.iou,
            multi_label=True,
            agnostic=self.args.agnostic_nms,
            max_det=self.args.max_det,
            end2end=self.end2end,
            max_time_img=math.inf,
        )
        return [
            {"bboxes": x[:, :4], "conf": x[:, 4], "cls": x[:, 5], "extra": x[:, 6:]} for x in found
        ]

    def update_metrics(
        self, preds: Sequence[dict[str, torch.Tensor]], batch: dict[str, Any]
    ) -> None:
        super().update_metrics(preds, batch)
        if self.training:
            return
        for place, found in enumerate(preds):
            image = self._prepare_batch(place, batch)
            self.detections.append(_detections(image["im_file"], self.scale_preds(found, image)))


def _detections(image_id: str, found: Mapping[str, torch.Tensor]) -> ImageDetections:
    """``found`` in pixels of the image; `scale_preds` took the padding off and clipped it."""
    return ImageDetections(
        image_id=image_id,
        boxes=found["bboxes"].cpu().numpy().astype(np.float32),
        class_ids=found["cls"].cpu().numpy().astype(np.int16),
        confidences=found["conf"].cpu().numpy().astype(np.float32),
    )
