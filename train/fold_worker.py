"""The process that trains a fold: alone with it, from its newest checkpoint on.

Every worker imports this: nothing slow belongs here.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from loop.errors import LoopError
from train.far_training import FarTraining, FarWorkplace, node_cache, patiently
from train.fold_checkpoints import Checkpoints
from train.fold_claim import claimed
from train.fold_job import FoldFailure, FoldResult, FoldTask, Keep
from train.fold_samples import FILE as SAMPLES
from train.fold_samples import sampled

# That of a Ray worker by default; on the Ray of `secondlook up` detectors have none.
_NICENESS = 15

FoldJob = Callable[[FoldTask, Path, Path | None, Keep], FoldResult | FoldFailure]


def work(task: FoldTask, job: FoldJob, folder: Path) -> FoldResult | FoldFailure:
    """Do ``job``, with its files in a folder below ``folder``, where the checkpoints are; or, with
    a task that is far, in one of this machine."""
    if task.far is not None:
        return _work_far(task, job, task.far)
    checkpoints = Checkpoints(folder)
    with claimed(folder) as claim, sampled(folder / SAMPLES), _scratch(folder) as scratch:

        def keep(files: Path, metrics: Mapping[str, float]) -> None:
            del metrics
            claim.check()
            checkpoints.keep(files)

        return job(task, scratch, checkpoints.newest(), keep)


def _work_far(task: FoldTask, job: FoldJob, far: FarTraining) -> FoldResult | FoldFailure:
    try:
        with tempfile.TemporaryDirectory(prefix="second-look-fold-") as name:
            return _train_far(task, job, far, Path(name))
    except LoopError as error:
        return FoldFailure(error.message, error.hint)


def _train_far(
    task: FoldTask, job: FoldJob, far: FarTraining, folder: Path
) -> FoldResult | FoldFailure:
    workplace = FarWorkplace(far.fold(task.fold), folder)
    workplace.take()
    workplace.bring_samples()
    base = task.spec.base
    if task.base_key:
        base = folder / "base" / base.name
        patiently(lambda: far.objects.get_file(task.base_key, base))
    here = replace(
        task, spec=replace(task.spec, base=base), config_dir=node_cache() / "ultralytics"
    )
    with sampled(folder / SAMPLES), _scratch(folder) as scratch:

        def keep(files: Path, metrics: Mapping[str, float]) -> None:
            del metrics
            workplace.keep(files)

        return job(here, scratch, workplace.newest(), keep)


def step_back() -> None:
    """Let everything else on this machine go first: people wait for detections, not for epochs.

    Of this thread, and of those that it starts. On Linux it has what nobody else wants; a niceness
    alone kept detections waiting for a second and more (docs/benchmarks.md).
    """
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):  # another system; a sandbox that does not let it
        os.nice(max(_NICENESS - os.nice(0), 0))


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A new folder beside the checkpoints; those of workers that were killed are removed."""
    for left in folder.glob("work-*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="work-") as scratch:
        yield Path(scratch)
