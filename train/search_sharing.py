"""How the trials of a search share the machine or the cluster that they run on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from train.params import Params

# What a fold takes: its processes, and the activations of a step, by the pixels in it. Measured
# with yolo11n in fp32: 1.5 GB at 320 px and a batch of 8, 3.2 GB at 640 px, 4.7 GB with one of 16.
_FOLD_BYTES, _BYTES_A_PIXEL = 900e6, 900


@dataclass(frozen=True, slots=True)
class Sharing:
    """How the trials share what there is: ``cpus_per_fold``, and trials ``at_once``."""

    cpus_per_fold: float
    at_once: int


def sharing(
    params: Params, folds: int, present: Mapping[str, float], *, spare_bytes: float
) -> Sharing:
    """All folds of a trial side by side, if they can be: a trial is judged by the epochs that all
    of its folds have, so one whose folds wait for one another could only be stopped at its end.

    They share cores for it, where they fit into ``spare_bytes`` of memory; 0 does not let them.
    As many trials as have room run at once. ``present`` are the cluster's CPUs and GPUs.
    """
    cpus, gpus = present.get("CPU", 0.0), present.get("GPU", 0.0)
    wanted = params.CPUS_PER_FOLD
    fit = folds * _fold_bytes(params) <= spare_bytes
    if fit and not params.GPUS_PER_FOLD and folds * wanted > cpus:
        wanted = math.floor(1000 * cpus / folds) / 1000
    room = cpus / (folds * wanted)
    if params.GPUS_PER_FOLD:
        room = min(room, gpus / (folds * params.GPUS_PER_FOLD))
    return Sharing(wanted, max(1, math.floor(room + 1e-9)))


def _fold_bytes(params: Params) -> float:
    return _FOLD_BYTES + _BYTES_A_PIXEL * params.BATCH_SIZE * params.IMG_SIZE**2
