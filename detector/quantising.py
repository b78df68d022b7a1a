"""INT8 models for OpenVINO, calibrated on given images (post-training quantisation by NNCF).

An INT8 model sees other boxes than the one that it is made of, so it is never opened by itself
(``backend="auto"``): it is another model, and goes through the promotion gate as one.
"""

from __future__ import annotations

import logging
import re
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.base import Pixels
from detector.comparing import Difference, Tolerance, difference
from detector.exported import INFO_KEY, ExportInfo, load_exported, refusing_damaged
from detector.formats import INT8, ExportFormat
from detector.letterbox import network_input, place
from detector.openvino_env import import_openvino
from loop.errors import InvalidInput

# What still counts as the same box: an edge that moved by more is another box.
_SAME = Tolerance(box_px=10.0, confidence=0.2)
_MIN_CONFIDENCE, _NMS_IOU = 0.25, 0.7


@dataclass(frozen=True, slots=True)
class Quantised:
    """``difference`` is the greatest on any of the ``images`` that were compared, ``boxes`` how
    many boxes the model in 32-bit floats sees in them."""

    folder: Path
    difference: Difference
    images: int
    boxes: int


def quantise(
    export: Path, calibration: Sequence[Pixels], compared: Sequence[Pixels], out: Path
) -> Quantised:
    """Make ``out/openvino_int8`` from an OpenVINO export; it appears whole or not at all.

    ``calibration`` are images as the model will see them, some hundred of them; ``compared`` are
    others, on which both models are run. The same export and calibration give the same files.
    Raises `InvalidInput` without calibration images, for a damaged export, and if ``out`` has such
    a folder already.
    """
    target = out / INT8
    if not calibration or target.exists():
        raise InvalidInput(
            f"{target} is there already." if target.exists() else "There is nothing to calibrate.",
            hint="Give images of the snapshot and a folder without an INT8 model.",
        )
    openvino = import_openvino()  # before NNCF, which has telemetry too
    file = export / ExportFormat.OPENVINO.file
    with refusing_damaged(export, ExportFormat.OPENVINO):
        model = openvino.Core().read_model(file)
        info = ExportInfo.from_json(str(model.get_rt_info(INFO_KEY).astype(str)))
    quantised = _quantised(model, info, calibration)
    _name_nodes(quantised)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as name:
        made = Path(name) / INT8
        made.mkdir()
        openvino.save_model(quantised, made / file.name, compress_to_fp16=False)
        worst, boxes = _compare(export, made, compared)
        made.rename(target)
    return Quantised(target, worst, len(compared), boxes)


def _quantised(model: Any, info: ExportInfo, images: Sequence[Pixels]) -> Any:
    import nncf  # type: ignore[import-untyped]

    def feed(image: Pixels) -> Any:
        own = place(image.shape[0], image.shape[1], info.image_size, info.stride)
        return network_input([image], [own])

    nncf.set_log_level(logging.ERROR)  # it names each node, on standard output
    with redirect_stdout(sys.stderr):  # where it draws progress bars
        return nncf.quantize(
            model,
            nncf.Dataset(list(images), feed),
            # Activations that SiLU makes are not symmetric around zero.
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            target_device=nncf.TargetDevice.CPU,
            ignored_scope=nncf.IgnoredScope(patterns=_box_arithmetic(model), validate=False),
        )


def _box_arithmetic(model: Any) -> list[str]:
    """Names of what makes boxes in pixels of the head's last convolutions: 8 bits are too few for
    it. As Ultralytics leaves it out (``ultralytics/utils/export/openvino.py``)."""
    names = (node.get_friendly_name() for node in model.get_ordered_ops())
    modules = [int(found[1]) for name in names if (found := re.match(r"/model\.(\d+)/", name))]
    head = rf"/model\.{max(modules, default=0)}/"
    return [f"{head}.*{each}.*" for each in ("Add", "Sub", "Mul", "Div", "Sigmoid", "dfl")]


def _name_nodes(model: Any) -> None:
    """NNCF's nodes are named by a counter of the process: the same model has the same files only
    without that."""
    for index, node in enumerate(model.get_ordered_ops()):
        if re.fullmatch(rf"{node.get_type_name()}_\d+", node.get_friendly_name()):
            node.set_friendly_name(f"int8_{index}")


def _compare(export: Path, made: Path, images: Sequence[Pixels]) -> tuple[Difference, int]:
    floats, ints = (
        load_exported(each, min_confidence=_MIN_CONFIDENCE, nms_iou=_NMS_IOU)
        for each in (export, made)
    )
    worst, boxes = Difference(), 0
    for image in images:
        (left,), (right,) = floats.detect([image]), ints.detect([image])
        worst |= difference(
            left, right, min_confidence=_MIN_CONFIDENCE, nms_iou=_NMS_IOU, tolerance=_SAME
        )
        boxes += len(left)
    return worst, boxes
