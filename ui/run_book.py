"""Trainings and searches for the training page, read from MLflow no oftener than needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from loop.pace import pace
from store.tracking import MetricPoint, RunInfo
from ui.keeping import keep
from ui.run_parts import (
    FAILED,
    FOLD,
    REFIT,
    SCORES,
    SEARCH,
    STANDARD,
    TRAIN_LOSS,
    TRIAL,
    TRIAL_TAG,
    VAL_LOSS,
    WORDS,
    Fold,
    Point,
    Run,
    Trial,
    fold_state,
    reason_of,
    resumed,
    state_of,
    title_of,
    varied,
)

_LOSSES = ("box_loss", "cls_loss", "dfl_loss")
# What a search logs to its trials (train/search_trials.py).
_OBJECTIVE, _TRIAL_STATE = "objective", "loop.trial_state"
_REPLACED = "loop.replaced_by"
_MOST_RUNS = 50
_MOST_KEPT, _MOST_FOLDS_KEPT = 20, 200


class Runs(Protocol):
    """What is needed of `store.tracking.Tracking`."""

    def top_runs(self, limit: int) -> list[RunInfo]: ...
    def run(self, run_id: str) -> RunInfo: ...
    def child_runs(self, run_id: str) -> list[RunInfo]: ...
    def metric_history(self, run_id: str, metric: str) -> list[MetricPoint]: ...


class RunBook:
    """Runs that have ended are read once."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._ended: dict[str, Run] = {}
        self._folds: dict[str, Fold] = {}

    def latest(self) -> list[RunInfo]:
        """Trainings, searches and stages that failed before they trained, newest first."""
        return [
            run
            for run in self._runs.top_runs(_MOST_RUNS)
            if run.tags.get("loop.kind") in WORDS or state_of(run) == FAILED
        ]

    def read(self, run_id: str) -> Run:
        """Raises `NotFound`."""
        if run_id in self._ended:
            return self._ended[run_id]
        info = self._runs.run(run_id)
        run = self._read(info, self._runs.child_runs(run_id))
        if info.status != "RUNNING":
            keep(self._ended, run_id, run, _MOST_KEPT)
        return run

    def _read(self, info: RunInfo, children: Sequence[RunInfo]) -> Run:
        kind = info.tags.get("loop.kind", "")
        by_kind: dict[str, list[RunInfo]] = {}
        for child in children:
            by_kind.setdefault(child.tags.get("loop.kind", FOLD), []).append(child)
        folds = [self._fold(child) for child in sorted(by_kind.get(FOLD, []), key=_fold_number)]
        if kind in (STANDARD, REFIT):
            folds = [self._fold(info)]  # it is its own only fold
        refits = by_kind.get(REFIT, [])
        return Run(
            id=info.run_id,
            kind=kind,
            name=title_of(info),
            state=state_of(info),
            started_at=info.started_at,
            ended_at=info.ended_at,
            failure=reason_of(info),
            decision=info.tags.get("loop.decision", ""),
            parameters=dict(info.params),
            folds=tuple(folds),
            final=self._fold(refits[-1]) if refits else None,
            trials=tuple(_trials(by_kind.get(TRIAL, []))) if kind == SEARCH else (),
        )

    def _fold(self, info: RunInfo) -> Fold:
        """Curves are read again only when there is a new epoch."""
        epoch, epochs = int(info.metrics.get("epoch", 0)), int(info.params.get("EPOCHS", 0))
        state = fold_state(info, epoch, epochs)
        known = self._folds.get(info.run_id)
        times = resumed(info)
        if known is not None and (known.epoch, known.state, known.resumed) == (epoch, state, times):
            return known
        ended = self._runs.metric_history(info.run_id, "epoch") if epoch else []
        ends = [(point.step, _seconds(point.at)) for point in ended]
        fold = Fold(
            name=_fold_name(info),
            epochs=epochs,
            state=state,
            heard_at=ended[-1].at if ended else "",
            curves=self._curves(info.run_id) if epoch else _NO_CURVES,
            epoch=epoch,
            pace=(pace(ends) or info.metrics.get("seconds")) if epoch else None,
            heard=ends[-1][1] if ends else 0.0,
            resumed=times,
        )
        return keep(self._folds, info.run_id, fold, _MOST_FOLDS_KEPT)

    def _curves(self, run_id: str) -> Mapping[str, tuple[Point, ...]]:
        curves = {
            name: tuple(
                Point(point.step, point.value) for point in self._runs.metric_history(run_id, name)
            )
            for name in SCORES
        }
        for curve, part in ((TRAIN_LOSS, "train"), (VAL_LOSS, "val")):
            losses = [self._runs.metric_history(run_id, f"{part}_{name}") for name in _LOSSES]
            curves[curve] = _sum(losses)
        return curves


_NO_CURVES: Mapping[str, tuple[Point, ...]] = dict.fromkeys((*SCORES, TRAIN_LOSS, VAL_LOSS), ())


def _fold_number(run: RunInfo) -> int:
    return int(run.tags.get("loop.fold", 0))


def _fold_name(run: RunInfo) -> str:
    kind = run.tags.get("loop.kind", "")
    return WORDS[kind] if kind in WORDS else f"fold {run.tags.get('loop.fold', '?')}"


def _trials(runs: Sequence[RunInfo]) -> list[Trial]:
    """By number; of a trial that was run again, the run that counts."""
    counted = [run for run in runs if _REPLACED not in run.tags]
    names = varied(counted)
    return sorted((_trial(run, names) for run in counted), key=lambda trial: trial.number)


def _trial(run: RunInfo, names: Sequence[str]) -> Trial:
    told, reason = run.tags.get(_TRIAL_STATE, ""), reason_of(run)
    state = told if told and run.status != "RUNNING" else state_of(run)
    return Trial(
        id=run.run_id,
        number=int(run.tags.get(TRIAL_TAG, 0)),
        state=f"{state}: {reason}" if reason else state,
        values={name.removeprefix("train."): run.params.get(name, "") for name in names},
        score=run.metrics.get(_OBJECTIVE),
        epoch=int(run.metrics.get("epoch", 0)),
        started_at=run.started_at,
        ended_at=run.ended_at,
        finished=run.status == "FINISHED",
    )


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _sum(histories: Sequence[Sequence[MetricPoint]]) -> tuple[Point, ...]:
    """Their sum at the epochs that all of them have."""
    values = [{point.step: point.value for point in history} for history in histories]
    epochs = sorted(set.intersection(*(set(each) for each in values)))
    return tuple(Point(epoch, sum(each[epoch] for each in values)) for epoch in epochs)
