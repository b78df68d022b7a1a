"""The usual cross-validation: one `yolo train` after the other, on copied image folders.

What Ultralytics' guide leaves at its default is at its default, with exceptions in its favour: no
plots, no integrations, no requests for fonts, and as many threads of torch as are asked for, where
Ultralytics takes one less than there are cores.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.kfold_settings import Settings
from bench.kfold_usage import Usage, run
from detector.ultralytics_env import prepare

# What the console script `yolo` runs, but for the number of threads.
_YOLO = """
import ultralytics.utils.torch_utils
from ultralytics.cfg import entrypoint
ultralytics.utils.torch_utils.NUM_THREADS = {threads}
entrypoint()
"""


def train_one_by_one(
    files: Sequence[Path], folder: Path, settings: Settings, log: Path
) -> list[Usage]:
    """Train on each data.yaml of ``files``, each in a process of its own; what each cost."""
    prepare(folder / "ultralytics")
    return [
        run(_command(file, folder, settings), folder, os.environ | {"TMPDIR": str(folder)}, log)
        for file in files
    ]


def best_weights(folder: Path, k: int) -> list[Path]:
    return [folder / f"fold_{fold}" / "weights" / "best.pt" for fold in range(k)]


def _command(file: Path, folder: Path, settings: Settings) -> list[str]:
    options = {
        "model": settings.base,
        "data": file,
        "epochs": settings.epochs,
        "batch": settings.batch_size,
        "imgsz": settings.image_size,
        "seed": settings.seed,
        "device": settings.device,
        "project": folder,
        "name": file.parent.name,
        "exist_ok": True,
        "plots": False,
    }
    arguments = [f"{name}={value}" for name, value in options.items()]
    return [
        sys.executable,
        "-c",
        _YOLO.format(threads=settings.threads),
        "detect",
        "train",
        *arguments,
    ]
