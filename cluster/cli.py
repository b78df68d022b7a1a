"""The command line, ``secondlook``: every command, and the one place where errors are shown."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cluster.commands import (
    audit,
    backup,
    cluster,
    data,
    erasing,
    gold,
    jobs,
    keys,
    models,
    oversight,
    retention,
    run,
    techfile,
    training,
    users,
)
from cluster.console import err, print_error
from cluster.context import CommandLine
from loop.errors import LoopError

# What Typer makes of Ctrl-C: 128 and the signal's number.
_INTERRUPTED = 130

app = typer.Typer(
    name="secondlook",
    help="Every detection gets a second look: detect, correct, train, promote, on the record.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def main_options(
    context: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(help="Everything this system writes. Default: SECONDLOOK_HOME, or ./var."),
    ] = None,
) -> None:
    context.obj = CommandLine(home)


run.add_to(app)
cluster.add_to(app)
data.add_to(app)
gold.add_to(app)
training.add_to(app)
jobs.add_to(app)
models.add_to(app)
audit.add_to(app)
backup.add_to(app)
techfile.add_to(app)
users.add_to(app)
retention.add_to(app)
oversight.add_to(app)
erasing.add_to(app)
keys.add_to(app)


def main() -> None:
    """Entry point. A `LoopError` becomes a message and exit code 1."""
    try:
        app()
    except LoopError as error:
        print_error(error, as_json="--json" in sys.argv)
        sys.exit(1)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            err.print("Interrupted.")
        raise


if __name__ == "__main__":
    main()
