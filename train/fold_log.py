"""Logs what a fold's checkpoints say to its MLflow run: each epoch once, whoever trained it.

The driver is the only one that logs. A worker that is believed dead cannot, and an epoch is logged
when it is safe in a checkpoint, so that nothing logged is ever trained again. A driver that takes
over asks what is logged already; should a call of the one before arrive after that, it has the same
values at the same time, which MLflow keeps once.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from loop.classes import ClassList
from loop.errors import LoopError
from loop.impact import class_metrics
from store.tracking import Tracking
from train.fold_checkpoints import Checkpoints
from train.fold_job import FoldResult, FoldState, FoldTask, read_state
from train.fold_samples import FILE as SAMPLES
from train.sample_log import SampleLog


class FoldLog:
    """``folder`` is the fold's: nothing in it is changed."""

    def __init__(self, tracking: Tracking, task: FoldTask, folder: Path) -> None:
        self._tracking = tracking
        self._run_id = task.run_id
        self._checkpoints = Checkpoints(folder)
        self._samples = SampleLog(tracking, task.run_id, folder / SAMPLES)
        self._state = FoldState()
        self._looked_at = ""
        self._logged: set[int] | None = None
        self._noted = 0

    @property
    def latest(self) -> Mapping[str, float]:
        """The newest value of each metric; empty before a worker has begun."""
        merged = dict(self._samples.latest)
        for metrics in self._state.history:
            merged |= metrics
        return merged

    @property
    def resumed(self) -> int:
        """How many times a worker took over."""
        return len(self._state.resumed_after)

    @property
    def map50_95(self) -> dict[int, float]:
        """By epoch, of those that were validated."""
        return {
            int(metrics["epoch"]): metrics["map50_95"]
            for metrics in self._state.history
            if "map50_95" in metrics
        }

    def follow(self) -> bool:
        """Log what is new, and say whether anything was. A busy MLflow is asked again next time."""
        self._samples.follow()
        if not self._read():
            return False
        try:
            self._log_epochs()
        except LoopError:
            self._looked_at = ""
        return True

    def end(self, result: FoldResult, classes: ClassList) -> None:
        """Log the rest, the best model's scores, and the precision. Raises `Unavailable`."""
        self._read()
        self._log_epochs()
        self._samples.follow(at_once=True)
        self._tracking.set_tags(self._run_id, {"loop.precision": result.precision})
        if self._tracking.metric_steps(self._run_id, "best_epoch"):
            return
        best = {f"best_{name}": value for name, value in result.metrics.items()}
        best |= {"best_epoch": float(result.best_epoch), "fold_seconds": result.seconds}
        best |= class_metrics(result.per_class, classes)
        at_ms = self._state.ended_ms[-1] if self._state.ended_ms else None
        self._tracking.log_metrics(self._run_id, best, result.epochs, at_ms=at_ms)

    def _read(self) -> bool:
        latest = self._checkpoints.latest()
        if latest is None or latest.name == self._looked_at:
            return False
        with suppress(OSError, ValueError):  # replaced by a newer one just now
            self._state = read_state(latest)
            self._looked_at = latest.name
            return True
        return False

    def _log_epochs(self) -> None:
        if self._logged is None:
            self._logged = set(self._tracking.metric_steps(self._run_id, "epoch"))
        for metrics, at_ms in zip(self._state.history, self._state.ended_ms, strict=True):
            step = int(metrics["epoch"])
            if step not in self._logged:
                self._tracking.log_metrics(self._run_id, metrics, step, at_ms=at_ms)
                self._logged.add(step)
        if len(self._state.resumed_after) > self._noted:
            after = ", ".join(map(str, self._state.resumed_after))
            self._tracking.set_tags(self._run_id, {"loop.resumed_after_epoch": after})
            self._noted = len(self._state.resumed_after)
