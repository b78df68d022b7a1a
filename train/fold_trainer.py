"""One fold as a run of Ray Train with a single worker: a controller process, and the worker's.

Trimmed to what a single worker has a use for. Every process of Ray that imports Ray Train costs
two seconds of a core, and Ray Train would start five for a fold.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import ray
import ray.train
from ray._raylet import RAY_NODE_ID_KEY  # type: ignore[attr-defined]
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup, state, worker_group
from ray.train.v2._internal.execution.worker_group.placement_group_handle import (
    DefaultPlacementGroupHandle,
)
from ray.train.v2.api.config import FailureConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.placement_group import PlacementGroup

from train.fold_checkpoints import Checkpoints
from train.fold_job import FoldFailure, FoldResult
from train.fold_worker import step_back

# A worker that dies is started again so often without a new checkpoint. With one, it starts from
# zero: on machines that are taken away at any time many restarts are normal.
MOST_RESTARTS = 2
# How often Ray Train looks whether the worker lives and has ended; 2 s by default.
_HEALTH_CHECK_INTERVAL_S = 0.5
_LONGEST_WAIT_S = 7 * 24 * 3600
# Both are read by Ray Train where the trainer is made.
_ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths would break
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
_WATCHES_PREEMPTION = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"

Work = Callable[[], FoldResult | FoldFailure]


def start_trainer(
    work: Work,
    *,
    name: str,
    folder: Path,
    resources: Mapping[str, float],
    placement: PlacementGroup,
    own_ray: bool,
) -> tuple[Any, Any]:
    """Run ``work`` in a worker on ``placement``: the controller, and a reference to its result.

    ``folder`` has the fold's checkpoints.
    """
    os.environ.update(_ENVIRONMENT)
    trainer = _FoldTrainer(
        functools.partial(_in_worker, work),
        scaling_config=ray.train.ScalingConfig(
            num_workers=1, use_gpu=resources.get("GPU", 0) > 0, resources_per_worker=dict(resources)
        ),
        run_config=ray.train.RunConfig(name=name, storage_path=str(folder)),
    )
    trainer.folder, trainer.placement, trainer.own_ray = folder, placement, own_ray
    started: Any = trainer.fit()
    return started.controller, started.result


def _in_worker(work: Work) -> FoldResult | FoldFailure:
    step_back()
    return work()


class _Started:
    """What `fit` returns here, in place of a result: it asks for the ``error`` of that."""

    error = None

    def __init__(self, controller: Any, result: Any) -> None:
        self.controller = controller
        self.result = result


class _FoldTrainer(DataParallelTrainer):
    """As `TorchTrainer`, but `fit` does not wait, and without what one worker has no use for.

    That is the process group, which makes Ray import torch in more processes, and helpers: the
    one that hands out Ray Data, the one that asks an autoscaler for resources, and the one that
    frees the placement group of a dead controller. The group is the driver's.
    """

    folder: Path
    placement: PlacementGroup
    own_ray: bool

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        arguments["failure_policy"] = _StalledPolicy(self.folder)
        scaling: Any = self.scaling_config  # the public name still has the type of V1
        arguments["scaling_policy"] = _OneWorker(scaling)
        here = {RAY_NODE_ID_KEY: ray.get_runtime_context().get_node_id()}
        actor: Any = ray.remote(num_cpus=0, label_selector=here)(_FoldController)
        controller = actor.remote(self.placement, self.own_ray, arguments)
        return _Started(controller, controller.train.remote())

    def _create_default_callbacks(self) -> list[Any]:
        unused = (DatasetsCallback, PlacementGroupCleanerCallback)
        callbacks: list[Any] = super()._create_default_callbacks()
        return [callback for callback in callbacks if not isinstance(callback, unused)]


class _FoldController(TrainController):
    def __init__(
        self, placement: PlacementGroup, own_ray: bool, arguments: Mapping[str, Any]
    ) -> None:
        # Watches for nodes that are about to be taken away: not on a Ray of our own, which is one.
        os.environ[_WATCHES_PREEMPTION] = "0" if own_ray else "1"
        try:
            super().__init__(**arguments)
        finally:
            # What is set here, Ray Train wants in the worker as well, which then could not be one
            # of the processes that Ray has started in advance.
            del os.environ[_WATCHES_PREEMPTION]
        internals: Any = self
        internals._health_check_interval_s = _HEALTH_CHECK_INTERVAL_S
        internals.worker_group_cls = _WorkerGroups(placement)
        # It makes workers wait for one another when they report: a process for nothing here.
        starting: Any = worker_group
        starting.SynchronizationActor = _NoBarrier
        ending: Any = state
        ending._shutdown_sync_actor = lambda _: None

    async def train(self) -> Any:
        await self.run()  # type: ignore[no-untyped-call]
        result = self.get_result()
        if result.error:
            raise result.error
        return result.return_value


class _WorkerGroups:
    """Makes worker groups that all use one placement group."""

    def __init__(self, placement: PlacementGroup) -> None:
        self._placement = placement

    def create(self, **arguments: Any) -> _FoldWorkerGroup:
        group = _FoldWorkerGroup(**arguments)
        group.placement = self._placement
        group._start()  # type: ignore[no-untyped-call]
        return group


class _FoldWorkerGroup(WorkerGroup):
    placement: PlacementGroup

    def _create_placement_group(self, *_: Any) -> _GivenPlacementGroup:
        return _GivenPlacementGroup(self.placement)

    @staticmethod
    def _get_worker_runtime_env(custom_runtime_env: Any) -> Any:
        return dict(custom_runtime_env)


class _GivenPlacementGroup(DefaultPlacementGroupHandle):
    """It belongs to the driver, outlives the worker and the controller, and keeps their place."""

    def wait(self, timeout_seconds: float = 0) -> bool:
        """A fold in the queue waits for others to end; after a minute Ray Train would give up."""
        del timeout_seconds
        return bool(super().wait(_LONGEST_WAIT_S))

    def shutdown(self) -> None:
        return


class _NoBarrier:
    @classmethod
    def options(cls, **_: Any) -> type[Self]:
        return cls

    @classmethod
    def remote(cls, **_: Any) -> str:
        return "none"


class _OneWorker(FixedScalingPolicy):
    """Asks no helper for resources: the placement group does, and a cluster grows by that."""

    def after_controller_start(self, train_run_context: Any) -> None:
        del train_run_context

    def _maybe_send_resource_request(self) -> None:
        return


class _StalledPolicy(DefaultFailurePolicy):
    """Counts failures from the last new checkpoint on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            FailureConfig(max_failures=MOST_RESTARTS, controller_failure_limit=MOST_RESTARTS)
        )
        self._checkpoints = Checkpoints(folder)
        self._newest = self._checkpoints.latest()

    def _is_retryable_error(self, training_failed_error: Any) -> bool:
        """Ray Train gives up when a worker is out of reach for a moment, of which it also makes an
        error of the controller. What is no such thing fails again, and soon often enough."""
        del training_failed_error
        return True

    def make_decision(self, training_failed_error: Any) -> FailureDecision:
        newest = self._checkpoints.latest()
        if newest != self._newest:
            self._newest = newest
            self._worker_group_failures = self._controller_failures = 0
        return super().make_decision(training_failed_error)
