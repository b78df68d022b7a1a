"""How the folds stand: one live table on a terminal, line by line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loop.errors import LoopError
from loop.pace import in_words
from train.fold_progress import FoldProgress, Standing, standing

# A line about all folds, where there is no table, no oftener than this.
_SUMMARY_EVERY_S = 60.0
_BAR_WIDTH = 20
# Of a terminal that is narrower, these columns are left out.
_NARROW = 76
_LEFT_OUT = ("loss", "best", "s/epoch")
_NONE = "-"


class FoldTable:
    """``read`` gives the latest metrics of a run id; ``clock`` seconds. Use as a context manager.

    Who calls `end` has the last word on a fold's state.
    """

    def __init__(
        self,
        console: Console,
        title: str,
        read: Callable[[str], Mapping[str, float]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._title = title
        self._read = read
        self._clock = clock
        self._folds: dict[str, FoldProgress] = {}
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._summarised_at = clock()
        self._most_at_once = 1

    def add(self, name: str, run_id: str, epochs: int, *, val_period: int = 1) -> None:
        """A fold; it is validated after every ``val_period``-th epoch, with 0 never."""
        self._folds[run_id] = FoldProgress(name, epochs, val_period)

    def resumed(self, run_id: str, times: int) -> None:
        """The fold was started again from its last checkpoint, so many times by now."""
        fold = self._folds[run_id]
        if times > fold.resumed:
            fold.resumed = times
            self._say(f"{fold.name}: resumed from its last checkpoint")

    def update(self) -> None:
        """Read the metrics of all folds that have not ended."""
        for run_id, fold in self._folds.items():
            if not fold.ended:
                self._read_fold(run_id, fold)
        self._show()
        self._summarise()

    def end(self, run_id: str, state: str) -> None:
        fold = self._folds[run_id]
        self._read_fold(run_id, fold)
        fold.ended = state
        self._say(f"{fold.name}: {state}")
        self._show()

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        self._show()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def _read_fold(self, run_id: str, fold: FoldProgress) -> None:
        try:
            metrics = self._read(run_id)
        except LoopError:
            return  # a busy MLflow must not end a training
        if fold.take(metrics, self._clock()):
            self._say(_line(fold))

    def _standing(self) -> Standing:
        found = standing(list(self._folds.values()), self._most_at_once, self._clock())
        self._most_at_once = max(self._most_at_once, found.running)
        return found

    def _summarise(self) -> None:
        now = self._clock()
        if self._live or now - self._summarised_at < _SUMMARY_EVERY_S:
            return
        self._summarised_at = now
        self._say(f"{self._title}: {_summary(self._standing())}")

    def _say(self, text: str) -> None:
        if self._live is None:
            self._console.print(text, highlight=False, markup=False)

    def _show(self) -> None:
        if self._live:
            self._live.update(self._renderable(), refresh=True)

    def _renderable(self) -> RenderableType:
        found = self._standing()
        bar = Table.grid(padding=(0, 1))
        total, done = max(found.epochs, 1), found.epochs_done
        bar.add_row(
            ProgressBar(total=total, completed=done, width=_BAR_WIDTH), Text(_summary(found))
        )
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False)
        narrow = self._console.width < _NARROW
        headings = [each for each in _HEADINGS if not (narrow and each in _LEFT_OUT)]
        for heading in headings:
            text = heading in ("", "state")
            # What a narrow terminal has no room for is cut off the state: it stands at the end.
            table.add_column(
                heading,
                justify="left" if text else "right",
                no_wrap=True,
                overflow="ellipsis",
                min_width=0 if heading == "state" else None,
                ratio=1 if heading == "state" else None,
            )
        for fold in self._folds.values():
            cells = _cells(fold, self._clock())
            table.add_row(*(cells[heading] for heading in headings))
        # Whatever does not fit a low terminal is cut off below: what sums it up stands above.
        failures = [
            Text(f"{fold.name}: {fold.ended}", no_wrap=False, overflow="fold")
            for fold in self._folds.values()
            if fold.failed
        ]
        return Group(Text(self._title, style="bold"), bar, table, *failures)


_HEADINGS = ("", "epoch", "loss", "mAP50", "mAP50-95", "best", "s/epoch", "left", "state")


def _cells(fold: FoldProgress, now: float) -> dict[str, Text]:
    """By heading; as text, for a fold's state says what went wrong in whatever words."""
    left = None if fold.ended else fold.going(now).left
    pace = fold.pace
    cells = (
        fold.name,
        f"{fold.epoch}/{fold.epochs}",
        _number(fold.loss),
        _number(fold.map50),
        _number(fold.map50_95),
        _number(fold.best),
        "" if pace is None else f"{pace:.1f}" if pace < 100 else f"{pace:.0f}",
        "" if left is None else in_words(left),
        fold.state,
    )
    return {heading: Text(cell) for heading, cell in zip(_HEADINGS, cells, strict=True)}


def _line(fold: FoldProgress) -> str:
    parts = [f"{fold.name}: epoch {fold.epoch}/{fold.epochs}", f"loss {_number(fold.loss)}"]
    if fold.validated:
        parts += [f"mAP50 {_number(fold.map50)}", f"mAP50-95 {_number(fold.map50_95)}"]
    if fold.pace is not None and fold.epoch < fold.epochs:
        parts.append(f"{in_words((fold.epochs - fold.epoch) * fold.pace)} left")
    return ", ".join(parts)


def _summary(found: Standing) -> str:
    parts = [f"{found.epochs_done}/{found.epochs} epochs"]
    counts = ((found.done, "done"), (found.failed, "failed"), (found.waiting, "waiting"))
    parts += [f"{number} {word}" for number, word in counts if number]
    if found.left is not None:
        parts.append(f"{in_words(found.left)} left")
    return ", ".join(parts)


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"
