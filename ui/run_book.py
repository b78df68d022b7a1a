"""Cross-validations as the training page shows them, read from MLflow no oftener than needed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from store.tracking import MetricPoint, RunInfo
from ui.keeping import keep

# Of each fold, by epoch.
SCORES = ("map50_95", "map50")
_LOSSES = ("box_loss", "cls_loss", "dfl_loss")
TRAIN_LOSS, VAL_LOSS = "train_loss", "val_loss"
# What a training says of itself that somebody stopped (train/session.py).
_INTERRUPTED = "interrupted"
_MOST_RUNS = 50
_MOST_KEPT, _MOST_FOLDS_KEPT = 20, 200


class Runs(Protocol):
    """What is needed of `store.tracking.Tracking`."""

    def runs(self, tags: Mapping[str, str], limit: int) -> list[RunInfo]: ...
    def run(self, run_id: str) -> RunInfo: ...
    def child_runs(self, run_id: str) -> list[RunInfo]: ...
    def metric_history(self, run_id: str, metric: str) -> list[MetricPoint]: ...


@dataclass(frozen=True, slots=True)
class Point:
    epoch: int
    value: float


@dataclass(frozen=True, slots=True)
class Fold:
    """``curves`` has the points of `SCORES`, `TRAIN_LOSS` and `VAL_LOSS`; ``heard_at`` is when the
    last epoch was logged, empty before the first one; ``state`` is in words."""

    name: str
    epochs: int
    state: str
    heard_at: str
    curves: Mapping[str, tuple[Point, ...]]

    @property
    def epoch(self) -> int:
        return max((points[-1].epoch for points in self.curves.values() if points), default=0)

    def last(self, curve: str) -> float | None:
        points = self.curves[curve]
        return points[-1].value if points else None

    @property
    def best(self) -> Point | None:
        """Of mAP50-95, the first of equally good ones."""
        return max(self.curves["map50_95"], key=lambda point: point.value, default=None)


@dataclass(frozen=True, slots=True)
class Run:
    """``state`` is training, done, failed or interrupted; ``failure`` says why; ``decision`` is the
    gate's."""

    id: str
    name: str
    state: str
    started_at: str
    ended_at: str
    failure: str
    decision: str
    parameters: Mapping[str, str]
    folds: tuple[Fold, ...]

    @property
    def live(self) -> bool:
        return self.state == "training"

    @property
    def spread(self) -> tuple[float, float] | None:
        """Mean and sample standard deviation of the folds' best mAP50-95, once all have ended."""
        best = [fold.best for fold in self.folds if fold.state == "done"]
        values = [point.value for point in best if point is not None]
        if len(values) < 2 or len(values) < len(self.folds):
            return None
        return statistics.fmean(values), statistics.stdev(values)


class RunBook:
    """Runs that have ended are read once."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._ended: dict[str, Run] = {}
        self._folds: dict[str, Fold] = {}

    def latest(self) -> list[RunInfo]:
        """Cross-validations, newest first."""
        return self._runs.runs({"loop.kind": "cv"}, _MOST_RUNS)

    def read(self, run_id: str) -> Run:
        """Raises `NotFound`."""
        if run_id in self._ended:
            return self._ended[run_id]
        info = self._runs.run(run_id)
        children = sorted(self._runs.child_runs(run_id), key=_fold_number)
        run = Run(
            id=run_id,
            name=info.name,
            state=state_of(info),
            started_at=info.started_at,
            ended_at=info.ended_at,
            failure=info.tags.get("loop.failure", "") if state_of(info) == "failed" else "",
            decision=info.tags.get("loop.decision", ""),
            parameters=dict(info.params),
            folds=tuple(self._fold(child) for child in children),
        )
        if info.status != "RUNNING":
            keep(self._ended, run_id, run, _MOST_KEPT)
        return run

    def _fold(self, info: RunInfo) -> Fold:
        """Curves are read again only when there is a new epoch."""
        known = self._folds.get(info.run_id)
        state = _fold_state(info)
        epoch = int(info.metrics.get("epoch", 0))
        if known is not None and (known.epoch, known.state) == (epoch, state):
            return known
        curves, heard_at = self._curves(info.run_id) if epoch else (_NO_CURVES, "")
        fold = Fold(
            name=f"fold {info.tags.get('loop.fold', '?')}",
            epochs=int(info.params.get("EPOCHS", 0)),
            state=state,
            heard_at=heard_at,
            curves=curves,
        )
        return keep(self._folds, info.run_id, fold, _MOST_FOLDS_KEPT)

    def _curves(self, run_id: str) -> tuple[Mapping[str, tuple[Point, ...]], str]:
        histories = {name: self._runs.metric_history(run_id, name) for name in SCORES}
        curves = {
            name: tuple(Point(point.step, point.value) for point in history)
            for name, history in histories.items()
        }
        for curve, part in ((TRAIN_LOSS, "train"), (VAL_LOSS, "val")):
            losses = [self._runs.metric_history(run_id, f"{part}_{name}") for name in _LOSSES]
            curves[curve] = _sum(losses)
        heard = [history[-1].at for history in histories.values() if history]
        return curves, max(heard, default="")


_NO_CURVES: Mapping[str, tuple[Point, ...]] = dict.fromkeys((*SCORES, TRAIN_LOSS, VAL_LOSS), ())


def _fold_number(run: RunInfo) -> int:
    return int(run.tags.get("loop.fold", 0))


def state_of(run: RunInfo) -> str:
    """In a word."""
    if run.tags.get("loop.failure") == _INTERRUPTED:
        return _INTERRUPTED
    return {"RUNNING": "training", "FINISHED": "done"}.get(run.status, "failed")


def _fold_state(run: RunInfo) -> str:
    state = state_of(run)
    if state == "training" and not run.metrics.get("epoch"):
        return "waiting"
    reason = run.tags.get("loop.failure", "")
    return f"{state}: {reason}" if state == "failed" and reason else state


def _sum(histories: Sequence[Sequence[MetricPoint]]) -> tuple[Point, ...]:
    """Their sum at the epochs that all of them have."""
    values = [{point.step: point.value for point in history} for history in histories]
    epochs = sorted(set.intersection(*(set(each) for each in values)))
    return tuple(Point(epoch, sum(each[epoch] for each in values)) for epoch in epochs)
