"""What a k-fold comparison holds equal on both sides."""

from __future__ import annotations

import argparse
import math
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CPU = "cpu"
# Beside a checkout for development; a user's machine does not have it.
BCCD = Path(__file__).parents[1].parent / "shared" / "data" / "bccd"
BCCD_WEIGHTS = BCCD.parent / "weights" / "bccd-half-yolo11n-320.pt"
# A model from scratch learns nothing in the few epochs of a benchmark: only times compare then.
ARCHITECTURE = "yolo11n.yaml"


@dataclass(frozen=True, slots=True)
class Settings:
    """``base`` is a .pt file, or the name of an architecture to train from scratch.

    ``device`` is ``cpu`` or ``0``. ``val_period`` is ours alone: `yolo train` validates after each
    epoch. ``data`` is a VOC data set; None stands for generated images. ``threads`` are torch's
    in the sequential way; ours has a fold a core.
    """

    k: int = 4
    epochs: int = 10
    batch_size: int = 8
    image_size: int = 320
    images: int = 292
    seed: int = 0
    device: str = CPU
    val_period: int = 1
    threads: int = os.cpu_count() or 1
    base: str = ARCHITECTURE
    data: Path | None = None

    @property
    def params(self) -> dict[str, Any]:
        """The same as parameters of a workspace: folds side by side, as many as there are cores."""
        cores = os.cpu_count() or 1
        gpu = self.device != CPU
        return {
            "K_FOLDS": self.k,
            "EPOCHS": self.epochs,
            "BATCH_SIZE": self.batch_size,
            "IMG_SIZE": self.image_size,
            "PATIENCE": 0,
            "SEED": self.seed,
            "BASE_MODEL": self.base,
            "VAL_PERIOD": self.val_period,
            "CPUS_PER_FOLD": max(1, cores // self.k) if gpu else 1,
            # Rounded down, or the last of k folds would not fit.
            "GPUS_PER_FOLD": math.floor(1000 / self.k) / 1000 if gpu else 0,
        }

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"data": str(self.data or "generated")}


def add_data_options(parser: argparse.ArgumentParser) -> None:
    defaults = Settings()
    parser.add_argument("--json", action="store_true", help="Print JSON for machines.")
    parser.add_argument("--data", type=Path, help="A VOC data set; else BCCD or generated images.")
    parser.add_argument("--images", type=int, default=defaults.images, help="At most so many.")
    parser.add_argument(
        "--image-size", type=int, default=defaults.image_size, help="Longer side in pixels."
    )


def data_of(arguments: argparse.Namespace) -> Path | None:
    data: Path | None = arguments.data
    return data or (BCCD if BCCD.is_dir() else None)


def machine(device: str) -> str:
    import torch

    text = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # no public name
    text += ", bf16 in hardware" if bf16 else ", no bf16 in hardware"
    return text if device == CPU else f"{text}, {torch.cuda.get_device_name(int(device))}"
