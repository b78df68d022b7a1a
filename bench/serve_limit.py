"""``python -m bench.serve_limit``: what OpenVINO's own queue does in process, the limit.

Included: the network, on one image at a time of a fixed shape, and handing it over. Not included:
reading, decoding, letterboxing and scaling the images (done before, to 32-bit floats that are
handed over without a copy), suppression, and any server. An `AsyncInferQueue` in THROUGHPUT mode,
as many requests in flight as OpenVINO thinks best, kept full by one thread. What is not in eight
bits in the model is computed in 32-bit floats.

Reads one line of JSON (`LimitPlan`), writes lines of JSON as `bench.serve_load` does, and stays
until a line comes in or stdin ends, so that its memory can be read.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.serve_tally import milliseconds
from detector.letterbox import Placement, network_input, place, suppress, to_detections
from detector.openvino_env import import_openvino

INCLUDES = (
    "the network only, in process, by an AsyncInferQueue with PERFORMANCE_HINT=THROUGHPUT and "
    "no bf16, one image a request in a fixed shape; images are decoded, letterboxed and scaled "
    "before, and nothing is suppressed"
)


@dataclass(frozen=True, slots=True)
class LimitPlan:
    """``count`` images are detected for the check; no ``seconds``: nothing is timed."""

    model: str
    images: tuple[str, ...]
    image_size: int
    stride: int
    min_confidence: float
    nms_iou: float
    count: int
    seconds: float = 0.0
    warmup: float = 3.0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        raw = json.loads(text)
        return cls(**raw | {"images": tuple(raw["images"])})


def main() -> None:
    plan = LimitPlan.from_json(sys.stdin.readline())
    images = [_read(Path(image)) for image in plan.images]
    placements = [
        place(image.shape[0], image.shape[1], plan.image_size, plan.stride) for image in images
    ]
    inputs = [
        network_input([image], [placement])
        for image, placement in zip(images, placements, strict=True)
    ]
    compiled = _compile(plan.model, inputs[0].shape)
    boxes = [
        _boxes(compiled(inputs[index])[0][0], placements[index], plan)
        for index in range(plan.count)
    ]
    _emit({"event": "boxes", "boxes": boxes})
    if plan.seconds:
        _emit({"event": "result"} | _measure(compiled, inputs, plan))
    sys.stdin.readline()


def _compile(model: str, shape: tuple[int, ...]) -> Any:
    core = import_openvino().Core()
    network = core.read_model(model)
    network.reshape(list(shape))
    # By itself it computes in bf16 where the CPU can.
    options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
    return core.compile_model(network, "CPU", options)


def _measure(compiled: Any, inputs: list[NDArray[np.float32]], plan: LimitPlan) -> dict[str, Any]:
    queue = import_openvino().AsyncInferQueue(compiled)
    latencies: list[float] = []
    queue.set_callback(lambda _, sent: latencies.append(time.perf_counter() - sent))

    def fill(seconds: float) -> None:
        until, index = time.perf_counter() + seconds, 0
        while time.perf_counter() < until:
            queue.get_idle_request_id()  # waits for one
            sent = time.perf_counter()
            queue.start_async(inputs[index % len(inputs)], userdata=sent, share_inputs=True)
            index += 1

    fill(plan.warmup)
    queue.wait_all()
    latencies.clear()
    _emit({"event": "begin"})
    begun, cpu_begun = time.perf_counter(), time.process_time()
    fill(plan.seconds)
    queue.wait_all()
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu_begun
    _emit({"event": "end"})
    return {
        "seconds": seconds,
        "images": len(latencies),
        "images_per_second": len(latencies) / seconds,
        **milliseconds(latencies),
        "in_flight": len(queue),
        "server_cpu_seconds": cpu,
        "rejected": 0,
        "errors": 0,
        "load_cpu_seconds": 0.0,
    }


def _boxes(output: NDArray[np.float32], placement: Placement, plan: LimitPlan) -> int:
    rows = suppress(output, min_confidence=plan.min_confidence, nms_iou=plan.nms_iou)
    rows[:, :4] = placement.boxes_in_image(rows[:, :4])
    height, width = placement.image
    return len(to_detections(rows, width, height, plan.min_confidence))


def _read(file: Path) -> NDArray[np.uint8]:
    bgr = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if bgr is None:
        raise SystemExit(f"{file} cannot be read.")
    return np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)


def _emit(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
