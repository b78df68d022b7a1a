"""Trains folds side by side on Ray: the only file here that knows Ray.

Each fold is a Ray Train run of its own with one worker, inside a task that waits for it. Folds of
one run with k workers would wait for one another at every report, stop early together and die
together.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
import ray.exceptions
import ray.train
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from loop.errors import Misconfigured, Unavailable
from store.settings import Settings
from train.fold_job import FoldFailure, FoldOutcome, FoldResult, FoldTask, Keep, run_fold

# A worker that dies is started again from its last checkpoint so many times.
_MOST_RESTARTS = 2
# A checkpoint that is lost with its worker is in the one before.
_CHECKPOINTS_KEPT = 2
_POLL_S = 1.0
# Read by Ray Train in the process that calls `fit`, and handed on from there.
_TRAIN_ENVIRONMENT = {
    # Relative paths would break.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # How often a checkpoint is taken note of and an end is noticed; 2 s by default.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # A fold in the queue waits for others to end; after 60 s, the default, it would lose its place.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "604800",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
# Watches for nodes that are about to be taken away: not on a Ray of our own, which has one.
_OWN_RAY_ENVIRONMENT = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}

FoldJob = Callable[[FoldTask, Path, Path | None, Keep], FoldResult | FoldFailure]


@dataclass(frozen=True, slots=True)
class Resources:
    """What each fold waits for and holds while it trains."""

    cpus: float
    gpus: float


def run_folds(
    tasks: Sequence[FoldTask],
    settings: Settings,
    resources: Resources,
    *,
    name: str,
    out: Path,
    on_end: Callable[[FoldOutcome], None],
    on_wait: Callable[[], None],
    job: FoldJob = run_fold,
) -> list[FoldOutcome]:
    """Train all folds, as many at once as ``resources`` allow; outcomes come in the tasks' order.

    ``name`` must be this run's own: Ray Train takes up whatever it finds under a name. Files of
    fold i go to ``out/fold_i``. ``on_end`` is called as each fold ends, ``on_wait`` about once a
    second. Raises `Unavailable` without a Ray cluster, `Misconfigured` when no fold could start.
    """
    storage = settings.home / "training"
    storage.mkdir(parents=True, exist_ok=True)
    own_ray = not settings.ray_address
    with _connected(settings, len(tasks)):
        if own_ray:  # a cluster may grow by what is asked of it
            _check_resources(resources)
        scratch = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=storage))
        try:
            refs = {_fit.remote(task, scratch, resources, job, own_ray): task for task in tasks}
            outcomes = _wait(refs, out, on_end, on_wait)
            return [outcomes[task.fold] for task in tasks]
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _wait(
    waiting: dict[Any, FoldTask],
    out: Path,
    on_end: Callable[[FoldOutcome], None],
    on_wait: Callable[[], None],
) -> dict[int, FoldOutcome]:
    outcomes: dict[int, FoldOutcome] = {}
    try:
        while waiting:
            ended, _ = ray.wait(list(waiting), timeout=_POLL_S)
            for ref in ended:
                task = waiting.pop(ref)
                outcome = _outcome(task, ref, out / f"fold_{task.fold}")
                outcomes[task.fold] = outcome
                on_end(outcome)
            on_wait()
    finally:
        for ref in waiting:
            ray.cancel(ref, force=True)
    return outcomes


@ray.remote(num_cpus=0, max_retries=0)
def _fit(
    task: FoldTask, scratch: Path, resources: Resources, job: FoldJob, own_ray: bool
) -> tuple[FoldResult | FoldFailure, ray.train.Checkpoint | None]:
    """Run one fold's trainer to its end. Waits for resources by itself, so it holds none."""
    os.environ.update(_TRAIN_ENVIRONMENT | (_OWN_RAY_ENVIRONMENT if own_ray else {}))
    trainer = _FoldTrainer(
        _work,
        train_loop_config={"task": task, "job": job},
        scaling_config=ray.train.ScalingConfig(
            num_workers=1,
            use_gpu=resources.gpus > 0,
            resources_per_worker=_as_ray(resources),
        ),
        run_config=ray.train.RunConfig(
            name=f"fold-{task.fold}",
            storage_path=str(scratch),
            failure_config=ray.train.FailureConfig(max_failures=_MOST_RESTARTS),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=_CHECKPOINTS_KEPT),
        ),
    )
    result: Any = trainer.fit()  # Train's V2; the public name still has the type of V1
    return result.return_value, result.checkpoint


class _FoldTrainer(DataParallelTrainer):
    """`TorchTrainer` without what a single worker has no use for.

    That is its process group, which makes Ray import torch in two more processes, and helpers
    that are a process each, of 3 s of a core to start (measured): the one that hands out Ray
    Data, and the one that frees a dead controller's resources, which on a Ray of our own end
    with it.
    """

    def _create_default_callbacks(self) -> list[Any]:
        unused: tuple[type, ...] = (DatasetsCallback,)
        if os.environ.get("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER") == "0":
            unused += (PlacementGroupCleanerCallback,)
        return [
            callback
            for callback in super()._create_default_callbacks()
            if not isinstance(callback, unused)
        ]


def _work(config: Mapping[str, Any]) -> FoldResult | FoldFailure:
    """In the fold's worker: the job, from the last checkpoint that Ray Train kept."""
    checkpoint = ray.train.get_checkpoint()
    job: FoldJob = config["job"]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        restored = Path(stack.enter_context(checkpoint.as_directory())) if checkpoint else None
        return job(config["task"], Path(folder), restored, _keep)


def _keep(folder: Path, metrics: Mapping[str, float]) -> None:
    ray.train.report(dict(metrics), checkpoint=ray.train.Checkpoint.from_directory(folder))


def _outcome(task: FoldTask, ref: Any, folder: Path) -> FoldOutcome:
    try:
        result, checkpoint = ray.get(ref)
    except ray.exceptions.RayError as error:
        return FoldOutcome(task, None, folder, reason=_reason(error), hint=_HINT)
    except ray.train.TrainingFailedError as error:
        return FoldOutcome(task, None, folder, reason=_reason(error), hint=_HINT)
    if isinstance(result, FoldFailure):
        return FoldOutcome(task, None, folder, reason=result.message, hint=result.hint)
    checkpoint.to_directory(folder)
    return FoldOutcome(task, result, folder)


_HINT = "Ray's logs are in /tmp/ray/session_latest/logs, those of Train below train/."


def _reason(error: BaseException) -> str:
    """The innermost cause in a line: Ray wraps what a worker raised several times over."""
    cause: BaseException = error
    while True:
        failures = getattr(cause, "worker_failures", None)
        inner = next(iter(failures.values())) if failures else getattr(cause, "cause", None)
        if not isinstance(inner, BaseException) or inner is cause:
            break
        cause = inner
    text = str(cause).strip()
    last = text.splitlines()[-1].strip() if text else ""
    return f"{type(cause).__name__}: {last}"


@contextlib.contextmanager
def _connected(settings: Settings, folds: int) -> Iterator[None]:
    """A connection to the cluster of ``RAY_ADDRESS``, or a Ray of our own for as long as needed."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if settings.ray_address:
            ray.init(address=settings.ray_address, **quiet)
        else:
            cpus = psutil.cpu_count() or 1
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                # Ray warns on stdout at four times as many processes; a fold is four of them.
                _system_config={"worker_maximum_startup_concurrency": max(cpus, folds + 1)},
                **quiet,
            )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
        raise Unavailable(
            f"Ray cannot be reached: {error}.",
            hint="Check RAY_ADDRESS, or unset it to train on this machine.",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_resources(resources: Resources) -> None:
    present: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    for name, wanted in _as_ray(resources).items():
        if wanted > present.get(name, 0):
            raise Misconfigured(
                f"A fold asks for {wanted:g} {name}; this machine has {present.get(name, 0):g}.",
                hint=f"Lower {name}S_PER_FOLD in params.yaml, or set RAY_ADDRESS to a cluster.",
            )


def _as_ray(resources: Resources) -> dict[str, float]:
    wanted = {"CPU": resources.cpus}
    return wanted | ({"GPU": resources.gpus} if resources.gpus else {})
