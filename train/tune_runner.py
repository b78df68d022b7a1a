"""Runs the trials of a search on Ray Tune: Optuna suggests, ASHA stops those that fall behind.

A trial is a process of its own that trains its folds on Ray in turn, so it holds no resources
itself. Tune's own files are scratch: what a search goes on from, after whatever ended it, is its
record (`train.search_trials`), which its people see as well.
"""

from __future__ import annotations

import logging
import os
import queue
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
from ray import tune
from ray._raylet import RAY_NODE_ID_KEY  # type: ignore[attr-defined]

from train.params import Params
from train.search_sharing import Sharing, sharing
from train.search_space import Values
from train.search_study import quieten
from train.search_trials import OBJECTIVE, SearchTrial
from train.trial import SearchJob, TrialEnd, run_trial
from train.tune_policy import END, EPOCH, Hopeless, Suggestions, halving

# Tune reads these in the driver.
_ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths would break
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0: prints nothing
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that failed has no objective
    # Ctrl-C ends the search at once: trials that are killed are resumed.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "0",
}
# A trial holds nothing, but Ray wants a request to name something: a byte of a node's memory.
_NOTHING = {"memory": 1.0}
# A trial whose process died, as of a lack of memory, is taken up again so often.
_MOST_RESTARTS = 2


@dataclass(frozen=True, slots=True)
class Crash:
    """A trial whose process died again and again."""

    number: int
    reason: str


def share_here(params: Params, folds: int, *, own_ray: bool) -> Sharing:
    """As `sharing`, of the cluster that this process is connected to.

    Folds share the cores of this machine. A cluster may grow by what is asked of it.
    """
    present: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    spare = psutil.virtual_memory().available if own_ray else 0
    return sharing(params, folds, present, spare_bytes=spare)


def run_trials(
    job: SearchJob,
    past: Sequence[SearchTrial],
    *,
    trials: int,
    at_once: int,
    scratch: Path,
    on_wait: Callable[[], None],
) -> tuple[list[TrialEnd], list[Crash]]:
    """Run what is left of ``trials`` after ``past``, those first that were not settled.

    Needs a connection to Ray. ``scratch`` is removed in the end; ``on_wait`` is called all the
    time. The trials put themselves on record; what is returned is of this call.
    """
    quieten()
    os.environ.update(_ENVIRONMENT)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    settled = [trial for trial in past if trial.settled]
    # A trial needs the session's files, the snapshot and the workspace: the driver's machine.
    here = {RAY_NODE_ID_KEY: ray.get_runtime_context().get_node_id()}
    place = tune.PlacementGroupFactory([_NOTHING], bundle_label_selector=[here])
    trainable = tune.with_resources(tune.with_parameters(_TrialProcess, job=job), place)
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=Suggestions(job, past),
            scheduler=halving(job.params, settled),
            num_samples=trials - len(settled),
            max_concurrent_trials=at_once,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=scratch.name,
            storage_path=str(scratch.parent),
            callbacks=[_OnWait(on_wait)],
            stop=Hopeless(settled),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=_MOST_RESTARTS),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    try:
        results = tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    ended: list[tune.Result] = [results[index] for index in range(len(results))]
    reported = [result.metrics or {} for result in ended]
    ends = [metrics[END] for metrics in reported if END in metrics]
    crashes = [
        Crash(result.config["number"], str(result.error).strip().splitlines()[-1])
        for result in ended
        if result.error is not None and result.config is not None
    ]
    return ends, crashes


class _TrialProcess(tune.Trainable):
    """In a process of its own: a trial in a thread, whose epochs Tune asks for one by one. The
    next trial gets the same process: its imports alone take 4 s of a core (measured)."""

    def setup(self, config: dict[str, Any], **shared: SearchJob) -> None:
        self._job = shared["job"]
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        return self._epochs.get()

    def cleanup(self) -> None:
        """Tune stops the trial: its folds are ended and it is put on record before this returns."""
        self._stopped.set()
        self._thread.join()

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._epochs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._stopped = threading.Event()
        arguments = (self._job, config["number"], config["values"], self._epochs, self._stopped)
        self._thread = threading.Thread(target=_train, args=arguments, daemon=True)
        self._thread.start()


def _train(
    job: SearchJob,
    number: int,
    values: Values,
    epochs: queue.SimpleQueue[dict[str, Any]],
    stopped: threading.Event,
) -> None:
    def report(epoch: int, objective: float) -> None:
        epochs.put({EPOCH: epoch, OBJECTIVE: objective})

    end = run_trial(job, number, values, report, stopped.is_set)
    scored = {} if end.objective is None else {OBJECTIVE: end.objective}
    epochs.put({EPOCH: end.epoch, **scored, END: end, "done": True})


class _OnWait(tune.Callback):
    def __init__(self, on_wait: Callable[[], None]) -> None:
        self._on_wait = on_wait

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        del iteration, trials, info
        self._on_wait()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune writes it to disk, and nobody reads it
