"""How the folds stand, live on a terminal, line by line elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from loop.errors import LoopError

_LOSSES = ("train_box_loss", "train_cls_loss", "train_dfl_loss")


@dataclass(slots=True)
class _Row:
    name: str
    run_id: str
    epochs: int
    state: str = "waiting"
    metrics: Mapping[str, float] = field(default_factory=dict)

    def cells(self) -> tuple[str, ...]:
        epoch = int(self.metrics.get("epoch", 0))
        if not epoch:
            return (self.name, f"0/{self.epochs}", "", "", "", self.state)
        loss = sum(self.metrics.get(name, 0.0) for name in _LOSSES)
        return (
            self.name,
            f"{epoch}/{self.epochs}",
            f"{loss:.3f}",
            f"{self.metrics.get('map50', 0.0):.3f}",
            f"{self.metrics.get('map50_95', 0.0):.3f}",
            self.state,
        )


class FoldTable:
    """``read`` gives the latest metrics of a run id. Use as a context manager."""

    def __init__(
        self, console: Console, title: str, read: Callable[[str], Mapping[str, float]]
    ) -> None:
        self._console = console
        self._title = title
        self._read = read
        self._rows: dict[str, _Row] = {}
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def add(self, name: str, run_id: str, epochs: int) -> None:
        self._rows[run_id] = _Row(name, run_id, epochs)

    def update(self) -> None:
        """Read the metrics of all folds that have not ended."""
        for row in self._rows.values():
            if row.state in ("waiting", "training"):
                self._read_row(row)
        self._show()

    def end(self, run_id: str, state: str) -> None:
        row = self._rows[run_id]
        self._read_row(row)
        row.state = state
        if self._live is None:
            self._console.print(f"{row.name}: {state}", highlight=False, markup=False)
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

    def _read_row(self, row: _Row) -> None:
        try:
            metrics = self._read(row.run_id)
        except LoopError:
            return  # a busy MLflow must not end a training
        epoch = metrics.get("epoch", 0)
        if epoch > row.metrics.get("epoch", 0):
            row.metrics, row.state = metrics, "training"
            if self._live is None:
                name, at, loss, map50, map50_95, _ = row.cells()
                self._console.print(
                    f"{name}: epoch {at}, loss {loss}, mAP50 {map50}, mAP50-95 {map50_95}",
                    highlight=False,
                    markup=False,
                )

    def _show(self) -> None:
        if self._live:
            self._live.update(_table(self._title, list(self._rows.values())), refresh=True)


def _table(title: str, rows: Sequence[_Row]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in ("", "epoch", "loss", "mAP50", "mAP50-95", "state"):
        table.add_column(heading, justify="left" if heading in ("", "state") else "right")
    for row in rows:
        table.add_row(*row.cells())
    return table
