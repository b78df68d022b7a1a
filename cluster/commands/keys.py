"""``secondlook keys``: the keys that other machines of this installation need."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from cluster.console import err, print_json
from cluster.context import JsonOption, settings_of
from loop.events import Event, Role
from store.audit_log import open_audit_log
from store.key_export import exported_keys
from store.unit_of_work import open_units_of_work

group = typer.Typer(help="Keys for other machines.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="keys")


@group.callback()
def keys() -> None:
    """Keys for other machines."""


@group.command()
def env(
    context: typer.Context,
    serving: Annotated[
        bool, typer.Option("--serving", help="Only what machines need that only detect.")
    ] = False,
    shell: Annotated[
        bool, typer.Option("--shell", help="As export NAME='value', for a shell to read.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Print the secrets that the machines of a cluster need, as NAME=value, a line each.

    For a secret store, or a file that nobody else can read: who has them can sign models, and find
    out subjects from their pseudonyms. That they were printed is on record, they themselves are
    not. A key of several lines has \\n for their ends, which the settings understand.
    """
    settings = settings_of(context)
    values = exported_keys(settings, open_audit_log(settings), serving=serving)
    with open_units_of_work(settings)() as uow:
        subject = {"what": "serving" if serving else "all"}
        actor = settings.acting(Role.ADMIN)
        uow.record(Event("keys.exported", actor, subject, {"names": sorted(values)}))
        uow.commit()
    if sys.stdout.isatty():
        err.print("[yellow]These are secrets, and this is a terminal: they stay in its history.[/]")
    if json:
        print_json(values)
        return
    # Not through the console, which breaks lines.
    for name, value in values.items():
        line = f"export {name}={shlex.quote(value)}" if shell else f"{name}={value}"
        sys.stdout.write(f"{line}\n")
