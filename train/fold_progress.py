"""How far a fold is, from what it has logged; and how far all of them are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loop.pace import Going, left_together, pace

_LOSSES = ("train_box_loss", "train_cls_loss", "train_dfl_loss")
_FAILED = "failed"


@dataclass(slots=True)
class FoldProgress:
    """``val_period`` is after how many epochs it is validated, 0 for never. ``ended`` is how it
    ended, in words that begin with done or failed, and empty until then."""

    name: str
    epochs: int
    val_period: int = 1
    resumed: int = 0
    ended: str = ""
    epoch: int = 0
    best: float | None = None
    _metrics: Mapping[str, float] = field(default_factory=dict)
    _observed: list[tuple[int, float]] = field(default_factory=list)

    def take(self, metrics: Mapping[str, float], now: float) -> bool:
        """Note what was logged by ``now``; whether there is another epoch in it."""
        epoch = int(metrics.get("epoch", 0))
        if epoch < self.epoch:
            return False
        self._metrics = metrics
        if epoch == self.epoch:
            return False
        self.epoch = epoch
        self._observed.append((epoch, now))
        score = self.map50_95
        if score is not None:
            self.best = score if self.best is None else max(self.best, score)
        return True

    @property
    def loss(self) -> float | None:
        """The sum of the training's losses, of the last epoch."""
        found = [self._metrics[name] for name in _LOSSES if name in self._metrics]
        return sum(found) if found else None

    @property
    def map50(self) -> float | None:
        """Of the last epoch that was validated, as is `map50_95`."""
        return self._metrics.get("map50")

    @property
    def map50_95(self) -> float | None:
        return self._metrics.get("map50_95")

    @property
    def validated(self) -> bool:
        """Whether the last epoch was."""
        if not self.val_period or not self.epoch:
            return False
        return self.epoch % self.val_period == 0 or self.epoch == self.epochs

    @property
    def pace(self) -> float | None:
        """Seconds an epoch: those that passed between epochs, or what the first one says."""
        if not self.epoch:
            return None
        return pace(self._observed) or self._metrics.get("seconds")

    @property
    def started(self) -> bool:
        """A worker logs what its machine does before its first epoch ends."""
        return bool(self._metrics)

    @property
    def failed(self) -> bool:
        return self.ended.startswith(_FAILED)

    @property
    def state(self) -> str:
        if self.ended:
            return _FAILED if self.failed else self.ended
        if not self.started:
            return "waiting"
        if self.epoch and self.epoch == self.epochs:
            return "finishing"
        if self.resumed:
            return f"resumed {self.resumed}x"
        return "training" if self.epoch else "starting"

    def going(self, now: float) -> Going:
        since = now - self._observed[-1][1] if self._observed else 0.0
        return Going(self.epoch, self.epochs, self.started, self.pace, since)


@dataclass(frozen=True, slots=True)
class Standing:
    """Of all folds. ``left`` is in seconds, None while it cannot be told."""

    folds: int
    done: int
    failed: int
    running: int
    waiting: int
    epochs: int
    epochs_done: int
    left: float | None


def standing(folds: Sequence[FoldProgress], at_once: int, now: float) -> Standing:
    """``at_once`` is how many folds have been seen to run at the same time."""
    running = [fold for fold in folds if fold.started and not fold.ended]
    waiting = [fold for fold in folds if not fold.started and not fold.ended]
    ended = [fold for fold in folds if fold.ended]
    return Standing(
        folds=len(folds),
        done=sum(not fold.failed for fold in ended),
        failed=sum(fold.failed for fold in ended),
        running=len(running),
        waiting=len(waiting),
        epochs=sum(fold.epochs for fold in folds),
        # A fold that ended early has nothing left to do.
        epochs_done=sum(fold.epochs if fold.ended else fold.epoch for fold in folds),
        left=left_together(
            [fold.going(now) for fold in (*running, *waiting)],
            [fold.pace for fold in folds if fold.pace is not None],
            at_once,
        ),
    )
