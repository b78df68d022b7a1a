"""How the trials of a search stand, live on a terminal, line by line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from loop.errors import LoopError
from train.search_space import Value
from train.search_trials import SearchTrial, best_trial

_EVERY_S = 2.0
# A terminal holds the newest ones, and the best one in any case.
_MOST_ROWS = 15
_RUNNING = "training"


class SearchTable:
    """``read`` gives the trials that have begun. Use as a context manager.

    ``epochs`` is how many a trial is trained for at most, ``trials`` how many there will be.
    """

    def __init__(
        self,
        console: Console,
        read: Callable[[], Sequence[SearchTrial]],
        *,
        trials: int,
        epochs: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._read = read
        self._count = trials
        self._epochs = epochs
        self._clock = clock
        self._read_at = float("-inf")
        self._trials: Sequence[SearchTrial] = ()
        self._said: dict[int, str] = {}
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def update(self) -> None:
        """Read the trials again, unless that was done just now."""
        if self._clock() - self._read_at >= _EVERY_S:
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
        self._show()
        if self._live:
            self._live.stop()

    def _show(self) -> None:
        with suppress(LoopError):  # a busy MLflow must not end a search
            self._trials = self._read()
        self._read_at = self._clock()
        if self._live:
            self._live.update(search_table(self._trials, self._count, self._epochs), refresh=True)
            return
        for trial in self._trials:
            state = _state(trial)
            if self._said.get(trial.number) != state:
                self._said[trial.number] = state
                self._console.print(self._line(trial), highlight=False, markup=False)

    def _line(self, trial: SearchTrial) -> str:
        line = f"trial {trial.number}: {_state(trial)}"
        if not trial.settled:
            return f"{line} with {in_words(trial.values)}"
        if trial.failure:
            line += f": {trial.failure}"
        if trial.objective is not None:
            line += f", epoch {trial.epoch}/{self._epochs}, mAP50-95 {trial.objective:.3f}"
        best = best_trial(self._trials)
        if best is not None and best.objective is not None:
            line += f" (best: {best.objective:.3f}, trial {best.number})"
        return line


def search_table(trials: Sequence[SearchTrial], count: int, epochs: int) -> Group:
    """One row a trial, the best one marked."""
    best = best_trial(trials)
    settled = sum(trial.settled for trial in trials)
    title = Text(f"Search: {settled} of {count} trials", style="bold")
    if best is not None and best.objective is not None:
        title.append(f", best mAP50-95 {best.objective:.3f} (trial {best.number})")
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False)
    for heading in ("trial", "state", "epoch", "mAP50-95", "best so far", "hyperparameters"):
        text = heading in ("state", "hyperparameters")
        table.add_column(heading, justify="left" if text else "right", overflow="fold")
    shown = {trial.number for trial in trials[-_MOST_ROWS:]} | {best.number if best else -1}
    so_far: float | None = None
    for trial in trials:
        if trial.objective is not None:
            so_far = max(so_far or 0.0, trial.objective)
        if trial.number in shown:
            table.add_row(
                str(trial.number),
                _state(trial),
                f"{trial.epoch}/{epochs}",
                _score(trial.objective),
                _score(so_far),
                in_words(trial.values),
                style="bold green" if best is not None and trial.number == best.number else None,
            )
    failures = [Text(f"trial {t.number}: {t.failure}", style="red") for t in trials if t.failure]
    return Group(title, table, *failures[-3:])


def in_words(values: Mapping[str, Value]) -> str:
    """``lr0 0.00213, mosaic 0.5``: rounded, for people."""
    shown = {name: f"{v:.3g}" if isinstance(v, float) else str(v) for name, v in values.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def _state(trial: SearchTrial) -> str:
    return trial.state.value if trial.settled else _RUNNING


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
