"""What every stage does around its own work: errors that say what to do and are put on record,
and progress bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from loop.errors import LoopError

out = Console(soft_wrap=True)
_err = Console(stderr=True, soft_wrap=True)
# What a shell reports of a program that Ctrl-C ended.
_INTERRUPTED = 130


def run_stage(main: Callable[[], None], stage: str = "") -> int:
    """The exit status of ``main``: 1 for an error that Second Look raised, which it prints.

    The failure of a named ``stage`` is put on record (`train.failure_record`), unless that has
    been done. Whatever comes of that, the error that is shown is the stage's own.
    """
    try:
        return _run(main, stage)
    except KeyboardInterrupt:
        _err.print("Interrupted.")
        return _INTERRUPTED


def _run(main: Callable[[], None], stage: str) -> int:
    try:
        main()
    except LoopError as error:
        _err.print(Text.assemble(("Error: ", "bold red"), error.message))
        if error.hint:
            _err.print(Text.assemble(("  Try: ", "bold"), error.hint))
        _put_on_record(stage, error)
        return 1
    except Exception as error:
        _put_on_record(stage, error)
        raise
    return 0


def _put_on_record(stage: str, error: Exception) -> None:
    if not stage or getattr(error, "recorded", False):
        return
    from train.failure_record import record_failure  # which imports what stages print with

    for problem in record_failure(stage, error):
        _err.print(f"The failure is not on record everywhere: {problem}", markup=False)


@contextmanager
def progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """A bar, moved by calling what this gives with (done, total)."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=out,
    )
    with bar:
        task = bar.add_task(description, total=0)

        def step(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield step
