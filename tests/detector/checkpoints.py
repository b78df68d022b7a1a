"""Checkpoints made on the spot, for tests that must run without any trained weights."""

from __future__ import annotations

import pickle
from pathlib import Path

from detector.ultralytics_env import prepare

NAMES = ("rod", "ring", "round")
_ARCHITECTURE = """
nc: 3
depth_multiple: 0.33
width_multiple: 0.125
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 1, C3k2, [128, False, 0.25]]
  - [-1, 1, Conv, [256, 3, 2]]
head:
  - [[2, 3], 1, Detect, [nc]]
"""


def write_checkpoint(
    path: Path, *, config_dir: Path, seed: int = 0, names: tuple[str, ...] = NAMES
) -> Path:
    """A tiny detection model with random weights, so unsure that it sees something everywhere."""
    prepare(config_dir)
    import torch
    import yaml
    from ultralytics.nn.tasks import DetectionModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        architecture = {**yaml.safe_load(_ARCHITECTURE), "nc": len(names)}
        model = DetectionModel(architecture, ch=3, nc=len(names), verbose=False)
        for branch in model.model[-1].cv3:
            torch.nn.init.uniform_(branch[-1].bias, -1.0, 1.0)  # confidences around one half
    model.names = dict(enumerate(names))
    model.task = "detect"
    torch.save({"model": model, "train_args": {"imgsz": 64}, "epoch": -1}, path)
    return path


class _CreatesAFile:
    """Unpickling this makes a file: what a hostile checkpoint would start with."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def write_hostile(path: Path, proof: Path, *, archive: bool = True) -> Path:
    """A ``.pt`` file that makes the file ``proof`` when a free pickle opens it."""
    import torch

    payload = {"model": _CreatesAFile(proof), "train_args": {"imgsz": 64}}
    if archive:
        torch.save(payload, path)
    else:
        path.write_bytes(pickle.dumps(payload))
    return path
