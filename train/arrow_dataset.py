"""Ultralytics' data set over rows of a snapshot: images come from Arrow, no file is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ultralytics.data.dataset import YOLODataset

from store.snapshot_files import Sample, Snapshot
from train.decoded import DecodedImages, decode_image, resize


class ArrowDataset(YOLODataset):  # type: ignore[misc]  # Ultralytics is not typed
    """``rows`` are places in ``snapshot.samples``. Images without boxes are negatives, and stay.

    An image goes by its id where Ultralytics has a file name. What ``images`` holds is taken from
    there, and the rest is decoded each time.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        rows: Sequence[int],
        *,
        images: DecodedImages | None = None,
        **options: Any,
    ) -> None:
        self._snapshot = snapshot
        self._samples = [snapshot.samples[row] for row in rows]
        super().__init__(img_path="", **options)
        # A model with an unusual stride has rounded the image size otherwise.
        self._images = images if images and images.image_size == self.imgsz else None

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

        Unless ``rect_mode``, it is stretched to the square. Mosaics draw from the images that were
        loaded last (``ultralytics.data.base.BaseDataset.load_image``), which are kept unless they
        are in memory anyway.
        """
        if self.ims[i] is not None:
            return self.ims[i], self.im_hw0[i], self.im_hw[i]
        image, size = self._read(self.im_files[i], rect_mode=rect_mode)
        if self.augment and i not in self.buffer:
            self.buffer.append(i)
            if self._images is None:
                self.ims[i], self.im_hw0[i], self.im_hw[i] = image, size, image.shape[:2]
            if 1 < len(self.buffer) >= self.max_buffer_length:
                oldest = self.buffer.pop(0)
                self.ims[oldest], self.im_hw0[oldest], self.im_hw[oldest] = None, None, None
        return image, size, image.shape[:2]

    def _read(self, image_id: str, *, rect_mode: bool) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        images = self._images
        if images is not None and rect_mode and image_id in images:
            # Augmentations write into images (`RandomHSV` does, so far after another one has made
            # a copy), and this memory is shared. Copying takes 7 us, and decoding 2 ms.
            return images.image(image_id).copy(), images.original_size(image_id)
        image = decode_image(self._snapshot, image_id)
        return resize(image, self.imgsz, keep_ratio=rect_mode), (image.shape[0], image.shape[1])


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
