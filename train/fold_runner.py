"""Trains folds side by side on Ray, and sees each of them to its end.

Each fold is a run of Ray Train of its own with one worker. Folds of one run with k workers would
wait for one another at every report, stop early together and die together. Ray Train starts a
worker that died again; the trainer of a fold is started again here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
import ray.train
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from loop.errors import Misconfigured
from train.decoded import ImageSource
from train.far_training import FarMirror, FarTraining, followed
from train.fold_checkpoints import Checkpoints, copy_files
from train.fold_claim import end_owner
from train.fold_job import FoldFailure, FoldOutcome, FoldResult, FoldTask, run_fold
from train.fold_trainer import MOST_RESTARTS, start_trainer
from train.fold_worker import FoldJob, work

_POLL_S = 1.0
# Of a fold in the queue the controller is started already, for the time when its turn comes.
_STARTED_AHEAD = 1
_HINT = (
    "Ray's logs are in /tmp/ray/session_latest/logs of the node, those of Train below train/. "
    "Where a worker died without a word, its node may have run out of memory, or of disk."
)


@dataclass(frozen=True, slots=True)
class Resources:
    """What each fold waits for and holds while it trains."""

    cpus: float
    gpus: float

    def as_ray(self) -> dict[str, float]:
        wanted = {"CPU": self.cpus}
        return wanted | ({"GPU": self.gpus} if self.gpus else {})


@dataclass(frozen=True, slots=True)
class Place:
    """Where folds are trained: ``storage`` is this training's own folder, which all nodes share,
    or, with ``far``, the driver's copy of what is there. Files of a fold's end go to a folder of
    ``out``."""

    storage: Path
    out: Path
    far: FarTraining | None = None

    def fold(self, fold: int) -> Path:
        """The checkpoints of a fold."""
        return self.storage / f"fold-{fold}"

    def result(self, fold: int) -> Path:
        return self.out / f"fold_{fold}"

    def mirror(self, fold: int) -> FarMirror | None:
        return FarMirror(self.far.fold(fold), self.fold(fold)) if self.far else None

    def bring(self, fold: int) -> None:
        """See that the newest checkpoint of a fold is in its folder."""
        mirror = self.mirror(fold)
        if mirror is not None:
            mirror.complete()


def run_folds(
    tasks: Sequence[FoldTask],
    resources: Resources,
    place: Place,
    *,
    own_ray: bool,
    on_end: Callable[[FoldOutcome], None],
    on_wait: Callable[[], None],
    images: ImageSource | None = None,
    job: FoldJob = run_fold,
) -> list[FoldOutcome]:
    """Train all folds, as many at once as ``resources`` allow; outcomes come in the tasks' order.

    Needs a connection to Ray. A fold goes on from what it finds in its place. All of them ask
    for their resources at once, so that a cluster that grows sees what is wanted. ``on_end`` is
    called as each fold ends, ``on_wait`` about once a second. Raises `Misconfigured` when no
    fold could start.
    """
    if own_ray:  # a cluster may grow by what is asked of it
        _check_resources(resources)
    folds = [_Fold(replace(task, images=images), place, resources, own_ray, job) for task in tasks]
    outcomes: dict[int, FoldOutcome] = {}
    mirrors = [place.mirror(task.fold) for task in tasks]
    try:
        with followed([mirror for mirror in mirrors if mirror is not None]):
            _run(folds, outcomes, on_end, on_wait)
    finally:
        for fold in folds:
            fold.stop()
    return [outcomes[task.fold] for task in tasks]


def _run(
    folds: Sequence[_Fold],
    outcomes: dict[int, FoldOutcome],
    on_end: Callable[[FoldOutcome], None],
    on_wait: Callable[[], None],
) -> None:
    while len(outcomes) < len(folds):
        left = [fold for fold in folds if fold.task.fold not in outcomes]
        for fold in _may_start(left):
            fold.start()
        for fold in _ended(left):
            outcome = fold.end()
            if outcome is not None:
                outcomes[fold.task.fold] = outcome
                on_end(outcome)
        on_wait()


def _may_start(folds: Sequence[_Fold]) -> list[_Fold]:
    """Those that have got their resources, in whatever order, and the first of the others."""
    waiting = [fold for fold in folds if not fold.placement.wait(0)]
    ahead = waiting[:_STARTED_AHEAD]
    may = [fold for fold in folds if fold in ahead or fold not in waiting]
    return [fold for fold in may if fold.result is None]


def _ended(folds: Sequence[_Fold]) -> list[_Fold]:
    """Those that ended within a second; waits for the first of them."""
    by_result = {fold.result: fold for fold in folds if fold.result is not None}
    ended, _ = ray.wait(list(by_result), timeout=_POLL_S)
    return [by_result[result] for result in ended]


@dataclass(slots=True, eq=False)
class _Fold:
    task: FoldTask
    place: Place
    resources: Resources
    own_ray: bool
    job: FoldJob
    placement: PlacementGroup = field(init=False)
    controller: Any = None
    result: Any = None
    restarts: int = 0
    newest: Path | None = None

    def __post_init__(self) -> None:
        self.placement = placement_group([self.resources.as_ray()])

    @property
    def folder(self) -> Path:
        return self.place.fold(self.task.fold)

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.newest = Checkpoints(self.folder).latest()
        self.controller, self.result = start_trainer(
            functools.partial(work, self.task, self.job, self.folder),
            name=f"fold-{self.task.fold}",
            folder=self.folder,
            resources=self.resources.as_ray(),
            placement=self.placement,
            own_ray=self.own_ray,
        )

    def end(self) -> FoldOutcome | None:
        """What came out of it; None if it was started again, since only its trainer had died."""
        try:
            result = ray.get(self.result)
        except ray.exceptions.RayTaskError as error:
            outcome = self._failed(_reason(error), _HINT)
        except ray.exceptions.RayError as error:
            if self._start_again():
                return None
            outcome = self._failed(f"Its trainer died: {_reason(error)}", _HINT)
        else:
            outcome = self._outcome(result)
        self.stop()
        return outcome

    def stop(self) -> None:
        """End what runs of it, and free its resources."""
        if self.controller is not None:
            ray.kill(self.controller)
            self.controller = None
            end_owner(self.folder)
        remove_placement_group(self.placement)

    def _start_again(self) -> bool:
        newest = Checkpoints(self.folder).latest()
        self.restarts = 0 if newest != self.newest else self.restarts
        if self.restarts == MOST_RESTARTS:
            return False
        self.restarts += 1
        ray.kill(self.controller)  # it may only have been out of reach
        end_owner(self.folder)  # its worker would be in the way
        self.start()
        return True

    def _outcome(self, result: FoldResult | FoldFailure) -> FoldOutcome:
        if isinstance(result, FoldFailure):
            return self._failed(result.message, result.hint)
        self.place.bring(self.task.fold)
        checkpoint = Checkpoints(self.folder).latest()
        folder = self.place.result(self.task.fold)
        if checkpoint is None:
            return self._failed(f"Its checkpoints in {self.folder} are gone.", _HINT)
        copy_files(checkpoint, folder)
        return FoldOutcome(self.task, result, folder)

    def _failed(self, reason: str, hint: str) -> FoldOutcome:
        folder = self.place.result(self.task.fold)
        return FoldOutcome(self.task, None, folder, reason=reason, hint=hint)


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


def _check_resources(resources: Resources) -> None:
    present: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    for name, wanted in resources.as_ray().items():
        if wanted > present.get(name, 0):
            raise Misconfigured(
                f"A fold asks for {wanted:g} {name}; this machine has {present.get(name, 0):g}.",
                hint=f"Lower {name}S_PER_FOLD in params.yaml, or set RAY_ADDRESS to a cluster.",
            )
