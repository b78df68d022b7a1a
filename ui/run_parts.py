"""Trainings as the training page shows them: a run, its folds, and the trials of a search."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loop.pace import Going, left_together
from store.tracking import RunInfo

CV, SEARCH, STANDARD, REFIT, FOLD, TRIAL = "cv", "search", "standard", "refit", "fold", "trial"
# What each kind of run is called; other kinds are stages that failed before they trained.
WORDS = {
    CV: "cross-validation",
    SEARCH: "search",
    STANDARD: "training",
    REFIT: "final model",
    TRIAL: "trial",
}
# Of each fold, by epoch.
SCORES = ("map50_95", "map50")
TRAIN_LOSS, VAL_LOSS = "train_loss", "val_loss"
# What a training says of itself that somebody stopped (train/session.py), and that a search did,
# or a person who asked for it to end (train/run_record.py).
_INTERRUPTED = "interrupted"
_FAILURE_TAG, _STOPPED_TAG = "loop.failure", "loop.stopped"
# The epochs after which a fold was taken up again, with commas (train/fold_log.py).
_RESUMED_TAG = "loop.resumed_after_epoch"
# A trial's number in its search (train/search_trials.py).
TRIAL_TAG = "loop.trial"


@dataclass(frozen=True, slots=True)
class Point:
    epoch: int
    value: float


@dataclass(frozen=True, slots=True)
class Fold:
    """``curves`` has the points of `SCORES`, `TRAIN_LOSS` and `VAL_LOSS`, at the epochs that have
    them; ``heard_at`` is when the last epoch was logged, empty before the first one; ``ends`` is
    how that is in seconds since 1970. ``pace`` is in seconds an epoch. ``state`` is in words."""

    name: str
    epochs: int
    state: str
    heard_at: str
    curves: Mapping[str, tuple[Point, ...]]
    epoch: int = 0
    pace: float | None = None
    heard: float = 0.0
    resumed: int = 0

    def last(self, curve: str) -> float | None:
        points = self.curves[curve]
        return points[-1].value if points else None

    @property
    def best(self) -> Point | None:
        """Of mAP50-95, the first of equally good ones."""
        return max(self.curves["map50_95"], key=lambda point: point.value, default=None)

    @property
    def live(self) -> bool:
        return self.state in _LIVE_STATES

    def going(self, now: float) -> Going:
        since = max(now - self.heard, 0.0) if self.heard else 0.0
        return Going(self.epoch, self.epochs, self.state != WAITING, self.pace, since)


@dataclass(frozen=True, slots=True)
class Trial:
    """Of a search. ``values`` are what it tries; ``score`` is the folds' mean of mAP50-95 by
    ``epoch``, None before there is one. ``state`` is in words."""

    id: str
    number: int
    state: str
    values: Mapping[str, str]
    score: float | None
    epoch: int
    started_at: str
    ended_at: str
    finished: bool


@dataclass(frozen=True, slots=True)
class Run:
    """``name`` is what it is, in words; ``state`` is training, done, failed, stopped or
    interrupted; ``failure`` says why; ``decision`` is the gate's. ``final`` is the training of the
    final model on all folds."""

    id: str
    kind: str
    name: str
    state: str
    started_at: str
    ended_at: str
    failure: str
    decision: str
    parameters: Mapping[str, str]
    folds: tuple[Fold, ...]
    final: Fold | None = None
    trials: tuple[Trial, ...] = ()

    @property
    def live(self) -> bool:
        return self.state == TRAINING

    @property
    def rows(self) -> tuple[Fold, ...]:
        """The folds and, below them, the final model."""
        return self.folds if self.final is None else (*self.folds, self.final)

    @property
    def spread(self) -> tuple[float, float] | None:
        """Mean and sample standard deviation of the folds' best mAP50-95, once all have ended."""
        best = [fold.best for fold in self.folds if fold.state == DONE]
        values = [point.value for point in best if point is not None]
        if len(values) < 2 or len(values) < len(self.folds):
            return None
        return statistics.fmean(values), statistics.stdev(values)

    @property
    def best_trial(self) -> Trial | None:
        """The best of those that were trained to the end; of all, if none was."""
        scored = [trial for trial in self.trials if trial.score is not None]
        finished = [trial for trial in scored if trial.finished]
        return max(finished or scored, key=lambda t: (t.score or 0.0, -t.number), default=None)

    def left(self, now: float) -> float | None:
        """Seconds until the last fold ends, if nothing stops one early, at a time in seconds since
        1970; None while that cannot be told, and once it has ended."""
        if not self.live:
            return None
        open_folds = [fold.going(now) for fold in self.rows if fold.live]
        paces = [fold.pace for fold in self.folds if fold.pace is not None]
        return left_together(open_folds, paces, sum(going.started for going in open_folds))


WAITING, STARTING, TRAINING, FINISHING = "waiting", "starting", "training", "finishing"
DONE, FAILED, STOPPED = "done", "failed", "stopped"
_LIVE_STATES = (WAITING, STARTING, TRAINING, FINISHING)


def state_of(run: RunInfo) -> str:
    """In a word."""
    if run.tags.get(_FAILURE_TAG) == _INTERRUPTED:
        return _INTERRUPTED
    states = {"RUNNING": TRAINING, "FINISHED": DONE, "KILLED": STOPPED}
    return states.get(run.status, FAILED)


def reason_of(run: RunInfo) -> str:
    """Why it failed or was stopped; empty for one that was not."""
    state = state_of(run)
    tag = {FAILED: _FAILURE_TAG, STOPPED: _STOPPED_TAG}.get(state)
    return run.tags.get(tag, "") if tag else ""


def fold_state(run: RunInfo, epoch: int, epochs: int) -> str:
    state, reason = state_of(run), reason_of(run)
    if state == TRAINING:
        if not epoch:
            # A worker logs what its machine does before its first epoch ends.
            return STARTING if run.metrics else WAITING
        return FINISHING if epoch == epochs else TRAINING
    return f"{state}: {reason}" if reason else state


def resumed(run: RunInfo) -> int:
    """How often the run was taken up again."""
    told = run.tags.get(_RESUMED_TAG, "")
    return len(told.split(",")) if told else 0


def title_of(run: RunInfo) -> str:
    """What it is: a kind, which trial, or the stage that failed."""
    kind = run.tags.get("loop.kind", "")
    if kind == TRIAL:
        return f"{WORDS[TRIAL]} {run.tags.get(TRIAL_TAG, '')}".strip()
    return WORDS.get(kind, f"stage {kind}")


def varied(trials: Sequence[RunInfo]) -> list[str]:
    """The parameters in which trials differ: what the search tries, as far as it has."""
    names = sorted({name for trial in trials for name in trial.params})
    return [name for name in names if len({trial.params.get(name) for trial in trials}) > 1]
