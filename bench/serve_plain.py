"""``python -m bench.serve_plain``: the server that everyone writes, FastAPI around `YOLO.predict`.

One process, one model, PyTorch in 32-bit floats; a request is decoded by Pillow and detected in
the event loop. In its favour: the image comes as the raw body, and torch uses every core where
Ultralytics leaves one out.
"""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from PIL import Image

from bench.serve_settings import MOST_DETECTIONS
from detector.ultralytics_env import prepare


def build(options: argparse.Namespace) -> FastAPI:
    import ultralytics.utils.torch_utils
    from ultralytics import YOLO

    ultralytics.utils.torch_utils.NUM_THREADS = len(os.sched_getaffinity(0))
    model = YOLO(options.weights)
    app = FastAPI()

    @app.post("/v1/detect")
    async def detect(request: Request) -> dict[str, Any]:
        image = Image.open(io.BytesIO(await request.body()))
        (result,) = model.predict(
            image,
            imgsz=options.image_size,
            conf=options.min_confidence,
            iou=options.nms_iou,
            max_det=MOST_DETECTIONS,
            device=options.device,
            verbose=False,
        )
        boxes = result.boxes
        rows = zip(boxes.xyxy.tolist(), boxes.cls.tolist(), boxes.conf.tolist(), strict=True)
        return {
            "detections": [
                {
                    "box": box,
                    "class_id": int(class_id),
                    "class_name": result.names[int(class_id)],
                    "confidence": confidence,
                }
                for box, class_id, confidence in rows
            ]
        }

    return app


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.serve_plain")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--config-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--image-size", type=int, required=True)
    parser.add_argument("--min-confidence", type=float, required=True)
    parser.add_argument("--nms-iou", type=float, required=True)
    parser.add_argument("--device", required=True)
    options = parser.parse_args()
    prepare(options.config_dir)
    uvicorn.run(build(options), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
