"""A registered model as MLflow serves it: ``mlflow models serve -m models:/detector/3``.

MLflow keeps a copy of this file with the model and runs that ("models from code"), so that nothing
is pickled. The rest of Second Look must be installed where it is served (``--env-manager local``).
The service that `secondlook up` starts does not use it.
"""

from __future__ import annotations

import base64
import importlib
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from loop.errors import InvalidImage
from store.image_codec import Limits, decode

IMAGE = "image"


class DetectorModel(PythonModel):
    """Images in, detections out. ``model_config`` names what opens the detector, ``module:name``,
    and has its ``min_confidence``, ``nms_iou``, ``backend``, and the limits of an image."""

    def load_context(self, context: PythonModelContext) -> None:
        config: dict[str, Any] = dict(context.model_config)
        module, _, name = config["detector"].partition(":")
        open_model = getattr(importlib.import_module(module), name)
        self._detector = open_model(
            {name: Path(path) for name, path in context.artifacts.items()},
            min_confidence=config["min_confidence"],
            nms_iou=config["nms_iou"],
            backend=config["backend"],
        )
        self._limits = Limits(config["max_image_bytes"], config["max_image_pixels"])

    # MLflow reads off the arguments that it may leave the others out.
    def predict(  # type: ignore[override]
        self, model_input: pd.DataFrame
    ) -> list[list[dict[str, Any]]]:
        """Detections of each image of the column ``image``: its file's bytes in base64.

        Each is ``{box, class_id, class_name, confidence}`` as in the answers of ``/v1/detect``:
        xyxy in pixels of the image, highest confidence first. Raises `InvalidImage`.
        """
        pixels = [decode(_decoded(text), self._limits).pixels for text in model_input[IMAGE]]
        classes = self._detector.classes
        return [
            [
                {
                    "box": list(detection.box.xyxy),
                    "class_id": detection.class_id,
                    "class_name": classes.name_of(detection.class_id),
                    "confidence": detection.confidence,
                }
                for detection in detections
            ]
            for detections in self._detector.detect(pixels)
        ]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except ValueError as error:
        raise InvalidImage("An image must be given as base64.") from error


set_model(DetectorModel())
