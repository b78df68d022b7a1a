"""What events say of trainings and folds: what is open, how the last ones ended, how many since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from loop.events import Event, Outcome

# What ends on its own, and what its events begin with.
TRAININGS = ("kfold", "training", "refit", "search")
FOLD = "fold"
_BEGIN = ("started", "resumed")
TYPES = tuple(
    f"{noun}.{verb}" for noun in (*TRAININGS, FOLD) for verb in ("started", "resumed", "ended")
)
# A fold that ended so long ago without saying so will not go on any more.
OPEN_DAYS = 7


@dataclass(frozen=True, slots=True)
class FoldFigures:
    """``seconds`` is how long it trained; both are None where its event does not say."""

    seconds: float | None
    map50_95: float | None


@dataclass(slots=True)
class TrainingHistory:
    """Events are told in the order in which they were logged. ``ended`` counts those told as new,
    by noun and outcome; ``last_ended`` is when one last ended so (RFC 3339), ``last_heard`` the
    last event of any. ``folds`` are those of the newest cross-validation that have ended."""

    ended: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    last_ended: dict[Outcome, str] = field(default_factory=dict)
    last_heard: str = ""
    folds: dict[int, FoldFigures] = field(default_factory=dict)
    _folds_of: str = ""
    _open: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, event: Event, *, new: bool = True) -> None:
        noun, _, verb = event.type.partition(".")
        if event.type not in TYPES:
            return
        self.last_heard = max(self.last_heard, event.at)
        key = (noun, _run_of(event))
        if verb in _BEGIN:
            self._open[key] = event.at
        else:
            self._open.pop(key, None)
            self._end(noun, event, new)
        if noun == FOLD:
            self._note_fold(event, ended=verb == "ended")

    def open(self, noun: str, since: str) -> int:
        """How many begun at ``since`` (RFC 3339) or later have not said that they ended: they are
        at work, or their process was lost."""
        return sum(1 for (of, _), at in self._open.items() if of == noun and at >= since)

    def _end(self, noun: str, event: Event, new: bool) -> None:
        if new:
            self.ended[noun, event.outcome] += 1
        if noun != FOLD:
            self.last_ended[event.outcome] = event.at

    def _note_fold(self, event: Event, *, ended: bool) -> None:
        run, fold = str(event.subject.get("mlflow_run_id", "")), event.subject.get("fold")
        if run != self._folds_of:
            self._folds_of, self.folds = run, {}
        if ended and event.outcome is Outcome.DONE and isinstance(fold, int):
            metrics = event.details.get("metrics")
            found = metrics.get("map50_95") if isinstance(metrics, Mapping) else None
            self.folds[fold] = FoldFigures(event.details.get("seconds"), found)


def _run_of(event: Event) -> str:
    """Of a fold its own run: several of one cross-validation are open at once."""
    return str(event.subject.get("fold_run_id") or event.subject.get("mlflow_run_id", ""))
