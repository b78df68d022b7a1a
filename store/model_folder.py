"""The folder of a registered model: its files, and MLflow's description of them.

``MLmodel`` makes it a pyfunc model (`store.mlflow_model`); ``artifacts/weights.pt`` and
``artifacts/<format>/`` are what it runs on.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from loop.classes import ClassList
from store.image_codec import encode_png

# Below the folder of a model.
WEIGHTS = "artifacts/weights.pt"
ARTIFACTS = "artifacts"
# What the ``.pt`` file is called among the files of a model; exports go by their format.
WEIGHTS_NAME = "weights"
_SCRIPT = Path(__file__).with_name("mlflow_model.py")
_EXAMPLE_PX = 64


@dataclass(frozen=True, slots=True)
class ServingConfig:
    """What MLflow's server runs a model with; a caller of `mlflow.pyfunc.load_model` may change it.

    ``detector`` is what opens it, as ``module:name``: this package must not import it.
    """

    min_confidence: float = 0.25
    nms_iou: float = 0.6
    max_image_bytes: int = 32 * 1024 * 1024
    max_image_pixels: int = 50_000_000
    backend: str = "auto"
    detector: str = "detector.loading:open_model"


def write_model_folder(
    folder: Path,
    weights: Path,
    exports: Mapping[str, Path],
    classes: ClassList,
    config: ServingConfig,
) -> None:
    """Make ``folder``, which must not exist, of a ``.pt`` file and the folders of its exports."""
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array, Object, Property

    detection = Object(
        [
            Property("box", Array(DataType.double)),
            Property("class_id", DataType.long),
            Property("class_name", DataType.string),
            Property("confidence", DataType.double),
        ]
    )
    signature = ModelSignature(
        # Base64 as text: of a binary column the server decodes only what comes as a data frame.
        inputs=Schema([ColSpec(DataType.string, "image")]),
        outputs=Schema([ColSpec(Array(detection), "detections")]),
    )
    with tempfile.TemporaryDirectory() as name:
        named = shutil.copyfile(weights, Path(name) / Path(WEIGHTS).name)
        artifacts = {WEIGHTS_NAME: named, **exports}
        save_model(
            str(folder),
            python_model=str(_SCRIPT),
            artifacts={name: str(path) for name, path in artifacts.items()},
            signature=signature,
            input_example=pd.DataFrame({"image": [_example()]}),
            # Given, since MLflow would run the model in a process of its own to find them out.
            pip_requirements=_requirements(),
            model_config=asdict(config),
            metadata={"classes": list(classes)},
        )


def folder_digest(folder: Path) -> str:
    """SHA-256 of the lines that ``sha256sum`` prints for the files in ``folder``, by name."""
    lines = [
        f"{file_digest(path)}  {path.relative_to(folder).as_posix()}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _example() -> str:
    shades = np.arange(_EXAMPLE_PX, dtype=np.uint8) * (256 // _EXAMPLE_PX)
    pixels = np.zeros((_EXAMPLE_PX, _EXAMPLE_PX, 3), dtype=np.uint8) + shades[:, None]
    return base64.b64encode(encode_png(pixels)).decode()


def _requirements() -> list[str]:
    return [f"{name}=={importlib.metadata.version(name)}" for name in ("second-look", "mlflow")]
