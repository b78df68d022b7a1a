"""Ultralytics' data set over rows of a snapshot: images come from Arrow, no file is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from ultralytics.data.dataset import YOLODataset

from loop.errors import BrokenRecord
from store.snapshot_files import Sample, Snapshot


class ArrowDataset(YOLODataset):  # type: ignore[misc]  # Ultralytics is not typed
    """``rows`` are places in ``snapshot.samples``. Images without boxes are negatives, and stay.

    An image goes by its id where Ultralytics has a file name.
    """

    def __init__(self, snapshot: Snapshot, rows: Sequence[int], **options: Any) -> None:
        self._snapshot = snapshot
        self._samples = [snapshot.samples[row] for row in rows]
        super().__init__(img_path="", **options)

    def get_img_files(self, img_path: str) -> list[str]:  # noqa: ARG002
        return [sample.image_id for sample in self._samples]

    def get_labels(self) -> list[dict[str, Any]]:
        return [_label(sample) for sample in self._samples]

    def load_image(
        self,
        i: int,
        rect_mode: bool = True,
        resize_short: bool = False,  # noqa: ARG002  # only used for classification
    ) -> tuple[NDArray[np.uint8], tuple[int, int], tuple[int, int]]:
        """The image as BGR with its longer side at ``imgsz``, its size before and after (h, w).

        Unless ``rect_mode``, it is stretched to the square. Mosaics draw from the buffer of
        images that were loaded last (``ultralytics.data.base.BaseDataset.load_image``).
        """
        if self.ims[i] is not None:
            return self.ims[i], self.im_hw0[i], self.im_hw[i]
        image = self._decode(self.im_files[i])
        height, width = image.shape[:2]
        image = _resize(image, self.imgsz, keep_ratio=rect_mode)
        if self.augment:
            self.ims[i], self.im_hw0[i], self.im_hw[i] = image, (height, width), image.shape[:2]
            self.buffer.append(i)
            if 1 < len(self.buffer) >= self.max_buffer_length:
                oldest = self.buffer.pop(0)
                self.ims[oldest], self.im_hw0[oldest], self.im_hw[oldest] = None, None, None
        return image, (height, width), image.shape[:2]

    def _decode(self, image_id: str) -> NDArray[np.uint8]:
        data = np.frombuffer(self._snapshot.image_bytes(image_id), dtype=np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if image is None:
            raise BrokenRecord(
                f"Image {image_id[:12]} of snapshot {self._snapshot.sha256[:12]} does not decode.",
                hint="Fetch the snapshot again: dvc checkout --force.",
            )
        return image.astype(np.uint8, copy=False)


def _label(sample: Sample) -> dict[str, Any]:
    """Ultralytics' label: centre, width and height in shares of the image, class as a column."""
    edges = np.array([final.box.xyxy for final in sample.boxes], dtype=np.float32).reshape(-1, 4)
    scale = np.array([sample.width, sample.height], dtype=np.float32)
    centres = (edges[:, :2] + edges[:, 2:]) / 2 / scale
    sizes = (edges[:, 2:] - edges[:, :2]) / scale
    return {
        "im_file": sample.image_id,
        "shape": (sample.height, sample.width),
        "cls": np.array([final.class_id for final in sample.boxes], np.float32).reshape(-1, 1),
        "bboxes": np.concatenate([centres, sizes], axis=1),
        "segments": [],
        "keypoints": None,
        "normalized": True,
        "bbox_format": "xywh",
    }


def _resize(image: NDArray[np.uint8], size: int, *, keep_ratio: bool) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    ratio = size / max(height, width)
    new_width, new_height = size, size
    if keep_ratio:
        new_width = min(math.ceil(width * ratio), size)
        new_height = min(math.ceil(height * ratio), size)
    if (new_width, new_height) == (width, height):
        return image
    resized = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    return resized.astype(np.uint8, copy=False)
