"""A loaded model that many threads hand images to, on whichever backend this machine runs best."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from detector.base import Pixels, noise_image
from detector.cores import usable_cores
from detector.exported import ExportedDetector, open_network
from detector.formats import ExportFormat
from detector.jobs import Answer, OnBatch, OnStage, Source, ignore_batch, ignore_stage
from detector.loading import ON_CPU, WEIGHTS, choose, load_weights
from detector.openvino_engine import OpenVinoEngine
from detector.plan import Plan, agreed_plan, candidates
from detector.stacking_engine import StackingEngine, StagedDetector
from loop.classes import ClassList
from store.model_folder import file_digest, folder_digest

# What cameras and microscopes give most: 4:3.
_MEASURED_HEIGHT, _MEASURED_WIDTH = 480, 640
_GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


class Engine(Protocol):
    """One loaded model, for any number of threads; a `detector.base.Detector` as well.

    ``parallel`` is how many images it works on at once: it is busy with so many and never faster
    with more. ``image_size`` is the longer side that the network sees, in pixels.
    """

    @property
    def classes(self) -> ClassList: ...
    @property
    def image_size(self) -> int: ...
    @property
    def backend(self) -> str: ...
    @property
    def parallel(self) -> int: ...
    @property
    def plan(self) -> Plan: ...
    def submit(self, source: Source) -> Future[Answer]:
        """What is seen in the image, as `detector.base.Detector.detect` tells it.

        Returns at once; the line of images that wait has no limit, callers set one. Whatever goes
        wrong is in the future. A future that is cancelled before its turn costs nothing.
        """

    def detect(self, images: Sequence[Pixels]) -> list[Answer]: ...
    def close(self) -> None:
        """Answer what was submitted, then end all threads. What comes later gets `Unavailable`."""


def open_engine(
    files: Mapping[str, Path],
    *,
    min_confidence: float,
    nms_iou: float,
    backend: str = "auto",
    cores: int | None = None,
    plans: Path | None = None,
    measures: bool = True,
    on_stage: OnStage = ignore_stage,
    on_batch: OnBatch = ignore_batch,
) -> Engine:
    """Open one of ``files`` (as for `detector.loading.open_model`); torch runs on a GPU if there is
    one, and ``auto`` then prefers it.

    ``cores`` is how many it may use (`detector.cores.usable_cores` by default). ``plans`` is a JSON
    file: with it the model is measured unless it was before, which takes some seconds; without it,
    or without ``measures`` if nothing is in it yet, the plan is the likeliest one. Raises what
    `open_model` raises.
    """
    chosen = choose(files, backend, fastest_first())
    path = files[chosen]
    own = usable_cores() if cores is None else max(1, cores)
    possible = candidates(chosen, own)
    options: dict[str, Any] = {"min_confidence": min_confidence, "nms_iou": nms_iou}

    def start(plan: Plan, **told: Any) -> OpenVinoEngine | StackingEngine:
        if chosen.startswith(ExportFormat.OPENVINO):
            return OpenVinoEngine(path, plan, **options, **told)
        load = partial(_load, chosen, path, plan.threads, **options)
        return StackingEngine(load, plan, **told)

    plan = possible[0]
    if plans is not None:
        digest = folder_digest(path) if path.is_dir() else file_digest(path)
        image = noise_image(_MEASURED_HEIGHT, _MEASURED_WIDTH)
        plan = agreed_plan(plans, digest, possible, start, image, measures=measures)
    return start(plan, on_stage=on_stage, on_batch=on_batch)


def fastest_first() -> tuple[str, ...]:
    """What ``auto`` tries on this machine, in this order."""
    return (WEIGHTS, *ON_CPU) if has_gpu() else ON_CPU


def has_gpu() -> bool:
    """Whether torch sees one. Asks torch, which takes seconds to import, only if there may be."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if hidden or not any(device.exists() for device in _GPU_DEVICES):
        return False
    import torch

    return bool(torch.cuda.is_available())


def _load(
    backend: str, path: Path, threads: int, *, min_confidence: float, nms_iou: float
) -> StagedDetector:
    if backend != WEIGHTS:
        network, info = open_network(path, threads=threads)
        return ExportedDetector(network, info, min_confidence=min_confidence, nms_iou=nms_iou)
    import torch

    torch.set_num_threads(threads)
    return load_weights(path, min_confidence=min_confidence, nms_iou=nms_iou)
