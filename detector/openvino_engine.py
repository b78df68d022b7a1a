"""OpenVINO behind `detector.engine.Engine`: each image on its own, several at a time.

Every worker takes an image through all of its stages: while one waits for its inference, which
runs in OpenVINO's streams, another prepares an image or suppresses boxes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from detector.base import Pixels
from detector.exported import INFO_KEY, ExportInfo, refusing_damaged
from detector.formats import ExportFormat
from detector.jobs import (
    Answer,
    Job,
    OnBatch,
    OnStage,
    Source,
    Stage,
    Workers,
    ignore_batch,
    ignore_stage,
)
from detector.letterbox import fill, place, suppress, to_detections
from detector.openvino_env import import_openvino
from detector.openvino_shapes import CompiledShapes
from detector.plan import Plan


class OpenVinoEngine:
    """Loads what is in ``folder``; raises what `detector.exported.load_exported` raises."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        *,
        min_confidence: float,
        nms_iou: float,
        on_stage: OnStage = ignore_stage,
        on_batch: OnBatch = ignore_batch,
    ) -> None:
        kind = ExportFormat.OPENVINO
        core = import_openvino().Core()
        # Read whole, now: the file that was verified is what is compiled later as well.
        core.set_property({"ENABLE_MMAP": False})
        with refusing_damaged(folder, kind):
            model = core.read_model(folder / kind.file)
            info = ExportInfo.from_json(str(model.get_rt_info(INFO_KEY).astype(str)))
            self._shapes = CompiledShapes(model, _options(plan))
        self.classes = info.classes
        self.image_size = info.image_size
        self.weights_sha256 = info.weights_sha256
        self.backend = plan.backend
        self.parallel = plan.parallel
        self.plan = plan
        self._stride = info.stride
        self._min_confidence = min_confidence
        self._nms_iou = nms_iou
        self._on_stage = on_stage
        self._on_batch = on_batch
        self._workers = Workers(self._work, count=plan.parallel, name="openvino")

    def submit(self, source: Source) -> Future[Answer]:
        return self._workers.submit(source)

    def detect(self, images: Sequence[Pixels]) -> list[Answer]:
        return self._workers.detect(images)

    def prepare(self, height: int, width: int) -> None:
        """Compile for images of that size (in pixels) now, not when many of them have come."""
        self._shapes.prepare(place(height, width, self.image_size, self._stride).padded)

    def close(self) -> None:
        self._workers.close()
        self._shapes.close()

    def _work(self, jobs: list[Job]) -> None:
        (job,) = jobs
        job.future.set_result(self._answer(job))

    def _answer(self, job: Job) -> Answer:
        taken = time.perf_counter()
        image = job.image()
        started = time.perf_counter()
        own = place(image.shape[0], image.shape[1], self.image_size, self._stride)
        with self._shapes.request(own.padded) as request:
            fill(request.pixels, image, own)
            self._on_batch(1)
            prepared = time.perf_counter()
            output = request.run()
            inferred = time.perf_counter()
            rows = suppress(output, min_confidence=self._min_confidence, nms_iou=self._nms_iou)
        rows[:, :4] = own.boxes_in_image(rows[:, :4])
        answer = to_detections(rows, own.image[1], own.image[0], self._min_confidence)
        self._on_stage(Stage.WAITING, taken - job.submitted)
        self._on_stage(Stage.PREPROCESS, prepared - started)
        self._on_stage(Stage.INFERENCE, inferred - prepared)
        self._on_stage(Stage.POSTPROCESS, time.perf_counter() - inferred)
        return answer


def _options(plan: Plan) -> dict[str, Any]:
    return {
        # By itself it computes in bf16 where the CPU can, which moves boxes by pixels.
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": plan.streams,
        "INFERENCE_NUM_THREADS": plan.threads,
        # Two replicas, or two models during a swap, would be pinned to the same cores.
        "ENABLE_CPU_PINNING": False,
    }
