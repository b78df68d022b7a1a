"""What a comparison of servers holds equal on all sides."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import cv2

from bench.kfold_settings import BCCD, CPU, machine
from detector.letterbox import Placement, place

BCCD_WEIGHTS = BCCD.parent / "weights" / "bccd-yolo11n-320.pt"
OTHER_BCCD_WEIGHTS = BCCD.parent / "weights" / "bccd-half-yolo11n-320.pt"
WAYS = ("plain", "limit", "ours")
F32, EIGHT_BITS = "f32", "int8"
PRECISIONS = (F32, EIGHT_BITS)
CLIENTS = (1, 8, 32)
MOST_DETECTIONS = 1000
_SUFFIXES = (".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class Settings:
    """``files`` are JPEG files whose letterboxed rectangle, ``padded`` (height, width, in pixels),
    is the same. ``server_cores`` and ``load_cores`` overlap where there are no more than two."""

    weights: Path
    image_size: int
    stride: int
    files: tuple[Path, ...]
    left_out: int
    padded: tuple[int, int]
    min_confidence: float
    nms_iou: float
    ways: tuple[str, ...] = WAYS
    clients: tuple[int, ...] = CLIENTS
    seconds: float = 10.0
    warmup: float = 3.0
    rounds: int = 2
    precisions: tuple[str, ...] = (F32,)
    device: str = CPU
    server_cores: tuple[int, ...] = ()
    load_cores: tuple[int, ...] = ()

    @property
    def contestants(self) -> list[tuple[str, str]]:
        """Each way with its precision; plain is in 32-bit floats, whatever the others are in."""
        plain = [("plain", F32)] if "plain" in self.ways else []
        return plain + [
            (way, precision) for precision in self.precisions for way in self.ways if way != "plain"
        ]

    def with_cores(self) -> Self:
        server, load = split_cores(sorted(os.sched_getaffinity(0)))
        return replace(self, server_cores=server, load_cores=load)

    def as_dict(self) -> dict[str, Any]:
        values = asdict(self) | {"weights": str(self.weights), "files": len(self.files)}
        for name, value in values.items():
            values[name] = list(value) if isinstance(value, tuple) else value
        return values | {"data": str(self.files[0].parent), "product": _product_settings()}


def split_cores(cores: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of the server and of the load generator: the last one, where there are more than two."""
    if len(cores) <= 2:
        return tuple(cores), tuple(cores)
    return tuple(cores[:-1]), tuple(cores[-1:])


def choose_images(
    folder: Path, most: int, image_size: int, stride: int
) -> tuple[tuple[Path, ...], tuple[int, int], int]:
    """At most so many JPEG files below ``folder``, all letterboxed to one rectangle, the most
    frequent one; that rectangle; and how many files of other shapes were left out."""
    shapes: dict[tuple[int, int], list[Path]] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in _SUFFIXES:
            placement = placement_of(file, image_size, stride)
            if placement is not None:
                shapes.setdefault(placement.padded, []).append(file)
    if not shapes:
        raise SystemExit(f"There is no JPEG image below {folder}.")
    padded, files = max(shapes.items(), key=lambda item: len(item[1]))
    others = sum(len(each) for each in shapes.values()) - len(files)
    return tuple(files[:most]), padded, others


def placement_of(file: Path, image_size: int, stride: int) -> Placement | None:
    pixels = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if pixels is None:
        return None
    return place(pixels.shape[0], pixels.shape[1], image_size, stride)


def describe_machine(device: str) -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        "",
    )
    return f"{machine(device)}, {model}" if model else machine(device)


def _product_settings() -> dict[str, str]:
    """What the environment says of the product; no secrets, which end in these."""
    secret = ("_KEY", "_SECRET", "_URL")
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(("SECONDLOOK_", "RAY_SERVE_")) and not name.endswith(secret)
    }
