"""What the command line prints: tables for people, JSON for machines, errors with what to do."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from loop.errors import LoopError

# Piped into a file or another program, tables keep their columns whole.
out = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, soft_wrap=True)


def print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=2, default=str) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table with a title; ``rows`` of any values. An empty one says so in a line."""
    if not rows:
        out.print(f"{title}: none.")
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row))
    out.print(table)


def program() -> str:
    """How to call this program from here: by its path while its environment is not active."""
    return "secondlook" if shutil.which("secondlook") else sys.argv[0]


def when(at: str) -> str:
    """An RFC 3339 time stamp, to the second, as a table shows it."""
    return at[:19].replace("T", " ")


def print_error(error: LoopError, *, as_json: bool = False) -> None:
    if as_json:
        print_json({"error": error.as_dict()})
        return
    err.print(Text.assemble(("Error: ", "bold red"), error.message))
    if error.hint:
        err.print(Text.assemble(("  Try: ", "bold"), error.hint))


@contextmanager
def progress(description: str) -> Iterator[Step]:
    """A bar on stderr for what takes longer than a second; a line where no one watches."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    if not err.is_terminal:
        err.print(f"{description} …", markup=False)
    with bar:
        yield Step(bar, description)


class Step:
    """Call it with (done, total); total 0 or None means that it is not known."""

    def __init__(self, bar: Progress, description: str) -> None:
        self._bar = bar
        self._task = bar.add_task(description, total=None)

    def __call__(self, done: int, total: int | None = None) -> None:
        self._bar.update(self._task, completed=done, total=total or None)
