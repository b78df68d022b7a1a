"""Exported models, run without PyTorch behind `Detector`: ONNX Runtime and OpenVINO, on the CPU.

An export is a folder with ``model.onnx``, or ``model.xml`` and ``model.bin``. What has to be known
of it (`ExportInfo`) is in the model file itself, as JSON: in ONNX's ``metadata_props``, in the
``rt_info`` of OpenVINO's IR.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.base import Detector, Pixels
from detector.formats import ExportFormat
from detector.jobs import OnStage, Stage, check_image, ignore_stage
from detector.letterbox import Placement, network_input, place, suppress, to_detections
from detector.openvino_env import import_openvino
from loop.classes import ClassList
from loop.errors import InvalidInput, LoopError, NotFound
from loop.predictions import Detection

INFO_KEY = "second_look"
INPUT, OUTPUT = "images", "predictions"


@dataclass(frozen=True, slots=True)
class ExportInfo:
    """``image_size`` is the longer side in pixels; ``stride`` what both sides are multiples of.

    ``weights_sha256`` is the digest of the ``.pt`` file that the export was made of.
    """

    classes: ClassList
    image_size: int
    stride: int
    weights_sha256: str

    def to_json(self) -> str:
        return json.dumps(
            {
                "classes": list(self.classes),
                "image_size": self.image_size,
                "stride": self.stride,
                "weights_sha256": self.weights_sha256,
            },
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> ExportInfo:
        data = json.loads(text)
        return cls(
            ClassList(tuple(data["classes"])),
            int(data["image_size"]),
            int(data["stride"]),
            str(data["weights_sha256"]),
        )


# From (n, 3, height, width), RGB in [0, 1], to (n, 4 + classes, anchors): see `suppress`.
Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def load_exported(
    folder: Path, *, min_confidence: float, nms_iou: float, threads: int | None = None
) -> Detector:
    """Load an export; ``threads`` is how many its network may use, by default all cores.

    Raises `NotFound` for a folder without one, `InvalidInput` for files that cannot be loaded.
    """
    network, info = open_network(folder, threads=threads)
    return ExportedDetector(network, info, min_confidence=min_confidence, nms_iou=nms_iou)


def format_of(folder: Path) -> ExportFormat:
    """Raises `NotFound` for a folder that is not an export."""
    for each in ExportFormat:
        if (folder / each.file).is_file():
            return each
    raise NotFound(
        f"There is no exported model in {folder}.",
        hint=f"Give a folder with {' or '.join(each.file for each in ExportFormat)}.",
    )


def open_network(folder: Path, *, threads: int | None = None) -> tuple[Network, ExportInfo]:
    """The bare network of an export. Raises what `load_exported` raises."""
    kind = format_of(folder)
    opened = _open_onnx if kind is ExportFormat.ONNX else _open_openvino
    with refusing_damaged(folder, kind):
        network, text = opened(folder / kind.file, threads)
        return network, ExportInfo.from_json(text)


@contextmanager
def refusing_damaged(folder: Path, kind: ExportFormat) -> Iterator[None]:
    """Whatever comes out of reading an export's files becomes `InvalidInput`."""
    try:
        yield
    except LoopError:
        raise
    except Exception as error:  # the bytes are anyone's, so any exception may come out of them
        text = str(error).strip().split("\n")[0]
        raise InvalidInput(
            f"{folder} cannot be loaded as an {kind} model of Second Look "
            f"({type(error).__name__}: {text}).",
            hint="Check its digest, or export the weights again.",
            code="invalid_weights",
        ) from error


class ExportedDetector:
    """A loaded export. Calls from several threads wait for one another."""

    def __init__(
        self, network: Network, info: ExportInfo, *, min_confidence: float, nms_iou: float
    ) -> None:
        self.classes = info.classes
        self.image_size = info.image_size
        self.weights_sha256 = info.weights_sha256
        self._stride = info.stride
        self._network = network
        self._min_confidence = min_confidence
        self._nms_iou = nms_iou
        self._lock = threading.Lock()

    def detect(
        self, images: Sequence[Pixels], on_stage: OnStage = ignore_stage
    ) -> list[tuple[Detection, ...]]:
        for image in images:
            check_image(image)
        placements = [
            place(image.shape[0], image.shape[1], self.image_size, self._stride) for image in images
        ]
        # One batch for each shape: the smallest rectangle, and the same boxes in any company.
        batches: dict[tuple[int, int], list[int]] = {}
        for index, placement in enumerate(placements):
            batches.setdefault(placement.padded, []).append(index)
        answers: dict[int, tuple[Detection, ...]] = {}
        for indices in batches.values():
            own = [placements[index] for index in indices]
            started = time.perf_counter()
            batch = network_input([images[index] for index in indices], own)
            prepared = time.perf_counter()
            with self._lock:
                outputs = self._network(batch)
            inferred = time.perf_counter()
            for index, output in zip(indices, outputs, strict=True):
                answers[index] = self._detections(output, placements[index])
            on_stage(Stage.PREPROCESS, prepared - started)
            on_stage(Stage.INFERENCE, inferred - prepared)
            on_stage(Stage.POSTPROCESS, time.perf_counter() - inferred)
        return [answers[index] for index in range(len(images))]

    def _detections(
        self, output: NDArray[np.float32], placement: Placement
    ) -> tuple[Detection, ...]:
        rows = suppress(output, min_confidence=self._min_confidence, nms_iou=self._nms_iou)
        rows[:, :4] = placement.boxes_in_image(rows[:, :4])
        height, width = placement.image
        return to_detections(rows, width, height, self._min_confidence)


def _open_onnx(file: Path, threads: int | None) -> tuple[Network, str]:
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0  # 0: as many as there are cores
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        (output,) = session.run([OUTPUT], {INPUT: batch})
        return np.asarray(output, dtype=np.float32)

    return run, session.get_modelmeta().custom_metadata_map[INFO_KEY]


def _open_openvino(file: Path, threads: int | None) -> tuple[Network, str]:
    openvino = import_openvino()
    model = openvino.Core().read_model(file)
    # By itself it computes in bf16 where the CPU can, which moves boxes by pixels.
    options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino.Core().compile_model(model, "CPU", options)

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.array(compiled(batch)[0], dtype=np.float32)

    return run, str(model.get_rt_info(INFO_KEY).astype(str))
